"""Copies and constants in machine registers that only one way of a branch needs, made there; used by
`allocate-registers`."""

from __future__ import annotations

from xdsl.ir import Block, Operation, Region, Use

from fsir.analysis.calls import CALLER_SAVED, CLOBBERING
from fsir.analysis.cfg import predecessors
from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import (
    AluRROp,
    JccRIOp,
    JccRROp,
    LddwOp,
    LdSymOp,
    LdxOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
    reg_index,
)

_COPIES = (MovRROp, MovRIOp, LddwOp, LdSymOp)


def sink_copies(body: Region) -> int:
    """Move copies of an allocated body from before a branch to behind it, where the other way does not need them: the
    register they come from is read instead before. Gives the number of moves."""
    tree = DominatorTree(body)
    incoming = predecessors(body)
    moved = 0
    for block in tree.rpo:
        branch = block.last_op
        if not isinstance(branch, JccRROp | JccRIOp) or branch.then_block is branch.else_block:
            continue
        ways = [way for way in branch.successors if len(incoming[way]) == 1]
        changed: set[int | None] = set()
        for op in reversed(list(block.ops)):
            into = _way_for(op, ways, tree) if not {reg_index(value.type) for value in op.operands} & changed else None
            if into is not None:
                _move(op, block, into)
                moved += 1
                continue
            changed |= {reg_index(result.type) for result in op.results}
            changed |= CALLER_SAVED if isinstance(op, CLOBBERING) else set()
    return moved


def _way_for(op: Operation, ways: list[Block], tree: DominatorTree) -> Block | None:
    """The way on which alone a copy is needed, uses aside that can read what it is a copy of."""
    if not isinstance(op, _COPIES) or "core" in op.properties:
        return None
    elsewhere = [use.operation.parent for use in op.res.uses if use.operation.parent is not op.parent]
    here = [use for use in op.res.uses if use.operation.parent is op.parent]
    if not elsewhere or (here and op.name != "ebpf.mov") or not all(map(_reads_any_register, here)):
        return None
    registers = {reg_index(value.type) for value in op.operands}
    for way in ways:
        own = all(block is not None and tree.dominates(way, block) for block in elsewhere)
        if own and not any(reg_index(arg.type) in registers for arg in way.args):
            return way
    return None


def _reads_any_register(use: Use) -> bool:
    """Whether an operation could as well read another register."""
    op = use.operation
    if isinstance(op, JccRROp | JccRIOp):
        return use.index < (2 if isinstance(op, JccRROp) else 1)
    return isinstance(op, LdxOp | StxOp | StOp | MovRROp) or (isinstance(op, AluRROp) and use.index == 1)


def _move(op: Operation, block: Block, into: Block) -> None:
    """Move a copy to the beginning of a block; who uses it before reads what it is a copy of."""
    result = op.results[0]
    for use in [use for use in result.uses if use.operation.parent is block]:
        use.operation.operands[use.index] = op.operands[0]
    block.detach_op(op)
    first = into.first_op
    assert first is not None
    into.insert_op_before(op, first)
