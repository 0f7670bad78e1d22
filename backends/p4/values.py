"""What the words of a raised function are while P4 is generated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fsir.backends.p4.bits import Bits
from fsir.backends.p4.conditions import Condition


@dataclass(frozen=True)
class PacketAddress:
    """Byte `base + plus` of the packet; `base` is a constant, or depends on the path taken."""

    base: Bits
    plus: int = 0

    @property
    def offset(self) -> int | None:
        """The offset from the start of the packet, where it is a constant."""
        value = self.base.value
        return None if value is None else value + self.plus

    def moved(self, by: int) -> PacketAddress:
        return replace(self, plus=self.plus + by)


@dataclass(frozen=True)
class PacketEnd:
    """The end of the packet."""


@dataclass(frozen=True)
class Opaque:
    """A word that P4 has no use for: the context, a stack address, a map's handle."""


@dataclass(frozen=True)
class ValuePointer:
    """The address of byte `off` of a map's value.

    `hit` says whether it is not null. `index` is the element of an array. `fields` are the variables that hold the
    value's fields, by their names; none where the map is not read.
    """

    map: str
    hit: Condition
    index: Bits | None
    fields: tuple[Bits, ...] = ()
    off: int = 0

    def moved(self, by: int) -> ValuePointer:
        return replace(self, off=self.off + by)


Word = Bits | Condition | PacketAddress | PacketEnd | Opaque | ValuePointer
