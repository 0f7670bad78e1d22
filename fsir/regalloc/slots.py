"""Stack slots: stores that nothing loads are dropped; slots whose values are never needed together get one place.

Slots that are copied to each other get the same place before others, so that nothing is left to copy.
"""

from __future__ import annotations

from fsir.analysis.liveness import bits, solve_backward
from fsir.regalloc.model import FIRST, CodeBlock, Copies, Insn, Kind, MachineCode


def share_slots(code: MachineCode) -> dict[int, int]:
    """A number for each spill slot, the same for slots whose contents are never live at once. Drops dead stores, and
    copies within one place."""
    if not code.slots:
        return {}
    carried = _carried(code)
    conflicts: list[set[int]] = [set() for _ in range(code.slots)]
    copied: list[tuple[int, int]] = []
    for block, mask in zip(code.blocks, _live_out(code), strict=True):
        copied += _scan(code, block, set(bits(mask)), conflicts, carried)
    groups = _groups(conflicts, copied)
    numbers: dict[int, int] = {}
    for members in groups:
        taken = {numbers[other] for slot in members for other in conflicts[slot] if other in numbers}
        number = next(n for n in range(code.slots) if n not in taken)
        numbers |= dict.fromkeys(members, number)
    _drop_copies(code, carried, numbers)
    return numbers


def _groups(conflicts: list[set[int]], copied: list[tuple[int, int]]) -> list[list[int]]:
    """Slots that get one place because they are copied to each other, where none of them conflict."""
    groups = [[slot] for slot in range(len(conflicts))]
    for a, b in copied:
        first, second = groups[a], groups[b]
        if first is not second and not any(conflicts[slot].intersection(second) for slot in first):
            first += second
            for slot in second:
                groups[slot] = first
    return list({id(group): group for group in groups}.values())


def _carried(code: MachineCode) -> dict[int, int]:
    """The slot that each node is loaded from which only brings its contents to other slots."""
    loaded: dict[int, int] = {}
    stored: set[int] = set()
    others: set[int] = set(range(FIRST))
    for block in code.blocks:
        for step in block.steps:
            if isinstance(step, Insn):
                others.update(step.uses, step.defs)
                continue
            for node, source in step.pairs:
                slot = _slot(code, source)
                if slot is not None and code.kind[node] is Kind.REGISTER and loaded.setdefault(node, slot) == slot:
                    continue
                others.add(node)
                (others if _slot(code, node) is None else stored).add(source)
    return {node: slot for node, slot in loaded.items() if node in stored and node not in others}


def _drop_copies(code: MachineCode, carried: dict[int, int], numbers: dict[int, int]) -> None:
    """Drop what is stored to the place that it comes from, and loads for nothing else."""
    needed: set[int] = set()
    for block in code.blocks:
        for step in block.steps:
            if isinstance(step, Copies):
                needed.update(s for d, s in step.pairs if s in carried and numbers[carried[s]] != numbers[code.slot[d]])
    for block in code.blocks:
        for step in block.steps:
            if isinstance(step, Copies):
                step.pairs = [
                    (d, s)
                    for d, s in step.pairs
                    if not (d in carried and d not in needed)
                    and not (s in carried and numbers[carried[s]] == numbers[code.slot[d]])
                ]


def _slot(code: MachineCode, node: int) -> int | None:
    return code.slot[node] if code.kind[node] is Kind.SLOT else None


def _live_out(code: MachineCode) -> list[int]:
    """The slots whose contents are needed after each block."""
    used, defined = [], []
    for block in code.blocks:
        up = own = 0
        for step in block.steps:
            if isinstance(step, Copies):
                for _, source in step.pairs:
                    slot = _slot(code, source)
                    up |= 1 << slot & ~own if slot is not None else 0
                for node, _ in step.pairs:
                    slot = _slot(code, node)
                    own |= 1 << slot if slot is not None else 0
        used.append(up)
        defined.append(own)
    return solve_backward(used, defined, [block.succs for block in code.blocks], list(reversed(code.order)))[1]


def _scan(
    code: MachineCode, block: CodeBlock, live: set[int], conflicts: list[set[int]], carried: dict[int, int]
) -> list[tuple[int, int]]:
    """Walk a block backwards from what is live at its end; gives the pairs of slots that are copied to each other."""
    copied: list[tuple[int, int]] = []
    for step in reversed(block.steps):
        if not isinstance(step, Copies):
            continue
        stored = {slot for node, _ in step.pairs if (slot := _slot(code, node)) is not None} & live
        step.pairs = [(d, s) for d, s in step.pairs if (slot := _slot(code, d)) is None or slot in stored]
        sources = {slot for _, s in step.pairs if (slot := _slot(code, s)) is not None}
        for node, source in step.pairs:
            slot, own = _slot(code, node), _slot(code, source)
            if slot is None:
                continue
            for other in (live | sources) - {slot, own}:
                conflicts[slot].add(other)
                conflicts[other].add(slot)
            if own is not None and own != slot and own in live:
                conflicts[slot].add(own)
                conflicts[own].add(slot)
            origin = carried.get(source) if own is None else own
            if origin is not None and origin != slot:
                copied.append((slot, origin))
        live = (live - stored) | sources
    return copied
