"""Recognising the length of a protocol header as programs compute it from the header's own length field."""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.packet_bytes import packet_bytes
from fsir.analysis.protocols import Header

_SMALL = 64
"""What programs add to a length: the fixed part of a header."""


def added_to_length(value: SSAValue, base: SSAValue, at: int, header: Header) -> int | None:
    """The n for which a value is n + unit * (the length field of the header at `base + at`), the unit being that of
    the header's `scale`; None for a value of another kind."""
    if header.scale is None:
        return None
    op = _uncut(value)
    if isinstance(op, arith.AddiOp):
        inner, number = _plus(value)
        rest = added_to_length(inner, base, at, header) if number else None
        return None if rest is None else rest + number
    if isinstance(op, arith.ShLIOp):
        amount = number_of(op.operands[1])
        inner, number = _plus(op.operands[0])
        if amount is not None and 1 << amount == header.unit and _is_field(inner, base, at, header):
            return number << amount
    if isinstance(op, arith.AndIOp) and header.unit == 4:
        for masked, mask in (op.operands, op.operands[::-1]):  # (byte << 2) & 60 or (byte >> 2) & 60
            shift = _uncut(masked)
            if number_of(mask) == 60 and isinstance(shift, arith.ShLIOp | arith.ShRUIOp):
                up = isinstance(shift, arith.ShLIOp)
                fits = header.scale[2] == (0 if up else 4) and number_of(shift.operands[1]) == 2
                return 0 if fits and _is_field(shift.operands[0], base, at, header) else None
    return None


def number_of(value: SSAValue) -> int | None:
    """The unsigned value of a constant."""
    op = value.owner
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr) and isinstance(value.type, IntegerType):
        return int(op.value.value.data) & ((1 << int(value.type.width.data)) - 1)
    return None


def _uncut(value: SSAValue) -> Operation | Block:
    op = value.owner
    while isinstance(op, arith.ExtUIOp | arith.TruncIOp):
        op = op.operands[0].owner
    return op


def _plus(value: SSAValue) -> tuple[SSAValue, int]:
    """A value and the small number that is added to it."""
    op = _uncut(value)
    if isinstance(op, arith.AddiOp):
        for inner, added in (op.operands, op.operands[::-1]):
            number = number_of(added)
            if number is not None and number < _SMALL:
                return inner, number
    return value, 0


def _is_field(value: SSAValue, base: SSAValue, at: int, header: Header) -> bool:
    """Whether a value is the byte that holds a header's length, or the bits of it that do."""
    read = packet_bytes(value)
    if read is None or read[0] is None or header.scale is None or any(read[1:]):
        return False
    byte, mask, _ = header.scale
    return (read[0].base, read[0].offset) == (base, at + byte) and read[0].mask in (mask, 0xFF)
