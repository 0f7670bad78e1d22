"""How the packet becomes headers: which bytes each holds, when it is there, and what its fields are.

The sizes that the program checks the packet's length for divide the packet into segments, one header each: the header
that ends at byte n is extracted exactly where the packet has n bytes, so that `isValid()` is the check.  A field is the
field of a known protocol where the program itself tells which one it is; other bytes are divided as coarsely as the
accesses allow.  Names mean nothing to the rest of the compiler: every access is slices of fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from fsir.backends.p4.bits import Bits, Piece, Term, join

Fields = tuple[tuple[str, int], ...]

ETHERNET: Fields = (("dst", 48), ("src", 48), ("etherType", 16))
VLAN: Fields = (("tci", 16), ("etherType", 16))
IPV4: Fields = (
    *(("version", 4), ("ihl", 4), ("tos", 8), ("totalLen", 16), ("id", 16), ("flags", 3), ("fragOffset", 13)),
    *(("ttl", 8), ("protocol", 8), ("checksum", 16), ("srcAddr", 32), ("dstAddr", 32)),
)
IPV6: Fields = (
    *(("version", 4), ("trafficClass", 8), ("flowLabel", 20), ("payloadLen", 16), ("nextHeader", 8)),
    *(("hopLimit", 8), ("srcAddr", 128), ("dstAddr", 128)),
)
PORTS: Fields = (("srcPort", 16), ("dstPort", 16))
UDP: Fields = (*PORTS, ("length", 16), ("checksum", 16))
TCP: Fields = (
    *(*PORTS, ("seq", 32), ("ack", 32), ("dataOffset", 4), ("reserved", 4), ("flags", 8)),
    *(("window", 16), ("checksum", 16), ("urgent", 16)),
)

TRANSPORTS: dict[frozenset[int], tuple[str, Fields]] = {
    frozenset({6}): ("tcp", TCP),
    frozenset({17}): ("udp", UDP),
    frozenset({6, 17}): ("ports", PORTS),
}
PROTOCOL_NUMBERS = frozenset({6, 17})


@dataclass(frozen=True)
class Field:
    """A field of a header: its place in the packet, in bits."""

    term: Term
    start: int
    name: str

    @property
    def end(self) -> int:
        return self.start + self.term.width


@dataclass(frozen=True)
class Header:
    """A header: bytes `start` to `end` of the packet, there if the packet has `size` bytes."""

    name: str
    start: int
    end: int
    size: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Layout:
    """The headers of a packet, in order and without gaps."""

    headers: tuple[Header, ...]

    def guard(self, size: int) -> Header | None:
        """The header that is valid exactly where the packet has `size` bytes."""
        return next((header for header in self.headers if header.size == size), None)

    def fields(self, start: int, end: int) -> list[Field]:
        """The fields that overlap bytes `start` to `end`, in order."""
        return [
            field
            for header in self.headers
            for field in header.fields
            if field.start < 8 * end and 8 * start < field.end
        ]

    def load(self, start: int, size: int) -> Bits:
        """The value of `size` bytes from byte `start` on, as a little-endian machine reads them."""
        pieces: list[Piece] = []
        fields = self.fields(start, start + size)
        for byte in range(start, start + size):
            found = [field for field in fields if field.start < 8 * byte + 8 and 8 * byte < field.end]
            for each in reversed(found):  # the later bits of a byte are the lower ones
                first, last = max(each.start, 8 * byte), min(each.end, 8 * byte + 8)
                pieces.append(Piece(last - first, each.term, each.end - last))
        bits = join(pieces)
        assert bits.width == 8 * size, f"bytes {start} to {start + size} are not parsed"
        return bits


@dataclass
class Survey:
    """What the program does with its packet and its map values; with `merge`, of all its operations."""

    sizes: set[int] = field(default_factory=set)
    accesses: set[tuple[int, int]] = field(default_factory=set)
    stores: set[int] = field(default_factory=set)
    equal: set[tuple[int, int, int]] = field(default_factory=set)
    """(first byte, bytes, value in network order) that the program compares packet bytes with."""

    @property
    def end(self) -> int:
        """The byte after the last one accessed."""
        return max((end for _, end in self.accesses), default=0)

    def compared(self, start: int, size: int) -> frozenset[int]:
        """The values that these bytes are compared with."""
        return frozenset(value for at, width, value in self.equal if (at, width) == (start, size))


FLAT_NAME = "hdr.packet.bytes"


def flat_layout(size: int) -> Layout:
    """The first `size` bytes as one field: for the survey."""
    every = Field(Term(FLAT_NAME, 8 * size), 0, "bytes")
    return Layout((Header("packet", 0, size, size, (every,)),))


def make_layout(survey: Survey, max_parsed: int) -> Layout:
    """The headers for what the survey found."""
    known = _protocols(survey)
    headers: list[Header] = []
    start = 0
    for size in sorted(size for size in survey.sizes if size > 0):
        if start >= survey.end:
            break
        end = size if size <= max_parsed else survey.end
        headers.append(_header(start, end, size, survey, known))
        start = end
    assert start >= survey.end, "an access is not covered by a length check"
    return Layout(tuple(headers))


def _protocols(survey: Survey) -> dict[int, tuple[str, Fields]]:
    """The protocols that the program's own comparisons tell, by the byte where their header starts."""
    found: dict[int, tuple[str, Fields]] = {0: ("ethernet", ETHERNET)}
    types = survey.compared(12, 2)
    if types == {0x0800}:
        found[14] = "ipv4", IPV4
        transport = TRANSPORTS.get(survey.compared(23, 1) & PROTOCOL_NUMBERS)
        if transport is not None:
            found[34] = transport
    elif types == {0x86DD}:
        found[14] = "ipv6", IPV6
        transport = TRANSPORTS.get(survey.compared(20, 1) & PROTOCOL_NUMBERS)
        if transport is not None:
            found[54] = transport
    elif types and types <= {0x8100, 0x88A8}:
        found[14] = "vlan", VLAN
    return found


def _header(start: int, end: int, size: int, survey: Survey, known: Mapping[int, tuple[str, Fields]]) -> Header:
    name = _name(start, end, known)
    fields: list[Field] = []
    at = 8 * start
    for first, last, label in (*_named(start, end, known), (8 * end, 8 * end, "")):
        if first < at:
            continue  # overlapped by one before: protocols of different layers do not overlap
        for lo, hi in _atoms(at // 8, first // 8, survey):
            fields.append(_field(name, f"b{lo}", 8 * lo, 8 * hi))
        if label:
            fields.append(_field(name, label, first, last))
        at = max(at, last)
    return Header(name, start, end, size, tuple(fields))


def _field(header: str, name: str, start: int, end: int) -> Field:
    return Field(Term(f"hdr.{header}.{name}", end - start), start, name)


def _name(start: int, end: int, known: Mapping[int, tuple[str, Fields]]) -> str:
    if start in known:
        name, fields = known[start]
        if sum(width for _, width in fields) == 8 * (end - start) or name == "ports":
            return name
    return f"h{start}"


def _named(start: int, end: int, known: Mapping[int, tuple[str, Fields]]) -> Iterable[tuple[int, int, str]]:
    """The fields of known protocols within a header, in order, in bits; whole runs of bytes only."""
    for base, (_, fields) in sorted(known.items()):
        at = 8 * base
        run: list[tuple[int, int, str]] = []
        for name, width in fields:
            run.append((at, at + width, name))
            at += width
            if at % 8 == 0:
                if 8 * start <= run[0][0] and at <= 8 * end:
                    yield from run
                run = []


def _atoms(start: int, end: int, survey: Survey) -> Iterable[tuple[int, int]]:
    """The coarsest partition of some bytes of which every access is a union."""
    if start >= end:
        return
    cuts = {start, end} | {cut for access in survey.accesses for cut in access if start < cut < end}
    ordered = sorted(cuts)
    yield from pairwise(ordered)
