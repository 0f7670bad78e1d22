"""The packet: addresses, length checks, fields, the verdict, and the end of the part's work."""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Operation

from fsir.backends.handoff import Layout as HandoffLayout
from fsir.backends.p4 import bits as b
from fsir.backends.p4.bits import Bits, number
from fsir.backends.p4.conditions import TRUE, compare, named
from fsir.backends.p4.evaluate import Evaluation, Handoff, flush, rule
from fsir.backends.p4.facts import width_of
from fsir.backends.p4.names import Names
from fsir.backends.p4.values import Opaque, PacketAddress, PacketEnd, ValuePointer
from fsir.dialects import ebpf, packet, placement

XDP_VERDICTS = ("XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT")
XDP_REDIRECT = 4


@rule(ebpf.FpOp, packet.MetaOp)
def _unused(e: Evaluation, op: Operation) -> None:
    e.set(op.results[0], Opaque())


@rule(packet.DataOp)
def _data(e: Evaluation, op: Operation) -> None:
    e.set(op.results[0], PacketAddress(b.constant(0, 64)))


@rule(packet.EndOp)
def _end(e: Evaluation, op: Operation) -> None:
    e.set(op.results[0], PacketEnd())


@rule(packet.OffsetOp)
def _offset(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, packet.OffsetOp)
    word = e.words[op.ptr]
    if isinstance(word, PacketAddress | ValuePointer):
        e.set(op.res, word.moved(op.off.data))
    else:
        e.set(op.res, Opaque())


@rule(packet.GuardOp)
def _guard(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, packet.GuardOp) and op.parent is not None
    size = e.address(op.ptr) + op.size.data
    if size <= e.facts.present(op.parent):
        e.set(op.res, TRUE)
        return
    e.survey.sizes.add(size)
    header = e.plan.layout.guard(size)
    if header is not None:
        e.set(op.res, named(f"hdr.{header.name}.isValid()"))
    else:
        length = b.variable("sm.packet_length", 32)
        e.set(op.res, compare("uge", length, b.constant(size, 32)))


@rule(packet.LoadOp)
def _load(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, packet.LoadOp)
    start, size = e.address(op.ptr) + op.off.data, width_of(op.res) // 8
    e.survey.accesses.add((start, start + size))
    touched = range(start, start + size)
    if not e.plan.stored.isdisjoint(touched):
        # Written somewhere: what is read now must not change with it later.
        flush(e)
        e.set(op.res, e.keep(e.plan.layout.load(start, size), _field_name(e, start, size)))
        return
    e.set(op.res, e.plan.layout.load(start, size))


def _field_name(e: Evaluation, start: int, size: int) -> str:
    fields = e.plan.layout.fields(start, start + size)
    return fields[0].name


@rule(packet.StoreOp)
def _store(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, packet.StoreOp)
    start, value = e.address(op.ptr) + op.off.data, e.bits(op.value)
    size = value.width // 8
    e.survey.accesses.add((start, start + size))
    e.survey.stores |= set(range(start, start + size))
    e.pending |= {start + i: byte for i, byte in enumerate(value.bytes())}


@rule(packet.CtxLoadOp)
def _ctx_load(e: Evaluation, op: Operation) -> None:
    e.uses_ifindex = True
    e.set(op.results[0], b.variable("meta.ingress_ifindex", 32))


@rule(packet.VerdictOp)
def _verdict(e: Evaluation, op: Operation) -> None:
    flush(e)
    value = e.bits(op.operands[0])
    possible = {None if v is None else v & 0xFFFF_FFFF for v in e.possible_values(value)}
    e.verdicts |= possible
    e.line(f"meta.verdict = {verdict_text(value.extended(32))};")


def verdict_text(value: Bits) -> str:
    """A verdict, by name where it has one."""
    known = value.value
    if known is not None and known < len(XDP_VERDICTS):
        return XDP_VERDICTS[known]
    return value.text()


@rule(placement.HandoffOp)
def _handoff(e: Evaluation, op: Operation) -> None:
    assert isinstance(op, placement.HandoffOp)
    flush(e)
    if e.here.redirected:
        e.fail("the packet's way out is chosen already (redirect), and only this part knows it")
    resume = op.resume.data
    values = [e.bits(value) for value in op.values]
    handoff = Handoff(resume, op.symbol_prop("to"), tuple(_fields(e, resume, values)))
    known = e.handoffs.setdefault(resume, handoff)
    if [width for _, width in known.fields] != [value.width for value in values]:
        e.fail(f"resume point {resume} is handed values of different widths")
    layout = HandoffLayout(resume, tuple(value.width for value in values))
    e.line(f"hand_over({wire_number(resume, 2)}, {number(layout.size, 8)});  // resume point {resume}")
    if not values:
        return
    e.line(f"hdr.resume_{resume}.setValid();")
    for (name, _), value in zip(known.fields, values, strict=True):
        whole = value.extended((value.width + 7) // 8 * 8)
        e.line(f"hdr.resume_{resume}.{name} = {whole.swapped().text()};")
    if padding(layout):
        e.line(f"hdr.resume_{resume}.padding = {number(0, padding(layout))};")


def padding(layout: HandoffLayout) -> int:
    """The zero bits at the end of a handoff header."""
    end = layout.offsets[-1] + (layout.widths[-1] + 7) // 8 if layout.widths else layout.size
    return 8 * (layout.size - end)


def wire_number(value: int, size: int) -> str:
    """A field of the handoff header, which is little-endian, as P4 writes it: the first byte highest."""
    return number(int.from_bytes(value.to_bytes(size, "little"), "big"), 8 * size)


def _fields(e: Evaluation, resume: int, values: list[Bits]) -> Iterable[tuple[str, int]]:
    """Names, unique within the header, and widths of the carried values."""
    wishes = e.field_names.get(resume, [])
    names = Names(["padding"])
    for index, value in enumerate(values):
        wish = wishes[index] if index < len(wishes) else ""
        yield names.new(wish or f"v{index}"), value.width


def edge_names(edges: Iterable[placement.EdgeOp]) -> dict[int, list[str]]:
    """By resume point, the names that the module gives to the carried values."""
    found: dict[int, list[str]] = {}
    for edge in edges:
        names = [entry.data.get("name") for entry in edge.fields.data]
        found[edge.resume.data] = [name.data if isinstance(name, StringAttr) else "" for name in names]
    return found
