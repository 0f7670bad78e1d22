"""Registering what kernel functions do: as helpers (`helper_base`), but by name.

An implementation that returns a negative number means the kernel's `int`; the word that the program sees is that of a
sign-extended result.
"""

from __future__ import annotations

from collections.abc import Callable

from fsir.interp.helper_base import Call, as_word

KFUNCS: dict[str, Call] = {}
"""Implementations by name; each returns a word."""


def kfunc(name: str) -> Callable[[Call], Call]:
    """Register an implementation."""

    def register(implementation: Call) -> Call:
        if name in KFUNCS:
            raise ValueError(f"{name} is implemented twice")
        KFUNCS[name] = as_word(implementation)
        return implementation

    return register
