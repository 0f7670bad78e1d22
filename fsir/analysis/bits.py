"""What is known of the bits of a word: those that are surely 0, and those that are surely 1.

A word's bits are a pair of masks `(zeros, ones)`; both are within the word's width. `(0, 0)` is any word. The functions
here say what operations make of them; every answer is sound, few are the best possible.
"""

from __future__ import annotations

from collections.abc import Callable

Bits = tuple[int, int]
UNKNOWN: Bits = (0, 0)


def constant(value: int, width: int) -> Bits:
    """The bits of a known word."""
    return ~value & mask(width), value


def value_of(bits: Bits, width: int) -> int | None:
    """The word, when all its bits are known."""
    return bits[1] if bits[0] | bits[1] == mask(width) else None


def mask(width: int) -> int:
    """The word of a width with all bits set."""
    return (1 << width) - 1


def join(a: Bits, b: Bits) -> Bits:
    """What is known of a word that is one or the other."""
    return a[0] & b[0], a[1] & b[1]


def smallest(bits: Bits) -> int:
    """The least unsigned word with these bits."""
    return bits[1]


def largest(bits: Bits, width: int) -> int:
    """The greatest unsigned word with these bits."""
    return ~bits[0] & mask(width)


def at_most(limit: int, width: int) -> Bits:
    """The bits of every word up to a limit."""
    return mask(width) & ~mask(limit.bit_length()), 0


def both(a: Bits, b: Bits) -> Bits:
    """What two true statements on the same word say together."""
    return a[0] | b[0], a[1] | b[1]


def extend(bits: Bits, width: int, to: int, signed: bool = False) -> Bits:
    """Zero- or sign-extension."""
    upper = mask(to) & ~mask(width)
    if not signed:
        return bits[0] | upper, bits[1]
    sign = 1 << (width - 1)
    return bits[0] | upper * bool(bits[0] & sign), bits[1] | upper * bool(bits[1] & sign)


def truncate(bits: Bits, to: int) -> Bits:
    """The low bits."""
    return bits[0] & mask(to), bits[1] & mask(to)


def swap_bytes(bits: Bits, size: int, width: int) -> Bits:
    """The low `size` bits in the other byte order, the rest zero."""

    def swapped(word: int) -> int:
        return int.from_bytes((word & mask(size)).to_bytes(size // 8, "little"), "big")

    return swapped(bits[0]) | mask(width) & ~mask(size), swapped(bits[1])


def _and(a: Bits, b: Bits, width: int) -> Bits:
    return a[0] | b[0], a[1] & b[1]


def _or(a: Bits, b: Bits, width: int) -> Bits:
    return a[0] & b[0], a[1] | b[1]


def _xor(a: Bits, b: Bits, width: int) -> Bits:
    return a[0] & b[0] | a[1] & b[1], a[0] & b[1] | a[1] & b[0]


def _sum(a: Bits, b: Bits, width: int, carry: int) -> Bits:
    """Addition with a known carry: a bit is known where both operands' bits and the carry into it are."""
    most = largest(a, width) + largest(b, width) + carry
    least = a[1] + b[1] + carry
    carries_known = ~(most ^ a[0] ^ b[0]) | (least ^ a[1] ^ b[1])
    known = (a[0] | a[1]) & (b[0] | b[1]) & carries_known & mask(width)
    return ~most & known, least & known


def _add(a: Bits, b: Bits, width: int) -> Bits:
    return _sum(a, b, width, 0)


def _sub(a: Bits, b: Bits, width: int) -> Bits:
    return _sum(a, (b[1], b[0]), width, 1)


def _mul(a: Bits, b: Bits, width: int) -> Bits:
    high, _ = at_most(min(largest(a, width) * largest(b, width), mask(width)), width)
    low = mask(min(_trailing_zeros(a, width) + _trailing_zeros(b, width), width))
    return high | low, 0


def _trailing_zeros(bits: Bits, width: int) -> int:
    possible = largest(bits, width)
    return (possible & -possible).bit_length() - 1 if possible else width


def _div(a: Bits, b: Bits, width: int) -> Bits:
    # Division by zero gives 0.
    return at_most(largest(a, width) // max(smallest(b), 1), width)


def _mod(a: Bits, b: Bits, width: int) -> Bits:
    # Modulo by zero gives the dividend.
    divisor = value_of(b, width)
    limit = largest(a, width)
    if not divisor:
        return at_most(limit, width)
    if divisor & (divisor - 1) == 0:
        return _and(a, constant(divisor - 1, width), width)
    return at_most(min(limit, divisor - 1), width)


def _shift(a: Bits, b: Bits, width: int, by: Callable[[Bits, int, int], Bits]) -> Bits | None:
    amount = value_of(b, width)
    return None if amount is None else by(a, amount & (width - 1) if width in (32, 64) else min(amount, width), width)


def _lsh(a: Bits, b: Bits, width: int) -> Bits:
    def by(bits: Bits, n: int, width: int) -> Bits:
        return (bits[0] << n | mask(n)) & mask(width), bits[1] << n & mask(width)

    return _shift(a, b, width, by) or UNKNOWN


def _rsh(a: Bits, b: Bits, width: int) -> Bits:
    def by(bits: Bits, n: int, width: int) -> Bits:
        return bits[0] >> n | mask(width) & ~mask(width - n), bits[1] >> n

    return _shift(a, b, width, by) or at_most(largest(a, width), width)


def _arsh(a: Bits, b: Bits, width: int) -> Bits:
    def by(bits: Bits, n: int, width: int) -> Bits:
        high = mask(width) & ~mask(width - n)
        sign = 1 << (width - 1)
        return bits[0] >> n | high * bool(bits[0] & sign), bits[1] >> n | high * bool(bits[1] & sign)

    return _shift(a, b, width, by) or UNKNOWN


BINARY: dict[str, Callable[[Bits, Bits, int], Bits]] = {
    "and": _and,
    "or": _or,
    "xor": _xor,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "mod": _mod,
    "lsh": _lsh,
    "rsh": _rsh,
    "arsh": _arsh,
}
"""By the operation's name in the ISA table; operands and result have the given width."""


def compare(predicate: str, a: Bits, b: Bits, width: int) -> bool | None:
    """Whether a comparison (a predicate of `arith.cmpi`) holds for all words, for none, or (None) for some."""
    if predicate in ("eq", "ne"):
        if a[0] & b[1] or a[1] & b[0]:
            return predicate == "ne"
        x, y = value_of(a, width), value_of(b, width)
        return None if x is None or y is None else (x == y) == (predicate == "eq")
    if predicate[0] == "s":
        a, b = _flip_sign(a, width), _flip_sign(b, width)
    least_a, most_a, least_b, most_b = a[1], largest(a, width), b[1], largest(b, width)
    if predicate[1:] in ("gt", "ge"):
        least_a, most_a, least_b, most_b = least_b, most_b, least_a, most_a
    if predicate[2] == "t":
        return True if most_a < least_b else False if least_a >= most_b else None
    return True if most_a <= least_b else False if least_a > most_b else None


def _flip_sign(bits: Bits, width: int) -> Bits:
    sign = 1 << (width - 1)
    return bits[0] & ~sign | bits[1] & sign, bits[1] & ~sign | bits[0] & sign
