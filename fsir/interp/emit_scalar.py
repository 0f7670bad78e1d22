"""`arith` and `cf`: integers of any width up to 64 bits, with MLIR's meaning.

What MLIR leaves undefined (division by zero, a shift by the width or more) ends the run with an error instead of a
value, so that a transformation that wrongly relies on it is seen.
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Operation

from fsir.interp.emit_base import (
    FREE,
    GOTOS,
    RULES,
    Emitter,
    Rule,
    UnsupportedOp,
    condition,
    rule,
    signed,
    width_of,
)

# {m} is the mask of the width, {s} its sign bit, {w} the width.
BINARY: dict[str, str] = {
    "addi": "({a} + {b}) & {m}",
    "subi": "({a} - {b}) & {m}",
    "muli": "({a} * {b}) & {m}",
    "divui": "{a} // {b}",
    "remui": "{a} % {b}",
    "ceildivui": "-(-{a} // {b})",
    "divsi": "divs({a}, {b}, {w})",
    "remsi": "rems({a}, {b}, {w})",
    "andi": "{a} & {b}",
    "ori": "{a} | {b}",
    "xori": "{a} ^ {b}",
    "shli": "({a} << amount({b}, {w})) & {m}",
    "shrui": "{a} >> amount({b}, {w})",
    "shrsi": "((({a} ^ {s}) - {s}) >> amount({b}, {w})) & {m}",
    "minui": "{a} if {a} < {b} else {b}",
    "maxui": "{a} if {a} > {b} else {b}",
    "minsi": "{a} if {a} ^ {s} < {b} ^ {s} else {b}",
    "maxsi": "{a} if {a} ^ {s} > {b} ^ {s} else {b}",
}

_PREDICATES = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
_SIGNED = range(2, 6)


class UndefinedResult(Exception):
    """An operation whose result MLIR leaves undefined was executed."""


def amount(shift: int, width: int) -> int:
    """A shift amount, which must be below the width."""
    if shift >= width:
        raise UndefinedResult(f"shift of i{width} by {shift}")
    return shift


def divs(a: int, b: int, width: int) -> int:
    """Signed division, rounding towards zero."""
    x, y = signed(a, width), signed(b, width)
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient) & ((1 << width) - 1)


def rems(a: int, b: int, width: int) -> int:
    """Signed remainder, with the sign of the dividend."""
    x, y = signed(a, width), signed(b, width)
    remainder = abs(x) % abs(y)
    return (remainder if x >= 0 else -remainder) & ((1 << width) - 1)


FUNCTIONS: dict[str, Callable[..., int]] = {f.__name__: f for f in (amount, divs, rems)}


def _binary_rule(template: str) -> Rule:
    def emit(op: Operation, e: Emitter) -> None:
        width = width_of(op.results[0].type)
        a, b = (e.use(value) for value in op.operands)
        known = b.isdecimal() and int(b) < width
        text = template.replace("amount({b}, {w})", "{b}") if known else template
        filled = text.format(a=a, b=b, w=width, m=hex((1 << width) - 1), s=hex(1 << (width - 1)))
        e.set(op.results[0], filled, width)

    return emit


RULES |= {f"arith.{name}": _binary_rule(template) for name, template in BINARY.items()}
FREE |= {"arith.constant", "arith.trunci", "arith.cmpi", "cf.br"}


def constant_value(op: Operation) -> int | None:
    """The unsigned value of an `arith.constant`, None for anything else."""
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return op.value.value.data & ((1 << width_of(op.result.type)) - 1)
    return None


@rule("arith.constant")
def _constant(op: Operation, e: Emitter) -> None:
    if constant_value(op) is None:
        raise UnsupportedOp(op, "only integer constants are interpreted")
    # Uses write the literal.


@rule("arith.cmpi")
def _cmpi(op: Operation, e: Emitter) -> None:
    assert isinstance(op, arith.CmpiOp)
    predicate = op.predicate.value.data
    a, b = e.use(op.lhs), e.use(op.rhs)
    if predicate in _SIGNED:
        flip = hex(1 << (width_of(op.lhs.type) - 1))
        a, b = f"({a} ^ {flip})", f"({b} ^ {flip})"
    e.set(op.result, f"{a} {_PREDICATES[predicate]} {b}", 1)


@rule("arith.select")
def _select(op: Operation, e: Emitter) -> None:
    chosen, then, otherwise = (e.use(value) for value in op.operands)
    e.set(op.results[0], f"{then} if {chosen} else {otherwise}", width_of(op.results[0].type))


@rule("arith.extui")
def _extui(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], f"+{e.use(op.operands[0])}", width_of(op.operands[0].type))


@rule("arith.extsi")
def _extsi(op: Operation, e: Emitter) -> None:
    width, wide = width_of(op.operands[0].type), width_of(op.results[0].type)
    sign = hex(1 << (width - 1))
    e.set(op.results[0], f"(({e.use(op.operands[0])} ^ {sign}) - {sign}) & {hex((1 << wide) - 1)}", wide)


@rule("arith.trunci")
def _trunci(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.use(op.operands[0]), width_of(op.operands[0].type))


GOTOS.add("cf.br")


@condition("cf.cond_br")
def _cond_br(op: Operation, e: Emitter) -> str:
    assert isinstance(op, cf.ConditionalBranchOp)
    return e.use(op.cond)


__all__ = ["FUNCTIONS", "UndefinedResult", "constant_value"]
