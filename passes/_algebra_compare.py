"""Identities on comparisons and on what depends on them; the rules are those of `_algebra`."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr, IntegerType, i1, i32, i64
from xdsl.ir import Operation, SSAValue

from fsir.analysis.bits import mask
from fsir.analysis.cfg import successor_operands
from fsir.analysis.evaluate import PREDICATES, width_of
from fsir.dialects import ebpf
from fsir.passes._algebra import UPDATED, New, Outcome, Rule, fits, inner, type_of
from fsir.passes._rewrite import compare, conditional, replace, truncate

SWAPPED = {
    "eq": "eq",
    "ne": "ne",
    **{f"{sign}{a}{e}": f"{sign}{b}{e}" for sign in "su" for a, b in ("lg", "gl") for e in "te"},
}
"""The predicate with its operands exchanged."""

NEGATED = {
    "eq": "ne",
    "ne": "eq",
    **{
        f"{sign}{a}": f"{sign}{b}" for sign in "su" for a, b in (("lt", "ge"), ("ge", "lt"), ("gt", "le"), ("le", "gt"))
    },
}
"""The predicate that holds exactly when this one does not."""


def predicate_of(op: arith.CmpiOp) -> str:
    """The name of a comparison's predicate."""
    return PREDICATES[op.predicate.value.data]


def _update(op: arith.CmpiOp, predicate: str, lhs: SSAValue, rhs: SSAValue) -> str:
    op.properties["predicate"] = IntegerAttr(PREDICATES.index(predicate), i64)
    op.operands = [lhs, rhs]
    return UPDATED


def _constant_right(op: Operation, new: New) -> Outcome:
    """`c < x` is `x > c`."""
    assert isinstance(op, arith.CmpiOp)
    if new.known(op.lhs) is None or new.known(op.rhs) is not None:
        return None
    return _update(op, SWAPPED[predicate_of(op)], op.rhs, op.lhs)


_AT_ZERO = {("ult", 1): "eq", ("ule", 0): "eq", ("ugt", 0): "ne", ("uge", 1): "ne"}


def _with_zero(op: Operation, new: New) -> Outcome:
    """`x < 1` is `x == 0`, and the like."""
    assert isinstance(op, arith.CmpiOp)
    value = new.known(op.rhs)
    equality = _AT_ZERO.get((predicate_of(op), value)) if value is not None else None
    if equality is None or op.lhs in new.facts.addresses:  # the verifier takes a lower bound from `>`, not from `!=`
        return None
    return new.add(compare(equality, op.lhs, new.constant(0, type_of(op.lhs))))


_INVERSES: tuple[tuple[type[Operation], Callable[[int, int], int]], ...] = (
    (arith.AddiOp, lambda result, c: result - c),
    (arith.XOrIOp, lambda result, c: result ^ c),
)


def _through_arithmetic(op: Operation, new: New) -> Outcome:
    """`x + c == d` is `x == d - c`."""
    assert isinstance(op, arith.CmpiOp)
    value, type_ = new.known(op.rhs), op.lhs.type
    if predicate_of(op) not in ("eq", "ne") or value is None or not isinstance(type_, IntegerType):
        return None
    for cls, inverse in _INVERSES:
        found = inner(op.lhs, cls, new)
        if found is not None:
            wanted = inverse(value, found[1]) & mask(type_.width.data)
            if fits(wanted, type_.width.data):
                return new.add(compare(predicate_of(op), found[0], new.constant(wanted, type_)))
    return None


def _difference(op: Operation, new: New) -> Outcome:
    """`x - y == 0` and `x ^ y == 0` are `x == y`."""
    assert isinstance(op, arith.CmpiOp)
    source = op.lhs.owner
    if predicate_of(op) not in ("eq", "ne") or new.known(op.rhs) != 0 or not op.lhs.has_one_use():
        return None
    if isinstance(source, arith.SubiOp | arith.XOrIOp):
        return new.add(compare(predicate_of(op), source.lhs, source.rhs))
    return None


def _through_byte_swap(op: Operation, new: New) -> Outcome:
    """`be16(x) == c` is `x == be16(c)`, and `be16(x) & m == c` is `x & be16(m) == be16(c)`."""
    assert isinstance(op, arith.CmpiOp)
    value = new.known(op.rhs)
    if predicate_of(op) not in ("eq", "ne") or value is None or op.lhs.type != i64:
        return None
    masked = inner(op.lhs, arith.AndIOp, new)
    source = (masked[0] if masked is not None else op.lhs).owner
    if not isinstance(source, ebpf.UnaryOp) or source.row.op not in ("be", "bswap") or source.value.type != i64:
        return None
    if not source.res.has_one_use():
        return None
    size = source.row.width
    if masked is not None:
        kept = _swap(masked[1] & mask(size), size)
        if not fits(kept, 64) or value & ~masked[1] or value > mask(size):
            return None
        low: SSAValue = new.add(
            arith.AndIOp.create(operands=[source.value, new.constant(kept, i64)], result_types=[i64])
        )
    elif value > mask(size) or new.facts.possible(source.value) > mask(size):
        return None
    else:
        low = source.value
    wanted = _swap(value, size)
    if fits(wanted, 64):
        return new.add(compare(predicate_of(op), low, new.constant(wanted, i64)))
    if size != 32:
        return None
    return new.add(compare(predicate_of(op), new.add(truncate(low, i32)), new.constant(wanted, i32)))


def _swap(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size // 8, "little"), "big")


def _both_swapped(op: Operation, new: New) -> Outcome:
    """`be16(x) == be16(y)` is `x == y`."""
    assert isinstance(op, arith.CmpiOp)
    lhs, rhs = op.lhs.owner, op.rhs.owner
    if predicate_of(op) not in ("eq", "ne") or not isinstance(lhs, ebpf.UnaryOp) or not isinstance(rhs, ebpf.UnaryOp):
        return None
    if lhs.row.op not in ("be", "bswap") or lhs.row is not rhs.row or lhs.value.type != i64 or rhs.value.type != i64:
        return None
    if any(new.facts.possible(side.value) > mask(lhs.row.width) for side in (lhs, rhs)):
        return None
    return new.add(compare(predicate_of(op), lhs.value, rhs.value))


def _of_extensions(op: Operation, new: New) -> Outcome:
    """A comparison of 32 bits that were extended for nothing else is one of 32 bits; a boolean's with 1 is itself."""
    assert isinstance(op, arith.CmpiOp)
    ext, predicate = op.lhs.owner, predicate_of(op)
    if not isinstance(ext, arith.ExtUIOp | arith.ExtSIOp):
        return None
    narrow = ext.input.type
    if narrow == i1 and isinstance(ext, arith.ExtUIOp):
        return _of_boolean(op, ext.input, new)
    signed = isinstance(ext, arith.ExtSIOp)
    if narrow != i32 or not ext.result.has_one_use() or predicate[0] == ("u" if signed else "s"):
        return None
    rhs = _narrowed(op.rhs, ext, new)
    return None if rhs is None else new.add(compare(predicate, ext.input, rhs))


def _narrowed(value: SSAValue, like: arith.ExtUIOp | arith.ExtSIOp, new: New) -> SSAValue | None:
    """The 32-bit word of which `value` is an extension of the same kind."""
    known = new.known(value)
    if known is not None:
        sign = known >> 31 & 1 if isinstance(like, arith.ExtSIOp) else 0
        same = known == known & mask(32) | (mask(width_of(value.type)) & ~mask(32)) * sign
        return new.constant(known & mask(32), i32) if same else None
    owner = value.owner
    if isinstance(owner, type(like)) and owner.input.type == i32 and value.has_one_use():
        return owner.input
    return None


def _of_boolean(op: arith.CmpiOp, value: SSAValue, new: New) -> Outcome:
    known = new.known(op.rhs)
    if (predicate_of(op), known) in (("ne", 0), ("eq", 1)):
        return value
    if (predicate_of(op), known) in (("eq", 0), ("ne", 1)):
        source = value.owner
        if isinstance(source, arith.CmpiOp):
            return new.add(compare(NEGATED[predicate_of(source)], source.lhs, source.rhs))
        return new.add(arith.XOrIOp.create(operands=[value, new.constant(1, i1)], result_types=[i1]))
    return None


def _shifted(op: Operation, new: New) -> Outcome:
    """`(x >> c) & m == d` is `x & m << c == d << c`."""
    assert isinstance(op, arith.CmpiOp)
    value = new.known(op.rhs)
    masked = inner(op.lhs, arith.AndIOp, new)
    if predicate_of(op) not in ("eq", "ne") or value is None or masked is None:
        return None
    shifted = inner(masked[0], arith.ShRUIOp, new)
    width = width_of(op.lhs.type)
    if shifted is None or value & ~masked[1]:
        return None
    kept, wanted = masked[1] << shifted[1], value << shifted[1]
    if kept > mask(width) or not fits(kept, width) or not fits(wanted, width):
        return None
    type_ = type_of(op.lhs)
    low = new.add(arith.AndIOp.create(operands=[shifted[0], new.constant(kept, type_)], result_types=[type_]))
    return new.add(compare(predicate_of(op), low, new.constant(wanted, type_)))


def _negated_condition(op: Operation, new: New) -> Outcome:
    """A branch on `not c` is a branch on c with its successors exchanged."""
    assert isinstance(op, cf.ConditionalBranchOp)
    source = op.cond.owner
    if not isinstance(source, arith.XOrIOp) or new.known(source.rhs) != 1:
        return None
    edges = [(op.successors[i], list(successor_operands(op, i))) for i in (1, 0)]
    replace(op, [conditional(source.lhs, *edges)])
    return UPDATED


RULES: dict[type[Operation], tuple[Rule, ...]] = {
    arith.CmpiOp: (
        _constant_right,
        _with_zero,
        _through_arithmetic,
        _difference,
        _through_byte_swap,
        _both_swapped,
        _of_extensions,
        _shifted,
    ),
    cf.ConditionalBranchOp: (_negated_condition,),
}
"""What applies to comparisons and branches, in the order to be tried."""
