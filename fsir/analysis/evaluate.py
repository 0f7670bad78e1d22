"""The value of an operation whose operands are known: the interpreter's own expressions, evaluated.

Words are unsigned, as wide as their types (64 bits for everything that is no integer type).  What MLIR leaves undefined
has no value here; what the ISA defines (division by zero, masked shift amounts) has the ISA's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute, Operation

from fsir.dialects import ebpf
from fsir.dialects.ebpf import form_of
from fsir.interp import emit_alu, emit_scalar

PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
"""The predicates of `arith.cmpi` by number."""

JUMPS = {
    "jeq": "eq",
    "jne": "ne",
    "jgt": "ugt",
    "jge": "uge",
    "jlt": "ult",
    "jle": "ule",
    "jsgt": "sgt",
    "jsge": "sge",
    "jslt": "slt",
    "jsle": "sle",
}
"""The predicates of the ISA's comparing jumps (`jset` has none)."""


def width_of(type_: Attribute) -> int:
    """The bits of a word of this type."""
    return type_.width.data if isinstance(type_, IntegerType) else 64


def evaluate(op: Operation, operands: Sequence[int]) -> int | None:
    """The value of the operation's only result, or None where it is not defined or not known how."""
    if isinstance(op, arith.ConstantOp):
        return emit_scalar.constant_value(op)
    rule = _RULES.get(form_of(op))
    if rule is None:
        name = op.name.removeprefix("arith.")
        rule = _arith if name in emit_scalar.BINARY and name != op.name else None
    return rule(op, operands) if rule is not None else None


def compare(predicate: str, a: int, b: int, width: int) -> bool:
    """Whether `a predicate b` holds for words of a width."""
    if predicate[0] == "s":
        flip = 1 << (width - 1)
        a, b = a ^ flip, b ^ flip
    return _ORDERS[predicate.removeprefix("s").removeprefix("u")](a, b)


_ORDERS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


@cache
def _compiled(template: str) -> Callable[..., int]:
    """A template of the interpreter as a function of its operands."""
    names: dict[str, Any] = {**emit_alu.FUNCTIONS, **emit_scalar.FUNCTIONS}
    text = template.replace("{a}", "a").replace("{b}", "b")
    function: Callable[..., int] = eval(f"lambda a, b=0: {text}", names)
    return function


def _arith(op: Operation, operands: Sequence[int]) -> int | None:
    width = width_of(op.results[0].type)
    template = emit_scalar.BINARY[op.name.removeprefix("arith.")]
    sizes = {"{w}": width, "{m}": hex((1 << width) - 1), "{s}": hex(1 << (width - 1))}
    for name, size in sizes.items():
        template = template.replace(name, str(size))
    try:
        return _compiled(template)(*operands)
    except (emit_scalar.UndefinedResult, ZeroDivisionError):
        return None


def _cmpi(op: Operation, operands: Sequence[int]) -> int:
    assert isinstance(op, arith.CmpiOp)
    predicate = PREDICATES[op.predicate.value.data]
    return int(compare(predicate, operands[0], operands[1], width_of(op.lhs.type)))


def _select(op: Operation, operands: Sequence[int]) -> int:
    return operands[1] if operands[0] else operands[2]


def _extui(op: Operation, operands: Sequence[int]) -> int:
    return operands[0]


def _extsi(op: Operation, operands: Sequence[int]) -> int:
    sign = 1 << (width_of(op.operands[0].type) - 1)
    return ((operands[0] ^ sign) - sign) & ((1 << width_of(op.results[0].type)) - 1)


def _trunci(op: Operation, operands: Sequence[int]) -> int:
    return operands[0] & ((1 << width_of(op.results[0].type)) - 1)


def _is_whole(op: ebpf.InsnOp) -> bool:
    """Whether machine code's operation is on full words: the upper bits of narrower scalars are not specified."""
    return "core" not in op.properties and all(width_of(value.type) == 64 for value in op.operands)


def _register(op: Operation, operands: Sequence[int]) -> int | None:
    assert isinstance(op, ebpf.AluRROp)
    return _compiled(emit_alu.BINARY[op.row.op, op.row.width])(*operands) if _is_whole(op) else None


def _immediate(op: Operation, operands: Sequence[int]) -> int | None:
    assert isinstance(op, ebpf.AluRIOp)
    imm = op.imm.data & ((1 << op.row.width) - 1)
    return _compiled(emit_alu.BINARY[op.row.op, op.row.width])(operands[0], imm) if _is_whole(op) else None


def _unary(op: Operation, operands: Sequence[int]) -> int | None:
    assert isinstance(op, ebpf.UnaryOp | ebpf.MovRROp)
    if not _is_whole(op) or op.row.op == "addr_space_cast":
        return None
    return _compiled(emit_alu.UNARY[op.row.op, op.row.width])(operands[0])


def _constant(op: Operation, operands: Sequence[int]) -> int | None:
    assert isinstance(op, ebpf.MovRIOp | ebpf.LddwOp)
    if op.core is not None or (isinstance(op, ebpf.LddwOp) and op.pseudo is not None):
        return None
    imm: int = op.imm.data
    return imm & ((1 << op.row.width) - 1)


def _cast(op: Operation, operands: Sequence[int]) -> int | None:
    return operands[0] if width_of(op.operands[0].type) == width_of(op.results[0].type) else None


_RULES: dict[type[Operation], Callable[[Operation, Sequence[int]], int | None]] = {
    arith.CmpiOp: _cmpi,
    arith.SelectOp: _select,
    arith.ExtUIOp: _extui,
    arith.ExtSIOp: _extsi,
    arith.TruncIOp: _trunci,
    ebpf.AluRROp: _register,
    ebpf.AluRIOp: _immediate,
    ebpf.UnaryOp: _unary,
    ebpf.MovRROp: _unary,
    ebpf.MovRIOp: _constant,
    ebpf.LddwOp: _constant,
    ebpf.CastOp: _cast,
}


__all__ = ["JUMPS", "PREDICATES", "compare", "evaluate", "width_of"]
