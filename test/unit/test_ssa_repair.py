"""SSA form after values got further definitions."""

from __future__ import annotations

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import i1, i64
from xdsl.ir import Block, Region, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.analysis.ssa_repair import repair
from fsir.passes._rewrite import conditional, constant


def _jump(block: Block, target: Block) -> SSAValue:
    """Let a block define a number and jump; the number."""
    number = constant(len(list(block.ops)), i64)
    block.add_ops([number, cf.BranchOp.create(successors=[target])])
    return number.result


def test_a_terminator_that_uses_the_value_also_passes_it_to_a_new_argument() -> None:
    #   entry -> first, rest     rest -> second, third     first, second -> join     join, third -> end
    entry, first, rest, second, third, join = (Block(arg_types=[i1]) if i == 0 else Block() for i in range(6))
    end, other = Block(), Block(arg_types=[i64, i64])
    region = Region([entry, first, rest, second, third, join, end, other])
    choice = entry.args[0]
    entry.add_op(conditional(choice, (first, []), (rest, [])))
    rest.add_op(conditional(choice, (second, []), (third, [])))
    value, again, once_more = _jump(first, join), _jump(second, join), _jump(third, end)
    join.add_op(conditional(choice, (end, []), (other, [value, value])))
    use = arith.AddiOp(value, value)
    end.add_ops([use, cf.BranchOp.create(operands=[use.result, use.result], successors=[other])])

    repair(region, {value: {second: again, third: once_more}}, lambda _, block: block in (join, end))

    (merged,), (last,) = join.args, end.args
    assert join.last_op is not None
    assert list(successor_operands(join.last_op, 0)) == [merged]
    assert list(successor_operands(join.last_op, 1)) == [merged, merged]
    assert list(use.operands) == [last, last]
