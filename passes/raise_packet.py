"""`raise-packet`: context and packet accesses, guards, resizing and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, i1, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.context_fields import RelocatedFields
from fsir.analysis.program_types import programs_reaching
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp, form_of, functions, int_attr
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.passes._rewrite import (
    conditional,
    constant,
    extend,
    integer,
    is_integer,
    narrowed,
    operations,
    raised_functions,
    relocation_of,
    replace,
)

_ADJUST = {44: packet.AdjustHeadOp, 54: packet.AdjustMetaOp, 65: packet.AdjustTailOp}
_ADDRESSES = (PtrType, MetaType)
_SOCKET_BUFFERS = frozenset({"sched_cls", "sched_act"})
_ENDS: dict[type, type] = {PtrType: EndType, MetaType: PtrType}  # what bounds an address


@dataclass(frozen=True)
class RaisePacketPass(ModulePass):
    """Recover what is done to the packet from typed machine operations.

    Loads of the context become `packet.data`, `packet.end`, `packet.meta` and `packet.ctx_load`; additions to packet
    addresses `packet.offset` and `packet.advance`; comparisons with the packet's end `packet.guard`; loads and stores
    `packet.load` and `packet.store`, on the nearest base whose distance is not constant; the resizing helpers and the
    program's exit likewise. What has another shape stays as it is.
    """

    name = "raise-packet"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        fields = RelocatedFields(op)
        types = programs_reaching({func.symbol: func for func in functions(op)})
        for func in raised_functions(op):
            rules = _RULES | _LEGACY_RULES if types[func.symbol] and types[func.symbol] <= _SOCKET_BUFFERS else _RULES
            for inner in operations(func):
                rule = rules.get(form_of(inner))
                if rule is not None and _is_plain(inner, fields):
                    rule(func, inner)


def _is_plain(op: Operation, fields: RelocatedFields) -> bool:
    """Whether an operation does what it says: no loader changes it, or only the offset of an access, which in the
    context stays as it is. (What is read may then be of another size, too: it is not sign-extended.)"""
    core = op.properties.get("core")
    if core is None:
        return True
    if not isinstance(op, ebpf.LdxOp | ebpf.StxOp | ebpf.StOp) or (isinstance(op, ebpf.LdxOp) and op.row.signed):
        return False
    return not isinstance(op.base.type, CtxType) or fields.offset(core) == op.off.data


def _load(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.LdxOp)
    if op.row.op != "ldx":
        return
    if isinstance(op.base.type, CtxType):
        _context_load(func, op)
    elif isinstance(op.base.type, _ADDRESSES):
        _replace_load(op, packet.LoadOp)


def _context_load(func: FuncOp, op: ebpf.LdxOp) -> None:
    address = _ADDRESS_OPS.get(type(op.res.type))
    if address is not None:
        replace(op, [address.create(operands=[op.base], result_types=[op.res.type], properties=relocation_of(op))])
    elif is_integer(op.res.type):
        _replace_load(op, packet.CtxLoadOp)


_ADDRESS_OPS: dict[type, type[Operation]] = {
    PtrType: packet.DataOp,
    EndType: packet.EndOp,
    MetaType: packet.MetaOp,
}


def _replace_load(op: ebpf.LdxOp, cls: type[Operation]) -> None:
    narrow = integer(op.row.width)
    base, off = _place(op.base, op)
    properties = {"off": int_attr(off)} | relocation_of(op)
    load = cls.create(operands=[base], result_types=[narrow], properties=properties)
    if op.row.width == 64:
        replace(op, [load])
    else:
        replace(op, [load, extend(load.results[0], signed=op.row.signed)])


def _fetch(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.LdAbsOp | ebpf.LdIndOp)
    if isinstance(op.context.type, CtxType) and is_integer(op.res.type, 64):
        cls = packet.FetchOp if isinstance(op, ebpf.LdAbsOp) else packet.FetchAtOp
        properties = {"off": int_attr(op.imm.data)}
        fetch = cls.create(operands=op.operands, result_types=[integer(op.row.width)], properties=properties)
        replace(op, [fetch, extend(fetch.results[0])])


def _store(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.StxOp)
    if isinstance(op.base.type, (*_ADDRESSES, CtxType)):
        found = narrowed(op.value, op.row.width)
        if found is not None:
            _replace_store(op, *found)


def _store_immediate(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.StOp)
    if isinstance(op.base.type, (*_ADDRESSES, CtxType)):
        value = constant(op.imm.data, integer(op.row.width))
        _replace_store(op, [value], value.result)


def _replace_store(op: ebpf.StxOp | ebpf.StOp, before: list[Operation], value: SSAValue) -> None:
    cls: type[Operation] = packet.CtxStoreOp if isinstance(op.base.type, CtxType) else packet.StoreOp
    base, off = _place(op.base, op)
    properties = {"off": int_attr(off)} | relocation_of(op)
    replace(op, [*before, cls.create(operands=[base, value], properties=properties)])


def _place(base: SSAValue, op: ebpf.LdxOp | ebpf.StxOp | ebpf.StOp) -> tuple[SSAValue, int]:
    """Where an access is made: from the nearest base, unless the loader writes the offset."""
    return base_of(base, op.off.data) if op.core is None else (base, op.off.data)


def _add_immediate(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.AluRIOp)
    if op.row.name in ("addi", "subi") and isinstance(op.lhs.type, _ADDRESSES) and op.lhs.type == op.res.type:
        imm = op.imm.data if op.row.name == "addi" else -op.imm.data
        base, off = base_of(op.lhs, imm)
        new = packet.OffsetOp.create(operands=[base], result_types=[op.res.type], properties={"off": int_attr(off)})
        replace(op, [new])


def _add(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.AluRROp)
    if op.row.name == "add" and isinstance(op.res.type, _ADDRESSES):
        address, by = (op.lhs, op.rhs) if op.lhs.type == op.res.type else (op.rhs, op.lhs)
        if is_integer(by.type, 64):
            replace(op, [packet.AdvanceOp.create(operands=[address, by], result_types=[op.res.type])])


def base_of(address: SSAValue, off: int) -> tuple[SSAValue, int]:
    """The address that `address + off` is a constant number of bytes from, and that number."""
    while isinstance(address.owner, packet.OffsetOp) and -0x8000 <= off + address.owner.off.data < 0x8000:
        off += address.owner.off.data
        address = address.owner.ptr
    return address, off


def _branch(func: FuncOp, op: Operation) -> None:
    """A comparison of an address with the end of what it points into."""
    assert isinstance(op, ebpf.JccRROp)
    if op.row.width != 64 or op.row.op not in _GUARDS:
        return
    address, end, name = op.lhs, op.rhs, op.row.op
    if not _bounds(address, end):
        address, end, name = end, address, _SWAPPED[name]
    if not _bounds(address, end):
        return
    extra, holds_when_taken = _GUARDS[name]
    base, size = base_of(address, extra)
    guard = packet.GuardOp.create(operands=[base, end], result_types=[i1], properties={"size": int_attr(size)})
    edges = [(op.successors[i], op.successor_operands(i)) for i in (0, 1)]
    then, otherwise = edges if holds_when_taken else edges[::-1]
    replace(op, [guard, conditional(guard.res, then, otherwise)])


def _bounds(address: SSAValue, end: SSAValue) -> bool:
    kind = _ENDS.get(type(address.type))
    return kind is not None and isinstance(end.type, kind)


# `address cmp end` as a guard of `extra` bytes more, and whether it holds when the jump is taken.
_GUARDS = {"jgt": (0, False), "jle": (0, True), "jge": (1, False), "jlt": (1, True)}
_SWAPPED = {"jgt": "jlt", "jlt": "jgt", "jge": "jle", "jle": "jge"}


def _call(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.CallOp)
    cls = _ADJUST.get(op.helper.data)
    if cls is not None and len(op.operands) == 2 and isinstance(op.operands[0].type, CtxType):
        replace(op, [cls.create(operands=op.operands, result_types=[i64])])


def _exit(func: FuncOp, op: Operation) -> None:
    assert isinstance(op, ebpf.ExitOp)
    if func.type_name in ("xdp", "sched_cls", "sched_act") and op.value is not None and is_integer(op.value.type, 64):
        replace(op, [packet.VerdictOp.create(operands=[op.value])])


_RULES: dict[type, Callable[[FuncOp, Operation], None]] = {
    ebpf.LdxOp: _load,
    ebpf.StxOp: _store,
    ebpf.StOp: _store_immediate,
    ebpf.AluRIOp: _add_immediate,
    ebpf.AluRROp: _add,
    ebpf.JccRROp: _branch,
    ebpf.CallOp: _call,
    ebpf.ExitOp: _exit,
}
_LEGACY_RULES: dict[type, Callable[[FuncOp, Operation], None]] = {ebpf.LdAbsOp: _fetch, ebpf.LdIndOp: _fetch}
"""In programs on socket buffers only: no other of those that are raised has these instructions."""
