"""Traffic and tables of examples/scanner."""

import random
import struct
from typing import Any

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, u32

SIGNATURES = {0: b"/etc/passwd", 1: b"cmd.exe?/c+dir+c", 2: bytes.fromhex("deadbeef"), 3: b"aaab", 15: b"%n"}
UNUSED, OUT_OF_RANGE = 7, 16
SRC, DST = "198.51.100.1", "10.0.0.80"
# (port, protocol) to signature; the last two lead to no signature.
PORTS = {
    (80, f.TCP): 0,
    (8080, f.TCP): 1,
    (53, f.UDP): 2,
    (80, f.UDP): 3,
    (514, f.UDP): 15,
    (9998, f.UDP): UNUSED,
    (9999, f.TCP): OUT_OF_RANGE,
}
SCANNED = [(port, proto, SIGNATURES[index]) for (port, proto), index in PORTS.items() if index in SIGNATURES]
WITHOUT_SIGNATURE = [key for key, index in PORTS.items() if index not in SIGNATURES]


def maps() -> Maps:
    return {
        "scanned_ports": [entry(be16(port) + bytes([proto, 0]), u32(index)) for (port, proto), index in PORTS.items()],
        "signatures": [entry(u32(index), u32(len(s)) + s.ljust(16, b"\0")) for index, s in SIGNATURES.items()],
    }


def packet(
    port: int,
    proto: int,
    data: bytes,
    *,
    options: bytes = b"",
    tcp_options: bytes = b"",
    doff: int | None = None,
    frag: int = f.DF,
) -> bytes:
    body = (
        f.tcp(SRC, DST, 40000, port, data, options=tcp_options, doff=doff)
        if proto == f.TCP
        else f.udp(SRC, DST, 40000, port, data)
    )
    return f.ethernet(f.ipv4(proto, SRC, DST, body, options=options, frag=frag))


def haystack(rng: random.Random, size: int) -> bytes:
    return bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz /.%", k=size))


def around(rng: random.Random, needle: bytes, largest: int = 1380) -> bytes:
    """Text with the needle at its start, at its end, or somewhere inside."""
    size = rng.choices((0, rng.randint(1, 40), rng.randint(41, 200), largest - len(needle)), (10, 60, 26, 4))[0]
    at = rng.choice((0, size, rng.randint(0, size)))
    text = haystack(rng, size)
    return text[:at] + needle + text[at:]


def options(rng: random.Random) -> dict[str, Any]:
    """Header lengths: none, some, or the longest, for IPv4 and TCP each."""
    words = (0, rng.randint(1, 9), 10)
    return {"options": b"\1" * 4 * rng.choice(words), "tcp_options": b"\1" * 4 * rng.choice(words)}


def matched(rng: random.Random) -> bytes:
    port, proto, signature = rng.choice(SCANNED)
    return packet(port, proto, around(rng, signature), **options(rng))


def clean(rng: random.Random) -> bytes:
    port, proto, _ = rng.choice(SCANNED)
    return packet(port, proto, around(rng, b""), **options(rng))


def near_miss(rng: random.Random) -> bytes:
    """A proper prefix of the signature, the signature with one byte changed, or another port's signature."""
    port, proto, signature = rng.choice(SCANNED)
    cut = rng.randrange(len(signature))
    changed = signature[:cut] + bytes([signature[cut] ^ rng.choice((1, 0x20, 0x80))]) + signature[cut + 1 :]
    other = rng.choice([s for s in SIGNATURES.values() if s != signature])
    return packet(port, proto, rng.choice((around(rng, changed, 300), haystack(rng, 9) + signature[:cut], other)))


def restart(rng: random.Random) -> bytes:
    """False starts: the search has to go back to the byte after each of them."""
    text = b"a" * rng.randint(0, 30) + rng.choice((b"b", b"", b"ab", b"c"))
    return packet(80, f.UDP, text)


def other_port(rng: random.Random) -> bytes:
    port, proto = rng.choice(((8081, f.TCP), (53, f.TCP), (8080, f.UDP), (1, f.UDP), (0x5000, f.TCP)))
    return packet(port, proto, around(rng, rng.choice(list(SIGNATURES.values()))), **options(rng))


def without_signature(rng: random.Random) -> bytes:
    return packet(*rng.choice(WITHOUT_SIGNATURE), around(rng, SIGNATURES[0], 300))


def in_header(rng: random.Random) -> bytes:
    """The signature in TCP options, where it is not looked for."""
    return packet(80, f.TCP, haystack(rng, 8), tcp_options=b"\1" + SIGNATURES[0])


def in_padding(rng: random.Random) -> bytes:
    """The signature behind the end of the IP packet: the search goes on to the end of the frame."""
    return packet(53, f.UDP, b"") + bytes(rng.randrange(8)) + SIGNATURES[2]


def data_offset(rng: random.Random) -> bytes:
    """Data offsets too small, and past the end of the frame."""
    return packet(80, f.TCP, SIGNATURES[0], doff=rng.choice((0, 1, 4, 5, 6, 7, 8, 9, 15)))


def fragment(rng: random.Random) -> bytes:
    port, proto, signature = rng.choice(SCANNED)
    return packet(port, proto, signature, frag=rng.choice((f.MF, f.MF | 9, 1, 0x1FFF, 0x8000)))


def long_header(rng: random.Random) -> bytes:
    """A header length that points past the end of the frame, or near it."""
    frame = packet(53, f.UDP, SIGNATURES[2])
    return frame[:14] + bytes([0x40 | rng.randint(6, 15)]) + frame[15:]


def other_protocol(rng: random.Random) -> bytes:
    proto = rng.choice((0, f.ICMP, f.IPIP, f.GRE, f.ESP, f.SCTP, 255))
    return f.ethernet(f.ipv4(proto, SRC, DST, struct.pack("!HH", 80, 80) + SIGNATURES[0]))


def truncated(rng: random.Random) -> bytes:
    port, proto, signature = rng.choice(SCANNED)
    return f.truncate(rng, packet(port, proto, signature, options=bytes(4 * rng.randrange(3))), 80)


CASES = (
    Case(14, matched),
    Case(14, clean),
    Case(10, near_miss),
    Case(5, restart),
    Case(16, other_port),
    Case(4, without_signature),
    Case(2, in_header),
    Case(2, in_padding),
    Case(4, data_offset),
    Case(4, fragment),
    Case(4, long_header),
    Case(4, other_protocol),
    Case(4, lambda rng: f.bad_ipv4(rng, other_port(rng))),
    Case(5, truncated),
    Case(5, f.not_ipv4),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation of both transports, each signature at each offset of a text, every data offset."""
    text = haystack(rng, 24)
    return [
        *f.truncations(packet(80, f.TCP, SIGNATURES[0], options=bytes(8)), 90),
        *f.truncations(packet(53, f.UDP, SIGNATURES[2], options=bytes(4)), 60),
        *(packet(port, proto, text[:at] + s + text[at:]) for port, proto, s in SCANNED for at in range(25)),
        *(packet(80, f.TCP, bytes(16) + SIGNATURES[0], doff=doff) for doff in range(16)),
        *(packet(port, f.TCP, SIGNATURES[1]) for port in (79, 80, 81, 8079, 8080, 8081)),
    ]
