"""`fs-run`: packets through a program, on any engine, and the comparison of two runs. See docs/fs-run.md."""
