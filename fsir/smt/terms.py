"""Integer expressions over unknowns, built with Python's own operators.

    port = unknown("port", 16)
    test = ((port + 1) & 0xFF) == 7        a Term that is 0 or 1

What the interpreter writes for an instruction (`emit_alu`) is a Python expression over integers of any size: evaluated
over terms instead of integers, it gives what the instruction means. Each term knows bounds of its value; `solve` turns
it into bit vectors that are just wide enough. Nothing here needs z3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

DEEPEST = 400
"""How deep a term may be; what would be deeper is for the caller to give up on."""


class TooDeep(Exception):
    """The term would be deeper than DEEPEST."""


class Undecided(Exception):
    """A term was asked whether it is true."""


class Term:
    """An integer in [lo, hi]. `op` is the name of an operator of OPERATORS, `in` for an unknown (whose one argument is
    its name), `if` for a choice or `bytes` for a little-endian number made of bytes; `args` are terms and integers."""

    __slots__ = ("_unknowns", "args", "depth", "hi", "lo", "op")

    def __init__(self, op: str, args: tuple[Any, ...], lo: int, hi: int) -> None:
        self.op, self.args, self.lo, self.hi = op, args, lo, hi
        self.depth: int = 1 if op == "in" else 1 + max(arg.depth for arg in args if isinstance(arg, Term))
        if self.depth > DEEPEST:
            raise TooDeep
        self._unknowns: frozenset[Any] | None = None

    @property
    def unknowns(self) -> frozenset[Any]:
        """The names of the unknowns in it."""
        if self._unknowns is None:
            inner = [arg.unknowns for arg in self.args if isinstance(arg, Term)]
            self._unknowns = frozenset(self.args) if self.op == "in" else frozenset().union(*inner)
        return self._unknowns

    def __bool__(self) -> bool:
        raise Undecided

    __hash__ = object.__hash__

    # The operators are attached below.
    __add__: Callable[[Term, Value], Any]
    __sub__: Callable[[Term, Value], Any]
    __and__: Callable[[Term, Value], Any]


Value = int | Term


def unknown(name: object, bits: int) -> Term:
    """An unknown number of so many bits. The same name is the same number."""
    return Term("in", (name,), 0, (1 << bits) - 1)


def between(name: object, low: int, high: int) -> Term:
    """An unknown number that is in these bounds."""
    return Term("in", (name,), low, high)


def choice(test: Value, then: Value, otherwise: Value) -> Value:
    """`then` where `test` is not 0."""
    if isinstance(test, int):
        return then if test else otherwise
    (a, b), (c, d) = bounds(then), bounds(otherwise)
    if then is otherwise or (isinstance(then, int) and isinstance(otherwise, int) and then == otherwise):
        return then
    return Term("if", (test, then, otherwise), min(a, c), max(b, d))


def from_bytes(parts: list[Value]) -> Value:
    """The little-endian number of these bytes."""
    if all(isinstance(part, int) for part in parts):
        return int.from_bytes(bytes(part for part in parts if isinstance(part, int)), "little")
    return Term("bytes", tuple(parts), 0, (1 << 8 * len(parts)) - 1)


def bounds(value: Value) -> tuple[int, int]:
    """Between which numbers a value lies."""
    return (value, value) if isinstance(value, int) else (value.lo, value.hi)


def byte(value: Value, index: int) -> Value:
    """A byte of a number that is not negative, 0 the lowest."""
    if isinstance(value, Term) and value.op == "bytes":
        part: Value = value.args[index] if index < len(value.args) else 0
        return part
    shifted: Value = operate("shr", value, 8 * index)
    return operate("and", shifted, 0xFF)


def operate(op: str, a: Value, b: Value) -> Value:
    """The result of an operator of OPERATORS: an integer where both are. Undecided for one that cannot be had."""
    if isinstance(a, int) and isinstance(b, int):
        return int(EVALUATE[op](a, b))
    found = OPERATORS[op](a, b)
    return found.lo if isinstance(found, Term) and found.lo == found.hi else found


EVALUATE: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}
"""The operators, on integers."""


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, int) or isinstance(b, int):
        a, b = (b, a) if isinstance(a, int) else (a, b)
        if isinstance(b, int) and b == 0:
            return a
    if isinstance(a, Term) and a.op == "add" and isinstance(b, int) and isinstance(a.args[1], int):
        return operate("add", a.args[0], a.args[1] + b)
    (al, ah), (bl, bh) = bounds(a), bounds(b)
    return Term("add", (a, b) if isinstance(a, Term) else (b, a), al + bl, ah + bh)


def _sub(a: Value, b: Value) -> Value:
    if isinstance(b, int):
        return operate("add", a, -b)
    (al, ah), (bl, bh) = bounds(a), bounds(b)
    return Term("sub", (a, b), al - bh, ah - bl)


def _mul(a: Value, b: Value) -> Value:
    (al, ah), (bl, bh) = bounds(a), bounds(b)
    corners = (al * bl, al * bh, ah * bl, ah * bh)
    return Term("mul", (a, b), min(corners), max(corners))


def _divided(op: str) -> Callable[[Value, Value], Value]:
    def divide(a: Value, b: Value) -> Value:
        (al, ah), (bl, bh) = bounds(a), bounds(b)
        if al < 0 or bl <= 0:
            raise Undecided
        return Term(op, (a, b), 0, ah if op == "div" else min(ah, bh - 1))

    return divide


def _and(a: Value, b: Value) -> Value:
    if isinstance(a, int):
        a, b = b, a
    (al, ah), (bl, bh) = bounds(a), bounds(b)
    if isinstance(b, int) and b >= 0 and not b & (b + 1) and al >= 0 and ah <= b:
        return a
    if al >= 0 and bl >= 0:
        return Term("and", (a, b), 0, min(ah, bh))
    if al >= 0 or bl >= 0:
        return Term("and", (a, b), 0, ah if al >= 0 else bh)
    return Term("and", (a, b), *_signed(a, b))


def _joined(op: str) -> Callable[[Value, Value], Value]:
    def join(a: Value, b: Value) -> Value:
        (al, ah), (bl, bh) = bounds(a), bounds(b)
        if (isinstance(b, int) and b == 0) or (isinstance(a, int) and a == 0):
            return b if isinstance(a, int) else a
        if al >= 0 and bl >= 0:
            return Term(op, (a, b), 0, (1 << max(ah.bit_length(), bh.bit_length())) - 1)
        return Term(op, (a, b), *_signed(a, b))

    return join


def _signed(a: Value, b: Value) -> tuple[int, int]:
    bits = max(number.bit_length() for value in (a, b) for number in bounds(value))
    return -(1 << bits), (1 << bits) - 1


_MOST_SHIFTED = 64


def _shl(a: Value, b: Value) -> Value:
    (al, ah), (bl, bh) = bounds(a), bounds(b)
    if bl < 0 or bh >= _MOST_SHIFTED:
        raise Undecided
    return Term("shl", (a, b), al << (bh if al < 0 else bl), ah << (bl if ah < 0 else bh))


def _shr(a: Value, b: Value) -> Value:
    (al, ah), (bl, bh) = bounds(a), bounds(b)
    if bl < 0:
        raise Undecided
    if isinstance(b, int) and b == 0:
        return a
    bl, bh = min(bl, 256), min(bh, 256)
    return Term("shr", (a, b), al >> (bh if al >= 0 else bl), ah >> (bl if ah >= 0 else bh))


def _summands(value: Value) -> list[Value]:
    """What a value is the sum of."""
    if not isinstance(value, Term) or value.op != "add":
        return [value]
    return [*_summands(value.args[0]), *_summands(value.args[1])]


_FEW = 12
_DEEP_SUM = 12


def _without_common(a: Value, b: Value) -> tuple[Value, Value]:
    """Two values less what is added to both: an address and another in front of it become numbers."""
    left, right = _summands(a), _summands(b)
    if len(left) > _FEW or len(right) > _FEW:
        return a, b
    rest: list[Value] = []
    for value in left:
        at = next((i for i, other in enumerate(right) if _is_same(value, other)), None)
        if at is None:
            rest.append(value)
        else:
            del right[at]
    return (_total(rest), _total(right)) if len(rest) < len(left) else (a, b)


def _is_same(a: Value, b: Value) -> bool:
    if not isinstance(a, Term) or not isinstance(b, Term):
        return False
    return a is b or (a.op == b.op == "in" and bool(a.args[0] == b.args[0]))


def _total(values: list[Value]) -> Value:
    result: Value = 0
    for value in values:
        result = operate("add", result, value)
    return result


def _compared(op: str) -> Callable[[Value, Value], Value]:
    def compare(a: Value, b: Value) -> Value:
        a, b = _without_common(a, b)
        if isinstance(a, int) and isinstance(b, int):
            return int(EVALUATE[op](a, b))
        (al, ah), (bl, bh) = bounds(a), bounds(b)
        apart = ah < bl or bh < al
        if op in ("eq", "ne") and apart:
            return int(op == "ne")
        if op == "lt" and (ah < bl or al >= bh):
            return int(ah < bl)
        if op == "le" and (ah <= bl or al > bh):
            return int(ah <= bl)
        return Term(op, (a, b), 0, 1)

    return compare


OPERATORS: dict[str, Callable[[Value, Value], Value]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _divided("div"),
    "mod": _divided("mod"),
    "and": _and,
    "or": _joined("or"),
    "xor": _joined("xor"),
    "shl": _shl,
    "shr": _shr,
    **{op: _compared(op) for op in ("eq", "ne", "lt", "le")},
}
"""The operators, where at least one side is a term."""


def evaluate(value: Value, numbers: Callable[[Any], int]) -> int:
    """The number that a value is, for these numbers of the unknowns."""
    known: dict[Term, int] = {}

    def of(value: Value) -> int:
        if isinstance(value, int):
            return value
        if value not in known:
            known[value] = compute(value)
        return known[value]

    def compute(term: Term) -> int:
        if term.op == "in":
            return numbers(term.args[0])
        if term.op == "if":
            test, then, otherwise = term.args
            return of(then) if of(test) else of(otherwise)
        if term.op == "bytes":
            return int.from_bytes(bytes(of(part) & 0xFF for part in term.args), "little")
        return int(EVALUATE[term.op](of(term.args[0]), of(term.args[1])))

    return of(value)


NAMES = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "floordiv": "div",
    "mod": "mod",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "lshift": "shl",
    "rshift": "shr",
}
"""Python's names for the operators that have a reflected form."""
COMPARED = {"eq": ("eq", False), "ne": ("ne", False), "lt": ("lt", False), "le": ("le", False)}
COMPARED |= {"gt": ("lt", True), "ge": ("le", True)}
"""Python's names for comparisons: the operator, and whether its sides change places."""


def methods(apply: Callable[[str, Any, Any], Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The special methods of a class whose operators `apply` computes."""

    def of(op: str, swapped: bool) -> Callable[[Any, Any], Any]:
        if swapped:
            return lambda self, other: apply(op, other, self)
        return lambda self, other: apply(op, self, other)

    for name, op in NAMES.items():
        yield f"__{name}__", of(op, False)
        yield f"__r{name}__", of(op, True)
    for name, (op, swapped) in COMPARED.items():
        yield f"__{name}__", of(op, swapped)
    yield "__neg__", lambda self: apply("sub", 0, self)
    yield "__invert__", lambda self: apply("sub", -1, self)
    yield "__pos__", lambda self: self


for _name, _method in methods(operate):
    setattr(Term, _name, _method)
