"""Numbers and bytes that remember what they were computed from (`fsir.smt.terms`), for running programs on unknowns.

A Word is an ordinary integer for whoever does not care. Asked whether it is true, it notes in its trace what was asked
and what came out: that is where a program's way depends on its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fsir.smt.terms import EVALUATE, Term, TooDeep, Undecided, Value, byte, from_bytes, methods, operate


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was decided by the input: a term, and whether it was true. `pinned` are numbers that had to be
    known, addresses, say: another number may do as well. `side` is the (branch, side) taken on it, if it is one's."""

    term: Term | None
    holds: bool
    pinned: bool = False
    side: int | None = None


@dataclass
class Log:
    """What happened in a run, in order."""

    steps: list[Step] = field(default_factory=list)

    def asked(self, term: Term, holds: bool) -> None:
        """A program's way depended on this."""
        self.steps.append(Step(term, holds))

    def pin(self, number: int) -> int:
        """The plain number: what is done with it is not followed."""
        if isinstance(number, Word):
            test = operate("eq", number.term, int(number))
            if isinstance(test, Term):
                self.steps.append(Step(test, True, pinned=True))
            return int(number)
        return number

    def took(self, side: int) -> None:
        """A side of a branch was taken, on what was asked last (if that was not another's already)."""
        last = self.steps[-1] if self.steps else None
        if last is not None and last.side is None and not last.pinned:
            self.steps[-1] = Step(last.term, last.holds, side=side)
        else:
            self.steps.append(Step(None, True, side=side))


class Word(int):
    """An integer with its term."""

    term: Term
    log: Log

    def __bool__(self) -> bool:
        holds = int(self) != 0
        self.log.asked(self.term, holds)
        return holds

    __hash__ = int.__hash__


def word(number: int, term: Value | None, log: Log) -> int:
    """A number that has a term, if it has one."""
    if not isinstance(term, Term):
        return number
    made = Word(number)
    made.term, made.log = term, log
    return made


def _apply(op: str, a: int, b: int) -> int:
    number = EVALUATE[op](int(a), int(b))
    log = a.log if isinstance(a, Word) else b.log if isinstance(b, Word) else None
    if log is None:
        return number
    try:
        return word(number, operate(op, _term(a), _term(b)), log)
    except (TooDeep, Undecided):
        return number


def _term(number: int) -> Value:
    return number.term if isinstance(number, Word) else int(number)


for _name, _method in methods(_apply):
    setattr(Word, _name, _method)


Cell = tuple[Value, int]
"""A byte of a term, 0 the lowest."""


class Bytes(bytes):
    """Bytes of which some have terms."""

    cells: Sequence[Cell | None]


def with_cells(data: bytes, cells: Sequence[Cell | None]) -> bytes:
    """Bytes with what they were computed from."""
    if not any(cell is not None for cell in cells):
        return data
    made = Bytes(data)
    made.cells = cells
    return made


def number_of(data: bytes) -> Value:
    """The little-endian number that bytes hold."""
    cells = data.cells if isinstance(data, Bytes) else [None] * len(data)
    return joined(data, cells)


def joined(data: Sequence[int], cells: Sequence[Cell | None]) -> Value:
    """The little-endian number of bytes: the term itself where they are all of it."""
    first = cells[0]
    if first is not None and isinstance(first[0], Term):
        whole = all(cell is not None and cell[0] is first[0] and cell[1] == index for index, cell in enumerate(cells))
        if whole and first[0].lo >= 0 and first[0].hi < 1 << 8 * len(cells):
            return first[0]
    parts: list[Value] = [plain if cell is None else byte(*cell) for plain, cell in zip(data, cells, strict=True)]
    return from_bytes(parts)


def swap64(number: int) -> int:
    """The eight bytes in the other order (`emit_alu.swap64`)."""
    turned = int.from_bytes(int(number).to_bytes(8, "little"), "big")
    if not isinstance(number, Word):
        return turned
    try:
        term = from_bytes([byte(number.term, index) for index in reversed(range(8))])
    except TooDeep:
        return turned
    return word(turned, term, number.log)


__all__ = ["Bytes", "Cell", "Log", "Step", "Word", "joined", "number_of", "swap64", "with_cells", "word"]
