"""Kernel functions as the interpreter runs them: `kfunc_named(name)`."""

import importlib

from fsir.interp.helper_base import Call
from fsir.interp.kfunc_base import KFUNCS
from fsir.interp.machine import HelperError, Machine

for _module in ("helper_dynptr", "kfunc_basics", "kfunc_conntrack"):
    importlib.import_module(f"fsir.interp.{_module}")


def kfunc_named(name: str) -> Call:
    """The implementation of a kernel function; for one that is not interpreted, a function that raises HelperError when
    the program gets there."""
    return KFUNCS.get(name) or _refusal(name)


def is_interpreted(name: str) -> bool:
    """Whether the interpreter can run this kernel function."""
    return name in KFUNCS


def _refusal(name: str) -> Call:
    def refuse(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        raise HelperError(
            f"the function '{name}' is not interpreted: for the kernel's use --engine kernel, for a library's "
            "--library FILE"
        )

    return refuse
