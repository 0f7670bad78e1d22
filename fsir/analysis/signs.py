"""Whether a number is surely not negative as a signed 64-bit one: what an index into memory has to be, to go up."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith
from xdsl.dialects.builtin import DictionaryAttr, IntAttr, IntegerAttr, IntegerType
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import LoadOp as ValueLoadOp

_NARROW = 62
"""Bits that a number may have so that no sum of it and of what a program adds to it becomes negative: constants below
2³¹, in fewer than 2³⁰ steps. (A loop has at most 2²³ iterations, BPF_MAX_LOOPS.)"""


def is_not_negative(value: SSAValue) -> bool:
    """Whether a number is not negative, by the operations that make it: it has few bits, or is such a number and
    constants added to it. A block argument is not negative where all that it may be is not, so a counter that goes up
    is not."""
    return _holds(value, frozenset())


def is_field_offset(op: Operation) -> bool:
    """Whether the CO-RE relocation of an operation is the byte offset of a field (kind 0, uapi linux/bpf.h)."""
    core = op.properties["core"]
    kind = core.data.get("kind") if isinstance(core, DictionaryAttr) else None
    return isinstance(kind, IntAttr) and kind.data == 0


def _holds(value: SSAValue, assumed: frozenset[SSAValue]) -> bool:
    if value in assumed:
        return True
    owner = value.owner
    if isinstance(value, BlockArgument):
        return _argument(value, assumed)
    assert isinstance(owner, Operation)
    if "core" in owner.properties:
        return is_field_offset(owner)
    rule = _RULES.get(ebpf.form_of(owner))
    if rule is not None:
        return rule(owner, assumed)
    width = value.type.width.data if isinstance(value.type, IntegerType) else 64
    return isinstance(owner, packet.LoadOp | ValueLoadOp) and width <= _NARROW


def _argument(value: BlockArgument, assumed: frozenset[SSAValue]) -> bool:
    block = value.owner
    func = block.parent_op()
    if not isinstance(func, FuncOp) or func.entry is block:
        return False
    incoming = _incoming(block)
    return bool(incoming) and all(
        _holds(successor_operands(op, index)[value.index], assumed | {value}) for op, index in incoming
    )


def _incoming(block: Block) -> list[tuple[Operation, int]]:
    region = block.parent
    assert region is not None
    return predecessors(region)[block]


def _alu_immediate(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    assert isinstance(op, ebpf.AluRIOp)
    if op.row.width == 32:
        return True
    imm = op.imm.data
    if op.row.op == "add":
        return imm >= 0 and _holds(op.lhs, assumed)
    return (op.row.op == "and" and imm >= 0) or (op.row.op == "rsh" and imm & 63 >= 64 - _NARROW)


def _alu(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    assert isinstance(op, ebpf.AluRROp)
    return op.row.width == 32


def _copy(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    assert isinstance(op, ebpf.MovRROp)
    if op.row.width == 32:
        return not op.row.signed
    return op.row.name == "mov" and _holds(op.value, assumed)


def _machine_constant(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    assert isinstance(op, ebpf.MovRIOp)
    return op.row.width == 32 or op.imm.data >= 0


def _machine_load(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    assert isinstance(op, ebpf.LdxOp)
    return not op.row.signed and op.row.width < 64


def _extension(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    narrow = op.operands[0].type
    return isinstance(narrow, IntegerType) and narrow.width.data <= _NARROW


def _constant(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    assert isinstance(op, arith.ConstantOp)
    return isinstance(op.value, IntegerAttr) and 0 <= int(op.value.value.data) < 1 << _NARROW


def _sum(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    return any(map(_is_step, op.operands)) and all(_is_step(value) or _holds(value, assumed) for value in op.operands)


def _is_step(value: SSAValue) -> bool:
    owner = value.owner
    return (
        isinstance(owner, arith.ConstantOp)
        and isinstance(owner.value, IntegerAttr)
        and 0 <= int(owner.value.value.data) < 1 << 31
    )


def _mask(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    return any(_holds(value, assumed) for value in op.operands)


def _shift(op: Operation, assumed: frozenset[SSAValue]) -> bool:
    owner = op.operands[1].owner
    by = owner.value if isinstance(owner, arith.ConstantOp) else None
    return isinstance(by, IntegerAttr) and 64 - _NARROW <= int(by.value.data) < 64


_RULES: dict[type[Operation], Callable[[Operation, frozenset[SSAValue]], bool]] = {
    ebpf.AluRIOp: _alu_immediate,
    ebpf.AluRROp: _alu,
    ebpf.MovRROp: _copy,
    ebpf.MovRIOp: _machine_constant,
    ebpf.LdxOp: _machine_load,
    arith.ExtUIOp: _extension,
    arith.ConstantOp: _constant,
    arith.AddiOp: _sum,
    arith.AndIOp: _mask,
    arith.ShRUIOp: _shift,
}
