"""Identities on machine, packet and map operations with constant operands; the rules are those of `_algebra`."""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import i32, i64
from xdsl.ir import Operation, SSAValue

from fsir import isa
from fsir.analysis.bits import mask
from fsir.analysis.evaluate import width_of
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import insn, int_attr
from fsir.isa import Form
from fsir.passes._algebra import UPDATED, New, Outcome, Rule, droppable, fits, low_bits
from fsir.passes._rewrite import extend, replace, truncate

_OFFSETS = range(-0x8000, 0x8000)
_IMMEDIATE_FORM = {
    (row.op, row.width): row.name for row in isa.OPCODES if row.form is Form.ALU_RI and row.op not in ("div", "mod")
}


def signed_immediate(value: int) -> int:
    """The immediate that stands for an unsigned 64-bit constant that `fits`."""
    return value - (1 << 64) if value >> 63 else value


def _register_to_immediate(op: Operation, new: New) -> Outcome:
    """`dst op= register` with a known register. (The kernel refuses a constant divisor of 0 and too far a shift.)"""
    assert isinstance(op, ebpf.AluRROp)
    value = new.known(op.rhs)
    if value is None or "core" in op.properties or width_of(op.rhs.type) != 64:
        return None
    width = op.row.width
    if width == 32:
        value = value & mask(32)
        value |= (mask(32) << 32) * (value >> 31)
    name = _IMMEDIATE_FORM.get((op.row.op, width))
    if name is None or not fits(value, 64) or (op.row.op in ("lsh", "rsh", "arsh") and value >= width):
        return None
    if op.row.op in ("sdiv", "smod") and value == 0:
        return None
    return new.add(insn(name, [op.lhs], op.res.type, imm=signed_immediate(value)))


def _shift_pair(op: Operation, new: New) -> Outcome:
    """`(x << 32) >> 32` of a word of unknown kind takes its low half. (The kernel refuses to shift an address.)"""
    assert isinstance(op, ebpf.AluRIOp)
    first = op.lhs.owner
    if (op.row.name, op.imm.data) != ("rshi", 32) or not isinstance(first, ebpf.AluRIOp) or not op.lhs.has_one_use():
        return None
    if (first.row.name, first.imm.data) != ("lshi", 32) or "core" in op.properties or "core" in first.properties:
        return None
    if width_of(first.lhs.type) != 64:
        return None
    word = first.lhs
    if word.type != i64:
        word = new.add(ebpf.CastOp.create(operands=[word], result_types=[i64]))
    low = new.add(extend(new.add(truncate(word, i32))))
    if op.res.type != i64:  # it may become part of an address
        new.facts.addresses |= {added.results[0] for added in new.ops}
    return low if op.res.type == i64 else new.add(ebpf.CastOp.create(operands=[low], result_types=[op.res.type]))


def _byte_order(op: Operation, new: New) -> Outcome:
    """Swapping twice, swapping or truncating what has no upper bits; only the low bits of the operand count."""
    assert isinstance(op, ebpf.UnaryOp)
    name, width = op.row.op, op.row.width
    if name not in ("be", "le", "bswap") or op.value.type != i64 or op.res.type != i64:
        return None
    source = op.value
    small = not new.facts.possible(source) & ~mask(width)
    if name == "le":
        return source if small and droppable(op.res, source, width, new) else None
    inner = source.owner
    if isinstance(inner, ebpf.UnaryOp) and inner.row.op in ("be", "bswap") and inner.row.width == width:
        original = inner.value
        if original.type == i64 and not new.facts.possible(original) & ~mask(width) and original is not op.res:
            return original if droppable(op.res, original, width, new) else None
    # The operand of a machine operation is a full word.
    shorter = low_bits(source, width, new)
    if shorter.type != i64:
        ext = source.owner
        if not isinstance(ext, arith.ExtUIOp) or shorter is ext.input:
            return None
        return new.add(insn(op.row.name, [new.add(extend(shorter))], i64))
    if shorter is not source:
        op.operands = [shorter]
        return UPDATED
    return None


def _store_constant(op: Operation, new: New) -> Outcome:
    """A store of a constant that fits the instruction."""
    assert isinstance(op, ebpf.StxOp)
    value = new.known(op.value)
    width = op.row.width
    if value is None or op.core is not None or width_of(op.value.type) != 64:
        return None
    value &= mask(width)
    value |= (mask(64) & ~mask(width)) * (value >> (width - 1))
    if not fits(value, 64):
        return None
    properties = {"off": op.off, "imm": int_attr(signed_immediate(value))}
    replace(op, [ebpf.OPS[f"st{width}"].create(operands=[op.base], properties=properties)])
    return UPDATED


def _cast(op: Operation, new: New) -> Outcome:
    """A cast to the type that the word has, and a cast of a cast."""
    assert isinstance(op, ebpf.CastOp)
    if op.value.type == op.res.type:
        return op.value
    inner = op.value.owner
    if isinstance(inner, ebpf.CastOp) and width_of(inner.res.type) == 64 == width_of(inner.value.type):
        op.operands = [inner.value]
        return UPDATED
    return None


def _advance_by_constant(op: Operation, new: New) -> Outcome:
    """An address moved by a known distance."""
    assert isinstance(op, packet.AdvanceOp)
    value = new.known(op.by)
    if value is None or not fits(value, 64) or signed_immediate(value) not in _OFFSETS:
        return None
    properties = {"off": int_attr(signed_immediate(value))}
    return new.add(packet.OffsetOp.create(operands=[op.ptr], result_types=[op.res.type], properties=properties))


def _no_distance(op: Operation, new: New) -> Outcome:
    assert isinstance(op, packet.OffsetOp)
    return op.ptr if op.off.data == 0 and op.ptr.type == op.res.type else None


def _nearer_base(field: str, operand: int) -> Rule:
    """What is a constant distance from an address that is a constant distance from another is so from the other."""

    def rule(op: Operation, new: New) -> Outcome:
        assert isinstance(op, ebpf.EbpfOp)
        base = op.operands[operand].owner
        if (
            "core" in op.properties
            or not isinstance(base, packet.OffsetOp)
            or base.ptr.type != op.operands[operand].type
        ):
            return None
        total = op.int_prop(field) + base.off.data
        if total not in _OFFSETS:
            return None
        op.operands[operand] = base.ptr
        op.properties[field] = int_attr(total)
        return UPDATED

    return rule


def _in_frame(field: str) -> Rule:
    """What is a constant distance from an address in the frame that is a constant distance from another."""

    def rule(op: Operation, new: New) -> Outcome:
        assert isinstance(op, ebpf.EbpfOp)
        base = op.operands[0].owner
        if isinstance(op, ebpf.AluRIOp) and op.row.name != "addi":
            return None
        if not isinstance(base, ebpf.AluRIOp) or base.row.name != "addi":
            return None
        if "core" in op.properties or "core" in base.properties:
            return None
        total = op.int_prop(field) + base.imm.data
        if not isinstance(base.lhs.type, ebpf.FramePointerType) or total not in _OFFSETS:
            return None
        op.operands[0] = base.lhs
        op.properties[field] = int_attr(total)
        return UPDATED

    return rule


def _stored_low_bits(operand: int) -> Rule:
    """A store takes only the low bits of what it is given."""

    def rule(op: Operation, new: New) -> Outcome:
        value = op.operands[operand]
        source = value.owner
        if not isinstance(source, arith.AndIOp | arith.OrIOp | arith.XOrIOp | arith.AddiOp):
            return None
        shorter: SSAValue = low_bits(value, width_of(value.type), new)
        if shorter is value or shorter.type != value.type:
            return None
        op.operands[operand] = shorter
        return UPDATED

    return rule


RULES: dict[type[Operation], tuple[Rule, ...]] = {
    ebpf.AluRROp: (_register_to_immediate,),
    ebpf.AluRIOp: (_shift_pair, _in_frame("imm")),
    ebpf.UnaryOp: (_byte_order,),
    ebpf.LdxOp: (_in_frame("off"),),
    ebpf.StxOp: (_store_constant, _in_frame("off")),
    ebpf.StOp: (_in_frame("off"),),
    ebpf.CastOp: (_cast,),
    packet.AdvanceOp: (_advance_by_constant,),
    packet.OffsetOp: (_no_distance, _nearer_base("off", 0)),
    packet.GuardOp: (_nearer_base("size", 0),),
    packet.LoadOp: (_nearer_base("off", 0),),
    packet.StoreOp: (_nearer_base("off", 0), _stored_low_bits(1)),
    map.StoreOp: (_stored_low_bits(1),),
}
"""What applies to machine, packet and map operations, in the order to be tried."""
