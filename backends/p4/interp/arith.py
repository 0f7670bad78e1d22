"""The arithmetic of P4: one definition of every operator on Python values, used to fold constants.

The code generator emits the same arithmetic inline; a unit test runs both against each other.
"""

from __future__ import annotations

from collections.abc import Callable

from fsir.backends.p4.interp.types import BitType, IntType, Type

Value = int | bool | str


class NoValue(Exception):
    """The operation has no value (a division by zero); the argument says why."""


def wrap(value: int, type_: Type) -> int:
    """`value` reduced to the range of `bit<w>` or `int<w>`; unchanged for other types."""
    if isinstance(type_, BitType):
        return value & ((1 << type_.width) - 1)
    if isinstance(type_, IntType):
        half = 1 << (type_.width - 1)
        return ((value + half) & ((1 << type_.width) - 1)) - half
    return value


def fits(value: int, type_: Type) -> bool:
    return wrap(value, type_) == value


def limits(type_: Type) -> tuple[int, int]:
    if isinstance(type_, BitType):
        return 0, (1 << type_.width) - 1
    assert isinstance(type_, IntType)
    return -(1 << (type_.width - 1)), (1 << (type_.width - 1)) - 1


def saturate(value: int, type_: Type) -> int:
    low, high = limits(type_)
    return min(max(value, low), high)


def divide(left: int, right: int) -> int:
    if right == 0:
        raise NoValue("division by zero")
    if left < 0 or right < 0:
        raise NoValue("division of negative numbers is not defined")
    return left // right


def modulo(left: int, right: int) -> int:
    if right == 0:
        raise NoValue("modulo by zero")
    if left < 0 or right < 0:
        raise NoValue("modulo of negative numbers is not defined")
    return left % right


def shift_left(left: int, right: int, type_: Type) -> int:
    """Shifting by the width or more gives 0; an unsized integer may grow by at most 65,536 bits."""
    if right < 0:
        raise NoValue("shift by a negative amount")
    if isinstance(type_, BitType | IntType) and right >= type_.width:
        return 0
    if right > 65536:
        raise NoValue(f"shift of an unsized integer by {right} bits")
    return wrap(left << right, type_)


def shift_right(left: int, right: int) -> int:
    """Arithmetic for negative numbers, so a large amount gives -1 there and 0 elsewhere."""
    if right < 0:
        raise NoValue("shift by a negative amount")
    return left >> right if right < 65536 else (-1 if left < 0 else 0)


BINARY: dict[str, Callable[[int, int, Type], int]] = {
    "+": lambda a, b, t: wrap(a + b, t),
    "-": lambda a, b, t: wrap(a - b, t),
    "*": lambda a, b, t: wrap(a * b, t),
    "|+|": lambda a, b, t: saturate(a + b, t),
    "|-|": lambda a, b, t: saturate(a - b, t),
    "/": lambda a, b, t: divide(a, b),
    "%": lambda a, b, t: modulo(a, b),
    "&": lambda a, b, t: wrap(a & b, t),
    "|": lambda a, b, t: wrap(a | b, t),
    "^": lambda a, b, t: wrap(a ^ b, t),
    "<<": shift_left,
    ">>": lambda a, b, t: shift_right(a, b),
}
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def concat(left: int, left_width: int, right: int, right_width: int) -> int:
    """The bits of `left` above those of `right`, as an unsigned number."""
    return (left & ((1 << left_width) - 1)) << right_width | right & ((1 << right_width) - 1)
