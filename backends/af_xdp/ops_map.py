"""The `map` dialect in C: lookups and updates by keys that are values, and accesses through map values."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Operation, SSAValue

from fsir.backends.af_xdp.access import atomic_at, bytes_at, load, store
from fsir.backends.af_xdp.ops_packet import bits_of
from fsir.backends.af_xdp.writer import RULES, Emitter, Needs, c_type, rule, width_of
from fsir.dialects import map as maps
from fsir.driver.diagnostics import fail
from fsir.placement.additions import is_countable


def _bytes_of(op: Operation, values: Sequence[SSAValue], size: int, what: str, e: Emitter) -> str:
    """Declare a variable that holds values one after the other; the address of it."""
    widths = [bits_of(op, width_of(value.type)) for value in values]
    if sum(widths) != 8 * size:
        fail(op, f"the {what} has {sum(widths) // 8} bytes, the map's {what} {size}")
    name = e.fresh(what)
    if len(widths) == 1 and widths[0] in (8, 16, 32, 64):
        e.line(f"const {c_type(widths[0])} {name} = {e.use(values[0])};")
        return f"&{name}"
    fields = " ".join(
        f"{c_type(width)} f{n}{'' if width in (8, 16, 32, 64) else f' : {width}'};" for n, width in enumerate(widths)
    )
    e.line(f"struct {{ {fields} }} __attribute__((packed)) {name} = {{ {', '.join(map(e.use, values))} }};")
    return f"&{name}"


@rule("map.lookup", needs=Needs.RUN)
def _lookup(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.LookupOp)
    name = op.symbol_prop("map")
    index, (key_size, _) = e.map_index(op, name), e.map_sizes(name)
    e.set(op.res, f"fs_map_lookup(run, {index}, {_bytes_of(op, op.key, key_size, 'key', e)})")


@rule("map.lookup_at", needs=Needs.RUN)
def _lookup_at(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.LookupAtOp)
    name = op.symbol_prop("map")
    index, (key_size, _) = e.map_index(op, name), e.map_sizes(name)
    e.set(op.res, f"fs_map_lookup(run, {index}, {bytes_at(op, op.key, key_size, e)})")


@rule("map.update", needs=Needs.RUN)
def _update(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.UpdateOp)
    name = op.symbol_prop("map")
    index, (key_size, value_size) = e.map_index(op, name), e.map_sizes(name)
    count, more = op.int_prop("key_count"), op.int_prop("value_count")
    key = _bytes_of(op, op.operands[:count], key_size, "key", e)
    value = _bytes_of(op, op.operands[count : count + more], value_size, "value", e)
    e.set(op.res, f"fs_map_update(run, {index}, {key}, {value}, {e.use(op.operands[-1])})")


@rule("map.update_at", needs=Needs.RUN)
def _update_at(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.UpdateAtOp)
    name = op.symbol_prop("map")
    index, (key_size, value_size) = e.map_index(op, name), e.map_sizes(name)
    key, value = bytes_at(op, op.key, key_size, e), bytes_at(op, op.value, value_size, e)
    e.set(op.res, f"fs_map_update(run, {index}, {key}, {value}, {e.use(op.flags)})")


@rule("map.delete", needs=Needs.RUN)
def _delete(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.DeleteOp)
    name = op.symbol_prop("map")
    index, (key_size, _) = e.map_index(op, name), e.map_sizes(name)
    e.set(op.res, f"fs_map_delete(run, {index}, {_bytes_of(op, op.key, key_size, 'key', e)})")


@rule("map.delete_at", needs=Needs.RUN)
def _delete_at(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.DeleteAtOp)
    name = op.symbol_prop("map")
    index, (key_size, _) = e.map_index(op, name), e.map_sizes(name)
    e.set(op.res, f"fs_map_delete(run, {index}, {bytes_at(op, op.key, key_size, e)})")


@rule("map.redirect", needs=Needs.RUN)
def _redirect(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.RedirectOp)
    index = e.map_index(op, op.symbol_prop("map"))
    e.set(op.res, f"fs_map_redirect(run, {index}, {e.use(op.key)}, {e.use(op.flags)})")


@rule(*(cls.name for cls in maps.CALLS.values()))
def _helper(op: Operation, e: Emitter) -> None:
    RULES["ebpf.call"](op, e)


@rule("map.hit", pure=True)
def _hit(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], f"{e.use(op.operands[0])} != 0", 1)


@rule("map.load", needs=Needs.NOTHING)
def _load(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.LoadOp)
    width = bits_of(op, width_of(op.res.type))
    e.set(op.res, load(op, op.value, op.int_prop("off"), width, e), width)


@rule("map.store", needs=Needs.NOTHING)
def _store(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.StoreOp)
    store(op, op.value, op.int_prop("off"), bits_of(op, width_of(op.stored.type)), e.use(op.stored), e)


@rule("map.atomic", needs=Needs.RUN)
def _atomic(op: Operation, e: Emitter) -> None:
    assert isinstance(op, maps.AtomicOp)
    width = width_of(op.arg.type)
    if width not in (32, 64) or op.op.data not in ("add", "or", "and", "xor"):
        fail(op, f"there is no atomic {op.op.data} of {width} bits")
    at = atomic_at(op, op.value, op.int_prop("off"), width, e)
    if is_countable(op) and e.map_counted(op, op.value):
        e.line(f"fs_map_add(run, {at}, {width // 8}, {e.use(op.arg)});")
        return
    call = f"fs_atomic_{op.op.data}{width}(run, {at}, {e.use(op.arg)})"
    if op.res is None:
        e.line(f"{call};")
    else:
        e.set(op.res, call)
