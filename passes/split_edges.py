"""`split-edges`: constants that several branches pass are made where they are needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.dialects import ebpf, packet
from fsir.passes._rewrite import constant, constant_of, raised_functions, replace

Edge = tuple[Operation, int]


@dataclass(frozen=True)
class SplitEdgesPass(ModulePass):
    """Lead the branches that pass the same constants to a block by way of one block that makes them.

    A value that a branch passes has to be in its register before the branch is taken: the path that goes on has made it
    for nothing, and every such branch makes it again. A block on the way makes it once, and only when it is needed.
    Constants that only one branch passes stay where they are.

    Where the block does nothing but return what it is passed, the block on the way returns it itself, and so do jumps
    to it; they would only have been followed by an `exit`.
    """

    name = "split-edges"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            split_edges(func.body)


def split_edges(region: Region) -> None:
    """Split the edges of a region."""
    for block, incoming in predecessors(region).items():
        if not block.args or block is region.blocks.first:
            continue
        end = block.first_op
        returns = isinstance(end, packet.VerdictOp | ebpf.ExitOp) and list(end.operands) == list(block.args)
        shared = _shared(incoming)
        for edges in shared:
            _lead_by_way(region, block, edges, end if returns else None)
        if returns and end is not None:
            _end_jumps(block, end, incoming, sum(len(edges) for edges in shared))


def _shared(incoming: list[Edge]) -> list[list[Edge]]:
    """The branches that pass the same constants and nothing else, where they are several."""
    passing: defaultdict[object, list[Edge]] = defaultdict(list)
    for terminator, index in incoming:
        values = successor_operands(terminator, index)
        known = tuple(constant_of(value) for value in values)
        if not isinstance(terminator, cf.BranchOp) and None not in known:
            passing[known].append((terminator, index))
    return [edges for edges in passing.values() if len(edges) > 1]


def _lead_by_way(region: Region, block: Block, edges: list[Edge], end: Operation | None) -> None:
    """Lead edges by way of a new block, which goes on to `block`, or does what its end does."""
    own = Block()
    passed: list[SSAValue] = []
    for value in successor_operands(*edges[0]):
        known, type_ = constant_of(value), value.type
        assert known is not None and isinstance(type_, IntegerType)
        made = constant(known, type_)
        made.location = edges[0][0].location
        own.add_op(made)
        passed.append(made.result)
    if end is None:
        own.add_op(cf.BranchOp.create(operands=passed, successors=[block], location=edges[0][0].location))
        region.insert_block_before(own, block)
    else:
        own.add_op(_end_like(end, passed))
        region.insert_block_after(own, block)
    for terminator, index in edges:
        terminator.successors[index] = own
        set_successor_operands(terminator, index, [])


def _end_jumps(block: Block, end: Operation, incoming: list[Edge], gone: int) -> None:
    """Let jumps to the end of a function end there: those with constants, but for one that falls through to it, and all
    of them where nothing else leads to it any more."""
    jumps = [terminator for terminator, _ in incoming if isinstance(terminator, cf.BranchOp)]
    only_jumps = len(jumps) + gone == len(incoming)
    for jump in jumps:
        known = all(constant_of(value) is not None for value in jump.operands)
        if only_jumps or (known and jump.parent is not block.prev_block):
            replace(jump, [_end_like(end, jump.operands)])


def _end_like(end: Operation, values: Sequence[SSAValue]) -> Operation:
    return type(end).create(operands=list(values), properties=dict(end.properties), location=end.location)
