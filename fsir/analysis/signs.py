"""Whether a number is surely not negative as a signed 64-bit one: what an index into memory has to be, to go up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import DictionaryAttr, IntAttr, IntegerAttr, IntegerType
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import LoadOp as ValueLoadOp

_NARROW = 62
"""Bits that a number may have so that no sum of it and of what a program adds to it becomes negative: constants below
2³¹, in fewer than 2³⁰ steps. (A loop has at most 2²³ iterations, BPF_MAX_LOOPS.)"""

_Needs = Sequence[SSAValue] | None
"""The numbers that must not be negative either; None where a number may be negative whatever they are."""


def is_not_negative(value: SSAValue) -> bool:
    """Whether a number is not negative, by the operations that make it: it has few bits, or is such a number and
    constants added to it. A block argument is not negative where all that it may be is not, so a counter that goes up
    is not."""
    incoming: dict[Region, dict[Block, list[tuple[Operation, int]]]] = {}
    seen, work = {value}, [value]
    while work:
        current = work.pop()
        needs = _argument(current, incoming) if isinstance(current, BlockArgument) else _result(current)
        if needs is None:
            return False
        for source in needs:
            if source not in seen:
                seen.add(source)
                work.append(source)
    return True


def is_field_offset(op: Operation) -> bool:
    """Whether the CO-RE relocation of an operation is the byte offset of a field (kind 0, uapi linux/bpf.h)."""
    core = op.properties["core"]
    kind = core.data.get("kind") if isinstance(core, DictionaryAttr) else None
    return isinstance(kind, IntAttr) and kind.data == 0


def _argument(value: BlockArgument, known: dict[Region, dict[Block, list[tuple[Operation, int]]]]) -> _Needs:
    block = value.owner
    region = block.parent
    func = block.parent_op()
    if region is None or not isinstance(func, FuncOp) or func.entry is block:
        return None
    if region not in known:
        known[region] = predecessors(region)
    return [successor_operands(op, index)[value.index] for op, index in known[region][block]]


def _result(value: SSAValue) -> _Needs:
    op = value.owner
    assert isinstance(op, Operation)
    if "core" in op.properties:
        return _if(is_field_offset(op))
    rule = _RULES.get(ebpf.form_of(op))
    if rule is not None:
        return rule(op)
    width = value.type.width.data if isinstance(value.type, IntegerType) else 64
    return _if(isinstance(op, packet.LoadOp | ValueLoadOp) and width <= _NARROW)


def _if(holds: bool) -> _Needs:
    return () if holds else None


def _alu_immediate(op: Operation) -> _Needs:
    assert isinstance(op, ebpf.AluRIOp)
    imm = op.imm.data
    if op.row.width == 64 and op.row.op == "add":
        return [op.lhs] if imm >= 0 else None
    masked = op.row.op == "and" and imm >= 0
    shifted = op.row.op == "rsh" and imm & 63 >= 64 - _NARROW
    return _if(op.row.width == 32 or masked or shifted)


def _alu(op: Operation) -> _Needs:
    assert isinstance(op, ebpf.AluRROp)
    return _if(op.row.width == 32)


def _copy(op: Operation) -> _Needs:
    assert isinstance(op, ebpf.MovRROp)
    return [op.value] if op.row.name == "mov" else _if(op.row.width == 32 and not op.row.signed)


def _machine_constant(op: Operation) -> _Needs:
    assert isinstance(op, ebpf.MovRIOp)
    return _if(op.row.width == 32 or op.imm.data >= 0)


def _machine_load(op: Operation) -> _Needs:
    assert isinstance(op, ebpf.LdxOp)
    return _if(not op.row.signed and op.row.width <= _NARROW)


def _extension(op: Operation) -> _Needs:
    narrow = op.operands[0].type
    return _if(isinstance(narrow, IntegerType) and narrow.width.data <= _NARROW)


def _constant(op: Operation) -> _Needs:
    return _if((number := _number(op.results[0])) is not None and 0 <= number < 1 << _NARROW)


def _sum(op: Operation) -> _Needs:
    steps = [value for value in op.operands if (number := _number(value)) is not None and 0 <= number < 1 << 31]
    return [value for value in op.operands if value not in steps] if steps else None


def _mask(op: Operation) -> _Needs:
    return _if(any((number := _number(value)) is not None and 0 <= number < 1 << _NARROW for value in op.operands))


def _shift(op: Operation) -> _Needs:
    by = _number(op.operands[1])
    return _if(by is not None and 64 - _NARROW <= by < 64)


def _number(value: SSAValue) -> int | None:
    op = value.owner
    return int(op.value.value.data) if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr) else None


_RULES: dict[type[Operation], Callable[[Operation], _Needs]] = {
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
