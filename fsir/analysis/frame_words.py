"""Addresses of stack frames, and what is stored there: the values that `fsir.analysis.frame_contents` works with.

A *region* is one frame as one function sees it: 0 is its own, the others are its callers' and are numbered in the
order in which its arguments lead there. Offsets in a caller's frame are relative to the first address of it that was
passed, so that a function which is called from several places with the same things sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from xdsl.ir import SSAValue

from fsir.dialects.ebpf import StOp

OWN = 0
"""The region of a function's own frame."""
LOWEST = -1024
"""Below every offset: frames have 512 bytes, and offsets start at an address inside."""
WORD = 8
"""The size of an address in bytes."""

Stored = SSAValue | StOp
"""What was stored: a value, or the constant of an `ebpf.st`."""


@dataclass(frozen=True, slots=True)
class Place:
    """`offset` bytes from where a region's offsets start; if not `exact`, that is the least."""

    offset: int
    exact: bool = True

    def moved(self, by: int) -> Place:
        """This many bytes further up."""
        return Place(self.offset + by, self.exact) if min(self.offset, self.offset + by) > LOWEST else ANYWHERE

    def upwards(self) -> Place:
        """Anywhere from here on."""
        return Place(self.offset, exact=False)

    def join(self, other: Place) -> Place:
        """Either of two."""
        return self if self == other else Place(min(self.offset, other.offset), exact=False)


ANYWHERE = Place(LOWEST, exact=False)


@dataclass(frozen=True, slots=True)
class Word:
    """The addresses that a word may be, one place for each region; if not `sure`, it may also be no such address."""

    places: frozenset[tuple[int, Place]]
    sure: bool

    def each(self, change: Callable[[Place], Place]) -> Word:
        """The word with its places changed."""
        return Word(frozenset((region, change(place)) for region, place in self.places), self.sure)

    def join(self, other: Word) -> Word:
        """Either of two."""
        if self == other:
            return self
        places = dict(self.places)
        for region, place in other.places:
            places[region] = places[region].join(place) if region in places else place
        return Word(frozenset(places.items()), self.sure and other.sure)


NOTHING = Word(frozenset(), sure=False)
"""A word that is no address of a frame."""
UNDEFINED = Word(frozenset(), sure=True)
"""A word that was never written: whatever the other paths say."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Eight bytes that were stored at once, or never: what, and which addresses of frames that may be."""

    stored: frozenset[Stored]
    word: Word

    def join(self, other: Cell) -> Cell:
        """Either of two."""
        return self if self == other else Cell(self.stored | other.stored, self.word.join(other.word))


_FRESH = {(OWN, offset): Cell(frozenset(), UNDEFINED) for offset in range(-512, 0, WORD)}


@dataclass(slots=True)
class Memory:
    """What all frames hold at one point of a function. What has no cell can be anything, also an address of one of the
    `spilled` regions: those of which an address was stored somewhere."""

    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    spilled: frozenset[int] = frozenset()

    def with_frame(self) -> Memory:
        """The same with a frame of one's own, to which nothing has been written."""
        return Memory(self.cells | _FRESH, self.spilled)

    def copy(self) -> Memory:
        """An independent copy."""
        return Memory(dict(self.cells), self.spilled)

    def join(self, other: Memory) -> Memory:
        """What holds in both."""
        cells = {key: cell.join(other.cells[key]) for key, cell in self.cells.items() if key in other.cells}
        return Memory(cells, self.spilled | other.spilled)

    def load(self, address: Word) -> Cell | None:
        """The eight bytes at an address; None where they are not known."""
        found: Cell | None = None
        for region, place in address.places:
            cell = self.cells.get((region, place.offset)) if place.exact else None
            if cell is None:
                return None
            found = cell if found is None else found.join(cell)
        return found if address.sure else None

    def store(self, address: Word, size: int, cell: Cell | None) -> None:
        """Store `size` bytes, whole words as a cell."""
        alone = address.sure and len(address.places) == 1
        for region, place in address.places:
            before = self.cells.get((region, place.offset)) if place.exact else None
            self.forget(region, place, size)
            if cell is not None and size == WORD and place.exact and (alone or before is not None):
                self.cells[region, place.offset] = cell if alone or before is None else before.join(cell)
        if cell is not None:
            self.spill(cell.word)

    def spill(self, word: Word) -> None:
        """An address was stored somewhere."""
        self.spilled |= {region for region, _ in word.places}

    def forget(self, region: int, place: Place, size: int | None) -> None:
        """Bytes that may have changed: `size` of them, or any number."""
        end = place.offset + size if place.exact and size is not None else None
        gone = [
            key
            for key in self.cells
            if key[0] == region and key[1] + WORD > place.offset and (end is None or key[1] < end)
        ]
        for key in gone:
            del self.cells[key]

    def anything(self) -> Word:
        """What a word may be that was read from where there is no cell."""
        return Word(frozenset((region, ANYWHERE) for region in self.spilled), sure=False)


def renumbered(words: Iterable[Word], memory: Memory) -> dict[int, tuple[int, int]]:
    """How a called function sees regions that it can reach from its arguments or from memory: region to (number there,
    offset that is 0 there)."""
    found: dict[int, tuple[int, int]] = {}
    work = list(words)
    while work or memory.spilled - found.keys():
        word = work.pop(0) if work else Word(frozenset({(min(memory.spilled - found.keys()), ANYWHERE)}), sure=False)
        for region, place in sorted(word.places, key=lambda item: item[0]):
            if region in found:
                continue
            found[region] = len(found) + 1, place.offset if place.exact else 0
            work += [cell.word for key, cell in sorted(memory.cells.items(), key=lambda c: c[0]) if key[0] == region]
    return found


def translated(word: Word, names: Mapping[int, tuple[int, int]]) -> Word:
    """A word as a called function sees it."""
    return Word(
        frozenset((names[region][0], place.moved(-names[region][1])) for region, place in word.places), word.sure
    )


def backwards(names: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """The same from the called function to its caller."""
    return {number: (region, -start) for region, (number, start) in names.items()}


def returned(word: Word, names: Mapping[int, tuple[int, int]]) -> Word:
    """A word as the caller sees it (`names` go backwards); what points into the frame that is gone points nowhere."""
    kept = Word(frozenset((region, place) for region, place in word.places if region in names), word.sure)
    return Word(translated(kept, names).places, word.sure and len(kept.places) == len(word.places))
