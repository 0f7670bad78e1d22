"""What the op → C tables have in common: the registry they fill, and expressions.

A rule turns one operation into C over local variables. Words and pointers are `uint64_t`; a value of type iN is in the
smallest unsigned type that holds it, always below 2**N (i1 is `bool`). `Emitter` is implemented by `function.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute, Operation, SSAValue

from fsir.analysis.libraries import Prototype
from fsir.dialects import ebpf

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1

_ATOM = re.compile(r"\w+$|\w+\([^()]*\)$|\((?:[^()]|\([^()]*\))*\)$")


class Needs(IntEnum):
    """What an operation has to do with the state of a packet's processing, `struct fs_run`."""

    NOTHING = 0
    RUN = 1
    """It changes it, or may end the packet."""
    BOUNDS = 2
    """It looks at the packet's bounds, too, or changes them."""


class Emitter(Protocol):
    """What a rule may ask of the function being written."""

    def use(self, value: SSAValue) -> str:
        """An expression for a value of its own C type, safe as an operand of any operator."""
        ...

    def wide(self, value: SSAValue) -> str:
        """The value as `uint64_t`, also where it is a literal or narrower."""
        ...

    def set(self, result: SSAValue, expression: str, bits: int = 64) -> None:
        """Define a result; `bits` bounds the expression, which is cut to the result's type where that is narrower."""
        ...

    def line(self, text: str) -> None:
        """A statement."""
        ...

    def leave(self, expression: str) -> None:
        """Return from the function."""
        ...

    def address(self, value: SSAValue, offset: int) -> str:
        """An expression for `value + offset`."""
        ...

    def frame_offset(self, value: SSAValue) -> int | None:
        """The offset from the top of the function's own frame, when the value is such an address."""
        ...

    def frame_pointer(self) -> str:
        """The local variable that holds r10."""
        ...

    def in_frame(self, offset: int, size: int) -> bool:
        """Whether `size` bytes at that offset from the frame's top lie in the frame."""
        ...

    def is_proven(self, op: Operation, base: SSAValue, offset: int, size: int) -> bool:
        """Whether `size` bytes at `base + offset`, which `op` accesses, surely lie in one object of the program."""
        ...

    def needs(self, what: Needs) -> None:
        """The C written last needs so much."""
        ...

    def bound(self, name: str) -> str:
        """An expression for where the packet begins (`data`) or ends (`end`)."""
        ...

    def length(self) -> str | None:
        """An expression for how many bytes the packet has; None where that may change."""
        ...

    def fresh(self, hint: str) -> str:
        """A name that nothing else in the function has."""
        ...

    def map_index(self, op: Operation, name: str) -> str:
        """The enumerator of a map; fails at `op` when there is no such map, or AF_XDP cannot have it."""
        ...

    def map_sizes(self, name: str) -> tuple[int, int]:
        """Key and value size in bytes of a map that `map_index` knows."""
        ...

    def map_counted(self, op: Operation, address: SSAValue) -> bool:
        """Whether what is added to a map value at an address has to be added in the kernel, where others add, too."""
        raise NotImplementedError

    def map_writable(self, op: Operation, name: str) -> None:
        """Fail at `op` unless the map's values may be changed through their address."""
        ...

    def symbol(self, op: ebpf.LdSymOp) -> str:
        """An expression for the address of a map, of a function, or of a byte of a map's first value."""
        ...

    def function(self, op: Operation, name: str) -> tuple[str, list[SSAValue]]:
        """The C name and the parameters of another function of the part."""
        ...

    def library_function(self, op: Operation, name: str) -> Prototype:
        """What a function of a library takes; fails at `op` where none can be called."""
        ...

    def carried(self, op: Operation, resume: int, index: int) -> tuple[int, int]:
        """Offset and width in bits of a value in the handoff header."""
        ...


Rule = Callable[[Operation, Emitter], None]
Condition = Callable[[Operation, Emitter], str]

RULES: dict[str, Rule] = {}
"""How to write an operation, by its name. A third-party dialect adds its own."""

CONDITIONS: dict[str, Condition] = {}
"""For terminators with two successors: the expression that is true when control goes to the first."""

GOTOS: set[str] = set()
"""Terminators with one successor that do nothing else."""

PURE: set[str] = set()
"""Operations that may be written where their only use is, instead of where they stand."""


NEEDS: dict[str, Needs] = {}
"""What operations need other than by what they call of `Emitter`; those that are not here, and neither pure nor jumps,
need everything."""


def needs_of(name: str) -> Needs:
    """What an operation of this name needs."""
    return NEEDS.get(name, Needs.NOTHING if name in PURE | GOTOS | CONDITIONS.keys() else Needs.BOUNDS)


def rule(*names: str, pure: bool = False, needs: Needs | None = None) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
            if needs is not None:
                NEEDS[name] = needs
            if pure:
                PURE.add(name)
        return function

    return register


def width_of(type_: Attribute) -> int:
    """The bits of a word of this type: N of iN, 64 of everything else."""
    return type_.width.data if isinstance(type_, IntegerType) else 64


def c_type(width: int) -> str:
    """The C type that holds values of so many bits."""
    if width == 1:
        return "bool"
    return next(f"uint{bits}_t" for bits in (8, 16, 32, 64) if width <= bits)


def parameter_registers(func: ebpf.FuncOp) -> list[int]:
    """The machine registers (1 to 5) of a function's parameters: those they carry, else by position."""
    found = [ebpf.reg_index(arg.type) for arg in func.entry.args]
    return [index if index is not None else position + 1 for position, index in enumerate(found)]


def literal(value: int) -> str:
    """An unsigned constant."""
    if value < 10:
        return str(value)
    text = str(value) if value < 1 << 12 and value & (value + 1) else hex(value)
    return text if value <= 0x7FFFFFFF else f"UINT64_C({text})" if value > M32 else f"{text}u"


def operand(expression: str) -> str:
    """The expression in parentheses, unless it needs none as an operand."""
    return expression if _ATOM.match(expression) else f"({expression})"


def cut(expression: str, width: int) -> str:
    """The low `width` bits of an expression."""
    if width == 64:
        return expression
    if expression.isdecimal():
        return literal(int(expression) & ((1 << width) - 1))
    if width in (8, 16, 32):
        return f"(uint{width}_t){operand(expression)}"
    return f"{operand(expression)} & {literal((1 << width) - 1)}"


def plus(expression: str, offset: int) -> str:
    """`expression + offset`, without a zero."""
    if offset == 0:
        return expression
    return f"{expression} + {offset}" if offset > 0 else f"{expression} - {-offset}"
