"""Algebraic identities on scalars, as a table from operation to rules.

A rule looks at one operation and gives the value that can stand for its result, having added the operations that
compute it to `new`; or `UPDATED` after changing the operation in place; or None when it does not apply.  No rule adds
to the number of machine instructions, and each takes something away (an operation, a width, a level of nesting), so
applying them ends.  A mask or extension that bounds an address stays (`fsir.analysis.address_inputs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, i1
from xdsl.ir import BlockArgument, Operation, SSAValue

from fsir.analysis.bits import mask
from fsir.analysis.cfg import successor_operands
from fsir.analysis.evaluate import width_of
from fsir.analysis.known_bits import KnownBits
from fsir.passes._rewrite import constant, extend, integer, truncate

UPDATED: Final = "updated"
Outcome = SSAValue | str | None


@dataclass
class New:
    """The operations that a rule adds, in order, and what is known of values."""

    facts: KnownBits
    ops: list[Operation] = field(default_factory=list)

    def add(self, op: Operation) -> SSAValue:
        """Add an operation; gives its result."""
        self.ops.append(op)
        self.facts.visit(op)
        return op.results[0]

    def constant(self, value: int, type_: IntegerType) -> SSAValue:
        """Add a constant."""
        return self.add(constant(value, type_))

    def known(self, value: SSAValue) -> int | None:
        """The value, when it is a constant."""
        return self.facts.constant(value)


Rule = Callable[[Operation, New], Outcome]


def fits(value: int, width: int) -> bool:
    """Whether a constant can be an instruction's immediate: 32 bits, sign-extended."""
    return width <= 32 or value < 1 << 31 or value >= (1 << 64) - (1 << 31)


def type_of(value: SSAValue) -> IntegerType:
    """The integer type of a scalar."""
    assert isinstance(value.type, IntegerType)
    return value.type


def inner(value: SSAValue, cls: type[Operation], new: New) -> tuple[SSAValue, int] | None:
    """For `cls(x, constant)` that nothing else uses: x and the constant."""
    op = value.owner
    if isinstance(op, cls) and value.has_one_use() and (known := new.known(op.operands[1])) is not None:
        return op.operands[0], known
    return None


def _constant_right(op: Operation, new: New) -> Outcome:
    """`c op x` is `x op c`."""
    lhs, rhs = op.operands
    if new.known(lhs) is not None and new.known(rhs) is None:
        op.operands = [rhs, lhs]
        return UPDATED
    return None


def _neutral(value: int) -> Rule:
    """`x op value` is x; the value is taken modulo the width."""

    def rule(op: Operation, new: New) -> Outcome:
        width = width_of(op.results[0].type)
        return op.operands[0] if new.known(op.operands[1]) == value & mask(width) else None

    return rule


def _same(op: Operation, new: New) -> Outcome:
    """`x op x` is x."""
    return op.operands[0] if op.operands[0] is op.operands[1] else None


def _cancels(op: Operation, new: New) -> Outcome:
    """`x op x` is 0."""
    return new.constant(0, type_of(op.results[0])) if op.operands[0] is op.operands[1] else None


def _nested(combine: Callable[[int, int], int]) -> Rule:
    """`(x op c) op d` is `x op combine(c, d)`."""

    def rule(op: Operation, new: New) -> Outcome:
        outer, found = new.known(op.operands[1]), inner(op.operands[0], type(op), new)
        if outer is None or found is None:
            return None
        type_ = type_of(op.results[0])
        both = combine(found[1], outer) & mask(type_.width.data)
        if not fits(both, type_.width.data):
            return None
        amount = new.constant(both, type_)
        return new.add(type(op).create(operands=[found[0], amount], result_types=[type_]))

    return rule


def _nested_shift(op: Operation, new: New) -> Outcome:
    """Shifts by c and then by d are one shift by c + d."""
    outer, found = new.known(op.operands[1]), inner(op.operands[0], type(op), new)
    type_ = type_of(op.results[0])
    width = type_.width.data
    if outer is None or found is None:
        return None
    total = found[1] + outer
    if total >= width:
        if not isinstance(op, arith.ShRSIOp):
            return new.constant(0, type_)
        total = width - 1
    return new.add(type(op).create(operands=[found[0], new.constant(total, type_)], result_types=[type_]))


def _subtract_constant(op: Operation, new: New) -> Outcome:
    """`x - c` is `x + -c`."""
    type_ = type_of(op.results[0])
    value = new.known(op.operands[1])
    minus = -(value or 0) & mask(type_.width.data)
    if value is None or not fits(minus, type_.width.data):
        return None
    return new.add(arith.AddiOp.create(operands=[op.operands[0], new.constant(minus, type_)], result_types=[type_]))


def _power_of_two(cls: type[Operation], amount: Callable[[int], int]) -> Rule:
    """Multiplication, division and remainder by a power of two."""

    def rule(op: Operation, new: New) -> Outcome:
        value = new.known(op.operands[1])
        type_ = type_of(op.results[0])
        if not value or value & (value - 1) or not fits(amount(value), type_.width.data):
            return None
        rhs = new.constant(amount(value), type_)
        return new.add(cls.create(operands=[op.operands[0], rhs], result_types=[type_]))

    return rule


def _superfluous_mask(op: Operation, new: New) -> Outcome:
    """`x & c` is x when c covers every bit that x may have."""
    value = new.known(op.operands[1])
    if value is None or new.facts.possible(op.operands[0]) & ~value:
        return None
    return op.operands[0] if droppable(op.results[0], op.operands[0], value.bit_length(), new) else None


def droppable(bounded: SSAValue, source: SSAValue, width: int, new: New) -> bool:
    """Whether `bounded` may be replaced by `source`, of which it takes the low bits, all that `source` has: not when
    an address is computed from it, unless the verifier sees that bound of `source` itself."""
    if bounded not in new.facts.addresses:
        return True
    owner = source.owner
    if isinstance(source, BlockArgument):  # the verifier goes path by path, and sees constants
        uses = source.block.uses
        incoming = [successor_operands(use.operation, use.index)[source.index] for use in uses]
        return bool(incoming) and all(isinstance(value.owner, arith.ConstantOp) for value in incoming)
    if isinstance(owner, arith.ExtUIOp):
        return width_of(owner.input.type) <= width
    if isinstance(owner, arith.AndIOp):
        limit = new.known(owner.rhs)
        return limit is not None and limit <= mask(width)
    return False


def _shifted_out_and_back(op: Operation, new: New) -> Outcome:
    """`(x << c) >> c` clears (or fills with the sign) the upper c bits: an extension, or a mask."""
    amount, found = new.known(op.operands[1]), _shift_of(op.operands[0], arith.ShLIOp, new)
    if amount is None or found is None or found[1] != amount:
        return None
    type_ = type_of(op.results[0])
    rest = type_.width.data - amount
    signed = isinstance(op, arith.ShRSIOp)
    if signed and not op.operands[0].has_one_use():
        return None  # a sign-extension may take two shifts again
    if rest in (8, 16, 32):
        cut = new.add(truncate(found[0], integer(rest)))
        return new.add(extend(cut, type_, signed=signed))
    if signed or not fits(mask(rest), type_.width.data):
        return None
    return new.add(arith.AndIOp.create(operands=[found[0], new.constant(mask(rest), type_)], result_types=[type_]))


def _shifted_back_up(op: Operation, new: New) -> Outcome:
    """`(x >> c) << c` clears the low c bits."""
    amount, found = new.known(op.operands[1]), _shift_of(op.operands[0], arith.ShRUIOp, new)
    type_ = type_of(op.results[0])
    width = type_.width.data
    if amount is None or found is None or found[1] != amount or not fits(mask(width) & ~mask(amount), width):
        return None
    kept = new.constant(mask(width) & ~mask(amount), type_)
    return new.add(arith.AndIOp.create(operands=[found[0], kept], result_types=[type_]))


def _shift_of(value: SSAValue, cls: type[Operation], new: New) -> tuple[SSAValue, int] | None:
    op = value.owner
    if isinstance(op, cls) and (amount := new.known(op.operands[1])) is not None:
        return op.operands[0], amount
    return None


def _extend_extension(op: Operation, new: New) -> Outcome:
    """An extension of an extension is one extension; a sign that is known to be 0 is a zero-extension."""
    source = op.operands[0]
    owner = source.owner
    type_ = type_of(op.results[0])
    if isinstance(owner, arith.ExtUIOp) or (isinstance(owner, arith.ExtSIOp) and isinstance(op, arith.ExtSIOp)):
        return new.add(extend(owner.operands[0], type_, signed=isinstance(owner, arith.ExtSIOp)))
    if isinstance(op, arith.ExtSIOp) and not new.facts.possible(source) >> (width_of(source.type) - 1):
        return new.add(extend(source, type_))
    return None


def _extend_truncation(op: Operation, new: New) -> Outcome:
    """The zero-extended low bits of a word that has no others are the word."""
    cut = op.operands[0].owner
    if not isinstance(cut, arith.TruncIOp) or cut.input.type != op.results[0].type:
        return None
    width = width_of(cut.result.type)
    if new.facts.possible(cut.input) & ~mask(width):
        return None
    return cut.input if droppable(op.results[0], cut.input, width, new) else None


def _truncate(op: Operation, new: New) -> Outcome:
    """The low bits of a word are those of what its low bits come from."""
    type_ = type_of(op.results[0])
    width = type_.width.data
    source = op.operands[0]
    from_ = low_bits(source, width, new)
    if from_.type == type_:
        return from_
    if isinstance(ext := from_.owner, arith.ExtUIOp | arith.ExtSIOp) and width_of(ext.input.type) < width:
        return new.add(extend(ext.input, type_, signed=isinstance(ext, arith.ExtSIOp)))
    return new.add(truncate(from_, type_)) if from_ is not source else None


def low_bits(value: SSAValue, width: int, new: New) -> SSAValue:
    """The value furthest back whose low `width` bits are the same."""
    while True:
        op = value.owner
        if isinstance(op, arith.TruncIOp) or (
            isinstance(op, arith.ExtUIOp | arith.ExtSIOp) and width_of(op.input.type) >= width
        ):
            if isinstance(op, arith.ExtSIOp) and _is_bounded(value, new):
                return value
            value = op.input
        elif isinstance(op, arith.AndIOp | arith.OrIOp | arith.XOrIOp | arith.AddiOp) and _keeps_low(op, width, new):
            value = op.operands[0]
        else:
            return value


def _is_bounded(value: SSAValue, new: New) -> bool:
    """Whether a comparison bounds a value that addresses are computed from: the verifier would not know that of what
    the value was made from."""
    return value in new.facts.addresses and any(isinstance(use.operation, arith.CmpiOp) for use in value.uses)


def _keeps_low(op: Operation, width: int, new: New) -> bool:
    value = new.known(op.operands[1])
    if value is None:
        return False
    if isinstance(op, arith.AndIOp):
        lost = mask(width) & ~value
        return not lost or (op.results[0] not in new.facts.addresses and not new.facts.possible(op.operands[0]) & lost)
    return not value & mask(width)


def _of_truth_values(op: Operation, new: New) -> Outcome:
    """`and`, `or` and `xor` of numbers that are truth values are the number of one truth value."""
    sides: list[SSAValue] = []
    for value in op.operands:
        ext, known = value.owner, new.known(value)
        if isinstance(ext, arith.ExtUIOp) and ext.input.type == i1:
            sides.append(ext.input)
        elif known in (0, 1):
            sides.append(new.constant(known, i1))
        else:
            return None
    both = new.add(type(op).create(operands=sides, result_types=[i1]))
    return new.add(extend(both, type_of(op.results[0])))


def _select(op: Operation, new: New) -> Outcome:
    assert isinstance(op, arith.SelectOp)
    if op.lhs is op.rhs:
        return op.lhs
    chosen = new.known(op.cond)
    if chosen is not None:
        return op.lhs if chosen else op.rhs
    if op.result.type == i1 and (new.known(op.lhs), new.known(op.rhs)) == (1, 0):
        return op.cond
    return None


_ASSOCIATIVE = (_constant_right, _neutral(0))

RULES: dict[type[Operation], tuple[Rule, ...]] = {
    arith.AddiOp: (*_ASSOCIATIVE, _nested(lambda c, d: c + d)),
    arith.SubiOp: (_neutral(0), _cancels, _subtract_constant),
    arith.MuliOp: (_constant_right, _neutral(1), _power_of_two(arith.ShLIOp, lambda c: c.bit_length() - 1)),
    arith.DivUIOp: (_neutral(1), _power_of_two(arith.ShRUIOp, lambda c: c.bit_length() - 1)),
    arith.RemUIOp: (_power_of_two(arith.AndIOp, lambda c: c - 1),),
    arith.AndIOp: (
        *(_constant_right, _neutral(-1), _same, _nested(lambda c, d: c & d)),
        *(_superfluous_mask, _of_truth_values),
    ),
    arith.OrIOp: (*_ASSOCIATIVE, _same, _nested(lambda c, d: c | d), _of_truth_values),
    arith.XOrIOp: (*_ASSOCIATIVE, _cancels, _nested(lambda c, d: c ^ d), _of_truth_values),
    arith.ShLIOp: (_neutral(0), _shifted_back_up, _nested_shift),
    arith.ShRUIOp: (_neutral(0), _shifted_out_and_back, _nested_shift),
    arith.ShRSIOp: (_neutral(0), _shifted_out_and_back, _nested_shift),
    arith.ExtUIOp: (_extend_extension, _extend_truncation),
    arith.ExtSIOp: (_extend_extension,),
    arith.TruncIOp: (_truncate,),
    arith.SelectOp: (_select,),
}
"""What applies to the operations of `arith` but comparisons, in the order to be tried."""
