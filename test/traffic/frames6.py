"""IPv6 packets and tagged frames from header fields, as bytes; otherwise as `frames`.

Addresses are text ("2001:db8::1") or 16 bytes. Extension headers are built as `(number, bytes)`, with the bytes' first
one, the next header's number, filled in by `chain`.
"""

import ipaddress
import struct
from collections.abc import Sequence

from traffic import frames as f

HOPOPTS, ROUTING, FRAGMENT, AH, ICMPV6, NONE, DSTOPTS = 0, 43, 44, 51, 58, 59, 60

Extension = tuple[int, bytes]


def address(text: str | bytes) -> bytes:
    """The 16 bytes of an IPv6 address."""
    return text if isinstance(text, bytes) else ipaddress.IPv6Address(text).packed


def options(number: int, body: bytes = b"\x01\x04\0\0\0\0") -> Extension:
    """Hop-by-hop or destination options; the body is padded with Pad1 to 6 modulo 8 bytes."""
    body += bytes(-(2 + len(body)) % 8)
    return number, bytes([0, (2 + len(body)) // 8 - 1]) + body


def routing(kind: int, left: int = 0, segments: Sequence[str] = ("2001:db8::1",)) -> Extension:
    body = b"".join(map(address, segments))
    return ROUTING, bytes([0, len(body) // 8, kind, left]) + bytes(4) + body


def fragment(offset: int, more: bool = False, ident: int = 1) -> Extension:
    """`offset` counts bytes, a multiple of 8."""
    return FRAGMENT, struct.pack("!BBHI", 0, 0, offset | int(more), ident)


def authentication(words: int = 6) -> Extension:
    """An authentication header of so many 4-byte words, of which the length field counts two less."""
    return AH, bytes([0, words - 2]) + bytes(4 * words - 2)


def chain(extensions: Sequence[Extension], last: int) -> tuple[int, bytes]:
    """The first header's number, and the extension headers in a row, in front of header `last`."""
    numbers = [number for number, _ in extensions] + [last]
    return numbers[0], b"".join(
        bytes([after]) + body[1:] for (_, body), after in zip(extensions, numbers[1:], strict=True)
    )


def ipv6(
    proto: int,
    src: str | bytes,
    dst: str | bytes,
    payload: bytes,
    *,
    extensions: Sequence[Extension] = (),
    tclass: int = 0,
    flow: int = 0,
    hops: int = 64,
    version: int = 6,
    length: int | None = None,
) -> bytes:
    first, headers = chain(extensions, proto)
    body = headers + payload
    word = version << 28 | tclass << 20 | flow
    size = len(body) if length is None else length
    return struct.pack("!IHBB", word, size, first, hops) + address(src) + address(dst) + body


def with_checksum(proto: int, src: str | bytes, dst: str | bytes, segment: bytes, at: int) -> bytes:
    """The segment with its checksum at the offset."""
    pseudo = address(src) + address(dst) + struct.pack("!II", len(segment), proto)
    value = f.checksum(pseudo + segment[:at] + b"\0\0" + segment[at + 2 :]) or (0xFFFF if proto == f.UDP else 0)
    return segment[:at] + struct.pack("!H", value) + segment[at + 2 :]


def tcp(
    src: str | bytes,
    dst: str | bytes,
    sport: int,
    dport: int,
    payload: bytes = b"",
    flags: int = f.ACK,
    options: bytes = b"",
) -> bytes:
    head = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, (5 + len(options) // 4) << 4, flags, 65535, 0, 0)
    return with_checksum(f.TCP, src, dst, head + options + payload, 16)


def udp(src: str | bytes, dst: str | bytes, sport: int, dport: int, payload: bytes = b"") -> bytes:
    return with_checksum(f.UDP, src, dst, struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload, 6)


def icmp(src: str | bytes, dst: str | bytes, kind: int, payload: bytes = bytes(4)) -> bytes:
    return with_checksum(ICMPV6, src, dst, bytes([kind, 0, 0, 0]) + payload, 2)


def tagged(frame: bytes, *tags: int, outer: int = f.ETH_VLAN) -> bytes:
    """The frame with VLAN tags, outermost first; `outer` is the ethertype of the first of several."""
    for index, tag in reversed(list(enumerate(tags))):
        kind = outer if index == 0 and len(tags) > 1 else f.ETH_VLAN
        frame = frame[:12] + struct.pack("!HH", kind, tag) + frame[12:]
    return frame
