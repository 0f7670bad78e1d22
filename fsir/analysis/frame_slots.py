"""Which bytes of a stack frame can be SSA values: the frame cut into slots.

Slots are the finest cut such that every access covers whole slots; stores of constants may cover several, since a
constant is easily cut.  A slot is *promotable* when all that touches it are loads and stores of exactly its bytes,
stores of constants, and keys or values of map operations that can take values instead of an address.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from xdsl.dialects.builtin import i64
from xdsl.ir import Attribute, Operation

from fsir.analysis.frame import Access, Frame, How, constant_word
from fsir.dialects import ebpf
from fsir.dialects.ebpf import UNALLOCATED

_SIZES = (8, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class Slot:
    """Bytes [start, start + size) relative to the frame pointer; size is 1, 2, 4 or 8. `type` is that of the words
    stored there."""

    start: int
    size: int
    type: Attribute


class FrameSlots:
    """The promotable slots of a frame, and for each access the slots that it covers (None when it stays in memory)."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.starts = _cut(frame.accesses)
        self.memory = [False] * max(len(self.starts) - 1, 0)
        self._demote()
        types = self._types()
        for i, type_ in enumerate(types):
            self.memory[i] = self.memory[i] or type_ is None
        self._close()
        self.slots = [
            None
            if self.memory[i] or type_ is None
            else Slot(self.starts[i], self.starts[i + 1] - self.starts[i], type_)
            for i, type_ in enumerate(types)
        ]

    def covered(self, access: Access) -> range:
        """The numbers of the slots that an access covers."""
        return range(bisect_left(self.starts, access.start), bisect_left(self.starts, access.end))

    def promoted(self, access: Access) -> list[Slot] | None:
        """The slots of an access, all promotable; None when one is not."""
        found = [self.slots[i] for i in self.covered(access)]
        return [slot for slot in found if slot is not None] if None not in found and found else None

    def forget(self, numbers: set[int]) -> None:
        """Slots found to be read before they are written stay in memory, and so does what depends on them."""
        for number in numbers:
            self.memory[number] = True
        self._close()
        self.slots = [None if self.memory[i] else slot for i, slot in enumerate(self.slots)]

    def _demote(self) -> None:
        for access in self.frame.accesses:
            covered = self.covered(access)
            exact = len(covered) == 1
            if access.how in (How.READ, How.WRITE) or (
                not exact
                and (access.how is How.LOAD or (access.how is How.STORE and stored_constant(access.op) is None))
            ):
                for i in covered:
                    self.memory[i] = True

    def _close(self) -> None:
        """A map operation takes all its bytes as values, or none."""
        groups: dict[Operation, list[Access]] = {}
        for access in self.frame.accesses:
            if access.how is How.KEY:
                groups.setdefault(access.op, []).append(access)
        again = True
        while again:
            again = False
            for op, accesses in groups.items():
                numbers = [i for access in accesses for i in self.covered(access)]
                whole = len(accesses) == _addresses(op)
                if not whole or any(self.memory[i] for i in numbers):
                    for i in numbers:
                        again |= not self.memory[i]
                        self.memory[i] = True

    def _types(self) -> list[Attribute | None]:
        """The one type of the words stored in each slot; None where there are several."""
        found: list[set[Attribute]] = [set() for _ in self.memory]
        for access in self.frame.accesses:
            op = access.op
            if access.how is How.STORE and isinstance(op, ebpf.StxOp) and stored_constant(op) is None:
                for number in self.covered(access):
                    found[number].add(op.value.type)
        constants = self._constant_type()
        return [None if len(types) > 1 else types.pop() if types else constants for types in found]

    def _constant_type(self) -> Attribute:
        """The type of constants where nothing else is stored: that of scalars at this level of the function."""
        return UNALLOCATED if all(value.type == UNALLOCATED for value in self.frame.offsets) else i64


def stored_constant(op: Operation) -> int | None:
    """The constant that a store writes, as an unsigned number of the store's width; None for another value."""
    if isinstance(op, ebpf.StOp):
        return int(op.imm.data) & ((1 << op.row.width) - 1)
    if isinstance(op, ebpf.StxOp):
        value = constant_word(op.value)
        return None if value is None else value & ((1 << op.row.width) - 1)
    return None


def _addresses(op: Operation) -> int:
    """How many operands of a map operation are addresses of keys or values."""
    return 2 if op.name == "map.update_at" else 1


def _cut(accesses: list[Access]) -> list[int]:
    """The sorted bounds of the slots."""
    bounds = {bound for access in accesses for bound in (access.start, access.end)}
    result: list[int] = []
    for start, end in zip(sorted(bounds), sorted(bounds)[1:], strict=False):
        while start < end:
            result.append(start)
            start += next(size for size in _SIZES if size <= end - start)
    return [*result, max(bounds)] if bounds else []
