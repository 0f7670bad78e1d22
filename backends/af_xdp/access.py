"""Loads, stores and atomics: which check an address needs, by what its type and definition say of it."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from fsir.backends.af_xdp.writer import Emitter, Needs
from fsir.dialects import ebpf
from fsir.dialects.map import ValueType
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.driver.diagnostics import fail

CONTEXT_SIZE = 24
"""sizeof(struct xdp_md)"""


def _check(op: Operation, base: SSAValue, offset: int, size: int, e: Emitter) -> tuple[str, str]:
    """The kind of object that a base address points into, and leading arguments of its access functions."""
    at = e.frame_offset(base)
    if at is not None and e.in_frame(at + offset, size):
        return "proven", ""
    if e.is_proven(op, base, offset, size):
        return "proven", ""
    e.needs(Needs.BOUNDS)
    match base.type:
        case PtrType() | EndType() | MetaType():
            return "packet", ""
        case ebpf.FramePointerType():
            return "stack", ""
        case ValueType() as type_ if type_.only is not None:
            return "value", f"{e.map_index(op, type_.only)}, "
    return "any", ""


def load(op: Operation, base: SSAValue, offset: int, width: int, e: Emitter) -> str:
    """An expression for the unsigned value of `width` bits at an address."""
    if isinstance(base.type, CtxType):
        e.needs(Needs.BOUNDS)
        return _context_load(op, offset, width)
    kind, extra = _check(op, base, offset, width // 8, e)
    return f"fs_{kind}_u{width}(run, {extra}{e.address(base, offset)})"


def store(op: Operation, base: SSAValue, offset: int, width: int, value: str, e: Emitter) -> None:
    """Write the low `width` bits of a word."""
    if isinstance(base.type, CtxType):
        fail(op, "an XDP program cannot write to its context")
    _check_writable(op, base, e)
    kind, extra = _check(op, base, offset, width // 8, e)
    e.line(f"fs_{kind}_set_u{width}(run, {extra}{e.address(base, offset)}, {value});")


def atomic_at(op: Operation, base: SSAValue, offset: int, width: int, e: Emitter) -> str:
    """An expression for the pointer that an atomic operation of `width` bits works on."""
    _check_writable(op, base, e)
    kind, extra = _check(op, base, offset, width // 8, e)
    return f"fs_{kind}_at(run, {extra}{e.address(base, offset)}, {width // 8}, true)"


def bytes_at(op: Operation, base: SSAValue, size: int, e: Emitter) -> str:
    """An expression for the pointer to bytes that an operation reads, whatever they are bytes of."""
    kind, extra = _check(op, base, 0, size, e)
    if kind != "proven":
        kind, extra = "any", ""
    return f"fs_{kind}_at(run, {extra}{e.address(base, 0)}, {size}, false)"


def _context_load(op: Operation, offset: int, width: int) -> str:
    if width != 32 or offset % 4 or not 0 <= offset < CONTEXT_SIZE:
        fail(op, f"no XDP context field of {width // 8} bytes at offset {offset}")
    return f"fs_context_u32(run, {offset})"


def _check_writable(op: Operation, base: SSAValue, e: Emitter) -> None:
    if isinstance(base.type, ValueType):
        for name in base.type.names:
            e.map_writable(op, name)
