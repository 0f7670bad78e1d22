"""Scalars while P4 is generated: which bits of which P4 variable, or which constant, a value is made of.

A load of packet bytes is a few slices of header fields in reverse order (memory is little-endian, P4 fields are not),
and shifts, masks, extensions and byte swaps only choose other slices: they cost nothing, and a network-order field that
was swapped and swapped back is that field again.  What really computes gets a variable (`Term`) of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Term:
    """A P4 variable, field or parameter of type `bit<width>` that never changes once it has been read."""

    text: str
    width: int


@dataclass(frozen=True, slots=True)
class Piece:
    """`width` bits: from bit `lo` of a term on, or the constant `lo`."""

    width: int
    term: Term | None
    lo: int


@dataclass(frozen=True, slots=True)
class Bits:
    """A value as pieces, the least significant first. Equal values of the same pieces compare equal."""

    pieces: tuple[Piece, ...]

    @property
    def width(self) -> int:
        return sum(piece.width for piece in self.pieces)

    @property
    def value(self) -> int | None:
        """The number that a constant is; None for others."""
        if not self.pieces:
            return 0
        only = self.pieces[0]
        return only.lo if len(self.pieces) == 1 and only.term is None else None

    @property
    def significant(self) -> int:
        """The width without the zeros on top."""
        if self.pieces and self.pieces[-1].term is None:
            return self.width - self.pieces[-1].width + self.pieces[-1].lo.bit_length()
        return self.width

    def slice(self, lo: int, width: int) -> Bits:
        """`width` bits from bit `lo` on; zeros beyond the end."""
        found: list[Piece] = []
        at, end = 0, lo + width
        for piece in self.pieces:
            first, last = max(lo, at), min(end, at + piece.width)
            if first < last:
                found.append(_part(piece, first - at, last - first))
            at += piece.width
        if end > at:
            found.append(Piece(end - max(at, lo), None, 0))
        return join(found)

    def bytes(self) -> list[Bits]:
        """The bytes, the least significant first."""
        return [self.slice(at, 8) for at in range(0, self.width, 8)]

    def swapped(self) -> Bits:
        """The bytes in reverse order; the width is a whole number of bytes."""
        return concat(reversed(self.bytes()))

    def extended(self, width: int) -> Bits:
        """Zero-extended, or cut, to a width."""
        return self.slice(0, width)

    def shifted_left(self, by: int) -> Bits:
        return concat((constant(0, by), self.slice(0, self.width - by)))

    def shifted_right(self, by: int) -> Bits:
        return self.slice(by, self.width)

    def masked(self, mask: int) -> Bits:
        """`and` with a constant."""
        found: list[Piece] = []
        for lo, width, ones in runs(mask, self.width):
            found += self.slice(lo, width).pieces if ones else constant(0, width).pieces
        return join(found)

    def merged(self, other: Bits) -> Bits | None:
        """`or`, if at every bit one of the two is a constant (and nothing is left to compute); else None."""
        found: list[Piece] = []
        for mine, its in _aligned(self, other):
            either = _or(mine, its)
            if either is None:
                return None
            found.append(either)
        return join(found)

    def text(self) -> str:
        """A P4 expression of type `bit<width>`; anything but a name is in parentheses."""
        if len(self.pieces) == 1:
            return _text(self.pieces[0])
        top = self.pieces[-1]
        if top.term is None and top.lo == 0:
            return f"(bit<{self.width}>){self.slice(0, self.width - top.width).text()}"
        return "(" + " ++ ".join(_text(piece) for piece in reversed(self.pieces)) + ")"


def number(value: int, width: int) -> str:
    """A P4 literal with its width."""
    return f"{width}w{value}" if value < 10 else f"{width}w{value:#x}"


def constant(value: int, width: int) -> Bits:
    """A constant, modulo its width."""
    return Bits((Piece(width, None, value & ((1 << width) - 1)),)) if width else Bits(())


def of_term(term: Term) -> Bits:
    """The whole of a variable."""
    return Bits((Piece(term.width, term, 0),))


def variable(text: str, width: int) -> Bits:
    """The whole of the variable of this name."""
    return of_term(Term(text, width))


def concat(parts: Iterable[Bits]) -> Bits:
    """Values side by side, the least significant first."""
    return join([piece for part in parts for piece in part.pieces])


def join(pieces: list[Piece]) -> Bits:
    """Pieces side by side, the least significant first, neighbours made one where they are."""
    found: list[Piece] = []
    for piece in pieces:
        if found and (whole := _joined(found[-1], piece)) is not None:
            found[-1] = whole
        else:
            found.append(piece)
    return Bits(tuple(found))


def runs(mask: int, width: int) -> Iterator[tuple[int, int, bool]]:
    """The runs of equal bits in a mask, as (lowest bit, width, ones)."""
    at = 0
    while at < width:
        ones = bool(mask >> at & 1)
        end = at
        while end < width and bool(mask >> end & 1) == ones:
            end += 1
        yield at, end - at, ones
        at = end


def _part(piece: Piece, lo: int, width: int) -> Piece:
    if piece.term is None:
        return Piece(width, None, piece.lo >> lo & ((1 << width) - 1))
    return Piece(width, piece.term, piece.lo + lo)


def _joined(low: Piece, high: Piece) -> Piece | None:
    if low.term is None and high.term is None:
        return Piece(low.width + high.width, None, low.lo | high.lo << low.width)
    if low.term is not None and low.term == high.term and high.lo == low.lo + low.width:
        return Piece(low.width + high.width, low.term, low.lo)
    return None


def _or(left: Piece, right: Piece) -> Piece | None:
    """`or` of two pieces of one width, where nothing is left to compute."""
    if left.term is None and right.term is None:
        return Piece(left.width, None, left.lo | right.lo)
    for known, other in ((left, right), (right, left)):
        if known.term is None and known.lo == 0:
            return other
        if known.term is None and known.lo == (1 << known.width) - 1:
            return known
    return left if left == right else None


def _aligned(left: Bits, right: Bits) -> Iterator[tuple[Piece, Piece]]:
    """The pieces of two values of one width, cut where either has a seam."""
    assert left.width == right.width
    cuts = sorted({*_seams(left), *_seams(right)})
    for lo, end in pairwise(cuts):
        yield left.slice(lo, end - lo).pieces[0], right.slice(lo, end - lo).pieces[0]


def _seams(bits: Bits) -> Iterator[int]:
    at = 0
    yield at
    for piece in bits.pieces:
        at += piece.width
        yield at


def _text(piece: Piece) -> str:
    if piece.term is None:
        return number(piece.lo, piece.width)
    if piece.lo == 0 and piece.width == piece.term.width:
        return piece.term.text
    return f"{piece.term.text}[{piece.lo + piece.width - 1}:{piece.lo}]"


def equality(left: Bits, right: Bits) -> list[tuple[Bits, Bits]]:
    """Pairs that are all equal exactly where two values of one width are, each comparing whole variables if possible.

    Comparing is bit by bit, so the bits may be compared in any order: that of the variables is the most readable.
    """
    pairs = list(_aligned(left, right))
    found: list[tuple[Piece, Piece]] = []
    for mine, its in sorted(pairs, key=_place):
        if mine == its:
            continue
        if found:
            low, high = _joined(found[-1][0], mine), _joined(found[-1][1], its)
            if low is not None and high is not None:
                found[-1] = low, high
                continue
        found.append((mine, its))
    return [(Bits((mine,)), Bits((its,))) for mine, its in found]


def _place(pair: tuple[Piece, Piece]) -> tuple[bool, str, int]:
    """By variable and place in it; constants last."""
    piece = pair[0] if pair[0].term is not None else pair[1]
    return piece.term is None, piece.term.text if piece.term is not None else "", piece.lo
