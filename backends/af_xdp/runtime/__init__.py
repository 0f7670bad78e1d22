"""The C that does not depend on the program; `emit.py` puts the pieces together."""
