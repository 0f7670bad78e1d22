"""`split-edges`: constants that several branches pass are made where they are needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.analysis.evaluate import evaluate
from fsir.dialects import ebpf, packet
from fsir.passes._rewrite import constant, constant_of, raised_functions, replace

Edge = tuple[Operation, int]


@dataclass(frozen=True)
class SplitEdgesPass(ModulePass):
    """Lead the branches that pass the same constants to a block by way of one block that makes them.

    A value that a branch passes has to be in its register before the branch is taken: the path that goes on has made it
    for nothing, and every such branch makes it again. A block on the way makes it once, and only when it is needed.
    Constants that only one branch passes stay where they are, unless a jump that passes the same can fall through.

    Where the block does nothing but return what it is passed, perhaps cut or extended, the block on the way returns the
    constant itself, and so do jumps with constants to it; they would only have been followed by an `exit`. Where but
    one branch and some jumps lead there, the branch gets an end of its own, too: the function may be an instruction
    longer by that, and every way through it is one shorter.
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
        end = _End.of(block)
        for edges in _shared(incoming):
            _lead_by_way(region, block, edges, end)
        if end is None:
            continue
        left = [edge for edge in incoming if edge[0].successors[edge[1]] is block]
        branches = [edge for edge in left if not isinstance(edge[0], cf.BranchOp)]
        if len(branches) == 1 < len(left) and end.with_constants(successor_operands(*branches[0])) is not None:
            _lead_by_way(region, block, branches, end)
            left.remove(branches[0])
        end.at_jumps(left)


@dataclass(frozen=True)
class _End:
    """A block that returns from the function what becomes of its arguments by the operations in it."""

    block: Block
    last: Operation

    @staticmethod
    def of(block: Block) -> _End | None:
        """The block as an end; None if it does more."""
        last = block.last_op
        if not isinstance(last, packet.VerdictOp | ebpf.ExitOp):
            return None
        made = set(block.args) | {result for op in block.ops for result in op.results}
        own = all(value in made and isinstance(value.type, IntegerType) for value in last.operands)
        pure = all(op is last or isinstance(op, _FOLLOWED) for op in block.ops)
        return _End(block, last) if own and pure and last.operands else None

    @property
    def is_bare(self) -> bool:
        """Whether it returns its arguments as they are."""
        return self.last is self.block.first_op

    def with_constants(self, passed: Sequence[SSAValue]) -> list[Operation] | None:
        """What the end does when it is passed these constants; None where they are none, or the result is not known."""
        known: dict[SSAValue, int | None] = dict(zip(self.block.args, map(constant_of, passed), strict=True))
        for op in self.block.ops:
            operands = [found for value in op.operands if (found := known.get(value, constant_of(value))) is not None]
            if op is not self.last:
                complete = len(operands) == len(op.operands)
                known[op.results[0]] = evaluate(op, operands) if complete else None
        made: list[Operation] = []
        for value in self.last.operands:
            found = known[value]
            if found is None:
                return None
            assert isinstance(value.type, IntegerType)
            made.append(constant(found, value.type))
        return [*made, self.returning([op.results[0] for op in made])]

    def returning(self, values: Sequence[SSAValue]) -> Operation:
        """An end of the same kind, with these values."""
        last = self.last
        return type(last).create(operands=list(values), properties=dict(last.properties), location=last.location)

    def at_jumps(self, incoming: list[Edge]) -> None:
        """Let jumps to the end of a function end there: those with constants, but for one that falls through to it when
        no other can, and all of them where nothing else leads to it any more and it only returns."""
        jumps = [terminator for terminator, _ in incoming if isinstance(terminator, cf.BranchOp)]
        ends = {jump: self.with_constants(jump.operands) for jump in jumps}
        only_jumps = self.is_bare and len(jumps) == len(incoming)
        others = None in ends.values()
        for jump, end in ends.items():
            if only_jumps:
                replace(jump, [self.returning(jump.operands)])
            elif end is not None and (others or jump.parent is not self.block.prev_block):
                replace(jump, end)


_FOLLOWED = (arith.ConstantOp, arith.ExtUIOp, arith.ExtSIOp, arith.TruncIOp, arith.AndIOp)
"""What stands before the end of a function that returns less than a word."""


def _shared(incoming: list[Edge]) -> list[list[Edge]]:
    """The edges that pass the same constants and nothing else, where several of them make these for nothing else: those
    of branches, and jumps that are all that their blocks do. One more jump may come to the same block by falling
    through."""
    passing: defaultdict[object, list[Edge]] = defaultdict(list)
    falling: dict[object, list[Edge]] = {}
    for terminator, index in incoming:
        values = successor_operands(terminator, index)
        known = tuple(constant_of(value) for value in values)
        if None not in known:
            if isinstance(terminator, cf.BranchOp) and not _is_empty(terminator):
                falling[known] = [(terminator, index)]
            else:
                passing[known].append((terminator, index))
    groups = [edges + falling.get(known, []) for known, edges in passing.items()]
    return [edges for edges in groups if len(edges) > 1]


def _is_empty(jump: cf.BranchOp) -> bool:
    """Whether a jump is all that its block does."""
    block = jump.parent
    return (
        block is not None and not block.args and all(op is jump or isinstance(op, arith.ConstantOp) for op in block.ops)
    )


def _lead_by_way(region: Region, block: Block, edges: list[Edge], end: _End | None) -> None:
    """Lead edges by way of a new block, which goes on to `block`, or does what its end does."""
    values = successor_operands(*edges[0])
    finish = end.with_constants(values) if end is not None else None
    if finish is None:
        own = Block(_constants(values))
        own.add_op(cf.BranchOp.create(operands=[op.results[0] for op in own.ops], successors=[block]))
        region.insert_block_before(own, block)
    else:
        own = Block(finish)
        region.insert_block_after(own, block)
    for op in own.ops:
        op.location = edges[0][0].location
    for terminator, index in edges:
        terminator.successors[index] = own
        set_successor_operands(terminator, index, [])


def _constants(values: Sequence[SSAValue]) -> list[Operation]:
    """Constants like these."""
    made: list[Operation] = []
    for value in values:
        known, type_ = constant_of(value), value.type
        assert known is not None and isinstance(type_, IntegerType)
        made.append(constant(known, type_))
    return made
