"""What the op → Python tables have in common: the emitter they write to, and the registry they fill.

A rule turns one operation into lines of Python over local variables that hold machine words. Words are integers in
[0, 2**64); a value of type iN is in [0, 2**N) (an i1 may be a bool). Names that are not local variables are asked for
with `Emitter.need` and bound to a machine when the code is linked (`codegen_link`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute, Operation, SSAValue

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


class UnsupportedOp(Exception):
    """An operation that has no rule; `op` says which."""

    def __init__(self, op: Operation, message: str):
        super().__init__(message)
        self.op = op


@dataclass(frozen=True)
class Parameter:
    """A function's parameter: the machine register (1 to 5) that it stands for, and its width in bits."""

    register: int
    width: int


class Emitter(Protocol):
    """What a rule may ask of the function being written."""

    def use(self, value: SSAValue) -> str:
        """An expression for a value: a local variable or a literal, never anything that needs parentheses."""
        ...

    def word(self, value: SSAValue) -> str:
        """As `use`, for a reader of the whole register: above a narrow value's width there may be anything."""
        ...

    def set(self, result: SSAValue, expression: str, bits: int = 64) -> None:
        """Assign a result; `bits` bounds the expression, which is cut to the result's type where that is narrower."""
        ...

    def line(self, text: str) -> None:
        """A statement at the current indentation."""
        ...

    def need(self, kind: str, *what: str | int) -> str:
        """The global name of something that linking provides; see `codegen_link.PROVIDERS` for the kinds."""
        ...

    def call_helper(self, number: int, *args: str) -> str:
        """An expression that calls a helper with up to five arguments; the call is counted."""
        ...

    def count_helper(self, number: int) -> None:
        """Count a call of a helper that is done in some other way."""
        ...

    def leave(self, expression: str) -> None:
        """Return from the function."""
        ...

    def stack_offset(self, value: SSAValue) -> int | None:
        """The offset from the frame pointer, when the value is a known address in this function's frame."""
        ...

    def alloca(self, op: Operation, size: int) -> str:
        """An expression for the address of a frame object."""
        ...

    def frame_pointer(self) -> str:
        """The local variable that holds r10."""
        ...

    def stack_buffer(self) -> str:
        """The local variable that holds the frame's bytes."""
        ...

    def save_state(self) -> None:
        """Before anything that may run other functions: make the instruction count and depth visible."""
        ...

    def restore_state(self) -> None:
        """After it: take the instruction count back."""
        ...

    def parameters(self, op: Operation, callee: str) -> list[Parameter]:
        """Another function's parameters; UnsupportedOp when there is no such function."""
        ...

    def call_operands(self, args: list[SSAValue], count: int) -> list[str]:
        """The first `count` machine arguments of a call from its operands; 0 for a register that is undefined."""
        ...


Rule = Callable[[Operation, Emitter], None]
Condition = Callable[[Operation, Emitter], str]

RULES: dict[str, Rule] = {}
"""How to execute an operation, by its name. A third-party dialect adds its own."""

CONDITIONS: dict[str, Condition] = {}
"""For terminators with two successors: the expression that is true when control goes to the first."""

GOTOS: set[str] = set()
"""Terminators with one successor that do nothing else."""

FREE: set[str] = set()
"""Operations that do not count as executed instructions, because they emit none of their own."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def condition(*names: str) -> Callable[[Condition], Condition]:
    """Register a function as the condition of terminators."""

    def register(function: Condition) -> Condition:
        for name in names:
            CONDITIONS[name] = function
        return function

    return register


def width_of(type_: Attribute) -> int:
    """The bits of a word of this type: N of iN, 64 of everything else."""
    return type_.width.data if isinstance(type_, IntegerType) else 64


def hexa(value: int) -> str:
    """An unsigned literal, short where it is small."""
    return str(value) if value < 1024 else hex(value)


def signed(value: int, bits: int) -> int:
    """The signed reading of an unsigned integer of `bits` bits."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def address(expression: str, offset: int) -> str:
    """`expression + offset`, without a zero."""
    if offset == 0:
        return expression
    return f"{expression} + {offset}" if offset > 0 else f"{expression} - {-offset}"
