"""What programs do to packets and maps: header fields read and written by name, maps and how they are used, and where
a program depends on state.  Works on raised functions; what was not raised is listed as such."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xdsl.dialects.builtin import IntegerType, ModuleOp, StringAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.map import DeclOp, HandleType, ValueType
from fsir.dialects.packet import CtxType, MetaType, PtrType
from fsir.placement.access import MapAccesses
from fsir.report.contents import helper_name, operations
from fsir.report.fields import in_packet_order, whole_fields
from fsir.report.keys import key_of
from fsir.report.regions import commutative_maps, stateful_regions

_UPDATES = (map.UpdateOp, map.UpdateAtOp)
_DELETES = (map.DeleteOp, map.DeleteAtOp)
_LOOKUPS = (map.LookupOp, map.LookupAtOp)
_MAP_OPS = (*_UPDATES, *_DELETES, *_LOOKUPS, map.RedirectOp)
_CHANGES = tuple(map.CALLS[name] for name in ("update_via", "delete_via", "push", "pop", "peek"))
"""Calls of helpers that change what the next packet finds, or ask what the last one left. (Output is no state.)"""
_KEEPS_NOTHING = frozenset(
    {"array", "percpu_array", "hash", "lpm_trie", "percpu_hash", "devmap", "devmap_hash", "cpumap"}
)
"""Maps of which a lookup leaves no trace."""


def access_report(module: ModuleOp) -> dict[str, Any]:
    """The report as JSON-able data: for every function of the module, `reads` and `writes` (field or `[offset:width]`
    with how often), `guards` (bytes asked for), `resizes`, `maps` (how each is used), `keys` (of each map, what the
    different keys consist of), `commutative` (maps that are only added to), `stateful` (whether anything it does
    depends on, or changes, what other packets did), `stateless_blocks` of `blocks`, `stateful_regions` (where the
    others are), `not_raised`."""
    globals_ = {op.sym_name.data for op in module.body.block.ops if isinstance(op, DeclOp) and op.internal is not None}
    types = {op.sym_name.data: op.type.data for op in module.body.block.ops if isinstance(op, DeclOp)}
    accesses = MapAccesses(module, functions(module))
    return {"functions": [_function(func, types, globals_, accesses) for func in functions(module)]}


def _function(func: FuncOp, types: dict[str, str], globals_: set[str], accesses: MapAccesses) -> dict[str, Any]:
    reads: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    context: Counter[str] = Counter()
    uses: dict[str, Counter[str]] = {}
    keys: dict[str, dict[str, None]] = {}
    not_raised: Counter[str] = Counter()
    resizes: list[str] = []
    guards: set[int] = set()
    for op in operations(func):
        if isinstance(op, packet.LoadOp):
            reads[_place(op, op.res)] += 1
        elif isinstance(op, packet.StoreOp):
            writes[_place(op, op.value)] += 1
        elif isinstance(op, packet.FetchOp | packet.FetchAtOp):
            reads[_fetched(op)] += 1
        elif isinstance(op, packet.CtxLoadOp | packet.CtxStoreOp):
            context[op.field.data if op.field is not None else f"[{op.off.data}]"] += 1
        elif isinstance(op, packet.GuardOp):
            guards.add(int(op.size.data))
        elif isinstance(op, packet.AdjustHeadOp | packet.AdjustTailOp | packet.AdjustMetaOp):
            resizes.append(op.name.removeprefix("packet.adjust_"))
        _map_use(op, uses)
        if isinstance(op, map.LookupOp | map.UpdateOp | map.DeleteOp):
            keys.setdefault(op.symbol_prop("map"), {}).setdefault(" + ".join(key_of(op)))
        if (what := _missed(op)) is not None:
            not_raised[what] += 1
    stateful = [block for block in func.body.blocks if _is_stateful(block, types)]
    total = sum(1 for _ in func.body.blocks)
    return {
        "name": func.symbol,
        "type": func.type_name,
        "reads": in_packet_order(whole_fields(reads)),
        "writes": in_packet_order(whole_fields(writes)),
        "context": dict(context.most_common()),
        "guards": sorted(guards),
        "resizes": resizes,
        "maps": {name: dict(use) for name, use in sorted(uses.items())},
        "keys": {name: list(found) for name, found in sorted(keys.items())},
        "commutative": commutative_maps(func, accesses),
        "globals": sorted(set(uses) & globals_),
        "stateful": bool(stateful),
        "blocks": total,
        "stateless_blocks": total - len(stateful),
        "stateful_regions": stateful_regions(func, stateful, accesses),
        "not_raised": dict(not_raised.most_common()),
    }


def _place(op: packet.LoadOp | packet.StoreOp, value: SSAValue) -> str:
    """The field that an access touches, or its offset and width in bits."""
    if isinstance(op.field, StringAttr):
        return op.field.data
    width = value.type.width.data if isinstance(value.type, IntegerType) else 0
    return f"[{op.off.data}]:{width}"


def _fetched(op: packet.FetchOp | packet.FetchAtOp) -> str:
    if isinstance(op.field, StringAttr):
        return op.field.data
    at = f"{op.off.data}" if isinstance(op, packet.FetchOp) else f"? + {op.off.data}"
    return f"[{at}]:{op.res.type.width.data if isinstance(op.res.type, IntegerType) else 0}"


def _map_use(op: Operation, uses: dict[str, Counter[str]]) -> None:
    if isinstance(op, _MAP_OPS):
        name = op.symbol_prop("map")
        uses.setdefault(name, Counter())[op.name.removeprefix("map.").removesuffix("_at")] += 1
    elif isinstance(op, map.MapCallOp):
        for operand in op.operands:
            for name in operand.type.names if isinstance(operand.type, HandleType) else ():
                uses.setdefault(name, Counter())[op.name.removeprefix("map.").removesuffix("_via")] += 1
    elif isinstance(op, map.LoadOp | map.StoreOp | map.AtomicOp) and isinstance(op.value.type, ValueType):
        kind = f"atomic {op.op.data}" if isinstance(op, map.AtomicOp) else op.name.removeprefix("map.")
        for name in op.value.type.names:
            uses.setdefault(name, Counter())[f"value {kind}"] += 1


def _missed(op: Operation) -> str | None:
    """What kind of access a machine operation still is, or None."""
    if isinstance(op, ebpf.LdxOp | ebpf.StxOp | ebpf.StOp | ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp):
        kind: type[Attribute] = type(op.operands[0].type)
        names: dict[type[Attribute], str] = {
            PtrType: "packet access",
            MetaType: "metadata access",
            CtxType: "context access",
        }
        if kind is ValueType:
            return "map value access"
        return names.get(kind) or ("memory access" if op.operands[0].type == ebpf.UNALLOCATED else None)
    if isinstance(op, ebpf.CallOp) and op.helper.data in (1, 2, 3) and not isinstance(op, map.MapCallOp):
        return f"call of {helper_name(int(op.helper.data))}"
    return "code that does not decode" if isinstance(op, ebpf.RawOp) else None


def _keeps_state(op: map.MapCallOp, types: dict[str, str]) -> bool:
    """Whether a helper changes a map, or leaves a trace of looking into it."""
    if not isinstance(op, map.CALLS["lookup_via"]):
        return isinstance(op, _CHANGES)
    names = op.operands[0].type.names if isinstance(op.operands[0].type, HandleType) else ()
    return any(types.get(map.outer_name(name) or name, "") not in _KEEPS_NOTHING for name in names)


def _is_stateful(block: Block, types: dict[str, str]) -> bool:
    """Whether a block reads what other packets may have written, or writes what they may read.

    Lookups in, and loads from, maps count as reading state only where the program itself could have written it: this
    report cannot see what user space writes, so a read alone is configuration."""
    for op in block.ops:
        if isinstance(op, (*_UPDATES, *_DELETES, map.StoreOp, map.AtomicOp)):
            return True
        if isinstance(op, _LOOKUPS) and types.get(op.symbol_prop("map"), "") not in _KEEPS_NOTHING:
            return True
        if isinstance(op, map.MapCallOp) and _keeps_state(op, types):
            return True
        if isinstance(op, ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp | ebpf.CallKfuncOp):
            return True
    return False
