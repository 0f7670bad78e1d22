"""The wire format of the handoff header, which every backend and the interpreter share.

    0      2      3      4        6          8 ...
    magic  ver    len    resume   reserved   carried values, packed, little-endian; zero padding to a multiple of 4

All multi-byte fields are little-endian; `len` is the header's whole length in bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

MAGIC = 0xF5CA
VERSION = 1
FIXED = struct.Struct("<HBBHH")
HEADER_SIZE = FIXED.size
MAX_SIZE = 252


class HandoffError(Exception):
    """The bytes are no handoff header, or not one of the layout expected."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The header of one resume point: bit widths of the carried values, in order."""

    resume: int
    widths: tuple[int, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """Byte offset of each value from the start of the header."""
        at, result = HEADER_SIZE, []
        for width in self.widths:
            result.append(at)
            at += (width + 7) // 8
        return tuple(result)

    @property
    def size(self) -> int:
        """Length of the whole header in bytes, a multiple of 4."""
        return (HEADER_SIZE + sum((width + 7) // 8 for width in self.widths) + 3) & ~3

    def encode(self, values: Sequence[int]) -> bytes:
        """The header with these values (unsigned, truncated to their width)."""
        if self.size > MAX_SIZE:
            raise HandoffError(f"resume point {self.resume} carries {self.size} bytes; the header holds {MAX_SIZE}")
        body = FIXED.pack(MAGIC, VERSION, self.size, self.resume, 0)
        for value, width in zip(values, self.widths, strict=True):
            body += (value & ((1 << width) - 1)).to_bytes((width + 7) // 8, "little")
        return body.ljust(self.size, b"\0")

    def decode(self, data: bytes) -> list[int]:
        """The carried values of a header with this layout."""
        resume, size = peek(data)
        if resume != self.resume or size != self.size or len(data) < size:
            raise HandoffError(f"header of resume point {resume}, {size} bytes; expected {self.resume}, {self.size}")
        return [
            int.from_bytes(data[at : at + (width + 7) // 8], "little")
            for at, width in zip(self.offsets, self.widths, strict=True)
        ]


def peek(data: bytes) -> tuple[int, int]:
    """Resume point and length of the header at the start of some bytes."""
    if len(data) < HEADER_SIZE:
        raise HandoffError(f"{len(data)} bytes are too few for a handoff header")
    magic, version, size, resume, _ = FIXED.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise HandoffError(f"no handoff header: magic {magic:#06x}, version {version}")
    return resume, size
