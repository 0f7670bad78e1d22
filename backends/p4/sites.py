"""Tables that mirror maps: what is matched, what an entry gives, and how both correspond to the map's bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from fsir.backends.p4.bits import Bits, Piece, Term, join
from fsir.backends.p4.names import Names
from fsir.dialects.map import DeclOp
from fsir.object.btf import Btf, Leaf

Order = Literal["big", "little"]
MAX_FIELD = 16
"""Bytes of the largest member that becomes one parameter."""


@dataclass(frozen=True)
class KeyPart:
    """A key of a table: bytes `offset` to `offset + size` of the map's key as a number in `order`."""

    name: str
    offset: int
    size: int
    order: Order
    match: Literal["exact", "lpm"]
    text: str


@dataclass(frozen=True)
class ValueField:
    """A parameter of a table's action: bytes of the map's value as a number in `order`."""

    name: str
    offset: int
    size: int
    order: Order


@dataclass(frozen=True)
class ValueLayout:
    """The fields of a map's value that the NIC reads."""

    fields: tuple[ValueField, ...] = ()

    def load(self, variables: Sequence[Bits], off: int, size: int) -> Bits:
        """The value of `size` bytes from `off` on, as a little-endian machine reads them; `variables` by field."""
        pieces: list[Piece] = []
        for byte in range(off, off + size):
            for each, bits in zip(self.fields, variables, strict=True):
                if each.offset <= byte < each.offset + each.size:
                    place = byte - each.offset if each.order == "little" else each.offset + each.size - 1 - byte
                    pieces += bits.slice(8 * place, 8).pieces
        result = join(pieces)
        assert result.width == 8 * size, f"bytes {off} to {off + size} of the value are not in any field"
        return result


@dataclass
class Site:
    """A table: one lookup of the program, global data, or a device map; `action` is that of an entry.

    `constants` are (offset, bytes) of the key that the lookup fixes: entries that differ there cannot match. Without
    `keys` the default action stands for the entry. `content` is the value that the map's element has when nobody wrote
    it (arrays and global data, whose elements always exist); None where a miss is a miss. `hit` names the variable that
    tells a hit, `variables` those of the fields, `sets` what an entry sets besides.
    """

    name: str
    action: str
    map: DeclOp
    role: Literal["lookup", "data", "redirect"]
    keys: list[KeyPart]
    constants: list[tuple[int, bytes]]
    layout: ValueLayout
    variables: list[Term]
    hit: str | None
    content: bytes | None
    sets: list[str] = field(default_factory=list)

    @property
    def defaults(self) -> list[int] | None:
        """The arguments of the default action where that is an entry's; None where a miss does nothing."""
        if self.content is None:
            return None
        return [field_value(each, self.content) for each in self.layout.fields]


def field_value(each: ValueField | KeyPart, data: bytes) -> int:
    """The number that a field stands for in some bytes of a key or value."""
    return int.from_bytes(data[each.offset : each.offset + each.size], each.order)


Access = tuple[int, int, Order]
"""First byte, end, and the order in which the program would like the bytes."""


def blob_layout(size: int) -> ValueLayout:
    """The whole value as one field: for the survey."""
    return ValueLayout((ValueField("value", 0, size, "little"),))


def value_layout(accesses: Iterable[Access], members: Sequence[tuple[str, int, int]]) -> ValueLayout:
    """The fields for some accesses: members (name, offset, size) that are touched, the rest as coarse as possible."""
    wanted = sorted(set(accesses))
    names = Names()
    fields: list[ValueField] = []
    covered: set[int] = set()
    for name, offset, size in members:
        inside = [a for a in wanted if a[0] < offset + size and offset < a[1]]
        if inside and size <= MAX_FIELD and not covered & set(range(offset, offset + size)):
            fields.append(ValueField(names.new(name), offset, size, _order(offset, size, inside)))
            covered |= set(range(offset, offset + size))
    rest = sorted({byte for start, end, _ in wanted for byte in range(start, end)} - covered)
    cuts = {cut for start, end, _ in wanted for cut in (start, end)}
    for start, end in _runs(rest, cuts):
        inside = [a for a in wanted if a[0] < end and start < a[1]]
        fields.append(ValueField(names.new(f"b{start}"), start, end - start, _order(start, end - start, inside)))
    return ValueLayout(tuple(sorted(fields, key=lambda each: each.offset)))


def _order(offset: int, size: int, inside: Sequence[Access]) -> Order:
    """Little-endian for what is read as one machine number and used as one."""
    return "little" if all(access == (offset, offset + size, "little") for access in inside) else "big"


def _runs(numbers: Sequence[int], cuts: set[int]) -> Iterable[tuple[int, int]]:
    """Maximal runs of successive numbers that no cut divides, as (first, end)."""
    starts = [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n - 1 or n in cuts]
    ends = [n + 1 for i, n in enumerate(numbers) if i + 1 == len(numbers) or numbers[i + 1] != n + 1 or n + 1 in cuts]
    return zip(starts, ends, strict=True)


def members_of(btf: Btf | None, type_id: int, whole: str) -> list[tuple[str, int, int]]:
    """The members of a type as (name, offset, size), arrays of bytes as one; none without BTF. A type without members
    is called `whole`."""
    if btf is None or not type_id:
        return []
    members: list[tuple[str, int, int]] = []
    for leaf in btf.layout(type_id):
        name = _array_name(leaf)
        if members and name is not None and members[-1][0] == name and sum(members[-1][1:]) == leaf.offset:
            members[-1] = name, members[-1][1], members[-1][2] + 1
        else:
            members.append((name or leaf.name or whole, leaf.offset, leaf.size))
    spans = sorted((offset, offset + size) for _, offset, size in members)
    overlap = any(end > start for (_, end), (start, _) in pairwise(spans))
    return [] if overlap else members


def _array_name(leaf: Leaf) -> str | None:
    """The array that a byte is an element of."""
    return leaf.name.rpartition("[")[0] if leaf.size == 1 and leaf.name.endswith("]") else None
