"""Helpers as the interpreter runs them: `call_of(number)`."""

import importlib

from fsir.interp.helper_base import CALLS, Call
from fsir.interp.helpers import HELPERS
from fsir.interp.machine import HelperError, Machine

for _family in (
    "callbacks",
    "checksum",
    "dynptr",
    "environment",
    "fib",
    "maps",
    "memory",
    "objects",
    "output",
    "redirect",
    "rings",
    "skb",
    "skb_layout",
    "sockets",
    "syncookie",
    "timer",
    "tunnel",
    "xdp",
):
    importlib.import_module(f"fsir.interp.helper_{_family}")


TAIL_CALL = 12
"""Leaves the program, so generated code does it itself, with `Machine.tail_call`."""


def call_of(number: int) -> Call:
    """The implementation of a helper: `call(machine, r1, r2, r3, r4, r5)` returns a word.

    For one that is not interpreted, a function that raises HelperError when the program gets there.
    """
    return CALLS.get(number) or _refusal(number)


def _unresolved(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    raise HelperError(
        "the kernel has no such field, type or enumerator (a CO-RE relocation that cannot be resolved); "
        "guard it with bpf_core_field_exists and its like"
    )


UNRESOLVED = 0xBAD2310
"""The helper that a loader has a program call in place of such an instruction (libbpf)."""


def is_interpreted(number: int) -> bool:
    """Whether the interpreter can run this helper."""
    return number in CALLS or number == TAIL_CALL


def _refusal(number: int) -> Call:
    if number == UNRESOLVED:
        return _unresolved
    prototype = HELPERS.get(number)
    what = f"bpf_{prototype.name} (helper {number})" if prototype else f"helper {number}, which no kernel has,"

    def refuse(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        raise HelperError(f"{what} is not interpreted; run the program with --engine kernel")

    return refuse
