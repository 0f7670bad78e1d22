"""Copies the short ends of a function to wherever they are reached from.

Compilers let all paths share one exit: a block that takes the verdict as its argument.  P4 has no jumps, so sharing
costs variables and flags, and hides which path ends how; `drop` and `count` in their places are what one would write.
"""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects import arith, cf
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import erase_unreachable, predecessors, set_successor_operands, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.backends.p4.capabilities import COUNTER_TYPES
from fsir.backends.p4.facts import constant_of
from fsir.dialects import ebpf, map, packet, placement
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp

SMALL = 24
"""Operations of the largest block that is copied."""
MAX_COPIED = 400
"""Operations that copying may add in all."""

_CHEAP = (
    *(
        map.HitOp,
        arith.ConstantOp,
        arith.ExtUIOp,
        arith.TruncIOp,
        arith.ShLIOp,
        arith.ShRUIOp,
        arith.AddiOp,
        arith.AndIOp,
    ),
    *(packet.DataOp, packet.EndOp, packet.OffsetOp, ebpf.AluRROp, map.AtomicOp, map.LoadOp, map.StoreOp),
    map.LookupOp,
)
_ENDS = (packet.VerdictOp, placement.HandoffOp)


def prepared(func: FuncOp, maps: Mapping[str, DeclOp]) -> FuncOp:
    """A copy of the function whose short ends have one predecessor each, and which does not ask for a null pointer
    where an element of an array is sure to exist."""
    clone = func.clone()
    _fold_hits(clone, maps)
    growth = 0
    for block in reversed(DominatorTree(clone.body).rpo):
        size = _size(block, maps)
        if size is None:
            continue
        incoming = predecessors(clone.body)[block]
        if growth + size * (len(incoming) - 1) > MAX_COPIED:
            continue
        growth += size * max(len(incoming) - 1, 0)
        kept = False
        for terminator, index in incoming:
            if isinstance(terminator, cf.BranchOp):
                _append(terminator, block)
            elif kept:
                _enter_copy(terminator, index, block)
            else:
                kept = True
        if incoming and not kept:
            clone.body.erase_block(block)
    return clone


def _fold_hits(func: FuncOp, maps: Mapping[str, DeclOp]) -> None:
    """Go on without a test where a constant index is within its array."""
    for op in list(func.walk()):
        if not isinstance(op, cf.ConditionalBranchOp) or not isinstance(op.cond.owner, map.HitOp):
            continue
        lookup = op.cond.owner.value.owner
        if isinstance(lookup, map.LookupOp) and _surely_hits(lookup, maps[lookup.symbol_prop("map")]):
            assert op.parent is not None
            jump = cf.BranchOp.create(operands=op.then_arguments, successors=[op.then_block])
            op.parent.insert_op_before(jump, op)
            op.parent.erase_op(op)
    erase_unreachable(func.body)


def _surely_hits(lookup: map.LookupOp, decl: DeclOp) -> bool:
    index = constant_of(lookup.key[0]) if len(lookup.key) == 1 else None
    return decl.type.data in COUNTER_TYPES and index is not None and index < decl.max_entries.data


def _size(block: Block, maps: Mapping[str, DeclOp]) -> int | None:
    """The number of operations of a short end; None for other blocks."""
    ops = list(block.ops)
    lookups = [op for op in ops if isinstance(op, map.LookupOp)]
    if len(ops) > SMALL or not isinstance(ops[-1], _ENDS) or not all(isinstance(op, _CHEAP) for op in ops[:-1]):
        return None
    return len(ops) if all(_surely_hits(op, maps[op.symbol_prop("map")]) for op in lookups) else None


def _append(jump: cf.BranchOp, block: Block) -> None:
    """Put a copy of a block's operations in the place of a jump to it."""
    values: dict[SSAValue, SSAValue] = dict(zip(block.args, jump.arguments, strict=True))
    before = jump.parent
    assert before is not None
    for op in block.ops:
        before.insert_op_before(op.clone(values), jump)
    before.erase_op(jump)


def _enter_copy(terminator: Operation, index: int, block: Block) -> None:
    """Let one edge to a block lead to a copy of it."""
    copy = Block(arg_types=[arg.type for arg in block.args])
    values: dict[SSAValue, SSAValue] = dict(zip(block.args, copy.args, strict=True))
    for mine, its in zip(block.args, copy.args, strict=True):
        its.name_hint = mine.name_hint
    for op in block.ops:
        copy.add_op(op.clone(values))
    region = block.parent
    assert region is not None
    region.insert_block_after(copy, block)
    passed = list(successor_operands(terminator, index))
    terminator.successors = [copy if i == index else target for i, target in enumerate(terminator.successors)]
    set_successor_operands(terminator, index, passed)
