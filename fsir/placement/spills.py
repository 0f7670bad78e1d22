"""Addresses of the frame that a program keeps in its frame: made again where they are loaded, so that none is stored.

A compiler that runs out of registers spills `frame - 24` as any other word. To a part in another place it would mean
nothing, and whoever follows addresses of the frame loses sight of one that is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from fsir.analysis.frame import Access, Frame, How, declared_maps
from fsir.analysis.frame_contents import FrameContents
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FramePointerType, FuncOp, insn
from fsir.passes._rewrite import constant, replace


def remake_frame_addresses(module: ModuleOp, func: FuncOp) -> None:
    """Replace loads of such addresses, and remove the stores, where nothing else can read what they store."""
    stores = [op for op in func.walk() if isinstance(op, ebpf.StxOp) and isinstance(op.value.type, FramePointerType)]
    if not stores:
        return
    funcs = [op for op in module.body.block.ops if isinstance(op, FuncOp)]
    contents = FrameContents(module, [each for each in funcs if not each.is_raw() and not each.is_allocated()])
    for load in [op for op in func.walk() if isinstance(op, ebpf.LdxOp) and isinstance(op.res.type, FramePointerType)]:
        offsets = {_offset(value) for value in contents.stored(load) or ()}
        offset = offsets.pop() if len(offsets) == 1 else None
        if offset is not None:
            frame = ebpf.FpOp.create(result_types=[FramePointerType()])
            replace(load, [frame, insn("addi", [frame.res], FramePointerType(), imm=offset)])
    _remove(module, func, stores, contents)


def _offset(value: SSAValue | Operation) -> int | None:
    """How far from the frame pointer an address is, where that is a constant."""
    offset = 0
    while isinstance(value, SSAValue) and isinstance(op := value.owner, ebpf.AluRIOp):
        if op.row.name not in ("addi", "subi") or "core" in op.properties:
            return None
        offset += op.imm.data if op.row.name == "addi" else -op.imm.data
        value = op.operands[0]
    return offset if isinstance(value, SSAValue) and isinstance(value.owner, ebpf.FpOp) else None


def _remove(module: ModuleOp, func: FuncOp, stores: Sequence[ebpf.StxOp], contents: FrameContents) -> None:
    """Take the stores out, all or none."""
    slots: list[tuple[int, SSAValue]] = []
    for op in stores:
        base = _offset(op.base)
        if base is None or op.row.width != 64:
            return
        slots.append((base + op.int_prop("off"), op.value))
    nothing = constant(0)
    func.entry.insert_ops_before([nothing], next(iter(func.entry.ops)))
    for op in stores:
        op.operands = [op.base, nothing.result]
    frame = Frame(func, declared_maps(module))
    if frame.escaped is None and not any(_reads(access, slots, contents) for access in frame.accesses):
        for op in stores:
            replace(op, [])
    else:
        for op, (_, value) in zip(stores, slots, strict=True):
            op.operands = [op.base, value]
    func.entry.erase_op(nothing)


def _reads(access: Access, slots: Sequence[tuple[int, SSAValue]], contents: FrameContents) -> bool:
    """Whether an access may read one of the addresses that were stored."""
    if access.how is How.STORE:
        return False
    overlapped = {value for at, value in slots if access.start < at + 8 and at < access.end}
    if not overlapped:
        return False
    stored = contents.stored(access.op) if isinstance(access.op, ebpf.LdxOp) else None
    return stored is None or bool(overlapped & stored)


__all__ = ["remake_frame_addresses"]
