"""`merge-blocks`: what is written several times is there once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import erase_blocks, predecessors
from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects import ebpf
from fsir.passes._rewrite import constant, constant_of, raised_functions

Incoming = dict[Block, list[tuple[Operation, int]]]

_LARGEST = 32
"""Blocks that are merged at once, at most."""
_TRIED = 4
"""Blocks that a block is compared with, at most: those that begin like it."""


@dataclass(frozen=True)
class MergeBlocksPass(ModulePass):
    """Lead the edges to one of several pieces of code that do the same.

    A piece is a block with blocks behind it, to which nothing else leads. Two are the same when they do the same with
    the same values, go on to the same blocks, and nothing uses what the second one computes. The paths stay as long as
    they were, and the verifier follows each by itself, so that what it knows of pointers there does not change.

    Code in loops is left alone: pieces of an unrolled loop would become a loop again. So are accesses with CO-RE
    relocations and handoffs.
    """

    name = "merge-blocks"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            merge_blocks(func.body)


def merge_blocks(region: Region) -> int:
    """Merge equal pieces of a region. Gives the number of blocks that went."""
    tree = DominatorTree(region)
    incoming = predecessors(region)
    first: defaultdict[object, list[Block]] = defaultdict(list)
    gone: set[Block] = set()
    in_loops = _in_loops(tree.rpo)
    for block in reversed(tree.rpo):
        if block in gone or block in in_loops or block is region.blocks.first:
            continue
        key = _shape(block)
        if key is None or not _is_worth_it(block):
            continue
        kept = next((pair for other in first[key] if (pair := _match(other, block, gone, incoming)) is not None), None)
        if kept is not None:
            kept.merge(block)
            gone |= kept.blocks.keys()
        elif len(first[key]) < _TRIED:
            first[key].append(block)
    erase_blocks(region, gone)
    return len(gone)


def _in_loops(blocks: list[Block]) -> set[Block]:
    """The blocks to which control may come back."""
    found: set[Block] = set()
    for component in components(blocks, successors):
        if len(component) > 1 or component[0] in successors(component[0]):
            found |= set(component)
    return found


def _shape(block: Block) -> object:
    """What equal blocks have in common, constants aside; None for one that stays as it is."""
    shape: list[object] = [tuple(arg.type for arg in block.args)]
    for op in block.ops:
        if isinstance(op, arith.ConstantOp):
            continue
        if op.regions or isinstance(op, ebpf.MayGotoOp) or "core" in op.properties or op.name.startswith("placement."):
            return None
        types = tuple(result.type for result in op.results)
        shape.append((op.name, types, len(op.operands), len(op.successors), tuple(sorted(op.properties.items()))))
    return tuple(shape)


def _is_worth_it(block: Block) -> bool:
    """Whether a block does more than leave."""
    return any(op is not block.last_op and not isinstance(op, arith.ConstantOp) for op in block.ops)


def _match(kept: Block, other: Block, gone: set[Block], incoming: Incoming) -> _Pair | None:
    """The pieces that begin with two blocks, when they are the same."""
    if kept in gone:
        return None
    pair = _Pair(incoming, gone)
    return pair if pair.match(kept, other) else None


@dataclass
class _Pair:
    """Two pieces: for each block and each value of the second its counterpart in the first."""

    incoming: Incoming
    gone: set[Block]
    blocks: dict[Block, Block] = field(default_factory=dict)
    values: dict[SSAValue, SSAValue] = field(default_factory=dict)

    def match(self, kept: Block, other: Block) -> bool:
        """Compare the pieces that begin with two blocks."""
        work = [(kept, other)]
        self.blocks[other] = kept
        while work:
            a, b = work.pop()
            if not self.match_ops(a, b):
                return False
            for one, two in zip(successors(a), successors(b), strict=True):
                if one is two or self.blocks.get(two) is one:
                    continue
                shape = _shape(two)
                if two in self.blocks or len(self.blocks) >= _LARGEST or shape is None or shape != _shape(one):
                    return False
                self.blocks[two] = one
                work.append((one, two))
        return self.is_closed(other)

    def match_ops(self, a: Block, b: Block) -> bool:
        """Compare two blocks operation by operation; constants count by value."""
        for mine, theirs in zip(a.args, b.args, strict=True):
            self.values[theirs] = mine
        ours, others = ([op for op in block.ops if not isinstance(op, arith.ConstantOp)] for block in (a, b))
        for one, two in zip(ours, others, strict=True):
            if not all(self.is_same(x, y) for x, y in zip(one.operands, two.operands, strict=True)):
                return False
            self.values.update(zip(two.results, one.results, strict=True))
        return True

    def is_same(self, mine: SSAValue, theirs: SSAValue) -> bool:
        """Whether two operands are the same, or become the same."""
        if self.values.get(theirs, theirs) is mine:
            return True
        known = constant_of(mine)
        return known is not None and mine.type == theirs.type and known == constant_of(theirs)

    def is_closed(self, root: Block) -> bool:
        """Whether the second piece may go: apart from the first, entered at its root, its values used only in it."""
        if self.blocks.keys() & set(self.blocks.values()):
            return False
        for block in self.blocks:
            before = {terminator.parent for terminator, _ in self.incoming[block]} - self.gone
            if block is not root and before - self.blocks.keys():
                return False
            for value in (*block.args, *(result for op in block.ops for result in op.results)):
                if any(use.operation.parent not in self.blocks for use in value.uses):
                    return False
        return True

    def merge(self, root: Block) -> None:
        """Lead the edges to the second piece to the first, which makes its own constants from now on."""
        kept = self.blocks[root]
        for terminator, index in self.incoming[root]:
            terminator.successors[index] = kept
        self.incoming[kept] = self.incoming[kept] + self.incoming.pop(root)
        piece = set(self.blocks.values())
        for block in piece:
            for op in list(block.ops):
                for index, value in enumerate(op.operands):
                    self.make_again(op, index, value, piece)

    def make_again(self, op: Operation, index: int, value: SSAValue, piece: set[Block]) -> None:
        """A constant from outside of a piece need not reach it on the new ways into it."""
        known, type_ = constant_of(value), value.type
        if known is None or not isinstance(type_, IntegerType) or value.owner.parent in piece:
            return
        own = constant(known, type_)
        own.location = op.location
        own.result.name_hint = value.name_hint
        assert op.parent is not None
        op.parent.insert_op_before(own, op)
        op.operands[index] = own.result
