"""Stores of spilled values, made only where all ways to the loads have met, if the register still holds the value."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.ir import Block, Operation, Region

from fsir.analysis.calls import CALLER_SAVED, CLOBBERING
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.liveness import solve_backward
from fsir.dialects.ebpf import (
    FpOp,
    LdxOp,
    StOp,
    StxOp,
    reg_index,
)

_FAR = 300
"""Blocks that are looked at for one store, at most."""


def sink_stores(body: Region, spills_below: int) -> int:
    """Move spills of an allocated body down the dominator tree, to a block that all loads of them are behind: ways that
    load nothing store nothing. Frame offsets below `spills_below` are accessed by spills only, by whole words.
    Gives the number of moves."""
    live_in = live_slots(body, spills_below)
    if not any(live_in.values()):
        return 0
    sinking = _Sinking(DominatorTree(body), live_in, spills_below)
    return sum(sinking.block(block) for block in sinking.tree.rpo)


@dataclass
class _Sinking:
    tree: DominatorTree
    live_in: dict[Block, set[int]]
    spills_below: int
    written: dict[Block, set[int]] = field(default_factory=dict)
    """Registers that are written, and slots that are accessed, by block."""

    def block(self, block: Block) -> int:
        """Move what can be moved out of a block, the last first."""
        moved = 0
        passed: set[int] = set()
        for op in reversed(list(block.ops)):
            slot = spill_slot(op, self.spills_below)
            if isinstance(op, StxOp | StOp) and slot is not None and slot not in passed:
                register = reg_index(op.value.type) if isinstance(op, StxOp) else None
                into = None if register in passed else self.target(block, slot, register)
                if into is not None:
                    block.detach_op(op)
                    first = into.first_op
                    assert first is not None
                    into.insert_op_before(op, first)
                    moved += 1
                    continue
            passed |= self.touched(op)
        if moved:
            self.written.clear()
        return moved

    def target(self, block: Block, slot: int, register: int | None) -> Block | None:
        """The deepest block to store in instead of at the end of `block`."""
        into = self.tree.common_dominator(self.loading(block, slot))
        while into is not None and self.tree.strictly_dominates(block, into):
            between = blocks_between(self.tree, block, into)
            if between is not None and not self.disturbed(between, into, slot, register):
                for each in (*between, into):
                    self.live_in[each].discard(slot)
                return into
            into = self.tree.idom(into)
        return None

    def loading(self, block: Block, slot: int) -> list[Block]:
        """The blocks that may load what a slot holds at the end of `block`; that block itself if they are too many."""
        found: list[Block] = []
        work = [block]
        seen: set[Block] = set()
        while work:
            for following in successors(work.pop()):
                if slot not in self.live_in[following] or following in seen:
                    continue
                seen.add(following)
                accesses = [op for op in following.ops if spill_slot(op, self.spills_below) == slot]
                if accesses and isinstance(accesses[0], LdxOp):
                    found.append(following)
                if all(isinstance(op, LdxOp) for op in accesses):
                    work.append(following)
        return found if len(seen) <= _FAR else [block]

    def disturbed(self, between: set[Block], into: Block, slot: int, register: int | None) -> bool:
        """Whether something on the way writes the register, or accesses the slot."""
        arguments = {reg_index(arg.type) for arg in into.args}
        return register in arguments or any({slot, register} & self.of(block) for block in between)

    def of(self, block: Block) -> set[int]:
        """What a block touches."""
        if block not in self.written:
            found = {register for arg in block.args if (register := reg_index(arg.type)) is not None}
            self.written[block] = found.union(*map(self.touched, block.ops))
        return self.written[block]

    def touched(self, op: Operation) -> set[int]:
        """The registers that an operation writes, and the slot that it accesses. (Slots are negative.)"""
        slot = spill_slot(op, self.spills_below)
        found = {slot} if slot is not None else set[int]()
        found |= {register for result in op.results if (register := reg_index(result.type)) is not None}
        return found | CALLER_SAVED if isinstance(op, CLOBBERING) else found


def blocks_between(tree: DominatorTree, block: Block, into: Block) -> set[Block] | None:
    """The blocks on ways from `block` to one that it dominates; None if that is in a loop by itself, or far away."""
    found: set[Block] = set()
    work = [into]
    while work:
        for before in tree.predecessors(work.pop()):
            if before is into or len(found) > _FAR:
                return None
            if before is not block and before not in found and tree.is_reachable(before):
                found.add(before)
                work.append(before)
    return found


def spill_slot(op: Operation, spills_below: int) -> int | None:
    """The frame offset of a spill or reload."""
    if (
        isinstance(op, LdxOp | StxOp | StOp)
        and isinstance(op.base.owner, FpOp)
        and (offset := int(op.off.data)) < spills_below
    ):
        return offset
    return None


def live_slots(body: Region, spills_below: int) -> dict[Block, set[int]]:
    """The slots, by block, that are loaded after its start before they are stored to."""
    blocks = list(body.blocks)
    number = {block: index for index, block in enumerate(blocks)}
    slots: dict[int, int] = {}
    used, defined = [0] * len(blocks), [0] * len(blocks)
    for index, block in enumerate(blocks):
        for op in block.ops:
            offset = spill_slot(op, spills_below)
            if offset is None:
                continue
            bit = 1 << slots.setdefault(offset, len(slots))
            if not isinstance(op, LdxOp):
                defined[index] |= bit
            elif not defined[index] & bit:
                used[index] |= bit
    order = [number[block] for block in reversed(DominatorTree(body).rpo)]
    order += sorted(set(range(len(blocks))) - set(order))
    live_in, _ = solve_backward(used, defined, [[number[s] for s in successors(b)] for b in blocks], order)
    return {block: {o for o, bit in slots.items() if live_in[i] >> bit & 1} for i, block in enumerate(blocks)}
