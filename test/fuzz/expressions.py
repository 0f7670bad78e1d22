"""Random C expressions: no undefined behaviour under -fwrapv, and of every width and signedness."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

TYPES = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64")
BITS = {name: int(name[1:]) for name in TYPES}
CONSTANTS = (
    "0", "1", "2", "3", "7", "8", "15", "31", "60", "63", "127", "128", "255", "256", "0x7fff", "0x8000", "0xffff",
    "0x10000", "0x7fffffff", "0x80000000u", "0xffffffffu", "0x100000000ull", "0xffffffff00000000ull", "-1", "-2",
    "-128", "0x8000000000000000ull", "0x7fffffffffffffffull", "0x0800", "0x86dd", "0x0008", "0x45", "6", "17",
)  # fmt: skip
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass
class Scope:
    """What can be named: variables by type, packet pointers with the bytes behind them that are there, pointers to map
    values by struct or type, arrays on the stack by element type and length (a power of two)."""

    variables: list[tuple[str, str]] = field(default_factory=list)
    packets: list[tuple[str, int]] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)
    arrays: list[tuple[str, str, int]] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)
    """Names of loop counters: read, never written."""

    def copy(self) -> Scope:
        """For an inner block."""
        return Scope(*(list(getattr(self, name)) for name in self.__dataclass_fields__))


FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "val": (("x", "u64"), ("y", "u32"), ("z", "u16"), ("w", "u8"), ("t", "s8"), ("q", "s32")),
    "bits": (("a", "u32"), ("b", "u32"), ("c", "u32"), ("d", "u16"), ("e", "u8")),
}
"""Members that may be read and written, by struct."""


def members(pointer: str, type_: str) -> list[tuple[str, str]]:
    """The lvalues behind a pointer to a map value, with their types."""
    if type_ in FIELDS:
        return [(f"{pointer}->{name}", kind) for name, kind in FIELDS[type_]]
    return [(f"*{pointer}", type_)]


class Expressions:
    """Makes expressions from what a scope has."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def leaf(self, scope: Scope) -> str:
        rng = self.rng
        makers = [self._constant]
        if scope.variables:
            makers += [self._variable] * 4
        if scope.packets:
            makers += [self.packet_read] * 3
        if scope.values:
            makers += [self._member] * 2
        if scope.arrays:
            makers += [self.element] * 2
        if scope.leaves:
            makers += [self._other]
        if scope.counters:
            makers += [self._counter]
        return rng.choice(makers)(scope)

    def _constant(self, scope: Scope) -> str:
        rng = self.rng
        return rng.choice(CONSTANTS) if rng.random() < 0.7 else str(rng.randrange(1 << rng.choice((4, 8, 16, 31))))

    def _variable(self, scope: Scope) -> str:
        return self.rng.choice(scope.variables[-8:])[0]

    def _counter(self, scope: Scope) -> str:
        return self.rng.choice(scope.counters)

    def _other(self, scope: Scope) -> str:
        return self.rng.choice(scope.leaves)

    def _member(self, scope: Scope) -> str:
        return self.rng.choice(members(*self.rng.choice(scope.values)))[0]

    def packet_read(self, scope: Scope) -> str:
        """Bytes of the packet, at once or one by one."""
        pointer, length = self.rng.choice(scope.packets[-3:])
        type_ = self.rng.choice(TYPES[:4] if self.rng.random() < 0.8 else TYPES)
        size = min(BITS[type_] // 8, length)
        at = self.rng.randrange(length - size + 1)
        kind = self.rng.randrange(6)
        byte = f"((u8 *){pointer})"
        if kind == 0 and length - at >= 2:
            return f"(u16)({byte}[{at}] << 8 | {byte}[{at + 1}])"
        if kind == 1 and length >= 4 + at:
            order = self.rng.choice(((0, 8, 16, 24), (24, 16, 8, 0)))
            return "(" + " | ".join(f"(u32){byte}[{at + i}] << {s}" for i, s in enumerate(order)) + ")"
        if kind == 2:
            return f"{byte}[{at}]"
        if size * 8 != BITS[type_]:
            return f"{byte}[{at}]"
        return f"*({type_} *)((u8 *){pointer} + {at})"

    def element(self, scope: Scope) -> str:
        """An element of an array on the stack, by constant or by masked index."""
        name, _, length = self.rng.choice(scope.arrays)
        if self.rng.random() < 0.5:
            return f"{name}[{self.rng.randrange(length)}]"
        simple = [v for v, t in scope.variables if t[0] == "u"] + scope.counters
        return f"{name}[BOUND({self.rng.choice(simple)}, {length - 1})]" if simple else f"{name}[0]"

    def condition(self, scope: Scope, depth: int = 2) -> str:
        """Something to branch on."""
        rng = self.rng
        kind = rng.randrange(8)
        if kind == 0:
            return f"{self.make(scope, depth - 1)} & {rng.choice(('1', '2', '4', '0x80', '0x1f', '0x8000'))}"
        if kind == 1 and depth > 1:
            op = rng.choice(("&&", "||"))
            return f"({self.condition(scope, depth - 1)}) {op} ({self.condition(scope, depth - 1)})"
        if kind == 2:
            return f"!({self.make(scope, depth - 1)})"
        cast = f"({rng.choice(TYPES)})" if rng.random() < 0.5 else ""
        return f"{cast}({self.make(scope, depth - 1)}) {rng.choice(COMPARISONS)} {cast}({self.leaf(scope)})"

    def make(self, scope: Scope, depth: int) -> str:
        """An expression of integer type."""
        if depth <= 0:
            return self.leaf(scope)
        return self.rng.choice(self._MAKERS)(self, scope, depth - 1)

    # --- one kind each -----------------------------------------------------------------------------------------------

    def _arithmetic(self, scope: Scope, depth: int) -> str:
        op = self.rng.choice(("+", "-", "*", "&", "|", "^", "+", "-", "&"))
        return f"({self.make(scope, depth)} {op} {self.make(scope, depth)})"

    def _division(self, scope: Scope, depth: int) -> str:
        op, kind = self.rng.choice("/%"), self.rng.choice(("u32", "u64", "u16"))
        left = f"({kind})({self.make(scope, depth)})"
        if self.rng.random() < 0.5:
            return f"({left} {op} {self.rng.choice(('3', '7', '8', '10', '256', '0xffff', '1000003'))})"
        return f"({left} {op} (({kind})({self.make(scope, depth)}) | 1))"

    def _shift(self, scope: Scope, depth: int) -> str:
        kind = self.rng.choice(TYPES)
        width = max(32, BITS[kind])
        if self.rng.random() < 0.5:
            amount = str(self.rng.choice((1, 3, 4, 8, 16, 24, 31, width - 1, width - 8)))
        else:
            amount = f"(({self.make(scope, depth)}) & {width - 1})"
        return f"(({kind})({self.make(scope, depth)}) {self.rng.choice(('<<', '>>'))} {amount})"

    def _cast(self, scope: Scope, depth: int) -> str:
        return f"({self.rng.choice(TYPES)})({self.make(scope, depth)})"

    def _swap(self, scope: Scope, depth: int) -> str:
        return f"__builtin_bswap{self.rng.choice((16, 32, 64))}({self.make(scope, depth)})"

    def _unary(self, scope: Scope, depth: int) -> str:
        return f"({self.rng.choice('~-!')}({self.make(scope, depth)}))"

    def _compare(self, scope: Scope, depth: int) -> str:
        return f"({self.condition(scope, depth)})"

    def _select(self, scope: Scope, depth: int) -> str:
        return f"(({self.condition(scope, depth)}) ? {self.make(scope, depth)} : {self.make(scope, depth)})"

    def _rotate(self, scope: Scope, depth: int) -> str:
        width = self.rng.choice((16, 32, 64))
        return f"ROL{width}({self.make(scope, depth)}, {self.rng.randrange(1, width)})"

    _MAKERS = (
        _arithmetic, _arithmetic, _arithmetic, _arithmetic, _division, _shift, _shift, _cast, _cast, _swap, _unary,
        _compare, _select, _rotate,
    )  # fmt: skip
