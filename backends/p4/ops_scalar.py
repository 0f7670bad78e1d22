"""Scalars: `arith` and the scalar instructions of `ebpf`."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Operation

from fsir.backends.p4 import bits as b
from fsir.backends.p4.bits import Bits, number
from fsir.backends.p4.conditions import Condition, both, compare, differ, either
from fsir.backends.p4.evaluate import Evaluation, rule
from fsir.backends.p4.facts import width_of
from fsir.backends.p4.values import Opaque, PacketAddress, PacketEnd, ValuePointer
from fsir.dialects import ebpf

Function = Callable[[Evaluation, Bits, Bits], Bits]


def _add(e: Evaluation, left: Bits, right: Bits) -> Bits:
    width = left.width
    if left.value is not None:
        left, right = right, left
    if right.value is None:
        return e.compute(f"{left.text()} + {right.text()}", width)
    if left.value is not None:
        return b.constant(left.value + right.value, width)
    if right.value == 0:
        return left
    negative = (1 << width) - right.value
    if negative < right.value:
        return e.compute(f"{left.text()} - {number(negative, width)}", width)
    return e.compute(f"{left.text()} + {right.text()}", width)


def _subtract(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if right.value is not None:
        return _add(e, left, b.constant(-right.value, left.width))
    return e.compute(f"{left.text()} - {right.text()}", left.width)


def _multiply(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if left.value is not None:
        left, right = right, left
    if left.value is not None and right.value is not None:
        return b.constant(left.value * right.value, left.width)
    if right.value == 0:
        return right
    if right.value is not None and right.value.bit_count() == 1:
        return left.shifted_left(right.value.bit_length() - 1)
    return e.compute(f"{left.text()} * {right.text()}", left.width)


def _and(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if left.value is not None:
        return right.masked(left.value)
    if right.value is not None:
        return left.masked(right.value)
    if left == right:
        return left
    width = min(left.significant, right.significant)
    result = e.compute(f"{left.extended(width).text()} & {right.extended(width).text()}", width)
    return result.extended(left.width)


def _or(e: Evaluation, left: Bits, right: Bits) -> Bits:
    merged = left.merged(right)
    if merged is not None:
        return merged
    width = max(left.significant, right.significant)
    result = e.compute(f"{left.extended(width).text()} | {right.extended(width).text()}", width)
    return result.extended(left.width)


def _xor(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if left.value is not None:
        left, right = right, left
    if right.value is not None and left.value is not None:
        return b.constant(left.value ^ right.value, left.width)
    if right.value == 0:
        return left
    if right.value == (1 << left.width) - 1:
        return e.compute(f"~{left.text()}", left.width)
    return e.compute(f"{left.text()} ^ {right.text()}", left.width)


def _amount(right: Bits) -> str:
    """A variable shift amount, of which the machine takes the low bits (all that `arith` allows)."""
    return right.slice(0, 5 if right.width == 32 else 6).text()


def _shift_left(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if right.value is not None:
        return left.shifted_left(right.value % left.width)
    return e.compute(f"{left.text()} << {_amount(right)}", left.width)


def _shift_right(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if right.value is not None:
        return left.shifted_right(right.value % left.width)
    return e.compute(f"{left.text()} >> {_amount(right)}", left.width)


def _shift_right_signed(e: Evaluation, left: Bits, right: Bits) -> Bits:
    if left.significant < left.width:
        return _shift_right(e, left, right)
    by = _amount(right) if right.value is None else number(right.value % left.width, 8)
    return e.compute(f"(bit<{left.width}>)((int<{left.width}>){left.text()} >> {by})", left.width)


def _divide(e: Evaluation, left: Bits, right: Bits) -> Bits:
    assert right.value is not None and right.value.bit_count() == 1
    return left.shifted_right(right.value.bit_length() - 1)


def _remainder(e: Evaluation, left: Bits, right: Bits) -> Bits:
    assert right.value is not None and right.value.bit_count() == 1
    return left.masked(right.value - 1)


BINARY: dict[str, Function] = {
    "add": _add,
    "sub": _subtract,
    "mul": _multiply,
    "and": _and,
    "or": _or,
    "xor": _xor,
    "lsh": _shift_left,
    "rsh": _shift_right,
    "arsh": _shift_right_signed,
    "div": _divide,
    "mod": _remainder,
}

_NARROWABLE = frozenset({"add", "sub", "mul", "and", "or", "xor"})
"""Operations whose low bits can be computed from the operands' low bits."""

_ARITH: dict[type[Operation], str] = {
    arith.AddiOp: "add",
    arith.SubiOp: "sub",
    arith.MuliOp: "mul",
    arith.ShLIOp: "lsh",
    arith.ShRUIOp: "rsh",
    arith.ShRSIOp: "arsh",
    arith.DivUIOp: "div",
    arith.RemUIOp: "mod",
    arith.AndIOp: "and",
    arith.OrIOp: "or",
    arith.XOrIOp: "xor",
}
_LOGIC: dict[type[Operation], Callable[[Condition, Condition], Condition]] = {
    arith.AndIOp: both,
    arith.OrIOp: either,
    arith.XOrIOp: differ,
    arith.AddiOp: differ,
    arith.SubiOp: differ,
    arith.MuliOp: both,
}
_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")


def sign_extended(e: Evaluation, value: Bits, width: int) -> Bits:
    """A value widened by copies of its highest bit."""
    if value.value is not None:
        sign = 1 << (value.width - 1)
        return b.constant((value.value ^ sign) - sign, width)
    if value.significant < value.width:
        return value.extended(width)
    return e.compute(f"(bit<{width}>)(int<{width}>)(int<{value.width}>){value.text()}", width)


@rule(arith.ConstantOp)
def _constant(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr)
    e.set(op.result, b.constant(int(op.value.value.data), width_of(op.result)))


@rule(*_ARITH)
def _binary(e: Evaluation, op: Operation) -> None:
    if width_of(op.results[0]) == 1 and type(op) in _LOGIC:
        e.set(op.results[0], _LOGIC[type(op)](e.condition(op.operands[0]), e.condition(op.operands[1])))
        return
    name, width = _ARITH[type(op)], width_of(op.results[0])
    left, right = (e.bits(value) for value in op.operands)
    if name in _NARROWABLE:
        width = min(width, -(-e.demand.of(op.results[0]) // 8) * 8)
        left, right = left.extended(width), right.extended(width)
    e.set(op.results[0], BINARY[name](e, left, right) if width else b.constant(0, 1))


@rule(arith.ExtUIOp, arith.TruncIOp, ebpf.CastOp)
def _resize(e: Evaluation, op: Operation) -> None:
    e.set(op.results[0], e.bits(op.operands[0]).extended(width_of(op.results[0])))


@rule(arith.ExtSIOp)
def _sign_extend(e: Evaluation, op: Operation) -> None:
    e.set(op.results[0], sign_extended(e, e.bits(op.operands[0]), width_of(op.results[0])))


@rule(arith.CmpiOp)
def _compare(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, arith.CmpiOp)
    left, right = e.bits(op.lhs), e.bits(op.rhs)
    predicate = _PREDICATES[op.predicate.value.data]
    if predicate in ("eq", "ne"):
        _note_equality(e, left, right)
    e.set(op.result, compare(predicate, left, right))


def _note_equality(e: Evaluation, left: Bits, right: Bits) -> None:
    """Remember which packet bytes are compared with which constants: that tells protocols."""
    from fsir.backends.p4.layout import FLAT_NAME

    for mine, its in b.equality(left, right):
        for bits, value in ((mine, its.value), (its, mine.value)):
            only = bits.pieces[0]
            if value is None or only.term is None or only.term.text != FLAT_NAME or only.width % 8 or only.lo % 8:
                continue
            start = (only.term.width - only.lo - only.width) // 8
            e.survey.equal.add((start, only.width // 8, value))


@rule(arith.SelectOp)
def _select(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, arith.SelectOp)
    condition = e.condition(op.cond)
    if condition.known is not None:
        e.set(op.result, e.words[op.lhs if condition.known else op.rhs])
    elif width_of(op.result) == 1:
        then, otherwise = e.condition(op.lhs), e.condition(op.rhs)
        e.set(op.result, either(both(condition, then), both(condition.negated(), otherwise)))
    else:
        left, right = e.bits(op.lhs), e.bits(op.rhs)
        text = condition.text if condition.atomic else f"({condition.text})"
        e.set(op.result, e.compute(f"{text} ? {left.text()} : {right.text()}", left.width))


# -- instructions --------------------------------------------------------------------------------------------------


@rule(ebpf.AluRIOp)
def _alu_immediate(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.AluRIOp)
    word = e.words[op.lhs]
    if isinstance(word, ValuePointer):
        e.set(op.res, word.moved(op.imm.data if op.row.op == "add" else -op.imm.data))
    elif isinstance(word, Bits | Condition):
        width = op.row.width
        right = b.constant(op.imm.data, width)
        e.set(op.res, BINARY[op.row.op](e, e.bits(op.lhs).extended(width), right).extended(64))
    else:
        e.set(op.res, Opaque())


@rule(ebpf.AluRROp)
def _alu(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.AluRROp)
    width = op.row.width
    address = e.words[op.lhs]
    if isinstance(address, PacketAddress):
        e.set(op.res, _add(e, address.base, b.constant(address.plus - e.address(op.rhs), 64)))
        return
    if isinstance(e.words[op.lhs], PacketEnd):
        length = b.variable("sm.packet_length", 32).extended(64)
        e.set(op.res, _subtract(e, length, b.constant(e.address(op.rhs), 64)))
        return
    left, right = (e.bits(value).extended(width) for value in op.operands)
    e.set(op.res, BINARY[op.row.op](e, left, right).extended(64))


@rule(ebpf.UnaryOp)
def _unary(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.UnaryOp)
    value = e.bits(op.value).extended(op.row.width)
    if op.row.op == "neg":
        value = _subtract(e, b.constant(0, op.row.width), value)
    elif op.row.op != "le":
        value = value.swapped()
    e.set(op.res, value.extended(64))


@rule(ebpf.MovRROp)
def _move(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.MovRROp)
    value = e.bits(op.value).extended(op.row.width)
    if op.row.signed:
        value = sign_extended(e, value.extended(int(op.row.op.removeprefix("movsx"))), op.row.width)
    e.set(op.res, value.extended(64))


@rule(ebpf.MovRIOp)
def _move_immediate(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.MovRIOp)
    e.set(op.res, b.constant(op.imm.data, op.row.width).extended(64))


@rule(ebpf.LddwOp)
def _wide(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.LddwOp)
    e.set(op.res, b.constant(op.imm.data, 64))


@rule(ebpf.UndefOp)
def _undef(e: Evaluation, op: Operation) -> None:
    e.set(op.results[0], b.constant(0, 64))
