"""Truth values while P4 is generated, and comparisons of scalars."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from fsir.backends.p4.bits import Bits, constant, equality


@dataclass(frozen=True, slots=True)
class Condition:
    """A P4 expression of type bool and its negation; both can stand next to `&&` and `||` only in parentheses unless
    `atomic`. `known` where it is a constant."""

    text: str
    negation: str
    atomic: bool = True
    known: bool | None = None

    def negated(self) -> Condition:
        return Condition(self.negation, self.text, self.atomic, None if self.known is None else not self.known)


TRUE = Condition("true", "false", known=True)
FALSE = TRUE.negated()


def truth(known: bool) -> Condition:
    """A constant."""
    return TRUE if known else FALSE


def named(text: str) -> Condition:
    """A variable of type bool, or a call that gives one."""
    return Condition(text, f"!{text}")


def both(left: Condition, right: Condition) -> Condition:
    """`left && right`."""
    if left.known is not None:
        return right if left.known else FALSE
    if right.known is not None:
        return left if right.known else FALSE
    return _joined(left, right, "&&", "||")


def either(left: Condition, right: Condition) -> Condition:
    """`left || right`."""
    return both(left.negated(), right.negated()).negated()


def differ(left: Condition, right: Condition) -> Condition:
    """Whether exactly one of the two holds."""
    return either(both(left, right.negated()), both(left.negated(), right))


def is_set(bit: Bits) -> Condition:
    """Whether a value of one bit is 1."""
    return compare("eq", bit, constant(1, 1))


def _joined(left: Condition, right: Condition, sign: str, dual: str) -> Condition:
    def operand(text: str, atomic: bool) -> str:
        return text if atomic else f"({text})"

    return Condition(
        f"{operand(left.text, left.atomic)} {sign} {operand(right.text, right.atomic)}",
        f"{operand(left.negation, left.atomic)} {dual} {operand(right.negation, right.atomic)}",
        atomic=False,
    )


_ORDER = {
    "lt": ("<", ">=", operator.lt),
    "le": ("<=", ">", operator.le),
    "gt": (">", "<=", operator.gt),
    "ge": (">=", "<", operator.ge),
}


def compare(predicate: str, left: Bits, right: Bits) -> Condition:
    """`arith.cmpi` by predicate name."""
    if predicate == "eq":
        return _equal(left, right)
    if predicate == "ne":
        return _equal(left, right).negated()
    sign, opposite, function = _ORDER[predicate[1:]]
    width = left.width
    signed = predicate[0] == "s" and (left.significant == width or right.significant == width)
    if left.value is not None and right.value is not None:
        values = [_signed(v, width) if signed else v for v in (left.value, right.value)]
        return truth(function(*values))
    if left == right:
        return truth(function(0, 0))
    if signed:
        a, b = (f"(int<{width}>){bits.text()}" for bits in (left, right))
    else:
        width = max(left.significant, right.significant)
        a, b = left.slice(0, width).text(), right.slice(0, width).text()
    return Condition(f"{a} {sign} {b}", f"{a} {opposite} {b}")


def _equal(left: Bits, right: Bits) -> Condition:
    result = TRUE
    for mine, its in equality(left, right):
        if mine.value is not None and its.value is not None:
            return FALSE  # different constants
        if mine.value is not None:
            mine, its = its, mine
        a, b = mine.text(), its.text()
        result = both(result, Condition(f"{a} == {b}", f"{a} != {b}"))
    return result


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


__all__ = [
    "FALSE",
    "TRUE",
    "Condition",
    "both",
    "compare",
    "differ",
    "either",
    "is_set",
    "named",
    "truth",
]
