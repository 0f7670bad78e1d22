"""What the bytes of a frame hold, as terms: byte `i` of the value stored there last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fsir.smt.terms import Term, Value, bounds, byte, from_bytes

Cell = tuple[Value, int]


class FrameBytes:
    """Cells by offset from the frame pointer. An offset without one holds anything."""

    def __init__(self, cells: dict[int, Cell] | None = None) -> None:
        self.cells = dict(cells or {})

    def store(self, offset: int, size: int, value: Value | None) -> None:
        """Write a number, or something unknown."""
        for index in range(size):
            if value is None:
                self.cells.pop(offset + index, None)
            else:
                self.cells[offset + index] = value, index

    def load(self, offset: int, size: int) -> Value | None:
        """The unsigned number that is there; None where a byte of it is unknown."""
        cells = [self.cells.get(offset + index) for index in range(size)]
        known = [cell for cell in cells if cell is not None]
        if len(known) < size:
            return None
        value = known[0][0]
        whole = all(cell[0] is value and cell[1] == index for index, cell in enumerate(known))
        if whole and bounds(value)[0] >= 0 and bounds(value)[1] < 1 << 8 * size:
            return value
        return from_bytes([byte(cell[0], cell[1]) for cell in known])

    def forget(self) -> None:
        """Anything may have been written anywhere."""
        self.cells.clear()


def merged(states: Sequence[FrameBytes], select: Callable[[list[Value]], Value | None]) -> FrameBytes:
    """What is there where several ways meet; `select` gives the value for the values of each."""
    first, *others = states
    made: dict[tuple[int, ...], Value | None] = {}
    result = FrameBytes()
    for offset, (value, index) in first.cells.items():
        found = [other.cells.get(offset) for other in others]
        values = [value, *(cell[0] for cell in found if cell is not None and cell[1] == index)]
        if len(values) < len(states):
            continue
        if all(_same(value, other) for other in values):
            result.cells[offset] = value, index
            continue
        key = tuple(map(id, values))
        if key not in made:
            made[key] = select(values)
        chosen = made[key]
        if chosen is not None:
            result.cells[offset] = chosen, index
    return result


def _same(a: Value, b: Value) -> bool:
    return a is b or (not isinstance(a, Term) and not isinstance(b, Term) and a == b)
