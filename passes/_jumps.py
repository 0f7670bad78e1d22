"""Jumps that lead to jumps: edges go to where control really ends up. Used by `layout-blocks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue

from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.dialects.ebpf import BranchOp, ExitOp, FallthroughOp, JaOp, JccRIOp, JccRROp


def thread_jumps(region: Region) -> None:
    """Lead edges around blocks that only jump on, and make a jump of a branch whose two edges are the same."""
    for block in region.blocks:
        last = block.last_op
        if isinstance(last, BranchOp):
            for index in range(len(last.successors)):
                _retarget(last, index)
            if isinstance(last, JccRROp | JccRIOp) and _same_edges(last):
                jump = FallthroughOp.create(
                    operands=list(last.successor_operands(1)),
                    successors=[last.else_block],
                    location=last.location,
                )
                block.insert_op_before(jump, last)
                block.erase_op(last)


def _retarget(terminator: BranchOp, index: int) -> None:
    """Follow the edge through forwarding blocks, at most once through each."""
    passed: Sequence[SSAValue] = terminator.successor_operands(index)
    seen: set[Block] = set()
    target = terminator.successors[index]
    while target not in seen and (onward := _forwards(target)) is not None:
        seen.add(target)
        meaning = dict(zip(target.args, passed, strict=True))
        passed = [
            meaning.get(value, value) if isinstance(value, BlockArgument) else value
            for value in successor_operands(onward, 0)
        ]
        target = onward.successors[0]
    if seen:
        successors = list(terminator.successors)
        successors[index] = target
        terminator.successors = successors
        set_successor_operands(terminator, index, passed)


def _forwards(block: Block) -> Operation | None:
    """The terminator of a block that is nothing but an unconditional jump, whose arguments nothing else uses."""
    last = block.last_op
    if not isinstance(last, JaOp | FallthroughOp) or last is not block.first_op or last.successors[0] is block:
        return None
    if any(use.operation is not last for arg in block.args for use in arg.uses):
        return None
    return last


def _same_edges(branch: JccRROp | JccRIOp) -> bool:
    return branch.then_block is branch.else_block and list(branch.then_args) == list(branch.else_args)


def duplicate_exits(region: Region) -> None:
    """Where a block jumps to one that is only an `exit`, exit there: no longer, and one jump less."""
    incoming = predecessors(region)
    for block in list(region.blocks):
        last = block.last_op
        if not isinstance(last, JaOp):
            continue
        target = last.successors[0]
        found = target.first_op
        if not isinstance(found, ExitOp) or len(incoming[target]) < 2:
            continue
        meaning = dict(zip(cast("Sequence[SSAValue]", target.args), last.args, strict=True))
        copy = _exit_like(found, [meaning.get(value, value) for value in found.operands])
        block.insert_op_before(copy, last)
        block.erase_op(last)
        incoming[target] = [edge for edge in incoming[target] if edge[0] is not last]


def _exit_like(op: ExitOp, operands: list[SSAValue]) -> Operation:
    return type(op).create(operands=operands, properties=dict(op.properties), location=op.location)
