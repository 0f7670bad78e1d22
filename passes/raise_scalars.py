"""`raise-scalars`: arithmetic and control flow in upstream dialects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp, i32, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.dialects import ebpf
from fsir.dialects.ebpf import form_of
from fsir.passes._rewrite import (
    compare,
    conditional,
    constant,
    constant_of,
    extend,
    integer,
    is_integer,
    operations,
    raised_functions,
    replace,
    truncate,
)


@dataclass(frozen=True)
class RaiseScalarsPass(ModulePass):
    """Turn scalar machine operations into `arith` and jumps into `cf`.

    64-bit operations become `arith` on `i64`; 32-bit ones `arith` on `i32` between `trunci` and `extui`; comparing
    jumps `arith.cmpi` and `cf.cond_br`; other jumps `cf.br`. Where MLIR's meaning is narrower than the machine's (a
    shift by an unknown amount, a division by what may be zero) or a word is no scalar, the operation stays.
    """

    name = "raise-scalars"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            for inner in operations(func):
                rule = _RULES.get(form_of(inner))
                if rule is not None and all(is_integer(result.type, 64) for result in inner.results):
                    rule(inner)


_BINARY: dict[str, type[Operation]] = {
    "add": arith.AddiOp,
    "sub": arith.SubiOp,
    "mul": arith.MuliOp,
    "or": arith.OrIOp,
    "and": arith.AndIOp,
    "xor": arith.XOrIOp,
}
_SHIFTS: dict[str, type[Operation]] = {"lsh": arith.ShLIOp, "rsh": arith.ShRUIOp, "arsh": arith.ShRSIOp}
_DIVISIONS: dict[str, type[Operation]] = {"div": arith.DivUIOp, "mod": arith.RemUIOp}
_COMPARISONS = {
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


def _class_for(op: str, width: int, rhs: int | None) -> type[Operation] | None:
    """The `arith` operation that means the same, given the constant on the right, if it is one (0 … 2^width - 1)."""
    if op in _BINARY:
        return _BINARY[op]
    if op in _SHIFTS:
        return _SHIFTS[op] if rhs is not None and rhs < width else None
    if op in _DIVISIONS:
        return _DIVISIONS[op] if rhs else None
    return None


def _register(op: Operation) -> None:
    assert isinstance(op, ebpf.AluRROp)
    if not (is_integer(op.lhs.type, 64) and is_integer(op.rhs.type, 64)) or op.core is not None:
        return
    rhs = constant_of(op.rhs)
    if rhs is not None and op.row.op in _SHIFTS:
        rhs &= op.row.width - 1
    elif rhs is not None:
        rhs &= (1 << op.row.width) - 1
    cls = _class_for(op.row.op, op.row.width, rhs)
    if cls is None:
        return
    if op.row.op in _SHIFTS and rhs is not None:
        _binary(op, cls, op.lhs, None, rhs)
    else:
        _binary(op, cls, op.lhs, op.rhs, None)


def _immediate(op: Operation) -> None:
    assert isinstance(op, ebpf.AluRIOp)
    if not is_integer(op.lhs.type, 64) or op.core is not None:
        return
    rhs = op.imm.data & ((op.row.width - 1) if op.row.op in _SHIFTS else (1 << op.row.width) - 1)
    cls = _class_for(op.row.op, op.row.width, rhs)
    if cls is not None:
        _binary(op, cls, op.lhs, None, rhs)


def _binary(op: ebpf.InsnOp, cls: type[Operation], lhs: SSAValue, rhs: SSAValue | None, imm: int | None) -> None:
    """Replace `op` by `cls` on operands of its width, the right one a value or a constant."""
    ops: list[Operation] = []
    type_ = integer(op.row.width)

    def narrow(value: SSAValue) -> SSAValue:
        if type_ == i64:
            return value
        ops.append(truncate(value, type_))
        return ops[-1].results[0]

    left = narrow(lhs)
    if rhs is not None:
        right = narrow(rhs)
    else:
        assert imm is not None
        ops.append(constant(imm, type_))
        right = ops[-1].results[0]
    ops.append(cls.create(operands=[left, right], result_types=[type_]))
    if type_ != i64:
        ops.append(extend(ops[-1].results[0]))
    replace(op, ops)


def _move(op: Operation) -> None:
    """`mov32` and sign extensions; 64-bit copies are gone already."""
    assert isinstance(op, ebpf.MovRROp)
    if not is_integer(op.value.type, 64):
        return
    if op.row.name == "mov32":
        cut = truncate(op.value, i32)
        replace(op, [cut, extend(cut.results[0])])
    elif op.row.signed:
        cut = truncate(op.value, integer(int(op.row.op.removeprefix("movsx"))))
        signed = extend(cut.results[0], integer(op.row.width), signed=True)
        replace(op, [cut, signed] if op.row.width == 64 else [cut, signed, extend(signed.results[0])])


def _constant(op: Operation) -> None:
    assert isinstance(op, ebpf.MovRIOp)
    if op.core is None:
        replace(op, [constant(op.imm.data & (2**32 - 1) if op.row.width == 32 else op.imm.data)])


def _wide_constant(op: Operation) -> None:
    assert isinstance(op, ebpf.LddwOp)
    if op.core is None and op.pseudo is None:
        replace(op, [constant(op.imm.data)])


def _negation(op: Operation) -> None:
    assert isinstance(op, ebpf.UnaryOp)
    if op.row.op == "neg" and is_integer(op.value.type, 64):
        type_ = integer(op.row.width)
        zero = constant(0, type_)
        if type_ == i64:
            replace(op, [zero, arith.SubiOp.create(operands=[zero.result, op.value], result_types=[i64])])
        else:
            cut = truncate(op.value, type_)
            minus = arith.SubiOp.create(operands=[zero.result, cut.results[0]], result_types=[type_])
            replace(op, [zero, cut, minus, extend(minus.results[0])])


def _compare_registers(op: Operation) -> None:
    assert isinstance(op, ebpf.JccRROp)
    if is_integer(op.lhs.type, 64) and is_integer(op.rhs.type, 64):
        _conditional_jump(op, op.lhs, op.rhs)


def _compare_immediate(op: Operation) -> None:
    assert isinstance(op, ebpf.JccRIOp)
    if is_integer(op.lhs.type, 64) and op.core is None:
        _conditional_jump(op, op.lhs, None)


def _conditional_jump(op: ebpf.JccRROp | ebpf.JccRIOp, lhs: SSAValue, rhs: SSAValue | None) -> None:
    ops: list[Operation] = []
    type_: IntegerType = integer(op.row.width)
    if type_ != i64:
        ops.append(truncate(lhs, type_))
        lhs = ops[-1].results[0]
    if rhs is None:
        assert isinstance(op, ebpf.JccRIOp)
        ops.append(constant(op.imm.data, type_))
        rhs = ops[-1].results[0]
    elif type_ != i64:
        ops.append(truncate(rhs, type_))
        rhs = ops[-1].results[0]
    if op.row.op == "jset":
        both = arith.AndIOp.create(operands=[lhs, rhs], result_types=[type_])
        zero = constant(0, type_)
        ops += [both, zero]
        ops.append(compare("ne", both.results[0], zero.result))
    else:
        ops.append(compare(_COMPARISONS[op.row.op], lhs, rhs))
    edges = [(op.successors[i], op.successor_operands(i)) for i in (0, 1)]
    replace(op, [*ops, conditional(ops[-1].results[0], *edges)])


def _jump(op: Operation) -> None:
    replace(op, [cf.BranchOp.create(operands=op.operands, successors=op.successors)])


_RULES: dict[type[Operation], Callable[[Operation], None]] = {
    ebpf.AluRROp: _register,
    ebpf.AluRIOp: _immediate,
    ebpf.MovRROp: _move,
    ebpf.MovRIOp: _constant,
    ebpf.LddwOp: _wide_constant,
    ebpf.UnaryOp: _negation,
    ebpf.JccRROp: _compare_registers,
    ebpf.JccRIOp: _compare_immediate,
    ebpf.JaOp: _jump,
    ebpf.FallthroughOp: _jump,
}
