"""The user-space target: C over AF_XDP.

`emit.py` writes the C file of a placed part, `inprocess.py` compiles and runs it without an interface, and
`capabilities.py` says what the target can run. `runtime/` holds the C that does not depend on the program.
"""
