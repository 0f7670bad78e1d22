"""The `packet` dialect in C: the packet's positions, its bytes, and the program's end."""

from __future__ import annotations

from xdsl.ir import Operation

from fsir.backends.af_xdp.access import load, store
from fsir.backends.af_xdp.writer import Emitter, Needs, plus, rule, width_of
from fsir.dialects import packet
from fsir.driver.diagnostics import fail


@rule("packet.data", "packet.end", needs=Needs.NOTHING)
def _position(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.bound(op.name.removeprefix("packet.")))


@rule("packet.meta")
def _meta(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], "run->meta")


@rule("packet.ctx_load")
def _ctx_load(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.CtxLoadOp)
    e.set(op.res, load(op, op.ctx, op.int_prop("off"), bits_of(op, width_of(op.res.type)), e))


@rule("packet.ctx_store")
def _ctx_store(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.CtxStoreOp)
    store(op, op.ctx, op.int_prop("off"), bits_of(op, width_of(op.value.type)), e.use(op.value), e)


@rule("packet.offset", pure=True)
def _offset(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.OffsetOp)
    e.set(op.res, e.address(op.ptr, op.int_prop("off")))


@rule("packet.advance", pure=True)
def _advance(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.AdvanceOp)
    e.set(op.res, f"{e.wide(op.ptr)} + {e.use(op.by)}")


@rule("packet.guard", pure=True)
def _guard(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.GuardOp)
    length, wanted = e.length(), _from_start(op)
    if length is not None and wanted is not None:
        e.set(op.res, f"{length} >= {wanted}", 1)
        return
    e.set(op.res, f"{plus(e.wide(op.ptr), op.int_prop('size'))} <= {e.wide(op.end)}", 1)


def _from_start(op: packet.GuardOp) -> int | None:
    """How many bytes from its start on a guard asks the packet for; None if it asks otherwise."""
    if not isinstance(op.end.owner, packet.EndOp):
        return None
    wanted, start = op.int_prop("size"), op.ptr.owner
    while isinstance(start, packet.OffsetOp):
        wanted, start = wanted + start.int_prop("off"), start.ptr.owner
    return wanted if isinstance(start, packet.DataOp) and wanted >= 0 else None


@rule("packet.load", needs=Needs.NOTHING)
def _load(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.LoadOp)
    width = bits_of(op, width_of(op.res.type))
    e.set(op.res, load(op, op.ptr, op.int_prop("off"), width, e), width)


@rule("packet.store", needs=Needs.NOTHING)
def _store(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.StoreOp)
    store(op, op.ptr, op.int_prop("off"), bits_of(op, width_of(op.value.type)), e.use(op.value), e)


def bits_of(op: Operation, width: int) -> int:
    """The width of an access, which is whole bytes."""
    if width % 8:
        fail(op, f"an access of {width} bits: memory is accessed by whole bytes")
    return width


@rule("packet.adjust_head", "packet.adjust_tail", "packet.adjust_meta")
def _adjust(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], f"fs_{op.name.removeprefix('packet.')}(run, {e.use(op.operands[1])})")


@rule("packet.verdict", needs=Needs.NOTHING)
def _verdict(op: Operation, e: Emitter) -> None:
    e.leave(e.use(op.operands[0]))
