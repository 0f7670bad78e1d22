"""Damaged objects."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fuzz.mutate_bytes import EXTREMES, changed_bytes, mutated_bytes


@dataclass(frozen=True)
class Header:
    """A section header, as far as mutations need it."""

    at: int
    type: int
    flags: int
    offset: int
    size: int


HEADER = (4, 4, 8, 8, 8, 8, 4, 4, 8, 8)
"""Bytes of the fields of a section header."""
FILE_HEADER = (*(1,) * 16, 2, 2, 4, 8, 8, 8, 4, *(2,) * 6)
RECORDS = {2: (4, 1, 1, 2, 8, 8), 9: (8, 4, 4), 4: (8, 4, 4, 8)}
"""Bytes of the fields of what sections are made of, by type of section: symbols, relocations without and with addend.
All else that is no text (BTF, maps, data) is looked at as words."""
WORDS = (4,)


def section_headers(data: bytes) -> list[Header]:
    """The section headers of a little-endian ELF64 object."""
    (start,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    headers = []
    for number in range(count):
        at = start + 64 * number
        _, kind, flags, _, offset, size = struct.unpack_from("<IIQQQQ", data, at)
        headers.append(Header(at, kind, flags, offset, size))
    return headers


def mutated_object(rng: random.Random, data: bytes) -> bytes:
    """The object `data` damaged: anywhere, in one section, in single fields, or in single instructions."""
    return rng.choice(_MUTATIONS)(rng, data, section_headers(data))


def _anywhere(rng: random.Random, data: bytes, _: Sequence[Header]) -> bytes:
    return mutated_bytes(rng, data)


def _truncated(rng: random.Random, data: bytes, _: Sequence[Header]) -> bytes:
    return data[: rng.randrange(len(data))]


def _section(rng: random.Random, data: bytes, headers: Sequence[Header]) -> bytes:
    """The bytes of one section changed, whatever they mean."""
    held = [h for h in headers if h.size and h.type != 8]
    chosen = rng.choice(held)
    return (
        data[: chosen.offset]
        + changed_bytes(rng, data[chosen.offset :][: chosen.size])
        + data[chosen.offset + chosen.size :]
    )


def _fields(rng: random.Random, data: bytes, headers: Sequence[Header]) -> bytes:
    """Single fields of headers, symbols, relocations, BTF and map definitions changed."""
    tables = [(0, 64, FILE_HEADER), *((h.at, 64, HEADER) for h in headers)]
    tables += [
        (h.offset, h.size, RECORDS.get(h.type, WORDS))
        for h in headers
        if h.size >= 4 and h.type not in (3, 8) and not h.flags & 4
    ] * 4
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start, size, fields = rng.choice(tables)
        length = sum(fields)
        if size < length:
            continue
        field = rng.randrange(len(fields))
        at = start + length * rng.randrange(size // length) + sum(fields[:field])
        width = fields[field]
        old = int.from_bytes(out[at : at + width], "little")
        new = rng.choice((rng.choice(EXTREMES), old + rng.choice((-8, -4, -1, 1, 4, 8, 64)), rng.randrange(64)))
        out[at : at + width] = (new & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return bytes(out)


def _mutated_code(rng: random.Random, data: bytes, headers: Sequence[Header]) -> bytes:
    """Instructions changed so that most of them still decode."""
    out = bytearray(data)
    places = [
        (h.offset, h.size)
        for h in headers
        if h.flags & 4 and h.type == 1 and h.size >= 8 and h.offset + h.size <= len(out)
    ]
    if not places:
        return mutated_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        offset, size = rng.choice(places)
        at = offset + 8 * rng.randrange(size // 8)
        other = offset + 8 * rng.randrange(size // 8)
        what = rng.randrange(9)
        if what == 0:
            out[at] = rng.randrange(256)
        elif what == 1:
            out[at + 1] = rng.randrange(11) | rng.randrange(11) << 4
        elif what == 2:
            struct.pack_into(
                "<h", out, at + 2, rng.choice((-1, 0, 1, 2, -8, 8, 512, -512, 0x7FFF, -0x8000, rng.randrange(-40, 40)))
            )
        elif what == 3:
            struct.pack_into("<I", out, at + 4, rng.choice(EXTREMES) & 0xFFFFFFFF)
        elif what == 4:
            struct.pack_into("<i", out, at + 4, rng.randrange(-4, 220))
        elif what == 5:
            out[at : at + 8] = out[other : other + 8]
        elif what == 6:
            out[at : at + 8], out[other : other + 8] = out[other : other + 8], out[at : at + 8]
        elif what == 7:
            out[at : at + 8] = bytes((rng.choice(_OPCODES), *out[at + 1 : at + 8]))
        else:
            out[at : at + 8] = rng.choice(_PATTERNS)
    return bytes(out)


_OPCODES = (
    *(
        0x05,
        0x06,
        0x07,
        0x0F,
        0x15,
        0x1D,
        0x18,
        0x2F,
        0x37,
        0x3F,
        0x47,
        0x57,
        0x61,
        0x63,
        0x69,
        0x71,
        0x73,
        0x79,
        0x7B,
        0x81,
    ),
    *(0x85, 0x87, 0x8D, 0x95, 0x97, 0x9F, 0xA5, 0xB4, 0xB7, 0xBC, 0xBF, 0xC3, 0xC7, 0xCF, 0xD4, 0xD7, 0xDB, 0xDC, 0xE5),
)
_PATTERNS = tuple(
    bytes.fromhex(text)
    for text in (
        "b700000000000000 b701000000000000 bfa6000000000000 9500000000000000 0500ffff00000000 0500000000000000 "
        "85000000ffffffff 8500000001000000 8500000006000000 8510000000000000 8510000000000080 8520000001000000 "
        "7b1a000000000000 7b1af8ff00000000 79a0f8ff00000000 79a008fe00000000 1800000000000000 db1a f8ff01000000"
    )
    .replace("db1a f8ff", "db1af8ff")
    .split()
)


_MUTATIONS: tuple[Callable[[random.Random, bytes, Sequence[Header]], bytes], ...] = (
    *(_anywhere, _anywhere, _truncated, _section, _section, _fields, _fields, _fields),
    *(_mutated_code, _mutated_code, _mutated_code),
)
