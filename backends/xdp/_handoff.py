"""The code of handoffs in XDP programs, at the level of packet and map operations; part of `lower-handoff`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.dialects import cf
from xdsl.dialects.builtin import IntegerType, ModuleOp, StringAttr, SymbolRefAttr, i1, i8, i16, i32, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.backends.handoff import (
    FARTHEST,
    FINISHED_ABORTED,
    FINISHED_PASS,
    FINISHED_REDIRECT,
    FIXED,
    MAGIC,
    TRAILER,
    VERSION,
    Layout,
)
from fsir.backends.xdp._order import declare, declare_order, lower_overtakes, take_ticket
from fsir.backends.xdp._writer import RX_QUEUE, Writer
from fsir.dialects import map as maps
from fsir.dialects import packet
from fsir.dialects.ebpf import CallOp, FuncOp, insn
from fsir.dialects.packet import EndType, MetaType, PtrType
from fsir.dialects.placement import AcceptOp, CarriedOp, EdgeOp, HandoffOp, OvertakesOp, PartOp, ResumeOp
from fsir.driver.diagnostics import fail
from fsir.passes._rewrite import compare, extend
from fsir.placement.targets import load

SOCKETS = "fs_xsks"
QUEUES = 64
NOT_STARTED = 0xFFFFFFFF
REDIRECT = 23  # bpf_redirect
_OFFSET = StringAttr("offset")
_UNCOVER = (44, 54)  # bpf_xdp_adjust_head, bpf_xdp_adjust_meta
VERDICTS = {"aborted": 0, "drop": 1, "pass": 2}


@dataclass(frozen=True)
class _Edge:
    """`distances` are the fields that say how far into the packet an address is, and have room for more than the
    kernel's verifier follows; `wipe` says whether the header's bytes may come to light again, `counted` whether the
    last fields are a ticket, `fetches` whether there are atomic operations that give what was there before; `own` are
    the sizes that metadata of the program's own may have."""

    layout: Layout
    transport: str
    failure: int
    distances: frozenset[int]
    wipe: bool
    counted: bool
    fetches: bool
    own: tuple[int, ...]


def lower_part(module: ModuleOp, part: PartOp) -> None:
    """Replace the `placement` operations of a part's functions."""
    wipe = any(map(_uncovers, module.walk()))
    fetches = load(part.target.data).isa >= 3
    edges = {op.int_prop("resume"): _edge(op, wipe, fetches) for op in module.body.block.ops if isinstance(op, EdgeOp)}
    for func in [op for op in part.body.block.ops if isinstance(op, FuncOp)]:
        for op in [op for block in func.body.blocks for op in block.ops]:
            if isinstance(op, HandoffOp):
                declare(module, SOCKETS, "xskmap", 4, QUEUES)
                edge = _known(op, edges)
                if edge.counted:
                    declare_order(module, QUEUES)
                _lower_handoff(op, edge)
            elif isinstance(op, OvertakesOp):
                declare(module, SOCKETS, "xskmap", 4, QUEUES)
                declare_order(module, QUEUES)
                lower_overtakes(op, SOCKETS)
            elif isinstance(op, ResumeOp):
                _lower_resume(op)
            elif isinstance(op, AcceptOp):
                _lower_accept(op, _known(op, edges))


def _edge(op: EdgeOp, wipe: bool, fetches: bool) -> _Edge:
    failure = op.on_failure.data if op.on_failure is not None else "aborted"
    kinds = [field.data.get("kind") for field in op.fields]
    distances = frozenset(i for i, kind in enumerate(kinds) if kind == _OFFSET and op.widths[i] > FARTHEST)
    layout = Layout(op.int_prop("resume"), op.widths)
    own = tuple(size.data for size in op.metadata or ())
    return _Edge(layout, op.transport.data, VERDICTS[failure], distances, wipe, op.has_ticket, fetches, own)


def _uncovers(op: Operation) -> bool:
    """Whether an operation can make bytes in front of the packet, where a header has been, part of it."""
    helper = op.helper.data if isinstance(op, CallOp) else None
    return isinstance(op, packet.AdjustHeadOp | packet.AdjustMetaOp) or helper in _UNCOVER


def _known(op: HandoffOp | AcceptOp, edges: dict[int, _Edge]) -> _Edge:
    edge = edges.get(op.int_prop("resume"))
    if edge is None:
        fail(op, f"there is no placement.edge of resume point {op.int_prop('resume')}")
    return edge


# --- handing over ----------------------------------------------------------------------------------------------------


def _lower_handoff(op: HandoffOp, edge: _Edge) -> None:
    block = op.parent
    assert block is not None
    if edge.transport == "none":
        block.detach_op(op)
        _redirect(Writer(block, op), op.ctx, edge)
        op.erase()
        return
    if edge.transport != "metadata":
        fail(op, f"a handoff from XDP by {edge.transport}; there are metadata and none")
    ctx, values, layout = op.ctx, list(op.values), edge.layout
    size = layout.metadata_size
    block.detach_op(op)
    writer = Writer(block, op)
    failed = writer.go_on(block)
    failed.end(packet.VerdictOp.create(operands=[failed.number(edge.failure)]))
    grown = writer.take(packet.AdjustMetaOp, [ctx, writer.number(-size)], i64)
    refused = writer.add(compare("ne", grown, writer.number(0)))
    room = writer.go_on(block)
    writer.branch(refused, failed.block, room.block)
    meta = room.take(packet.MetaOp, [ctx], MetaType())
    data = room.take(packet.DataOp, [ctx], PtrType())
    found = room.go_on(room.block)
    room.branch(room.take(packet.GuardOp, [meta, data], i1, size=size), found.block, failed.block)
    write = found.go_on(found.block)
    for own, larger in zip((0, *edge.own), (*edge.own, None), strict=True):
        # More room than for the header, and metadata that may be there: the driver's, which is in the way.
        more = write.go_on(write.block) if larger is not None else failed
        found.branch(found.take(packet.GuardOp, [meta, data], i1, size=size + own + 1), more.block, write.block)
        _write_and_leave(write, failed, ctx, meta, edge, values, own)
        if larger is not None:
            found = more.go_on(more.block)
            more.branch(more.take(packet.GuardOp, [meta, data], i1, size=size + larger), found.block, failed.block)
            write = found.go_on(found.block)
    op.erase()


def _write_and_leave(
    write: Writer,
    failed: Writer,
    ctx: SSAValue,
    meta: SSAValue,
    edge: _Edge,
    values: Sequence[SSAValue],
    own: int,
) -> None:
    """Write the header behind metadata of the program's own, which has to move to the front of it, and end."""
    carried = list(values)
    if edge.counted:
        carried[-2], write = take_ticket(write, failed, ctx, carried[-1], edge.fetches)
    for at in range(0, own, 4):
        write.store(meta, at, write.take(packet.LoadOp, [meta], i32, off=at + edge.layout.metadata_size))
    _write_header(write, meta, edge.layout, carried, own)
    _redirect(write, ctx, edge)


def _redirect(writer: Writer, ctx: SSAValue, edge: _Edge) -> None:
    """End with the packet in the socket of its queue, or with the verdict for want of one."""
    queue = writer.take(packet.CtxLoadOp, [ctx], i32, off=RX_QUEUE)
    key, flags = writer.add(extend(queue)), writer.number(edge.failure)
    properties: dict[str, Attribute] = {"map": SymbolRefAttr(SOCKETS)}
    verdict = writer.add(maps.RedirectOp.create(operands=[key, flags], result_types=[i64], properties=properties))
    writer.end(packet.VerdictOp.create(operands=[verdict]))


def _write_header(writer: Writer, meta: SSAValue, layout: Layout, values: Sequence[SSAValue], own: int) -> None:
    """The header and what follows it, behind `own` bytes."""
    fixed = FIXED.pack(MAGIC, VERSION, layout.size, layout.resume, own)
    for at in range(0, len(fixed), 4):
        writer.store(meta, own + at, writer.number(int.from_bytes(fixed[at : at + 4], "little"), i32))
    end = FIXED.size
    for value, at in zip(values, layout.offsets, strict=True):
        assert isinstance(value.type, IntegerType)
        writer.store(meta, own + at, value)
        end = at + value.type.width.data // 8
    while end < layout.size:
        writer.store(meta, own + end, writer.number(0, i8))
        end += 1
    trailer = TRAILER.pack(layout.size, MAGIC)
    writer.store(meta, own + layout.size, writer.number(int.from_bytes(trailer, "little"), i32))


# --- taking over -----------------------------------------------------------------------------------------------------


def _split_after(op: Operation) -> tuple[Block, Block]:
    """The operation's block up to it (without terminator), and a new block with the rest."""
    block = op.parent
    following = op.next_op
    assert block is not None and following is not None
    return block, block.split_before(following)


def _lower_resume(op: ResumeOp) -> None:
    """Where the header says to go on; a packet without a header was not started. Of a program that has ended on the
    NIC, the verdict is carried out."""
    block, rest = _split_after(op)
    number = rest.insert_arg(i32, 0)
    number.name_hint = op.res.name_hint or "resume"
    op.res.replace_all_uses_with(number)
    block.detach_op(op)
    writer = Writer(block, op)
    data = writer.take(packet.DataOp, [op.ctx], PtrType())
    end = writer.take(packet.EndOp, [op.ctx], EndType())
    none = writer.number(NOT_STARTED, i32)
    read = writer.go_on(block)
    writer.branch(writer.take(packet.GuardOp, [data, end], i1, size=FIXED.size), read.block, rest, [none])
    magic = read.take(packet.LoadOp, [data], i16, off=0)
    version = read.take(packet.LoadOp, [data], i8, off=2)
    checked = read.go_on(read.block)
    read.branch(read.add(compare("eq", magic, read.number(MAGIC, i16))), checked.block, rest, [none])
    taken = checked.go_on(checked.block)
    right = checked.add(compare("eq", version, checked.number(VERSION, i8)))
    checked.branch(right, taken.block, rest, [none])
    resume = taken.add(extend(taken.take(packet.LoadOp, [data], i16, off=4), i32))
    for number_of, finish in _FINISHES.items():
        ended = taken.go_on(taken.block)
        following = taken.go_on(ended.block)
        this = taken.add(compare("eq", resume, taken.number(number_of, i32)))
        taken.branch(this, ended.block, following.block)
        finish(ended, op.ctx, data, end)
        taken = following
    taken.end(cf.BranchOp.create(operands=[resume], successors=[rest]))
    op.erase()


def _finish_with(verdict: str) -> Callable[[Writer, SSAValue, SSAValue, SSAValue], None]:
    def finish(writer: Writer, ctx: SSAValue, data: SSAValue, end: SSAValue) -> None:
        writer.take(packet.AdjustHeadOp, [ctx, writer.number(FIXED.size)], i64)
        writer.end(packet.VerdictOp.create(operands=[writer.number(VERDICTS[verdict])]))

    return finish


def _finish_redirect(writer: Writer, ctx: SSAValue, data: SSAValue, end: SSAValue) -> None:
    layout = Layout(FINISHED_REDIRECT, (32,))
    there = writer.go_on(writer.block)
    short = writer.go_on(there.block)
    writer.branch(writer.take(packet.GuardOp, [data, end], i1, size=layout.size), there.block, short.block)
    short.end(packet.VerdictOp.create(operands=[short.number(VERDICTS["aborted"])]))
    interface = there.add(extend(there.take(packet.LoadOp, [data], i32, off=layout.offsets[0])))
    there.take(packet.AdjustHeadOp, [ctx, there.number(layout.size)], i64)
    result = there.add(insn("call", [interface, there.number(0)], i64, helper=REDIRECT))
    there.end(packet.VerdictOp.create(operands=[result]))


_FINISHES = {
    FINISHED_PASS: _finish_with("pass"),
    FINISHED_ABORTED: _finish_with("aborted"),
    FINISHED_REDIRECT: _finish_redirect,
}


def _lower_accept(op: AcceptOp, edge: _Edge) -> None:
    """Read the carried values, then take the header off. A packet in which an address is farther than the verifier
    follows is ABORTED: what was proven of it before could not be proven again."""
    if edge.transport == "metadata":
        fail(op, "a handoff into XDP by metadata; there are cpu-port and head")
    block, rest = _split_after(op)
    carried = [each for each in block.ops if isinstance(each, CarriedOp)]
    for each in carried:
        block.detach_op(each)
    block.detach_op(op)
    writer = Writer(block, op)
    failed = writer.go_on(block)
    failed.end(packet.VerdictOp.create(operands=[failed.number(VERDICTS["aborted"])]))
    data = writer.take(packet.DataOp, [op.ctx], PtrType())
    end = writer.take(packet.EndOp, [op.ctx], EndType())
    take = writer.go_on(block)
    guard = writer.take(packet.GuardOp, [data, end], i1, size=edge.layout.size)
    writer.branch(guard, take.block, failed.block)
    for each in carried:
        index = each.int_prop("index")
        value = take.take(packet.LoadOp, [data], each.res.type, off=edge.layout.offsets[index])
        value.name_hint = each.res.name_hint
        if index in edge.distances:
            assert isinstance(each.res.type, IntegerType)
            near = take.add(compare("ult", value, take.number(1 << FARTHEST, each.res.type)))
            following = take.go_on(take.block)
            take.branch(near, following.block, failed.block)
            take = following
        each.res.replace_all_uses_with(value)
        each.erase()
    if edge.wipe:
        for at in range(0, edge.layout.size, 4):
            take.store(data, at, take.number(0, i32))
    moved = take.take(packet.AdjustHeadOp, [op.ctx, take.number(edge.layout.size)], i64)
    take.branch(take.add(compare("eq", moved, take.number(0))), rest, failed.block)
    op.erase()
