"""`merge-guards`: one question for all the bytes that every way on asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects import cf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import edges, predecessors, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.effects import EffectTable
from fsir.analysis.facts import reach
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import int_attr
from fsir.passes._rewrite import constant_of, raised_functions

_LARGEST = 64
"""Blocks that are looked at behind a guard, at most."""


@dataclass(frozen=True)
class MergeGuardsPass(ModulePass):
    """Let a guard ask for as many bytes as all ways from it on ask for, where who asks for more and does not get it,
    and who goes another way, comes to the same end as who does not get the first.

    Between the first guard and the others nothing may happen that anybody could see: a packet that has the bytes of the
    first only goes to the end at once. The later guards that ask for no more are what `value-numbering` drops. One
    that asks for an Ethernet header, passes what is not IP, asks for an IP header and passes what has none asks once.
    """

    name = "merge-guards"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            merge_guards(func.body, effects)


def merge_guards(region: Region, effects: EffectTable) -> int:
    """Merge the guards of a region. Gives the number of those that ask for more than before."""
    merged = 0
    tree = DominatorTree(region)
    incoming = predecessors(region)
    for block in reversed(tree.rpo):
        guard = _Guard.of(block)
        if guard is None or len(incoming[guard.success]) != 1 or not guard.op.res.has_one_use():
            continue
        size = _Search(guard, tree, effects).least(guard.success)
        if size is not None and guard.size < size < _ANY:
            guard.op.size = int_attr(guard.op.size.data + size - guard.size)
            merged += 1
    return merged


@dataclass(frozen=True)
class _Guard:
    """A branch on a guard: `size` bytes from `base` on, up to `op.end`, and where control goes without them."""

    op: packet.GuardOp
    base: SSAValue
    size: int
    success: Block
    failure: tuple[Block, tuple[object, ...]]

    @staticmethod
    def of(block: Block) -> _Guard | None:
        """The guard that a block ends with."""
        branch = block.last_op
        if not isinstance(branch, cf.ConditionalBranchOp) or not isinstance(branch.cond.owner, packet.GuardOp):
            return None
        base, size = reach(branch.cond.owner)
        failure = _target(branch.else_block, successor_operands(branch, 1))
        return _Guard(branch.cond.owner, base, size, branch.then_block, failure)


def _target(block: Block, values: Sequence[SSAValue]) -> tuple[Block, tuple[object, ...]]:
    """Where an edge leads, with what; constants by value."""
    known = ((value, None) if (word := constant_of(value)) is None else (value.type, word) for value in values)
    return block, tuple(known)


_ANY = 1 << 32
"""More bytes than any guard asks for: those of a way that needs none, because it leads to the same end."""


@dataclass
class _Search:
    """The search for what the ways behind a guard ask for."""

    guard: _Guard
    tree: DominatorTree
    effects: EffectTable
    found: dict[Block, int | None] = field(default_factory=dict)

    def least(self, block: Block) -> int | None:
        """The least number of bytes that some way from a block on asks for; None where one asks for none, or does
        something else before that."""
        if block in self.found:
            return self.found[block]
        self.found[block] = None  # of a loop nothing is known
        if len(self.found) <= _LARGEST and self.tree.dominates(self.guard.success, block) and self.is_quiet(block):
            self.found[block] = self.behind(block)
        size = self.found[block]
        return size

    def behind(self, block: Block) -> int | None:
        """The least that is asked for by the end of a block, or after it."""
        last, guard = block.last_op, _Guard.of(block)
        if last is None or not last.successors or isinstance(last, ebpf.MayGotoOp):
            return None
        if guard is not None and guard.base is self.guard.base and guard.op.end is self.guard.op.end:
            return guard.size if guard.failure == self.guard.failure else None
        least = _ANY
        for target, values in edges(block):
            size = _ANY if _target(target, values) == self.guard.failure else self.least(target)
            if size is None:
                return None
            least = min(least, size)
        return least

    def is_quiet(self, block: Block) -> bool:
        """Whether a block does nothing that can be seen, before its end."""
        return all(op is block.last_op or self.is_removable(op) for op in block.ops)

    def is_removable(self, op: Operation) -> bool:
        return self.effects.of(op).removable and not self.effects.of(op).writes and "core" not in op.properties
