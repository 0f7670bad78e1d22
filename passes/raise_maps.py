"""`raise-maps`: map operations and accesses to map values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, SymbolRefAttr, i1, i64
from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.dialects import ebpf, map
from fsir.dialects.ebpf import UNALLOCATED, FuncOp, form_of, int_attr
from fsir.dialects.map import HandleType, MapsType, ValueType
from fsir.interp.helpers import HELPERS, ArgKind
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


@dataclass(frozen=True)
class RaiseMapsPass(ModulePass):
    """Recover what is done to maps from typed machine operations.

    Calls of the map helpers become `map.lookup_at`, `map.update_at`, `map.delete_at` (`raise-stack` turns addresses of
    keys into values) and `map.redirect`, or where the map is not known by name `map.lookup_via` and so on; what other
    helpers do with maps and what is in values is an operation each. Null checks become `map.hit`; loads, stores and
    atomics through a value `map.load`, `map.store`, `map.atomic`. Where it is not known that a word is a map, the call
    stays.
    """

    name = "raise-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            for inner in operations(func):
                rule = _RULES.get(form_of(inner))
                if rule is not None:
                    rule(inner)


def _call(op: Operation) -> None:
    assert isinstance(op, ebpf.CallOp)
    number = op.helper.data
    if isinstance(op, map.MapCallOp) or number not in map.CALL_OF or "core" in op.properties:
        return
    args = HELPERS[number].args
    handles = [value.type for arg, value in zip(args, op.operands, strict=False) if arg.kind is ArgKind.MAP]
    if len(op.operands) != len(args) or not all(isinstance(handle, HandleType) for handle in handles):
        return
    name = handles[0].only if handles and isinstance(handles[0], HandleType) else None
    cls = _NAMED.get(number)
    if cls is None or name is None or _is_handed(op.operands[0]) or not _named(op, cls, name):
        via = map.CALL_OF[number]
        replace(op, [via.create(operands=op.operands, result_types=[op.res.type], properties=dict(via.FIXED))])


def _is_handed(handle: SSAValue) -> bool:
    """Whether a helper hands a map to the function that it calls back: it is in a register then, and to name it again
    would take instructions."""
    func = handle.owner.parent_op() if isinstance(handle, BlockArgument) else None
    if not isinstance(func, FuncOp) or handle.owner is not func.entry:
        return False
    module = func.get_toplevel_object()
    symbols = (op.sym for op in module.walk() if isinstance(op, ebpf.LdSymOp)) if module is not None else ()
    return any(symbol.root_reference.data == func.symbol for symbol in symbols)


def _named(op: ebpf.CallOp, cls: type[Operation], name: str) -> bool:
    """Make a call the operation that names its map. False where there is none for it."""
    declaration = map.declaration_of(op, name)
    if cls is map.LookupAtOp and declaration is not None and declaration.type.data in _ACQUIRING:
        return False
    before: list[Operation] = []
    operands = list(op.operands[1:])
    if cls is map.RedirectOp:
        if not all(is_integer(value.type, 64) or value.type == UNALLOCATED for value in operands):
            return False
        numbers = [number for value in operands if (number := narrowed(value, 64)) is not None]
        before, operands = [new for ops, _ in numbers for new in ops], [value for _, value in numbers]
    result: Attribute = op.res.type if cls is map.LookupAtOp else i64
    properties: dict[str, Attribute] = {"map": SymbolRefAttr(name)}
    replace(op, [*before, cls.create(operands=operands, result_types=[result], properties=properties)])
    return True


_ACQUIRING = frozenset({"sockmap", "sockhash"})
"""Maps of which a look-up takes a reference to a socket: two of them are never one."""

_NAMED: dict[int, type[Operation]] = {
    1: map.LookupAtOp,
    2: map.UpdateAtOp,
    3: map.DeleteAtOp,
    51: map.RedirectOp,
}
"""By helper, the operation on a map that is known by name."""


def base_of(address: SSAValue, off: int) -> tuple[SSAValue, int]:
    """The map value that `address + off` is a constant number of bytes from, and that number."""
    while (
        isinstance(op := address.owner, ebpf.AluRIOp)
        and op.row.name == "addi"
        and op.core is None
        and isinstance(op.lhs.type, ValueType)
        and -0x8000 <= off + op.imm.data < 0x8000
    ):
        off += op.imm.data
        address = op.lhs
    return address, off


def _load(op: Operation) -> None:
    assert isinstance(op, ebpf.LdxOp)
    if isinstance(op.base.type, ValueType) and op.row.op == "ldx" and is_integer(op.res.type, 64):
        if op.core is not None and op.row.signed:
            return  # what the loader makes of it may be of another size
        base, properties = _place(op)
        load = map.LoadOp.create(operands=[base], result_types=[integer(op.row.width)], properties=properties)
        replace(op, [load] if op.row.width == 64 else [load, extend(load.res, signed=op.row.signed)])


def _store(op: Operation) -> None:
    assert isinstance(op, ebpf.StxOp)
    if isinstance(op.base.type, ValueType) and (found := narrowed(op.value, op.row.width)):
        base, properties = _place(op)
        cut, value = found
        replace(op, [*cut, map.StoreOp.create(operands=[base, value], properties=properties)])


def _store_immediate(op: Operation) -> None:
    assert isinstance(op, ebpf.StOp)
    if isinstance(op.base.type, ValueType):
        base, properties = _place(op)
        value = constant(op.imm.data, integer(op.row.width))
        replace(op, [value, map.StoreOp.create(operands=[base, value.result], properties=properties)])


def _place(op: ebpf.LdxOp | ebpf.StxOp | ebpf.StOp) -> tuple[SSAValue, dict[str, Attribute]]:
    """Where an access is made: from the nearest base, unless the loader writes the offset."""
    base, off = base_of(op.base, op.off.data) if op.core is None else (op.base, op.off.data)
    return base, {"off": int_attr(off)} | relocation_of(op)


def _atomic(op: Operation) -> None:
    assert isinstance(op, ebpf.AtomicOp)
    touches = isinstance(op.base.type, ValueType) and op.row.op != "store_rel"
    if touches and (found := narrowed(op.value, op.row.width)):
        base, off = base_of(op.base, op.off.data)
        cut, value = found
        replace(op, [*cut, _modify(base, off, op.row.op, value)])


def _atomic_fetch(op: Operation) -> None:
    assert isinstance(op, ebpf.AtomicFetchOp)
    kind = op.row.op.removeprefix("fetch_")
    touches = isinstance(op.base.type, ValueType) and kind in map.AtomicOp.KINDS and is_integer(op.res.type, 64)
    if touches and (found := narrowed(op.value, op.row.width)):
        base, off = base_of(op.base, op.off.data)
        cut, value = found
        atomic = _modify(base, off, kind, value, [value.type])
        replace(op, [*cut, atomic] if op.row.width == 64 else [*cut, atomic, extend(atomic.results[0])])


def _modify(base: SSAValue, off: int, kind: str, value: SSAValue, results: Sequence[Attribute] = ()) -> Operation:
    properties: dict[str, Attribute] = {"op": StringAttr(kind), "off": int_attr(off)}
    return map.AtomicOp.create(operands=[base, value], properties=properties, result_types=results)


def _null_check(op: Operation) -> None:
    assert isinstance(op, ebpf.JccRIOp)
    if op.row.name in ("jeqi", "jnei") and op.imm.data == 0 and isinstance(op.lhs.type, MapsType):
        edges = [(op.successors[i], op.successor_operands(i)) for i in (0, 1)]
        hit, miss = edges if op.row.name == "jnei" else edges[::-1]
        check = map.HitOp.create(operands=[op.lhs], result_types=[i1])
        replace(op, [check, conditional(check.res, hit, miss)])


_RULES: dict[type[Operation], Callable[[Operation], None]] = {
    ebpf.CallOp: _call,
    ebpf.LdxOp: _load,
    ebpf.StxOp: _store,
    ebpf.StOp: _store_immediate,
    ebpf.AtomicOp: _atomic,
    ebpf.AtomicFetchOp: _atomic_fetch,
    ebpf.JccRIOp: _null_check,
}
