"""Addresses that a program keeps in its frame: those of the frame are made again where they are loaded, others are
the values that were stored, so that none is stored.

A compiler that runs out of registers spills `frame - 24`, or the address of a map value, as any other word. To a part
in another place it would mean nothing, and whoever follows addresses loses sight of one that is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.frame import Access, Frame, How, declared_maps
from fsir.analysis.frame_contents import FrameContents
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FramePointerType, FuncOp, insn
from fsir.passes._rewrite import constant, replace
from fsir.placement.scalars import Scalars
from fsir.placement.stack import StackBytes


def unspill_addresses(module: ModuleOp, func: FuncOp) -> None:
    """Replace loads of such addresses, and remove the stores, where nothing else can read what they store."""
    stores = [op for op in func.walk() if isinstance(op, ebpf.StxOp) and not isinstance(op.value.type, IntegerType)]
    if not stores:
        return
    funcs = [op for op in module.body.block.ops if isinstance(op, FuncOp)]
    contents = FrameContents(module, [each for each in funcs if not each.is_raw() and not each.is_allocated()])
    of_frame = [op for op in stores if isinstance(op.value.type, FramePointerType)]
    _remake(module, func, of_frame, contents)
    _reuse(module, func, [op for op in stores if op not in of_frame], contents)


def _remake(module: ModuleOp, func: FuncOp, stores: Sequence[ebpf.StxOp], contents: FrameContents) -> None:
    """Make addresses of the frame again where they are loaded."""
    if not stores:
        return
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


def _reuse(module: ModuleOp, func: FuncOp, stores: Sequence[ebpf.StxOp], contents: FrameContents) -> None:
    """Take the value that was stored for each load of it, where it still is what was stored."""
    if not stores:
        return
    tree = DominatorTree(func.body)
    replaced: dict[SSAValue, SSAValue] = {}
    for load in [op for op in func.walk() if isinstance(op, ebpf.LdxOp) and not isinstance(op.res.type, IntegerType)]:
        found = list(contents.stored(load) or ())
        value, at = found[0] if len(found) == 1 else None, _slot(load)
        if not isinstance(value, SSAValue) or value.type != load.res.type or at is None:
            continue
        value = replaced.get(value, value)
        same = {op for op in stores if op.value is value and _slot(op) == at}
        if same and _dominates(tree, value, load) and not _comes_without(value, load, same):
            replaced[load.res] = value
            replace(load, [], value)
    frame = StackBytes(func, tree, declared_maps(module), Scalars(func))
    for op in stores:
        if frame.is_dead(op):
            replace(op, [])


def _dominates(tree: DominatorTree, value: SSAValue, op: Operation) -> bool:
    """Whether a value is there whenever control comes to an operation."""
    at = value.owner if isinstance(value.owner, Block) else value.owner.parent
    assert at is not None and op.parent is not None
    if at is not op.parent:
        return tree.strictly_dominates(at, op.parent)
    return isinstance(value.owner, Block) or value.owner.is_before_in_block(op)


def _slot(op: ebpf.LdxOp | ebpf.StxOp) -> int | None:
    """The place in the frame of a word that is loaded or stored, where that is known."""
    base = _offset(op.base)
    return None if base is None or op.row.width != 64 else base + op.int_prop("off")


def _comes_without(value: SSAValue, load: Operation, stores: set[ebpf.StxOp]) -> bool:
    """Whether control comes from where a value is made to a load by none of these stores of it."""
    start = value.owner
    seen: set[Block] = set()
    work: list[tuple[Block, Operation | None]]
    if isinstance(start, Block):
        work = [(start, start.first_op)]
    else:
        assert start.parent is not None
        work = [(start.parent, start.next_op)]
    while work:
        block, op = work.pop()
        while op is not None and op not in stores:
            if op is load:
                return True
            op = op.next_op
        if op is None:
            fresh = [target for target in successors(block) if target not in seen]
            seen.update(fresh)
            work += [(target, target.first_op) for target in fresh]
    return False


__all__ = ["unspill_addresses"]
