"""The `packet` dialect: the packet's positions, its bytes, and the program's end."""

from __future__ import annotations

from xdsl.ir import Operation

from fsir.dialects import packet
from fsir.interp.emit_base import FREE, M64, Emitter, UnsupportedOp, address, rule, width_of

ADJUST = {"packet.adjust_head": 44, "packet.adjust_tail": 65, "packet.adjust_meta": 54}
"""The helper that each of these is."""

_POSITIONS = {"packet.data": "data", "packet.end": "data_end", "packet.meta": "data_meta"}
FREE |= {"packet.offset"}


@rule(*_POSITIONS)
def _position(op: Operation, e: Emitter) -> None:
    buffer = e.need("packet")
    e.set(op.results[0], f"{buffer}.base + {buffer}.{_POSITIONS[op.name]}")


@rule("packet.ctx_load")
def _ctx_load(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.CtxLoadOp)
    size = byte_size(op, width_of(op.res.type))
    e.set(op.res, f"{e.need('load', 8 * size)}({address(e.use(op.ctx), op.int_prop('off'))})")


@rule("packet.ctx_store")
def _ctx_store(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.CtxStoreOp)
    size = byte_size(op, width_of(op.value.type))
    e.line(f"{e.need('store', 8 * size)}({address(e.use(op.ctx), op.int_prop('off'))}, {e.use(op.value)})")


@rule("packet.offset")
def _offset(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.OffsetOp)
    e.set(op.res, f"({address(e.use(op.ptr), op.int_prop('off'))}) & {hex(M64)}")


@rule("packet.advance")
def _advance(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.AdvanceOp)
    e.set(op.res, f"({e.use(op.ptr)} + {e.use(op.by)}) & {hex(M64)}")


@rule("packet.guard")
def _guard(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.GuardOp)
    e.set(op.res, f"({address(e.use(op.ptr), op.int_prop('size'))}) & {hex(M64)} <= {e.use(op.end)}", 1)


@rule("packet.load")
def _load(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.LoadOp)
    load_field(op, e.use(op.ptr), op.int_prop("off"), e)


@rule("packet.fetch", "packet.fetch_at")
def _fetch(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.FetchOp | packet.FetchAtOp)
    index = f"{e.use(op.index)} + " if isinstance(op, packet.FetchAtOp) else ""
    fetch(op, f"{index}{op.int_prop('off')}", width_of(op.res.type), e)


def fetch(op: Operation, offset: str, width: int, e: Emitter) -> None:
    """Read a number in network byte order from the start of the packet, or leave the function with 0."""
    e.line(f"old = {e.need('skb_load')}({offset}, {width // 8})")
    e.line("if old is None:")
    e.line("    state[0] = n")
    e.line("    return 0")
    e.set(op.results[0], "old", width)


@rule("packet.store")
def _store(op: Operation, e: Emitter) -> None:
    assert isinstance(op, packet.StoreOp)
    store_field(op, e.use(op.ptr), op.int_prop("off"), width_of(op.value.type), e.use(op.value), e)


def load_field(op: Operation, base: str, offset: int, e: Emitter) -> None:
    """Read as many bytes as the result's type has; 3, 5, 6 or 7 are read as bytes."""
    result = op.results[0]
    width = width_of(result.type)
    size = byte_size(op, width, exact=False)
    if size in (1, 2, 4, 8):
        e.set(result, f"{e.need('load', 8 * size)}({address(base, offset)})", width)
    else:
        e.set(result, f"int.from_bytes({e.need('read_bytes')}({address(base, offset)}, {size}), 'little')", width)


def store_field(op: Operation, base: str, offset: int, width: int, value: str, e: Emitter) -> None:
    """Write as many bytes as the value's type has."""
    size = byte_size(op, width, exact=False)
    if size in (1, 2, 4, 8):
        e.line(f"{e.need('store', 8 * size)}({address(base, offset)}, {value})")
    else:
        e.line(f"{e.need('write_bytes')}({address(base, offset)}, ({value}).to_bytes({size}, 'little'))")


def byte_size(op: Operation, width: int, exact: bool = True) -> int:
    """The bytes of an access; UnsupportedOp when the type is not whole bytes (or, with `exact`, no power of two)."""
    size, rest = divmod(width, 8)
    if rest or (exact and size not in (1, 2, 4, 8)):
        raise UnsupportedOp(op, f"an access of {width} bits does not exist")
    return size


@rule(*ADJUST)
def _adjust(op: Operation, e: Emitter) -> None:
    ctx, delta = (e.use(value) for value in op.operands)
    e.set(op.results[0], e.call_helper(ADJUST[op.name], ctx, delta))


@rule("packet.verdict")
def _verdict(op: Operation, e: Emitter) -> None:
    e.leave(f"{e.use(op.operands[0])} & 0xffffffff")
