"""`if-conversion`: a truth value is the condition, not a choice between 1 and 0."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp, i1
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.analysis.evaluate import PREDICATES
from fsir.passes._algebra_compare import NEGATED
from fsir.passes._rewrite import compare, constant_of, extend, raised_functions

Edge = tuple[Operation, int]


@dataclass(frozen=True)
class IfConversionPass(ModulePass):
    """Replace a branch that does nothing but choose 1 or 0 by its condition, extended.

    The machine has no conditional move: where the value is used as a number, lowering makes the branch again, no longer
    than it was. But where it is tested again, perhaps after `and` or `or` with others, that test becomes one of the
    condition (`fold-constants`), and the value is never made. That is all the if-conversion that pays on this machine:
    any other choice would cost more arithmetic than the branch.
    """

    name = "if-conversion"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            convert(func.body)


def convert(region: Region) -> None:
    """Convert the branches of a region, those that a choice depends on before the choice."""
    incoming = predecessors(region)
    for block in list(region.blocks):
        branch = block.last_op
        if block.parent is None or not isinstance(branch, cf.ConditionalBranchOp):
            continue
        if isinstance(branch.cond.owner, arith.CmpiOp):
            _convert(block, branch, incoming)


def _convert(block: Block, branch: cf.ConditionalBranchOp, incoming: dict[Block, list[Edge]]) -> None:
    then, other = (_follow(branch, index, incoming) for index in (0, 1))
    join = then[0].successors[then[1]]
    if join is not other[0].successors[other[1]] or len(incoming[join]) != 2 or then == other:
        return
    chosen = list(successor_operands(*then))
    rejected = list(successor_operands(*other))
    different = [i for i, pair in enumerate(zip(chosen, rejected, strict=True)) if pair[0] is not pair[1]]
    if len(different) != 1:
        return
    value = _truth(block, branch, chosen[different[0]], rejected[different[0]])
    if value is None:
        return
    chosen[different[0]] = value
    for arg, passed in zip(join.args, chosen, strict=True):
        arg.replace_all_uses_with(passed)
    jump = cf.BranchOp.create(successors=[join], location=branch.location)
    block.insert_op_before(jump, branch)
    block.erase_op(branch)
    for terminator, _ in (then, other):
        empty = terminator.parent
        if empty is not None and empty is not block and empty.parent is not None:
            incoming.pop(empty)
            for op in reversed(list(empty.ops)):
                empty.erase_op(op)
            empty.parent.erase_block(empty)
    for arg in reversed(join.args):
        join.erase_arg(arg)
    incoming[join] = [(jump, 0)]


def _follow(branch: Operation, index: int, incoming: dict[Block, list[Edge]]) -> Edge:
    """The edge by which a branch leaves: its own, or that of a block that only it leads to and that does nothing."""
    block = branch.successors[index]
    jump = block.last_op
    if not isinstance(jump, cf.BranchOp) or block.args or len(incoming[block]) != 1:
        return branch, index
    empty = all(op is jump or isinstance(op, arith.ConstantOp) for op in block.ops)
    return (jump, 0) if empty else (branch, index)


def _truth(block: Block, branch: cf.ConditionalBranchOp, chosen: SSAValue, rejected: SSAValue) -> SSAValue | None:
    """The condition or its opposite as a number, when that is what is chosen."""
    type_ = chosen.type
    if not isinstance(type_, IntegerType) or type_ != rejected.type or type_ == i1:
        return None
    condition = branch.cond
    if (constant_of(chosen), constant_of(rejected)) == (0, 1):
        source = condition.owner
        assert isinstance(source, arith.CmpiOp)
        opposite = compare(NEGATED[PREDICATES[source.predicate.value.data]], source.lhs, source.rhs)
        opposite.location = branch.location
        block.insert_op_before(opposite, branch)
        condition = opposite.results[0]
    elif (constant_of(chosen), constant_of(rejected)) != (1, 0):
        return None
    number = extend(condition, type_)
    number.location = branch.location
    block.insert_op_before(number, branch)
    return number.results[0]
