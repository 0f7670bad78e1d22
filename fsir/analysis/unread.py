"""What edges pass that nobody reads: the values beside it decide the branch that the block ends in, and only on its
other way is there a use.

Machine code keeps a flag and an address in two registers, and asks the flag before it uses the address; where the flag
says no, the address is whatever the register held before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xdsl.dialects import cf
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.analysis.evaluate import JUMPS, compare, evaluate
from fsir.dialects import ebpf

M64 = (1 << 64) - 1


def unread_operands(region: Region) -> Iterator[tuple[Operation, int, int]]:
    """Terminator, successor and position of each value that is passed and read on no way from there. Values that are
    passed unread by a block that could know better are left: one branch is looked at."""
    for block, incoming in predecessors(region).items():
        branch = block.last_op
        if branch is None or len(branch.successors) != 2 or branch.successors[0] is branch.successors[1]:
            continue
        if not block.args or block is region.blocks.first:
            continue
        beyond: dict[int, frozenset[Block]] = {}
        for terminator, index in incoming:
            passed = successor_operands(terminator, index)
            taken = _taken(
                branch,
                {
                    arg: known
                    for arg, value in zip(block.args, passed, strict=True)
                    if (known := _constant(value)) is not None
                },
            )
            if taken is None:
                continue
            if taken not in beyond:
                beyond[taken] = _reached(branch.successors[taken], block)
            for arg in block.args:
                if not _is_read(arg, branch, taken, beyond[taken]):
                    yield terminator, index, arg.index


def _constant(value: SSAValue) -> int | None:
    owner = value.owner
    return evaluate(owner, ()) if isinstance(owner, Operation) and not owner.operands else None


def _taken(branch: Operation, known: Mapping[SSAValue, int]) -> int | None:
    """The number of the successor that a branch goes to when its block is given these values."""
    if not known:
        return None
    if isinstance(branch, cf.ConditionalBranchOp):
        held = _value(branch.cond, branch.parent, known)
        return None if held is None else 1 - held
    if not isinstance(branch, ebpf.JccRIOp | ebpf.JccRROp) or "core" in branch.properties:
        return None
    words = [_value(operand, branch.parent, known) for operand in branch.fixed_operands()]
    if isinstance(branch, ebpf.JccRIOp):
        words.append(branch.imm.data & M64)
    a, b = (None if word is None else word & ((1 << branch.row.width) - 1) for word in words)
    if a is None or b is None:
        return None
    held = compare(JUMPS[branch.row.op], a, b, branch.row.width) if branch.row.op in JUMPS else a & b != 0
    return 0 if held else 1


def _value(value: SSAValue, block: Block | None, known: Mapping[SSAValue, int]) -> int | None:
    """A value that is computed in the block of what is known and of constants."""
    if value in known or isinstance(value, BlockArgument):
        return known.get(value)
    op = value.owner
    assert isinstance(op, Operation)
    if op.operands and op.parent is not block:
        return None
    words = [_value(operand, block, known) for operand in op.operands]
    return evaluate(op, [word for word in words if word is not None]) if None not in words else None


def _reached(start: Block, without: Block) -> frozenset[Block]:
    """The blocks that control may come to from one before it comes to another."""
    seen: set[Block] = set()
    work = [start]
    while work:
        block = work.pop()
        if block is without or block in seen:
            continue
        seen.add(block)
        work += block.last_op.successors if block.last_op is not None else ()
    return frozenset(seen)


def _is_read(arg: BlockArgument, branch: Operation, taken: int, beyond: frozenset[Block]) -> bool:
    """Whether an argument of the branch's block is used there, or on the way that is taken."""
    first = len(branch.operands) - sum(len(successor_operands(branch, i)) for i in (0, 1))
    first += len(successor_operands(branch, 0)) * (1 - taken)
    other = range(first, first + len(successor_operands(branch, 1 - taken)))
    return any(
        use.index not in other
        if use.operation is branch
        else use.operation.parent is branch.parent or use.operation.parent in beyond
        for use in arg.uses
    )
