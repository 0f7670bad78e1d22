"""The wire format of the handoff header, which every backend and the interpreter share.

    0      2      3      4        6          8 ...
    magic  ver    len    resume   reserved   carried values, packed, little-endian; zero padding to a multiple of 4

All multi-byte fields are little-endian; `len` is the header's whole length in bytes, `reserved` is 0.

Where the header travels:

- transport `head`, `cpu-port`: it is the first bytes of the frame.
- transport `metadata`: it lies in front of the frame, followed by a trailer, because a receiver in user space is told
  where the frame begins but not how long the metadata is (an AF_XDP descriptor has no field for that):

      | program's own metadata | header (len bytes) | trailer: u16 len, u16 magic | frame …
                                                                                    ^ data
  The receiver reads the four bytes before `data`, and finds the header from there. The program's own metadata is not
  part of this: a sender that has some says how many bytes in `reserved`, and the receiver moves them back to `data`.
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
TRAILER = struct.Struct("<HH")
"""Length of the header before it, and the magic number; directly in front of the frame."""

FARTHEST = 15
"""Bits of a carried distance from the packet's start such that guards behind it mean something to the kernel: with the
size that they ask for it must stay below 65536 (`find_good_pkt_pointers`, kernel/bpf/verifier.c)."""

ORDER = "fs_order"
SLOTS = 256
"""The map by which the kernel's part knows which packets are in flight, and its elements for a queue: see
backends/xdp/_order.py. A handoff that is counted ends with the packet's number (32 bits) and its slot (8)."""

FINISHED_PASS = 0xFFFF
FINISHED_ABORTED = 0xFFFE
FINISHED_REDIRECT = 0xFFFD
"""Resume points of a program that has ended already (on a NIC, which cannot carry out every verdict): the receiver
takes the header off and returns XDP_PASS, XDP_ABORTED, or what bpf_redirect(interface, 0) returns, the index of the
interface being the one carried value (32 bits). No part has resume points of these numbers."""


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

    @property
    def metadata_size(self) -> int:
        """Bytes that header and trailer take in the metadata area, a multiple of 4."""
        return self.size + TRAILER.size

    def encode(self, values: Sequence[int]) -> bytes:
        """The header with these values (unsigned, truncated to their width)."""
        if self.size > MAX_SIZE:
            raise HandoffError(f"resume point {self.resume} carries {self.size} bytes; the header holds {MAX_SIZE}")
        body = FIXED.pack(MAGIC, VERSION, self.size, self.resume, 0)
        for value, width in zip(values, self.widths, strict=True):
            body += (value & ((1 << width) - 1)).to_bytes((width + 7) // 8, "little")
        return body.ljust(self.size, b"\0")

    def encode_metadata(self, values: Sequence[int], own: bytes = b"") -> bytes:
        """The whole metadata area for transport `metadata`: the program's `own`, header, trailer."""
        if len(own) % 4:
            raise HandoffError(f"{len(own)} bytes of metadata before the header; it must be a multiple of 4")
        header = bytearray(self.encode(values))
        FIXED.pack_into(header, 0, MAGIC, VERSION, self.size, self.resume, len(own))
        return own + bytes(header) + TRAILER.pack(self.size, MAGIC)

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


def split_metadata(area: bytes) -> tuple[bytes, bytes]:
    """The program's own metadata and the header, from all bytes in front of a frame that came by `metadata`.

    `area` may begin anywhere before: a receiver that does not know the length gives the whole headroom.
    """
    if len(area) < TRAILER.size:
        raise HandoffError("no handoff trailer in front of the frame")
    size, magic = TRAILER.unpack_from(area, len(area) - TRAILER.size)
    start = len(area) - TRAILER.size - size
    if magic != MAGIC or size < HEADER_SIZE or start < 0:
        raise HandoffError(f"no handoff trailer in front of the frame: length {size}, magic {magic:#06x}")
    header = area[start : start + size]
    if peek(header)[1] != size:
        raise HandoffError(f"trailer says {size} bytes of header, the header {peek(header)[1]}")
    own = FIXED.unpack_from(header)[4]
    if own % 4 or own > start:
        raise HandoffError(f"the header says that {own} bytes of metadata precede it")
    return area[start - own : start], header
