"""What a P4 pipeline can do (design, "What P4 can take"): fields at constant offsets, tables, counters, verdicts."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import BlockArgument, Operation, SSAValue

from fsir.dialects import ebpf, packet
from fsir.dialects import map as maps
from fsir.dialects.map import HandleType, ValueType
from fsir.dialects.packet import CtxType, EndType, PtrType
from fsir.placement.access import MapAccesses, addition_of
from fsir.placement.loops import evaluate

INGRESS_IFINDEX = 12
DROPS = (0, 1)
TX = 3
TABLES = {"hash", "lpm_trie", "array"}
COUNTERS = {"array", "percpu_array"}

_ALU = (
    *(arith.ConstantOp, arith.AddiOp, arith.SubiOp, arith.AndIOp, arith.OrIOp, arith.XOrIOp),
    *(arith.ShLIOp, arith.ShRUIOp, arith.ShRSIOp, arith.CmpiOp, arith.ExtUIOp, arith.ExtSIOp, arith.TruncIOp),
    *(arith.SelectOp, arith.MuliOp),
    *(cf.BranchOp, cf.ConditionalBranchOp),
)
_FREE = (packet.DataOp, packet.EndOp, packet.GuardOp, maps.HitOp, ebpf.UndefOp)


def why_not(accesses: MapAccesses, op: Operation) -> str | None:
    """Why a P4 pipeline cannot do an operation, None if it can."""
    for block_argument in op.operands:
        if isinstance(block_argument, BlockArgument) and not isinstance(block_argument.type, IntegerType | CtxType):
            return "an address that depends on the path taken"
    rule = _RULES.get(type(op))
    if rule is not None:
        return rule(accesses, op)
    if isinstance(op, _ALU):
        return None
    if isinstance(op, _FREE):
        return None
    if isinstance(op, ebpf.UnaryOp) and op.row.op in ("be", "le", "bswap"):
        return None
    if isinstance(op, ebpf.CallOp | ebpf.CallLocalOp | ebpf.CallKfuncOp | ebpf.CallxOp):
        return "a function call"
    return f"{op.name} has no counterpart in P4"


def packet_offset(address: SSAValue) -> int | None:
    """The constant distance of a packet address from the packet's start."""
    offset = 0
    while isinstance(op := address.owner, packet.OffsetOp):
        offset += op.int_prop("off")
        address = op.ptr
    return offset if isinstance(op, packet.DataOp) else None


def _access(accesses: MapAccesses, op: Operation) -> str | None:
    if not isinstance(op.operands[0].type, PtrType):
        return "metadata in front of the packet"
    if packet_offset(op.operands[0]) is None:
        return "a packet access at an offset that is not constant"
    return None


def _offset(accesses: MapAccesses, op: Operation) -> str | None:
    return None if isinstance(op.operands[0].type, PtrType) else "metadata in front of the packet"


def _context(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, packet.CtxLoadOp)
    return None if op.int_prop("off") == INGRESS_IFINDEX else "a field of the context that the NIC does not have"


def _length(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, ebpf.AluRROp)
    if op.row.name == "sub" and isinstance(op.lhs.type, EndType) and isinstance(op.rhs.owner, packet.DataOp):
        return None
    return f"{op.name} has no counterpart in P4"


def _verdict(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, packet.VerdictOp)
    if isinstance(op.value.owner, maps.RedirectOp):
        return None
    value = evaluate(op.value, {})
    if value is None:
        return "a verdict that depends on the path taken"
    if value & 0xFFFFFFFF in (*DROPS, TX):
        return None
    return "the packet goes on in the kernel"


def _lookup(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, maps.LookupOp)
    name = op.map.root_reference.data
    declaration = accesses.declarations.get(name)
    kind = declaration.type.data if declaration is not None else "unknown"
    if kind not in TABLES | COUNTERS:
        return f"map '{name}' is of type {kind}, for which P4 has no table"
    return None


def _symbol(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, ebpf.LdSymOp)
    if isinstance(op.res.type, HandleType):
        return None
    return "global data" if isinstance(op.res.type, ValueType) else "the address of a symbol"


def _load(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, maps.LoadOp)
    if not isinstance(op.value.owner, maps.LookupOp):
        return "an access to a map value at an offset that is not constant"
    return None


def _store(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, maps.StoreOp)
    found = addition_of(op)
    if found is None:
        return "a store to a map value"
    return _counter(accesses, op, found[1])


def _atomic(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, maps.AtomicOp)
    if op.op.data != "add" or (op.res is not None and op.res.uses):
        return "an atomic operation on a map value"
    return _counter(accesses, op, op.arg)


def _counter(accesses: MapAccesses, op: Operation, by: SSAValue) -> str | None:
    """An addition to an element of an array: of one, or of the packet's length, which is what P4 counters count."""
    base = op.operands[0].owner
    if not isinstance(base, maps.LookupOp):
        return "an access to a map value at an offset that is not constant"
    name = base.map.root_reference.data
    if accesses.declarations[name].type.data not in COUNTERS:
        return f"a store to a value of map '{name}', which is no array"
    if evaluate(by, {}) == 1 or is_length(by):
        return None
    return "a counter that adds something else than packets or bytes"


def is_length(value: SSAValue) -> bool:
    """Whether a scalar is the packet's length: end minus start, cut to 32 bits or not."""
    op = value.owner
    while isinstance(op, arith.ShRUIOp | arith.ShLIOp | arith.ExtUIOp | arith.TruncIOp):
        shifts = isinstance(op, arith.ShRUIOp | arith.ShLIOp)
        if shifts and evaluate(op.operands[1], {}) != 32:
            return False
        op = op.operands[0].owner
    return (
        isinstance(op, ebpf.AluRROp)
        and op.row.name == "sub"
        and isinstance(op.lhs.type, EndType)
        and isinstance(op.rhs.owner, packet.DataOp)
    )


def _redirect(accesses: MapAccesses, op: Operation) -> str | None:
    assert isinstance(op, maps.RedirectOp)
    name = op.map.root_reference.data
    kind = accesses.declarations[name].type.data
    if kind not in ("devmap", "devmap_hash"):
        return f"a redirect through the {kind} map '{name}'"
    if evaluate(op.flags, {}) not in (0, 1):
        return "a redirect whose fallback is not to drop"
    if not all(isinstance(use.operation, packet.VerdictOp) for use in op.res.uses):
        return "a redirect that is not the verdict at once"
    return None


_RULES: dict[type[Operation], Callable[[MapAccesses, Operation], str | None]] = {
    packet.LoadOp: _access,
    packet.StoreOp: _access,
    packet.OffsetOp: _offset,
    packet.CtxLoadOp: _context,
    packet.VerdictOp: _verdict,
    maps.LookupOp: _lookup,
    maps.LoadOp: _load,
    maps.StoreOp: _store,
    maps.AtomicOp: _atomic,
    maps.RedirectOp: _redirect,
    ebpf.LdSymOp: _symbol,
    ebpf.OPS["sub"]: _length,
}
