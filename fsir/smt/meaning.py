"""What instructions compute, over terms: the interpreter's own expressions (`emit_alu`), evaluated."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from fsir.interp import emit_alu
from fsir.smt.terms import Term, TooDeep, Undecided, Value, byte, from_bytes

_FUNCTIONS: dict[str, Any] = dict(emit_alu.FUNCTIONS)


def _swapped(value: Value) -> Value:
    return from_bytes([byte(value, index) for index in reversed(range(8))])


def _only_numbers(name: str) -> Callable[[Value, Value], Any]:
    def compute(a: Value, b: Value) -> Any:
        if isinstance(a, Term) or isinstance(b, Term):
            raise Undecided
        return _FUNCTIONS[name](a, b)

    return compute


_NAMES: dict[str, Any] = {name: _only_numbers(name) for name in emit_alu.FUNCTIONS} | {"swap64": _swapped}


@cache
def _compiled(text: str) -> Callable[[Value, Value], Value]:
    function: Callable[[Value, Value], Value] = eval(f"lambda a, b: {text.format(a='a', b='b')}", dict(_NAMES))
    return function


def _computed(text: str, a: Value, b: Value) -> Value | None:
    try:
        found = _compiled(text)(a, b)
    except (Undecided, TooDeep):
        return None
    return int(found) if isinstance(found, bool) else found


def binary(op: str, width: int, a: Value, b: Value) -> Value | None:
    """The result of an arithmetic instruction; None for one that terms do not express."""
    return _computed(emit_alu.BINARY[op, width], a, b)


def unary(op: str, width: int, a: Value) -> Value | None:
    """The result of an instruction with one operand."""
    return _computed(emit_alu.UNARY[op, width], a, 0)


def compared(op: str, width: int, a: Value, b: Value) -> Value | None:
    """Whether a jump is taken: 0, or anything else."""
    return _computed(emit_alu.COMPARE[op, width], a, b)


def immediate(op: str, width: int, imm: int) -> int:
    """The number that stands for an instruction's immediate."""
    return int(emit_alu.immediate(op, width, imm).strip("()"), 0)
