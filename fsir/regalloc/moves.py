"""Parallel copies in sequence.

Places are numbers: registers 0 … 10, stack slots from `SLOT` on. All sources are read before any destination is
written; the sequence does the same with one instruction at a time, through a spare register where copies form a cycle.
"""

from __future__ import annotations

from collections.abc import Mapping

from fsir.regalloc.model import ALLOCATABLE, AllocationError

SLOT = 100


def sequence(wanted: Mapping[int, int | None], busy: int, spare_slot: int) -> list[tuple[int, int | None]]:
    """Copies (destination, source) in order of execution, for a parallel copy `wanted` from destination to source.

    A source of None is a constant, which only has to wait until its destination has been read. `busy` is the set of
    registers with content that must survive besides; `spare_slot` a free stack slot, for a cycle without free register.
    """
    pending = {d: s for d, s in wanted.items() if d != s}
    readers: dict[int, int] = {}
    for source in pending.values():
        if source is not None:
            readers[source] = readers.get(source, 0) + 1
    ready = [d for d in pending if not readers.get(d)]
    done: list[tuple[int, int | None]] = []
    while pending:
        if not ready:
            victim = next((d for d in pending if d < SLOT), None)
            if victim is None:
                raise AllocationError("stack slots exchange their contents and no register is free")
            spare = _spare(wanted, busy, spare_slot)
            if spare >= SLOT and any(d >= SLOT and s == victim for d, s in pending.items()):
                raise AllocationError("a stack slot and a register exchange their contents and no register is free")
            done.append((spare, victim))
            for destination, source in pending.items():
                if source == victim:
                    pending[destination] = spare
                    readers[spare] = readers.get(spare, 0) + 1
            readers[victim] = 0
            ready.append(victim)
        destination = ready.pop()
        source = pending.pop(destination)
        done.append((destination, source))
        if source is not None:
            readers[source] -= 1
            if not readers[source] and source in pending:
                ready.append(source)
    return done


def _spare(wanted: Mapping[int, int | None], busy: int, spare_slot: int) -> int:
    for place in (*wanted, *wanted.values()):
        if place is not None and place < SLOT:
            busy |= 1 << place
    free = ALLOCATABLE & ~busy
    return (free & -free).bit_length() - 1 if free else spare_slot
