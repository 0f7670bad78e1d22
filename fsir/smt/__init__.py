"""Numbers as expressions over unknowns, and what z3 says of them."""
