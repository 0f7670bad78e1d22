"""The `map` dialect: lookups and updates on the machine's maps, and accesses through their values."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Operation, SSAValue

from fsir.dialects import map as maps
from fsir.interp.emit_base import FREE, M64, RULES, Emitter, UnsupportedOp, address, rule, width_of
from fsir.interp.emit_ebpf import modify
from fsir.interp.emit_packet import load_field, store_field

LOOKUP, UPDATE, DELETE, REDIRECT_MAP = 1, 2, 3, 51
_LETTERS = {8: "B", 16: "H", 32: "I", 64: "Q"}
FREE |= {"map.hit", "map.decl"}


def _bytes_of(op: Operation, values: Sequence[SSAValue], e: Emitter) -> str:
    """An expression for the concatenation of values in memory order."""
    widths = [width_of(value.type) for value in values]
    if any(width % 8 for width in widths):
        raise UnsupportedOp(op, "keys and values consist of whole bytes")
    names = [e.use(value) for value in values]
    if len(names) == 1:
        return f"({names[0]}).to_bytes({widths[0] // 8}, 'little')"
    if all(width in _LETTERS for width in widths):
        layout = "<" + "".join(_LETTERS[width] for width in widths)
        return f"{e.need('pack', layout)}({', '.join(names)})"
    parts = (f"({name}).to_bytes({width // 8}, 'little')" for name, width in zip(names, widths, strict=True))
    return f"b''.join(({', '.join(parts)},))"


def _key_at(e: Emitter, name: str, at: SSAValue) -> str:
    return f"{e.need('read_bytes')}({e.use(at)}, {e.need('map', name, 'key_size')})"


@rule("map.lookup")
def _lookup(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.LookupOp)
    e.count_helper(LOOKUP)
    lookup = e.need("map", op.symbol_prop("map"), "lookup")
    e.set(op.res, f"{lookup}({_bytes_of(op, op.key, e)}, machine.cpu)")


@rule("map.lookup_at")
def _lookup_at(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.LookupAtOp)
    e.count_helper(LOOKUP)
    name = op.symbol_prop("map")
    e.set(op.res, f"{e.need('map', name, 'lookup')}({_key_at(e, name, op.key)}, machine.cpu)")


@rule("map.update")
def _update(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.UpdateOp)
    e.count_helper(UPDATE)
    count, more = op.int_prop("key_count"), op.int_prop("value_count")
    key = _bytes_of(op, op.operands[:count], e)
    value = _bytes_of(op, op.operands[count : count + more], e)
    update = e.need("map", op.symbol_prop("map"), "update")
    e.set(op.res, f"{update}({key}, {value}, {e.use(op.operands[-1])}, machine.cpu) & {hex(M64)}")


@rule("map.update_at")
def _update_at(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.UpdateAtOp)
    e.count_helper(UPDATE)
    name = op.symbol_prop("map")
    value = f"{e.need('read_bytes')}({e.use(op.value)}, {e.need('map', name, 'value_size')})"
    update = e.need("map", name, "update")
    e.set(op.res, f"{update}({_key_at(e, name, op.key)}, {value}, {e.use(op.flags)}, machine.cpu) & {hex(M64)}")


@rule("map.delete")
def _delete(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.DeleteOp)
    e.count_helper(DELETE)
    delete = e.need("map", op.symbol_prop("map"), "delete")
    e.set(op.res, f"{delete}({_bytes_of(op, op.key, e)}) & {hex(M64)}")


@rule("map.delete_at")
def _delete_at(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.DeleteAtOp)
    e.count_helper(DELETE)
    name = op.symbol_prop("map")
    e.set(op.res, f"{e.need('map', name, 'delete')}({_key_at(e, name, op.key)}) & {hex(M64)}")


@rule("map.redirect")
def _redirect(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.RedirectOp)
    target = e.need("map", op.symbol_prop("map"), "addr")
    e.set(op.res, e.call_helper(REDIRECT_MAP, target, e.use(op.key), e.use(op.flags)))


@rule(*(cls.name for cls in maps.CALLS.values()))
def _helper(op: Operation, e: Emitter) -> None:
    RULES["ebpf.call"](op, e)


@rule("map.hit")
def _hit(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], f"{e.use(op.operands[0])} != 0", 1)


@rule("map.load")
def _load(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.LoadOp)
    load_field(op, e.use(op.value), op.int_prop("off"), e)


@rule("map.store")
def _store(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.StoreOp)
    store_field(op, e.use(op.value), op.int_prop("off"), width_of(op.stored.type), e.use(op.stored), e)


@rule("map.atomic")
def _atomic(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.AtomicOp)
    width = width_of(op.arg.type)
    if width not in (32, 64) or op.op.data not in ("add", "or", "and", "xor"):
        raise UnsupportedOp(op, f"there is no atomic {op.op.data} of {width} bits")
    modify(e, address(e.use(op.value), op.int_prop("off")), width, op.op.data, e.use(op.arg))
    if op.res is not None:
        e.set(op.res, "old", width)
