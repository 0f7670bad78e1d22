"""Which accesses lie within their object, whatever the packet: what user space need not check again.

    proven = InBounds(func.body, effects)
    proven.holds(op, address, offset, size, value_size)

An access of packet bytes is proven where its address is not before the packet's start (`fsir.analysis.ranges`), a guard
on every way to it says that the packet is long enough, and nothing has moved the packet's start or end since its start,
its end and the address were computed; one of a map value where the lookup is known to have hit, one of the stack
where it stays in its frame. Unlike the kernel's verifier this looks at loops of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xdsl.ir import Operation, Region, SSAValue

from fsir.analysis.frame import FRAME_SIZE
from fsir.analysis.intervals import FAR, FRAME, Element, End, Range, Start
from fsir.analysis.ranges import Hit, LayoutEffects, Ranges, Within
from fsir.dialects import ebpf, map, packet


class InBounds:
    """The answer for one function. `value_size` gives the bytes of a map's values by its name."""

    def __init__(self, region: Region, effects: LayoutEffects, value_size: Callable[[str], int]) -> None:
        self._ranges = Ranges(region, effects)
        self._value_size = value_size

    def holds(self, op: Operation, address: SSAValue, offset: int, size: int) -> bool:
        """Whether `size` bytes at `address + offset`, which `op` accesses, are surely there."""
        block = op.parent
        if block is None or not self._ranges.tree.is_reachable(block):
            return False
        found = self._ranges.at(address, block).moved(offset, offset + size)
        if found is None or found.base is None:
            return False
        base = found.base
        if isinstance(base, Start):
            return (
                found.low >= 0 and base.versions == self._ranges.layout(op) and self._fits(op, address, offset + size)
            )
        if base is FRAME:
            return found.low >= -FRAME_SIZE and found.high <= 0
        if isinstance(base, Element):
            return found.low >= 0 and found.high <= self._value_size(base.map)
        if isinstance(base, SSAValue) and isinstance(base.owner, Operation):
            return found.low >= 0 and found.high <= self._size(op, base, base.owner)
        return False

    def _size(self, op: Operation, base: SSAValue, owner: Operation) -> int:
        """How many bytes are known to be at a base."""
        if isinstance(owner, ebpf.AllocaOp):
            return owner.int_prop("size")
        assert isinstance(owner, map.LookupOp | map.LookupAtOp)
        return self._value_size(owner.symbol_prop("map")) if self._is_hit(op, base) else 0

    def _is_hit(self, op: Operation, base: SSAValue) -> bool:
        assert op.parent is not None
        hit = Range(base, 0, 0)
        return any(self._ranges.at(value, op.parent) == hit for value, _ in self._ranges.holding(op.parent, Hit))

    def _fits(self, op: Operation, address: SSAValue, behind: int) -> bool:
        """Whether a guard says that the packet goes on for so many bytes behind an address."""
        block = op.parent
        assert block is not None
        below = list(self._below(op, address))
        highest = self._ranges.at(address, block).high + behind
        for value, fact in self._ranges.holding(block, Within):
            assert isinstance(fact, Within)
            base = self._ranges.at(value, block)
            if not isinstance(base.base, Start) or base.low < 0 or base.high >= FAR:
                continue
            layout = base.base.versions
            if layout != self._ranges.layout(op) or self._ranges.at(fact.end, block) != Range(End(layout), 0, 0):
                continue
            if highest <= base.low + fact.size or any(v is value and at + behind <= fact.size for v, at in below):
                return True
        return False

    def _below(self, op: Operation, address: SSAValue) -> Iterator[tuple[SSAValue, int]]:
        """Roots of addresses that an address was computed from, and how far beyond each it is at most."""
        assert op.parent is not None
        distance = 0
        while True:
            root, offset = self._ranges.root(address)
            distance += offset
            yield root, distance
            if not isinstance(advance := root.owner, packet.AdvanceOp):
                return
            by = self._ranges.at(advance.by, op.parent)
            if by.base is not None or by.high >= FAR:
                return
            address, distance = advance.ptr, distance + by.high
