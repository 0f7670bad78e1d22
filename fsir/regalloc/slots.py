"""Stack slots: stores that nothing loads are dropped; slots whose values are never needed together get one place."""

from __future__ import annotations

from fsir.analysis.liveness import bits, solve_backward
from fsir.regalloc.model import CodeBlock, Copies, Kind, MachineCode


def share_slots(code: MachineCode) -> dict[int, int]:
    """A number for each spill slot, the same for slots whose contents are never live at once. Drops dead stores."""
    if not code.slots:
        return {}
    conflicts: list[set[int]] = [set() for _ in range(code.slots)]
    partners: list[set[int]] = [set() for _ in range(code.slots)]
    for block, mask in zip(code.blocks, _live_out(code), strict=True):
        _scan(code, block, set(bits(mask)), conflicts, partners)
    numbers: dict[int, int] = {}
    for slot in range(code.slots):
        taken = {numbers[other] for other in conflicts[slot] if other in numbers}
        liked = [numbers[other] for other in partners[slot] if other in numbers and numbers[other] not in taken]
        numbers[slot] = min(liked) if liked else next(n for n in range(code.slots) if n not in taken)
    return numbers


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
    code: MachineCode, block: CodeBlock, live: set[int], conflicts: list[set[int]], partners: list[set[int]]
) -> None:
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
            if own is not None and own != slot:
                partners[slot].add(own)
                partners[own].add(slot)
                if own in live:
                    conflicts[slot].add(own)
                    conflicts[own].add(slot)
        live = (live - stored) | sources
