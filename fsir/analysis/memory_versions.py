"""Which loads see the same memory.

Each resource (`fsir.analysis.effects`) has a version, which changes where something writes it and where versions meet;
two operations that read the same resources in the same versions see the same contents.  Versions that meet are found as
for SSA form: on the iterated dominance frontier of the blocks that write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.effects import Effects

Versions = tuple[int, ...]


class Table(Protocol):
    """What says which resources an operation reads and writes, as `EffectTable` does."""

    def of(self, op: Operation) -> Effects:
        """The effects of an operation."""
        ...


class MemoryVersions:
    """Versions for the operations of one region that read memory and write none."""

    def __init__(self, tree: DominatorTree, effects: Table) -> None:
        self._at: dict[Operation, Versions] = {}
        self._next = 0
        reads = 0
        writes: dict[Block, int] = {}
        for block in tree.rpo:
            written = 0
            for op in block.ops:
                found = effects.of(op)
                written |= found.writes
                reads |= found.reads if found.reads > 0 and not found.writes else 0
            writes[block] = written
        resources = [bit for bit in _bits(reads) if any(mask & bit for mask in writes.values())]
        meeting: dict[Block, int] = {}
        for bit in resources:
            for block in tree.iterated_frontier([block for block, mask in writes.items() if mask & bit]):
                meeting[block] = meeting.get(block, 0) | bit
        leaving: dict[Block, dict[int, int]] = {}
        for block in tree.rpo:
            above = tree.idom(block)
            current = dict.fromkeys(resources, 0) if above is None else dict(leaving[above])
            self._renew(current, meeting.get(block, 0))
            self._number(block, current, effects)
            leaving[block] = current

    def of(self, op: Operation) -> Versions | None:
        """The versions of what an operation reads, when that is known and it writes nothing; else None."""
        return self._at.get(op)

    def _number(self, block: Block, current: dict[int, int], effects: Table) -> None:
        for op in block.ops:
            found = effects.of(op)
            if found.writes:
                self._renew(current, found.writes)
            elif found.reads > 0:
                self._at[op] = tuple(version for bit, version in current.items() if found.reads & bit)

    def _renew(self, current: dict[int, int], mask: int) -> None:
        for bit in current:
            if mask & bit:
                self._next += 1
                current[bit] = self._next


def _bits(mask: int) -> Iterator[int]:
    """The bits of a mask, one by one."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit
