"""Stores of spilled values that one way of a branch needs, made there, where the register still holds the value."""

from __future__ import annotations

from xdsl.ir import Block, Operation, Region

from fsir.analysis.cfg import predecessors
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.liveness import solve_backward
from fsir.dialects.ebpf import (
    CallKfuncOp,
    CallLocalOp,
    CallOp,
    CallxOp,
    FpOp,
    JccRIOp,
    JccRROp,
    LdAbsOp,
    LdIndOp,
    LdxOp,
    StOp,
    StxOp,
    reg_index,
)

_CLOBBERING = (CallOp, CallLocalOp, CallKfuncOp, CallxOp, LdAbsOp, LdIndOp)


def sink_stores(body: Region, spills_below: int) -> int:
    """Move spills of an allocated body from before a branch to behind it, where the other way does not load them.
    Frame offsets below `spills_below` are accessed by spills only, by whole words. Gives the number of moves."""
    live_in = _live_in(body, spills_below)
    if not any(live_in.values()):
        return 0
    incoming = predecessors(body)
    moved = 0
    for block in DominatorTree(body).rpo:
        branch = block.last_op
        if not isinstance(branch, JccRROp | JccRIOp) or branch.then_block is branch.else_block:
            continue
        passed: set[int] = set()
        """Registers that are written, and slots that are accessed, after the operation looked at."""
        for op in reversed(list(block.ops)):
            slot = _slot(op, spills_below)
            if isinstance(op, StxOp | StOp) and slot is not None and slot not in passed:
                into = _way_for(op, slot, list(branch.successors), live_in, passed, incoming)
                if into is not None:
                    block.detach_op(op)
                    first = into.first_op
                    assert first is not None
                    into.insert_op_before(op, first)
                    live_in[into].discard(slot)
                    moved += 1
                    continue
            passed |= {slot} if slot is not None else set()
            passed |= {register for result in op.results if (register := reg_index(result.type)) is not None}
            passed |= set(range(6)) if isinstance(op, _CLOBBERING) else set()
    return moved


def _way_for(
    op: StxOp | StOp,
    slot: int,
    ways: list[Block],
    live_in: dict[Block, set[int]],
    passed: set[int],
    incoming: dict[Block, list[tuple[Operation, int]]],
) -> Block | None:
    """The only way of a branch that loads a slot, if it can be stored there."""
    wanting = [way for way in ways if slot in live_in[way]]
    if len(wanting) != 1 or len(incoming[wanting[0]]) != 1:
        return None
    register = reg_index(op.value.type) if isinstance(op, StxOp) else None
    taken = passed | {reg_index(arg.type) for arg in wanting[0].args}
    return wanting[0] if register not in taken else None


def _slot(op: Operation, spills_below: int) -> int | None:
    """The frame offset of a spill or reload."""
    if (
        isinstance(op, LdxOp | StxOp | StOp)
        and isinstance(op.base.owner, FpOp)
        and (offset := int(op.off.data)) < spills_below
    ):
        return offset
    return None


def _live_in(body: Region, spills_below: int) -> dict[Block, set[int]]:
    """The slots, by block, that are loaded after its start before they are stored to."""
    blocks = list(body.blocks)
    number = {block: index for index, block in enumerate(blocks)}
    slots: dict[int, int] = {}
    used, defined = [0] * len(blocks), [0] * len(blocks)
    for index, block in enumerate(blocks):
        for op in block.ops:
            offset = _slot(op, spills_below)
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
