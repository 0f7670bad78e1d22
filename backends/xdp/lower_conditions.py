"""The pass `lower-conditions`."""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i1
from xdsl.ir import Block, Operation, SSAValue, Use
from xdsl.passes import ModulePass

from fsir.backends.xdp._build import constant_of, virtual_functions
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.ebpf.base import SEGMENTS, segments
from fsir.passes._each_function import each_function


class LowerConditions(ModulePass):
    """Bring conditions into the form that the machine has: comparing jumps.

    `arith.select` becomes a branch to a block argument, and so does a comparison whose result is used as a value. A
    branch on a conjunction, a disjunction or a negation becomes branches on its parts. What is left are comparisons
    that only branches use, and truth values in registers.
    """

    name = "lower-conditions"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions that are not machine code."""
        each_function(virtual_functions(op), _lower)


def _lower(func: FuncOp) -> None:
    _split_branches(func)
    _materialise(func)


def _split_branches(func: FuncOp) -> None:
    """Branch on the operands of `and`, `or` and `not` instead of on their result."""
    work = [block.last_op for block in func.body.blocks]
    while work:
        branch = work.pop()
        if not isinstance(branch, cf.ConditionalBranchOp):
            continue
        condition = branch.cond.owner
        if not isinstance(condition, arith.AndIOp | arith.OrIOp | arith.XOrIOp):
            continue
        lhs, rhs = condition.operands
        then, other = _edges(branch)
        if isinstance(condition, arith.XOrIOp):
            if constant_of(rhs) is None:
                continue
            work.append(_replace(branch, _branch(lhs, other, then)))
        elif isinstance(condition, arith.AndIOp):
            second = _after(branch, _branch(rhs, then, other))
            work += [_replace(branch, _branch(lhs, (second, []), other)), second.last_op]
        else:
            second = _after(branch, _branch(rhs, then, other))
            work += [_replace(branch, _branch(lhs, then, (second, []))), second.last_op]
        if not condition.results[0].first_use and condition.parent is not None:
            condition.parent.erase_op(condition)


_Edge = tuple[Block, list[SSAValue]]


def _edges(branch: cf.ConditionalBranchOp) -> tuple[_Edge, _Edge]:
    return (branch.then_block, list(branch.then_arguments)), (branch.else_block, list(branch.else_arguments))


def _branch(condition: SSAValue, then: _Edge, other: _Edge) -> cf.ConditionalBranchOp:
    return cf.ConditionalBranchOp.create(
        operands=[condition, *then[1], *other[1]],
        successors=[then[0], other[0]],
        properties={SEGMENTS: segments(1, len(then[1]), len(other[1]))},
    )


def _replace(old: Operation, new: Operation) -> Operation:
    block = old.parent
    assert block is not None
    new.location = old.location
    block.insert_op_before(new, old)
    block.erase_op(old)
    return new


def _after(branch: Operation, terminator: Operation) -> Block:
    """A new block with this terminator, next in layout."""
    block = branch.parent
    assert block is not None and block.parent is not None
    terminator.location = branch.location
    new = Block([terminator])
    block.parent.insert_block_after(new, block)
    return new


def _materialise(func: FuncOp) -> None:
    """Make block arguments of selections, and of comparisons that are used other than by branches."""
    for block in list(func.body.blocks):
        for op in list(block.ops):
            if isinstance(op, arith.SelectOp):
                condition, lhs, rhs = op.operands
                result = _join(op, condition, lhs, rhs)
                op.results[0].replace_all_uses_with(result)
                assert op.parent is not None
                op.parent.erase_op(op)
            elif isinstance(op, arith.CmpiOp):
                values = [use for use in op.result.uses if not _is_condition(use)]
                if values:
                    _as_value(op, values)


def _is_condition(use: Use) -> bool:
    return isinstance(use.operation, cf.ConditionalBranchOp | arith.SelectOp) and use.index == 0


def _as_value(op: arith.CmpiOp, uses: list[Use]) -> None:
    following = op.next_op
    assert following is not None
    truth = [
        arith.ConstantOp.create(properties={"value": IntegerAttr(number, i1)}, result_types=[i1]) for number in (-1, 0)
    ]
    for made in truth:
        made.location = op.location
    assert op.parent is not None
    op.parent.insert_ops_before(truth, following)
    result = _join(following, op.result, truth[0].results[0], truth[1].results[0])
    for use in uses:
        use.operation.operands[use.index] = result


def _join(before: Operation, condition: SSAValue, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
    """Split the block: a branch to its second half, which gets `lhs` or `rhs` as argument."""
    block = before.parent
    assert block is not None
    rest = block.split_before(before, arg_types=[lhs.type])
    branch = _branch(condition, (rest, [lhs]), (rest, [rhs]))
    branch.location = before.location
    block.add_op(branch)
    return rest.args[0]
