"""What a block's condition is, edge by edge: the values passed to the block and the branches taken before decide it."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.evaluate import evaluate
from fsir.analysis.facts import BranchFacts
from fsir.dialects import ebpf, map, packet
from fsir.passes._rewrite import constant, constant_of

_COMPARISONS = (arith.CmpiOp, packet.GuardOp, map.HitOp)
_FOLLOWED = (arith.ExtUIOp, arith.ExtSIOp, arith.TruncIOp, arith.AndIOp, arith.ShRUIOp, ebpf.UnaryOp, ebpf.CastOp)
"""What may stand between the value that is passed and the comparison."""


class Outcomes:
    """The conditions of one block, for a way into it from `source`, which passes these values and has these facts."""

    def __init__(
        self, block: Block, source: Block, passed: Sequence[SSAValue], tree: DominatorTree, facts: BranchFacts
    ) -> None:
        self.block, self.source, self.tree, self.facts = block, source, tree, facts
        self.meaning: dict[SSAValue, SSAValue] = dict(zip(block.args, passed, strict=True))

    def of(self, condition: SSAValue) -> bool | None:
        """What a condition is at the end of the block, where that is known."""
        condition = self.meaning.get(condition, condition)
        known = self.facts.known(condition)
        op = condition.owner
        if known is not None or isinstance(op, Block):
            return known
        if isinstance(op, arith.AndIOp | arith.OrIOp):
            return _either(self.of(op.lhs), self.of(op.rhs), isinstance(op, arith.OrIOp))
        if isinstance(op, arith.XOrIOp) and constant_of(op.rhs) == 1:
            inner = self.of(op.lhs)
            return None if inner is None else not inner
        if not isinstance(op, _COMPARISONS):
            return None
        here = type(op).create(
            operands=[self.value(operand) for operand in op.operands],
            result_types=[result.type for result in op.results],
            properties=dict(op.properties),
        )
        decided = self.facts.decide(here)
        here.operands = []
        return decided

    def value(self, value: SSAValue) -> SSAValue:
        """What a value is on this way: one that is passed, a constant, or the same computation made before."""
        if value in self.meaning:
            return self.meaning[value]
        op = value.owner
        if isinstance(value, BlockArgument) or not isinstance(op, _FOLLOWED) or op.parent is not self.block:
            return value
        operands = [self.value(operand) for operand in op.operands]
        found = _evaluated(op, operands) or self.made_before(op, operands)
        self.meaning[value] = found if found is not None else value
        return self.meaning[value]

    def made_before(self, op: Operation, operands: Sequence[SSAValue]) -> SSAValue | None:
        """The result of the first operation on the way here that computes the same: facts may be known of it."""
        found: list[Operation] = []
        for use in operands[0].uses:
            other, block = use.operation, use.operation.parent
            if block is None or type(other) is not type(op) or not self.tree.dominates(block, self.source):
                continue
            same = other.properties == op.properties and other.results[0].type == op.results[0].type
            if same and _alike(other.operands, operands):
                found.append(other)
        if not found:
            return None
        first: SSAValue = min(found, key=self.position).results[0]
        return first

    def position(self, op: Operation) -> int:
        """Where an operation's block is, those that dominate others first."""
        assert op.parent is not None
        return self.tree.rpo_number(op.parent)


def _evaluated(op: Operation, operands: Sequence[SSAValue]) -> SSAValue | None:
    """What an operation makes of constants."""
    known = [word for operand in operands if (word := constant_of(operand)) is not None]
    type_ = op.results[0].type
    if len(known) < len(operands) or not isinstance(type_, IntegerType):
        return None
    result = evaluate(op, known)
    return None if result is None else constant(result, type_).result


def _either(a: bool | None, b: bool | None, deciding: bool) -> bool | None:
    """`or` where true decides, `and` where false does."""
    if deciding in (a, b):
        return deciding
    return None if None in (a, b) else not deciding


def _alike(mine: Sequence[SSAValue], theirs: Sequence[SSAValue]) -> bool:
    return all(
        a is b or (a.type == b.type and constant_of(a) is not None and constant_of(a) == constant_of(b))
        for a, b in zip(mine, theirs, strict=True)
    )
