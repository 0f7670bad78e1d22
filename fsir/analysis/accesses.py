"""Loads and stores as ranges of bytes, and what happens to the bytes between two operations of a block."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.effects import EffectTable
from fsir.analysis.evaluate import width_of
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import FramePointerType


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes [start, end) relative to `base`, an address that is no constant distance from another one. `resource` is
    the mask of what the base points into (`fsir.analysis.effects`)."""

    base: SSAValue
    start: int
    end: int
    resource: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.start

    def may_overlap(self, other: Place) -> bool:
        """Whether the two may share a byte: with the same base their offsets tell, with different ones nothing does."""
        if self.base is other.base:
            return self.start < other.end and other.start < self.end
        return bool(self.resource & other.resource)

    def covers(self, other: Place) -> bool:
        """Whether all bytes of the other are among these."""
        return self.base is other.base and self.start <= other.start and other.end <= self.end


def load_place(op: Operation, effects: EffectTable) -> Place | None:
    """The bytes that a load reads; None for an operation that is no plain load."""
    if "core" in op.properties:
        return None
    if isinstance(op, packet.LoadOp | map.LoadOp):
        return _place(op.operands[0], op.off.data, width_of(op.res.type) // 8, effects)
    if isinstance(op, ebpf.LdxOp) and op.row.op == "ldx" and isinstance(op.base.type, FramePointerType):
        return _place(op.base, op.off.data, op.row.width // 8, effects)
    return None


def store_place(op: Operation, effects: EffectTable) -> Place | None:
    """The bytes that a store writes, all of them; None for an operation that is no plain store."""
    if "core" in op.properties:
        return None
    if isinstance(op, packet.StoreOp | map.StoreOp):
        return _place(op.operands[0], op.off.data, width_of(op.operands[1].type) // 8, effects)
    if isinstance(op, ebpf.StxOp | ebpf.StOp) and isinstance(op.base.type, FramePointerType):
        return _place(op.base, op.off.data, op.row.width // 8, effects)
    return None


def _place(address: SSAValue, off: int, size: int, effects: EffectTable) -> Place:
    resource = effects.memory(address.type)
    while True:
        owner = address.owner
        if isinstance(owner, packet.OffsetOp):
            address, off = owner.ptr, off + owner.off.data
        elif (
            isinstance(owner, ebpf.AluRIOp)
            and owner.row.name == "addi"
            and not effects.memory(owner.lhs.type) & ~resource
        ):
            address, off = owner.lhs, off + owner.imm.data
        else:
            return Place(address, off, off + size, resource)


class BlockAccesses:
    """The positions of the operations of a block, and which of them write what.

    Stays right when an operation is replaced by others at its position (`moved`): what was written there before is
    still taken to be written.
    """

    def __init__(self, block: Block, effects: EffectTable) -> None:
        self.effects = effects
        self._position: dict[Operation, int] = {}
        self._writes: list[tuple[int, Place | None, int]] = []
        for position, op in enumerate(block.ops):
            self._position[op] = position
            found = effects.of(op).writes
            if found:
                self._writes.append((position, store_place(op, effects), found))

    def position(self, op: Operation) -> int | None:
        """The place of an operation in the order of the block; None when it is in another."""
        return self._position.get(op)

    def moved(self, op: Operation, to: int) -> None:
        """An operation was inserted at this position."""
        self._position[op] = to
        found = self.effects.of(op).writes
        if found:
            at = bisect_right(self._writes, to, key=lambda write: write[0])
            self._writes.insert(at, (to, store_place(op, self.effects), found))

    def unchanged(self, place: Place, first: int, last: int) -> bool:
        """Whether nothing between two positions, these included, may write bytes of a place."""
        low = bisect_left(self._writes, first, key=lambda write: write[0])
        high = bisect_right(self._writes, last, key=lambda write: write[0])
        return not any(
            place.may_overlap(written) if written is not None else writes & place.resource
            for _, written, writes in self._writes[low:high]
        )
