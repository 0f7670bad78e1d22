"""What the `helper_*.py` files share: registering implementations, and reading arguments.

An implementation gets the machine and the five argument registers as words in [0, 2**64), used or not, and
returns what the kernel's function returns, errors as negative numbers. What is registered in `CALLS` always
returns a word.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fsir.interp.helpers import helper_named

if TYPE_CHECKING:
    from fsir.interp.machine import Machine

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1

Call = Callable[["Machine", int, int, int, int, int], int]

CALLS: dict[int, Call] = {}
"""Implementations by helper number; each returns a word."""


def helper(name: str, *, word: bool = False) -> Callable[[Call], Call]:
    """Register an implementation. `word` promises that its result is never negative, and saves a call."""
    prototype = helper_named(name)
    if prototype is None:
        raise ValueError(f"no helper is called {name}")
    number = prototype.number

    def register(implementation: Call) -> Call:
        if number in CALLS:
            raise ValueError(f"{name} is implemented twice")
        CALLS[number] = implementation if word else as_word(implementation)
        return implementation

    return register


def as_word(implementation: Call) -> Call:
    """The same with its result as a word."""

    def call(machine: "Machine", r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        return implementation(machine, r1, r2, r3, r4, r5) & M64

    return call


def s32(value: int) -> int:
    """The low 32 bits as a signed number."""
    value &= M32
    return value - (1 << 32) if value >> 31 else value


def s64(value: int) -> int:
    """A word as a signed number."""
    return value - (1 << 64) if value >> 63 else value
