"""`simplify-cfg`: fewer blocks, jumps and block arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import (
    erase_block_arg,
    erase_blocks,
    erase_unreachable,
    predecessors,
    set_successor_operands,
    successor_operands,
)
from fsir.analysis.effects import EffectTable
from fsir.passes._rewrite import constant_of, raised_functions, replace

Edge = tuple[Operation, int]


@dataclass(frozen=True)
class SimplifyCfgPass(ModulePass):
    """Remove the control flow that does nothing.

    Branches on a constant, and branches whose edges are the same, become jumps; a block that only one jump leads to
    joins the block before; edges go around blocks that only jump on; ends of functions that are the same become one;
    block arguments that always hold the same value, or what another one holds, go.  The order of blocks stays.

    Edges are led around a block only when that asks for no copies on each of them that were made once in the block: no
    rewrite adds an instruction. Blocks with effects are never duplicated or merged: what an earlier branch says of a
    packet or map pointer holds for each path by itself.
    """

    name = "simplify-cfg"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            simplify(func.body, effects)


def simplify(region: Region, effects: EffectTable) -> None:
    """Simplify the control flow of a region until nothing more is found."""
    again = True
    while again:
        again = _fold_branches(region)
        erase_unreachable(region)
        again |= _Edges(region).run()
        again |= _merge_ends(region, effects)
        again |= simplify_block_args(region) + _drop_duplicate_args(region) > 0


def _fold_branches(region: Region) -> bool:
    """Make jumps of the branches that can only go one way."""
    changed = False
    for block in region.blocks:
        branch = block.last_op
        if not isinstance(branch, cf.ConditionalBranchOp):
            continue
        known = constant_of(branch.cond)
        same = branch.then_block is branch.else_block and list(branch.then_arguments) == list(branch.else_arguments)
        if known is None and not same:
            continue
        index = 0 if same or known else 1
        values = list(successor_operands(branch, index))
        replace(branch, [cf.BranchOp.create(operands=values, successors=[branch.successors[index]])])
        changed = True
    return changed


class _Edges:
    """Merging blocks and leading edges around them, with the incoming edges of every block kept up to date."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.incoming = predecessors(region)
        self.changed = False

    def run(self) -> bool:
        """Give whether anything changed."""
        for block in list(self.region.blocks):
            if block.parent is not None:
                self.skip(block)
        for block in list(self.region.blocks):
            while block.parent is not None and self.merge_next(block):
                self.changed = True
        return self.changed

    def skip(self, block: Block) -> None:
        """Lead the edges to a block that only jumps on to where it jumps."""
        jump = block.last_op
        if not isinstance(jump, cf.BranchOp) or jump is not block.first_op or block is self.region.blocks.first:
            return
        target = jump.successor
        passed = list(jump.arguments)
        edges = self.incoming[block]
        if target is block or not edges or any(use.operation is not jump for arg in block.args for use in arg.uses):
            return
        if any(value not in block.args for value in passed):
            return  # a copy made once, here, would be made on every edge
        for terminator, index in edges:
            meaning = dict(zip(block.args, successor_operands(terminator, index), strict=True))
            values = [meaning[value] for value in passed if isinstance(value, BlockArgument)]
            terminator.successors[index] = target
            set_successor_operands(terminator, index, values)
        self.incoming[target] = [edge for edge in self.incoming[target] if edge[0] is not jump] + edges
        self.incoming[block] = []
        self.erase(block)

    def merge_next(self, block: Block) -> bool:
        """Append the block to which alone this one jumps, when nothing else leads there."""
        jump = block.last_op
        if not isinstance(jump, cf.BranchOp):
            return False
        target = jump.successor
        if target is block or target is self.region.blocks.first or len(self.incoming[target]) != 1:
            return False
        for arg, value in zip(target.args, list(jump.arguments), strict=True):
            if value.name_hint is None:
                value.name_hint = arg.name_hint
            arg.replace_all_uses_with(value)
        block.erase_op(jump)
        for op in list(target.ops):
            target.detach_op(op)
            block.add_op(op)
        self.erase(target)
        return True

    def erase(self, block: Block) -> None:
        erase_blocks(self.region, [block])
        self.changed = True


def _merge_ends(region: Region, effects: EffectTable) -> bool:
    """Lead all edges to one of several blocks that compute the same, without effects, and leave the function."""
    first: dict[object, Block] = {}
    incoming: dict[Block, list[Edge]] | None = None
    for block in list(region.blocks):
        key = _shape(block, effects) if block is not region.blocks.first else None
        if key is None:
            continue
        kept = first.setdefault(key, block)
        if kept is block:
            continue
        incoming = incoming if incoming is not None else predecessors(region)
        for terminator, index in incoming[block]:
            terminator.successors[index] = kept
        for op in block.ops:
            op.operands = []
        region.erase_block(block)
    return incoming is not None


def _shape(block: Block, effects: EffectTable) -> object:
    """What equal ends of functions have in common; None for a block that is none, or does more than end."""
    last = block.last_op
    if last is None or last.successors or effects.of(last).writes:
        return None
    own: dict[SSAValue, int] = {arg: index for index, arg in enumerate(block.args)}
    shape: list[object] = [tuple(arg.type for arg in block.args)]
    for op in block.ops:
        if op is not last and not effects.of(op).pure:
            return None
        operands: list[object] = [own.get(value, value) for value in op.operands]
        types: Sequence[Attribute] = [result.type for result in op.results]
        shape.append((op.name, tuple(operands), tuple(types), tuple(sorted(op.properties.items()))))
        for result in op.results:
            own[result] = len(own)
    return tuple(shape)


def _drop_duplicate_args(region: Region) -> int:
    """Replace block arguments that every edge gives the same value, or constant, as another one of the block."""
    removed = 0
    incoming = predecessors(region)
    for block, edges in incoming.items():
        if len(block.args) < 2 or not edges or block is region.blocks.first:
            continue
        first: dict[object, BlockArgument] = {}
        duplicates: list[BlockArgument] = []
        passed = [list(successor_operands(terminator, index)) for terminator, index in edges]
        for arg in block.args:
            kept = first.setdefault((arg.type, *(_number(values[arg.index]) for values in passed)), arg)
            if kept is not arg:
                arg.replace_all_uses_with(kept)
                duplicates.append(arg)
        for arg in reversed(duplicates):
            erase_block_arg(block, arg.index, edges)
            removed += 1
    return removed


def _number(value: SSAValue) -> SSAValue | int:
    """The constant that a value is, or the value itself."""
    known = constant_of(value)
    return value if known is None else known
