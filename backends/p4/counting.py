"""What the additions of a part become: counters of packets and bytes where these are added, registers elsewhere."""

from __future__ import annotations

from collections import Counter as Multiset
from dataclasses import dataclass
from typing import Literal

from xdsl.ir import Block

from fsir.backends.p4 import bits as b
from fsir.backends.p4.bits import Bits
from fsir.backends.p4.evaluate import Add, Evaluation
from fsir.backends.p4.names import identifier

Kind = Literal["packets", "bytes", "sum"]
LENGTH = b.variable("sm.packet_length", 32)

Slot = tuple[str, int, int]
"""Map, offset in the value, width in bits."""


@dataclass
class Tally:
    """A P4 object that counts for some bytes of every element of a map. `counts` are (offset, width, what)."""

    name: str
    map: str
    entries: int
    counts: list[tuple[int, int, Kind]]

    @property
    def is_register(self) -> bool:
        return self.counts[0][2] == "sum"

    @property
    def declaration(self) -> str:
        """Its declaration in P4."""
        if self.is_register:
            return f"register<bit<{self.counts[0][1]}>>({self.entries}) {self.name};"
        kinds = {kind for _, _, kind in self.counts}
        type_ = "packets_and_bytes" if len(kinds) == 2 else kinds.pop()
        return f"counter({self.entries}, CounterType.{type_}) {self.name};"


class Counting:
    """The tallies of an evaluated part, and the statements that keep them."""

    def __init__(self, e: Evaluation) -> None:
        self._e = e
        adds = [(block, s) for block, code in e.code.items() for s in code.statements if isinstance(s, Add)]
        kinds: dict[Slot, Kind] = {}
        for _, add in adds:
            slot = _slot(add)
            kind = _kind(add)
            kinds[slot] = kind if kinds.get(slot, kind) == kind else "sum"
        self.tallies: list[Tally] = []
        self._by_slot: dict[Slot, Tally] = {}
        self._silent: set[Slot] = set()
        self._scratch: dict[int, str] = {}
        for slot, kind in sorted(kinds.items()):
            if slot not in self._by_slot:
                self._new(slot, kind, _partner(slot, kinds, adds))

    def _new(self, slot: Slot, kind: Kind, partner: Slot | None) -> None:
        name, off, width = slot
        decl = self._e.context.maps[name]
        wish = identifier(name) if partner is not None or _only_slot(slot, decl.value_size.data) else f"{name}_{off}"
        tally = Tally(self._e.names.new(wish), name, decl.max_entries.data, [(off, width, kind)])
        self._by_slot[slot] = tally
        if partner is not None:
            other: Kind = "bytes" if kind == "packets" else "packets"
            tally.counts.append((partner[1], partner[2], other))
            self._by_slot[partner] = tally
            self._silent.add(partner)
        self.tallies.append(tally)
        if tally.is_register and width not in self._scratch:
            self._scratch[width] = self._e.new(f"bit<{width}>", "sum")

    def text(self, add: Add) -> list[str]:
        """The statement that an addition becomes; none where another counts for it."""
        slot = _slot(add)
        if slot in self._silent:
            return []
        tally = self._by_slot[slot]
        index = add.index.text()
        if not tally.is_register:
            return [f"{tally.name}.count({index});"]
        scratch = self._scratch[add.width]
        return [
            "@atomic {",
            f"    {tally.name}.read({scratch}, {index});",
            f"    {tally.name}.write({index}, {scratch} + {add.addend.text()});",
            "}",
        ]


def _slot(add: Add) -> Slot:
    return add.map, add.off, add.width


def _kind(add: Add) -> Kind:
    if add.addend == b.constant(1, add.width):
        return "packets"
    return "bytes" if add.addend == LENGTH.extended(add.width) else "sum"


def _only_slot(slot: Slot, value_size: int) -> bool:
    return slot[1] == 0 and slot[2] == 8 * value_size


def _partner(slot: Slot, kinds: dict[Slot, Kind], adds: list[tuple[Block, Add]]) -> Slot | None:
    """The slot that counts bytes exactly where this one counts packets, or the other way round."""
    if kinds[slot] == "sum":
        return None
    other = "bytes" if kinds[slot] == "packets" else "packets"
    mine = _places(slot, adds)
    for candidate, kind in kinds.items():
        if candidate > slot and candidate[0] == slot[0] and kind == other and _places(candidate, adds) == mine:
            return candidate
    return None


def _places(slot: Slot, adds: list[tuple[Block, Add]]) -> Multiset[tuple[Block, Bits]]:
    return Multiset((block, add.index) for block, add in adds if _slot(add) == slot)
