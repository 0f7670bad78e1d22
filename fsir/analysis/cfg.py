"""Control flow of a function, the same at every level: what a terminator passes to which successor.

`cf.br`, `cf.cond_br` and the terminators of the `ebpf` dialect keep their successor operands in different ways; passes
and analyses ask here instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import cast

from xdsl.dialects import cf
from xdsl.dialects.builtin import DenseArrayBase, IntegerType
from xdsl.ir import Block, Operation, Region, SSAValue

from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf.base import SEGMENTS, BranchOp, segment_bounds, segments


def successor_operands(op: Operation, index: int) -> Sequence[SSAValue]:
    """The values that a terminator passes to the arguments of its successor number `index`."""
    if isinstance(op, BranchOp):
        return op.successor_operands(index)
    if isinstance(op, cf.BranchOp):
        return op.arguments
    if isinstance(op, cf.ConditionalBranchOp):  # without xDSL's accessors, which read the sizes anew each time
        sizes = cast("DenseArrayBase[IntegerType]", op.properties[SEGMENTS])
        bounds = segment_bounds(sizes.data.data, 2)
        return op.operands[bounds[index] : bounds[index + 1]]
    assert not op.successors, f"{op.name} has successors of unknown kind"
    return ()


def set_successor_operands(op: Operation, index: int, values: Sequence[SSAValue]) -> None:
    """Replace the values that a terminator passes to its successor number `index`."""
    if isinstance(op, BranchOp):
        op.set_successor_operands(index, values)
    elif isinstance(op, cf.BranchOp):
        op.operands = list(values)
    else:
        assert isinstance(op, cf.ConditionalBranchOp), f"{op.name} has successors of unknown kind"
        passed = [list(op.then_arguments), list(op.else_arguments)]
        passed[index] = list(values)
        op.operands = [op.cond, *passed[0], *passed[1]]
        sizes = (1, len(passed[0]), len(passed[1]))
        op.properties[SEGMENTS] = segments(*sizes)


def edges(block: Block) -> Iterator[tuple[Block, Sequence[SSAValue]]]:
    """The successors of a block in order, each with the values passed to it."""
    terminator = block.last_op
    if terminator is None:
        return
    for index, successor in enumerate(terminator.successors):
        yield successor, successor_operands(terminator, index)


def predecessors(region: Region) -> dict[Block, list[tuple[Operation, int]]]:
    """For every block, the (terminator, successor index) pairs that lead to it."""
    result: dict[Block, list[tuple[Operation, int]]] = {block: [] for block in region.blocks}
    for block in region.blocks:
        terminator = block.last_op
        if terminator is not None:
            for index, successor in enumerate(terminator.successors):
                result[successor].append((terminator, index))
    return result


def erase_unreachable(region: Region) -> int:
    """Erase the blocks that control cannot reach from the entry. Gives their number."""
    tree = DominatorTree(region)
    dead = [block for block in region.blocks if not tree.is_reachable(block)]
    erase_blocks(region, dead)
    return len(dead)


def erase_blocks(region: Region, blocks: Collection[Block]) -> None:
    """Erase blocks to which no other block leads any more; what they define is used in none but them."""
    for block in blocks:
        for op in block.ops:
            op.operands = []
            op.successors = []
    for block in blocks:
        region.erase_block(block)


def erase_block_arg(block: Block, index: int, incoming: Sequence[tuple[Operation, int]]) -> None:
    """Remove a block argument that nothing uses, and the values passed to it along `incoming` edges."""
    for terminator, successor in incoming:
        values = list(successor_operands(terminator, successor))
        del values[index]
        set_successor_operands(terminator, successor, values)
    block.erase_arg(block.args[index])
