"""Which bytes of the packet a scalar is made of, whatever order and pieces it was read in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.ir import Operation, SSAValue

from fsir.dialects import ebpf, packet

_DEPTH = 24


@dataclass(frozen=True, slots=True)
class PacketByte:
    """The byte at `base + offset`, its bits selected by `mask`; base is a `!packet.ptr` value."""

    base: SSAValue
    offset: int
    mask: int = 0xFF


Bytes = tuple[PacketByte | None, ...]
"""The bytes of a value, the lowest first; None is zero."""


def packet_bytes(value: SSAValue, depth: int = _DEPTH) -> Bytes | None:
    """The bytes of the packet that a value consists of, or None when it is anything else."""
    op = value.owner
    rule = _RULES.get(ebpf.form_of(op)) if isinstance(op, Operation) else None
    return rule(op, depth - 1) if isinstance(op, Operation) and rule is not None and depth else None


def packet_offset(address: SSAValue) -> tuple[SSAValue, int]:
    """The base that an address is a constant distance from, and that distance."""
    total = 0
    while isinstance(op := address.owner, packet.OffsetOp):
        total += op.off.data
        address = op.ptr
    return address, total


def _width(value: SSAValue) -> int:
    return value.type.width.data // 8 if isinstance(value.type, IntegerType) else 8


def _number(value: SSAValue) -> int | None:
    op = value.owner
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return int(op.value.value.data) & ((1 << 8 * _width(value)) - 1)
    return None


def _load(op: Operation, depth: int) -> Bytes | None:
    assert isinstance(op, packet.LoadOp)
    base, offset = packet_offset(op.ptr)
    return tuple(PacketByte(base, offset + op.off.data + i) for i in range(_width(op.res)))


def _extend(op: Operation, depth: int) -> Bytes | None:
    inner = packet_bytes(op.operands[0], depth)
    return None if inner is None else inner + (None,) * (_width(op.results[0]) - len(inner))


def _truncate(op: Operation, depth: int) -> Bytes | None:
    inner = packet_bytes(op.operands[0], depth)
    return None if inner is None else inner[: _width(op.results[0])]


def _mask(op: Operation, depth: int) -> Bytes | None:
    for value, other in (op.operands, op.operands[::-1]):
        mask, inner = _number(other), packet_bytes(value, depth) if _number(other) is not None else None
        if mask is not None and inner is not None:
            return tuple(_masked(byte, mask >> 8 * i & 0xFF) for i, byte in enumerate(inner))
    return None


def _masked(byte: PacketByte | None, mask: int) -> PacketByte | None:
    if byte is None or not byte.mask & mask:
        return None
    return PacketByte(byte.base, byte.offset, byte.mask & mask)


def _merge(op: Operation, depth: int) -> Bytes | None:
    left, right = packet_bytes(op.operands[0], depth), packet_bytes(op.operands[1], depth)
    if left is None or right is None or any(a is not None and b is not None for a, b in zip(left, right, strict=True)):
        return None
    return tuple(a or b for a, b in zip(left, right, strict=True))


def _shift_left(op: Operation, depth: int) -> Bytes | None:
    amount, inner = _number(op.operands[1]), packet_bytes(op.operands[0], depth)
    if amount is None or inner is None or amount % 8:
        return None
    return ((None,) * (amount // 8) + inner)[: len(inner)]


def _shift_right(op: Operation, depth: int) -> Bytes | None:
    amount, inner = _number(op.operands[1]), packet_bytes(op.operands[0], depth)
    if amount is None or inner is None or amount % 8:
        return None
    return inner[amount // 8 :] + (None,) * (amount // 8)


def _swap(op: Operation, depth: int) -> Bytes | None:
    assert isinstance(op, ebpf.UnaryOp)
    inner = packet_bytes(op.value, depth)
    if inner is None or op.row.op not in ("be", "bswap"):
        return None
    size = op.row.width // 8
    return inner[:size][::-1] + (None,) * (len(inner) - size)


_RULES: dict[type[Operation], Callable[[Operation, int], Bytes | None]] = {
    packet.LoadOp: _load,
    arith.ExtUIOp: _extend,
    arith.TruncIOp: _truncate,
    arith.AndIOp: _mask,
    arith.OrIOp: _merge,
    arith.AddiOp: _merge,
    arith.XOrIOp: _merge,
    arith.ShLIOp: _shift_left,
    arith.ShRUIOp: _shift_right,
    ebpf.UnaryOp: _swap,
}
