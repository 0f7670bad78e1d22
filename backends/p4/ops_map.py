"""Maps: lookups as tables, loads as parameters of their actions, additions as counters, redirection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from xdsl.dialects import arith
from xdsl.ir import Operation, SSAValue

from fsir.backends.p4 import bits as b
from fsir.backends.p4.bits import Bits, Term, number
from fsir.backends.p4.capabilities import COUNTER_TYPES, HELPER_BUFF_LEN, HELPER_REDIRECT
from fsir.backends.p4.conditions import TRUE, Condition, compare, named
from fsir.backends.p4.evaluate import Add, Evaluation, rule
from fsir.backends.p4.facts import users, width_of
from fsir.backends.p4.names import Names, identifier
from fsir.backends.p4.ops_packet import XDP_REDIRECT
from fsir.backends.p4.sites import KeyPart, Order, Site, ValueField, ValueLayout
from fsir.backends.p4.values import Opaque, ValuePointer
from fsir.dialects import ebpf, map, packet
from fsir.dialects.map import DeclOp, ValueType


@rule(map.LookupOp)
def _lookup(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, map.LookupOp)
    decl = e.context.maps[op.symbol_prop("map")]
    name, kind = decl.sym_name.data, decl.type.data
    parts = [e.bits(part) for part in op.key]
    if sum(part.width for part in parts) != 8 * decl.key_size.data:
        e.fail(f"the key of map {name} has {decl.key_size.data} bytes, {sum(p.width for p in parts) // 8} are given")
    element = kind in COUNTER_TYPES
    index = b.concat(parts) if element else None
    if index is not None and not e.reads(name):
        e.set(op.res, ValuePointer(name, _in_range(index, decl), index))
        return
    layout = e.values_of(name) if e.reads_value(name) else ValueLayout()
    site = _site(e, decl, parts, layout)
    if index is not None:
        site.content = bytes(decl.value_size.data)
        hit = _in_range(index, decl)
    else:
        site.hit = e.new("bool", f"{site.name}_hit")
        e.line(f"{site.hit} = false;")
        hit = named(site.hit)
    e.line(f"{site.name}.apply();")
    e.set(op.res, ValuePointer(name, hit, index, tuple(b.of_term(term) for term in site.variables)))


def _in_range(index: Bits, decl: DeclOp) -> Condition:
    return compare("ult", index, b.constant(decl.max_entries.data, index.width))


def _site(e: Evaluation, decl: DeclOp, parts: Sequence[Bits], layout: ValueLayout) -> Site:
    """A new table for a lookup with this key."""
    name = e.names.new(decl.sym_name.data)
    if decl.type.data == "lpm_trie":
        keys, constants = _prefix_key(e, decl, name, parts)
    else:
        names = {(offset, size): identifier(n) for n, offset, size in e.members(decl, "key_btf")}
        keys, constants = _exact_key(parts, names)
    variables = [Term(e.new(f"bit<{8 * each.size}>", f"{name}_{each.name}"), 8 * each.size) for each in layout.fields]
    action = e.names.new(f"{name}_found")
    site = Site(name, action, decl, "lookup", keys, constants, layout, variables, None, None)
    e.sites.append(site)
    return site


def _exact_key(
    parts: Sequence[Bits], names: Mapping[tuple[int, int], str]
) -> tuple[list[KeyPart], list[tuple[int, bytes]]]:
    """What is matched, and the bytes of the key that are constants, by offset."""
    keys: list[KeyPart] = []
    constants: list[tuple[int, bytes]] = []
    unique = Names()
    at = 0
    for part in parts:
        for offset, run in _byte_runs(part):
            start = at + offset
            if run.value is not None:
                constants.append((start, run.value.to_bytes(run.width // 8, "little")))
            else:
                text, order = _simplest(run)
                size = run.width // 8
                name = unique.new(names.get((start, size), f"k{start}"))
                keys.append(KeyPart(name, start, size, order, "exact", text))
        at += part.width // 8
    return keys, constants


def _prefix_key(
    e: Evaluation, decl: DeclOp, name: str, parts: Sequence[Bits]
) -> tuple[list[KeyPart], list[tuple[int, bytes]]]:
    """The bytes after the prefix length as one number in network order, which is the order that prefixes count in."""
    data = b.concat(parts).slice(32, sum(part.width for part in parts) - 32).swapped()
    if data.value is not None:
        data = e.keep(data, f"{name}_key")
    names = {(offset, size): identifier(n) for n, offset, size in e.members(decl, "key_btf")}
    size = data.width // 8
    return [KeyPart(names.get((4, size), "k4"), 4, size, "big", "lpm", data.text())], []


def _byte_runs(part: Bits) -> Iterable[tuple[int, Bits]]:
    """The runs of constant and of other bytes in a part of a key, by byte offset; whole if nothing is constant."""
    start, run = 0, list[Bits]()
    for at, byte in enumerate(part.bytes()):
        if run and (run[-1].value is None) != (byte.value is None):
            yield start, b.concat(run)
            start, run = at, []
        run.append(byte)
    yield start, b.concat(run)


def _simplest(value: Bits) -> tuple[str, Order]:
    """The expression that takes fewer slices, and the byte order that it is then in."""
    swapped = value.swapped()
    if len(swapped.pieces) < len(value.pieces):
        return swapped.text(), "big"
    return value.text(), "little"


@rule(ebpf.LdSymOp)
def _ld_sym(e: Evaluation, op: Operation) -> None:
    """Global data is a map with one element: a table without key, applied when the program starts."""
    assert isinstance(op, ebpf.LdSymOp)
    if not isinstance(op.res.type, ValueType):
        e.set(op.res, Opaque())
        return
    name = op.symbol_prop("sym")
    if name not in e.data_sites:
        e.data_sites[name] = _data_site(e, e.context.maps[name])
    e.set(op.res, e.data_sites[name].moved(op.int_prop("offset")))


def _data_site(e: Evaluation, decl: DeclOp) -> ValuePointer:
    name = decl.sym_name.data
    index = b.constant(0, 32)
    if not e.reads_value(name):
        return ValuePointer(name, TRUE, index)
    site = _site(e, decl, [], e.values_of(name))
    site.role = "data"
    section = decl.section.data if decl.section is not None else name
    content = e.data.content(section)
    site.content = content.ljust(decl.value_size.data, b"\0")
    return ValuePointer(name, TRUE, index, tuple(b.of_term(term) for term in site.variables))


@rule(map.HitOp)
def _hit(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, map.HitOp)
    e.set(op.res, e.pointer(op.value).hit)


@rule(map.LoadOp)
def _load(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, map.LoadOp)
    pointer = e.pointer(op.value)
    start, size = pointer.off + op.off.data, width_of(op.res) // 8
    if start < 0 or start + size > e.context.maps[pointer.map].value_size.data:
        e.fail(f"{op.name} reads beyond the value of map {pointer.map}")
    order: Order = "big" if _is_network_order(op.res) else "little"
    e.value_survey.setdefault(pointer.map, set()).add((start, start + size, order))
    e.set(op.res, e.values_of(pointer.map).load(pointer.fields, start, size))


def _is_network_order(value: SSAValue) -> bool:
    """Whether a loaded number goes into the packet, a key or a byte swap, rather than into arithmetic."""
    for user in users(value):
        if isinstance(user, packet.StoreOp | map.LookupOp):
            return True
        if isinstance(user, ebpf.UnaryOp) and user.row.op in ("be", "bswap"):
            return True
        if isinstance(user, arith.ExtUIOp | arith.TruncIOp) and _is_network_order(user.results[0]):
            return True
    return False


@rule(map.AtomicOp, map.StoreOp)
def _add(e: Evaluation, op: Operation) -> None:
    addition = e.context.additions.of(op)
    assert addition is not None
    pointer = e.pointer(addition.pointer)
    assert pointer.index is not None
    off, width = pointer.off + addition.off, addition.width
    e.line(Add(pointer.map, off, width, pointer.index, e.bits(addition.addend).extended(width)))


@rule(map.RedirectOp)
def _redirect(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, map.RedirectOp)
    decl = e.context.maps[op.symbol_prop("map")]
    key = e.bits(op.key).extended(32)
    site = _site(e, decl, [key], ValueLayout())
    site.role = "redirect"
    site.layout = ValueLayout((ValueField("ifindex", 0, 4, "little"),))
    site.variables = [Term("meta.redirect_ifindex", 32)]
    flags = e.bits(op.flags)
    result = Term(e.new("bit<64>", op.res.name_hint or "verdict"), 64)
    e.possible[result] = frozenset({XDP_REDIRECT, flags.value})
    site.sets = [f"{result.text} = {number(XDP_REDIRECT, 64)};"]
    e.redirects = e.here.redirected = True
    e.line(f"{result.text} = {flags.extended(64).text()};")
    e.line(f"{site.name}.apply();")
    e.set(op.res, b.of_term(result))


@rule(ebpf.CallOp)
def _call(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, ebpf.CallOp)
    if op.helper.data == HELPER_BUFF_LEN:
        e.set(op.results[0], b.variable("sm.packet_length", 32).extended(64))
        return
    assert op.helper.data == HELPER_REDIRECT
    e.redirects = e.here.redirected = True
    e.line(f"meta.redirect_ifindex = {e.bits(op.operands[0]).extended(32).text()};")
    e.set(op.results[0], b.constant(XDP_REDIRECT, 64))
