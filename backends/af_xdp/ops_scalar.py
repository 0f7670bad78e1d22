"""`arith` and `cf` in C: integers of any width up to 64 bits, with MLIR's meaning.

What MLIR leaves undefined has a defined result in the C as well (RFC 9669's), so that no undefined behaviour of C
follows from it.
"""

from __future__ import annotations

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Operation

from fsir.backends.af_xdp.writer import (
    CONDITIONS,
    GOTOS,
    PURE,
    RULES,
    Emitter,
    Rule,
    literal,
    operand,
    rule,
    width_of,
)
from fsir.driver.diagnostics import fail

# {a}, {b} unsigned 64-bit operands; {sa}, {sb} the same, sign-extended; {w} the width. The result is cut.
_BINARY: dict[str, str] = {
    "addi": "{a} + {b}",
    "subi": "{a} - {b}",
    "muli": "{a} * {b}",
    "divui": "fs_div({a}, {b})",
    "remui": "fs_mod({a}, {b})",
    "ceildivui": "fs_div({a}, {b}) + (fs_mod({a}, {b}) != 0)",
    "divsi": "fs_sdiv({sa}, {sb})",
    "remsi": "fs_smod({sa}, {sb})",
    "shli": "{a} << ({b} & 63)",
    "shrui": "{a} >> ({b} & 63)",
    "shrsi": "(uint64_t)fs_sar({sa}, {b} & 63)",
    "minsi": "{sa} < {sb} ? {a} : {b}",
    "maxsi": "{sa} > {sb} ? {a} : {b}",
}

_BITWISE: dict[str, str] = {
    "andi": "{a} & {b}",
    "ori": "{a} | {b}",
    "xori": "{a} ^ {b}",
    "minui": "{a} < {b} ? {a} : {b}",
    "maxui": "{a} > {b} ? {a} : {b}",
}
"""Operations that need no more room than their operands: written at the operands' own type."""

_FITS = frozenset({"divui", "remui", "shrui"})
"""Operations whose result is below 2**N as the operands are."""


def sign_extended(expression: str, width: int) -> str:
    """A value of `width` bits as `int64_t`."""
    if width in (8, 16, 32, 64):
        return f"(int{width}_t){operand(expression)}"
    return f"(int64_t)fs_sext({expression}, {width})"


def _binary_rule(name: str, template: str) -> Rule:
    def emit(op: Operation, e: Emitter) -> None:
        width = width_of(op.results[0].type)
        a, b = e.wide(op.operands[0]), e.use(op.operands[1])
        amount = constant_value(op.operands[1].owner) if isinstance(op.operands[1].owner, Operation) else None
        text = template
        if amount is not None and amount < 64:
            text = text.replace("({b} & 63)", str(amount)).replace("{b} & 63", str(amount))
        sa, sb = (sign_extended(e.use(value), width) for value in op.operands)
        e.set(op.results[0], text.format(a=a, b=b, sa=sa, sb=sb), width if name in _FITS else 64)

    return emit


def _bitwise_rule(template: str) -> Rule:
    def emit(op: Operation, e: Emitter) -> None:
        width = width_of(op.results[0].type)
        a, b = (e.wide(value) if width == 64 else e.use(value) for value in op.operands)
        e.set(op.results[0], template.format(a=a, b=b), width)

    return emit


RULES |= {f"arith.{name}": _binary_rule(name, template) for name, template in _BINARY.items()}
RULES |= {f"arith.{name}": _bitwise_rule(template) for name, template in _BITWISE.items()}
PURE |= {f"arith.{name}" for name in (*_BINARY, *_BITWISE)}


def constant_value(op: object) -> int | None:
    """The unsigned value of an `arith.constant`, None for anything else."""
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return op.value.value.data & ((1 << width_of(op.result.type)) - 1)
    return None


@rule("arith.constant", pure=True)
def _constant(op: Operation, e: Emitter) -> None:
    value = constant_value(op)
    if value is None:
        fail(op, "only integer constants can be written in C")
    e.set(op.results[0], literal(value), width_of(op.results[0].type))


_PREDICATES = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
_SIGNED = range(2, 6)


@rule("arith.cmpi", pure=True)
def _cmpi(op: Operation, e: Emitter) -> None:
    assert isinstance(op, arith.CmpiOp)
    predicate = op.predicate.value.data
    a, b = e.use(op.lhs), e.use(op.rhs)
    if predicate in _SIGNED:
        a, b = (sign_extended(text, width_of(op.lhs.type)) for text in (a, b))
    e.set(op.result, f"{a} {_PREDICATES[predicate]} {b}", 1)


@rule("arith.select", pure=True)
def _select(op: Operation, e: Emitter) -> None:
    width = width_of(op.results[0].type)
    then, otherwise = (e.wide(value) if width == 64 else e.use(value) for value in op.operands[1:])
    e.set(op.results[0], f"{e.use(op.operands[0])} ? {then} : {otherwise}", width)


@rule("arith.extui", pure=True)
def _extui(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.use(op.operands[0]), width_of(op.operands[0].type))


@rule("arith.extsi", pure=True)
def _extsi(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], f"fs_sext({e.use(op.operands[0])}, {width_of(op.operands[0].type)})")


@rule("arith.trunci", pure=True)
def _trunci(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.use(op.operands[0]), width_of(op.operands[0].type))


GOTOS.add("cf.br")


def _cond_br(op: Operation, e: Emitter) -> str:
    assert isinstance(op, cf.ConditionalBranchOp)
    return e.use(op.cond)


CONDITIONS["cf.cond_br"] = _cond_br
