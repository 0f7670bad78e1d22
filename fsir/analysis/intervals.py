"""A word as a base and an interval, and what operations make of such words: the lattice of `fsir.analysis.ranges`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.ir import Operation, SSAValue

from fsir.analysis.bits import mask
from fsir.analysis.evaluate import width_of
from fsir.analysis.memory_versions import Versions
from fsir.dialects import ebpf, packet

FAR = 1 << 62
"""Distances beyond are not followed: an address and less than this do not wrap."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first byte of the packet, as long as nothing moves it: `versions` is the layout's."""

    versions: Versions


@dataclass(frozen=True, slots=True)
class End:
    """The byte after the packet's last."""

    versions: Versions


@dataclass(frozen=True, slots=True)
class Element:
    """The first byte of a value of a map, which is there until the packet is done with."""

    map: str


class _Frame:
    """The frame pointer."""


FRAME = _Frame()
Base = Start | End | Element | _Frame | SSAValue


@dataclass(frozen=True, slots=True)
class Range:
    """A word that is `base` + x, computed without a limit and then cut to 64 bits, for some x from `low` to `high`; a
    number if `base` is None. A lookup's result is the base of addresses in the value (and may be null)."""

    base: Base | None
    low: int
    high: int

    def moved(self, low: int, high: int) -> Range | None:
        """With a number between these bounds added; None where that goes too far to be followed."""
        low, high = self.low + low, self.high + high
        return Range(self.base, low, high) if low > -FAR and high < FAR else None


def any_word(value: SSAValue) -> Range:
    """Whatever is in a value of its type."""
    return Range(None, 0, mask(width_of(value.type)))


def hull(a: Range, b: Range) -> Range | None:
    """What is in one or the other; None for any word."""
    return Range(a.base, min(a.low, b.low), max(a.high, b.high)) if a.base == b.base else None


# What operations make of ranges; None is anything.


def _add(op: Operation, operands: list[Range]) -> Range | None:
    a, b = operands if operands[1].base is None else operands[::-1]
    if b.base is not None:
        return None
    width = width_of(op.results[0].type)
    wraps = (1 << width) * (b.low >= 1 << (width - 1))  # a subtraction, written as an addition
    if a.base is not None:
        return a.moved(b.low - wraps, b.high - wraps)
    return Range(None, a.low + b.low - wraps, a.high + b.high - wraps)


def _subtract(op: Operation, operands: list[Range]) -> Range | None:
    a, b = operands
    if b.base is not None:
        return None
    return a.moved(-b.high, -b.low) if a.base is not None else Range(None, a.low - b.high, a.high - b.low)


def _numbers(rule: Callable[[Range, Range], tuple[int, int]]) -> Callable[[Operation, list[Range]], Range | None]:
    def apply(op: Operation, operands: list[Range]) -> Range | None:
        return None if any(r.base is not None for r in operands) else Range(None, *rule(operands[0], operands[1]))

    return apply


def _offset(op: Operation, operands: list[Range]) -> Range | None:
    assert isinstance(op, packet.OffsetOp)
    return operands[0].moved(op.off.data, op.off.data) if operands[0].base is not None else None


def _add_immediate(op: Operation, operands: list[Range]) -> Range | None:
    assert isinstance(op, ebpf.AluRIOp)
    if op.row.width != 64 or op.row.op != "add":
        return None
    imm = op.imm.data
    return (
        operands[0].moved(imm, imm)
        if operands[0].base is not None
        else Range(None, operands[0].low + imm, operands[0].high + imm)
    )


def _add_registers(op: Operation, operands: list[Range]) -> Range | None:
    assert isinstance(op, ebpf.AluRROp)
    return _add(op, operands) if op.row.width == 64 and op.row.op == "add" else None


def _same(op: Operation, operands: list[Range]) -> Range | None:
    assert isinstance(op, ebpf.CastOp | ebpf.MovRROp)
    whole = not isinstance(op, ebpf.MovRROp) or op.row.name == "mov"
    return operands[0] if whole and width_of(op.operands[0].type) == width_of(op.results[0].type) else None


def _kept(op: Operation, operands: list[Range]) -> Range | None:
    """An extension, or a truncation of a number that fits."""
    return operands[0] if operands[0].base is None else None


def _selected(op: Operation, operands: list[Range]) -> Range | None:
    return hull(operands[1], operands[2])


RULES: dict[type[Operation], Callable[[Operation, list[Range]], Range | None]] = {
    arith.AddiOp: _add,
    arith.SubiOp: _subtract,
    arith.MuliOp: _numbers(lambda a, b: (a.low * b.low, a.high * b.high)),
    arith.AndIOp: _numbers(lambda a, b: (0, min(a.high, b.high))),
    arith.OrIOp: _numbers(lambda a, b: (max(a.low, b.low), mask(max(a.high, b.high).bit_length()))),
    arith.XOrIOp: _numbers(lambda a, b: (0, mask(max(a.high, b.high).bit_length()))),
    arith.ShLIOp: _numbers(lambda a, b: (a.low << min(b.low, 64), a.high << min(b.high, 64))),
    arith.ShRUIOp: _numbers(
        lambda a, b: (a.low >> min(b.high, 64), a.high >> min(b.low, 64)) if b.high < 64 else (0, a.high)
    ),
    arith.DivUIOp: _numbers(lambda a, b: (0, a.high)),
    arith.RemUIOp: _numbers(lambda a, b: (0, min(a.high, b.high - 1) if b.low else a.high)),
    arith.ExtUIOp: _kept,
    arith.TruncIOp: _kept,
    arith.SelectOp: _selected,
    packet.OffsetOp: _offset,
    packet.AdvanceOp: _add,
    ebpf.AluRIOp: _add_immediate,
    ebpf.AluRROp: _add_registers,
    ebpf.CastOp: _same,
    ebpf.MovRROp: _same,
}
THROUGH = (arith.ExtUIOp, arith.AddiOp, arith.SubiOp, arith.AndIOp, arith.ShLIOp, arith.MuliOp, arith.TruncIOp)
