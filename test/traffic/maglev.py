"""Traffic and tables of examples/maglev."""

import random
import struct
from dataclasses import dataclass
from typing import Any

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, u32

RING_SIZE = 251
NO_CONNECTION_TABLE, HASH_NO_PORT = 1, 2
REALS = {1: "192.168.10.1", 2: "192.168.10.2", 3: "192.168.10.3", 4: "192.168.10.4", 5: "192.168.10.5"}
DOWN = 3


@dataclass(frozen=True)
class Vip:
    addr: str
    port: int
    proto: int
    num: int
    flags: int
    reals: tuple[int, ...]


VIPS = (
    Vip("10.200.1.1", 80, f.TCP, 0, 0, (1, 2, 3, 4)),
    Vip("10.200.1.1", 443, f.TCP, 1, HASH_NO_PORT, (4, 5)),
    Vip("10.200.1.2", 53, f.UDP, 2, NO_CONNECTION_TABLE, (1, 5)),
    Vip("10.200.1.2", 4433, f.UDP, 3, 0, (2, 4, 5)),
)
EMPTY = Vip("10.200.1.3", 80, f.TCP, 4, 0, ())  # no reals behind it
STALE = Vip("10.200.1.3", 443, f.TCP, 5, 0, (64,))  # its ring points past the end of the reals
BROKEN = Vip("10.200.1.4", 80, f.TCP, 8, 0, ())  # its number is past the end of every array
# Clients whose connections are pinned from the start: to a real, to the one that is down, and to what is no real.
PINNED = (
    ("198.51.100.1", 4, VIPS[0]),
    ("198.51.100.2", DOWN, VIPS[0]),
    ("198.51.100.3", 60, VIPS[3]),
    ("198.51.100.4", 64, VIPS[3]),
)
PINNED_PORT = 40000


def maglev_ring(reals: tuple[int, ...]) -> list[int]:
    """A lookup table by section 3.4 of the paper; offset and skip come from the number of the real."""
    ring = [0] * RING_SIZE
    steps = {real: ((real * 7919) % RING_SIZE, (real * 104729) % (RING_SIZE - 1) + 1) for real in reals}
    turn = dict.fromkeys(reals, 0)
    filled = 0
    while reals and filled < RING_SIZE:
        real = reals[filled % len(reals)]
        offset, skip = steps[real]
        while ring[(offset + turn[real] * skip) % RING_SIZE]:
            turn[real] += 1
        ring[(offset + turn[real] * skip) % RING_SIZE] = real
        filled += 1
    return ring


def flow_key(src: str, vip: Vip) -> bytes:
    ports = struct.pack("!HHB3x", PINNED_PORT, vip.port, vip.proto)
    return f.address(src) + f.address(vip.addr) + ports


def maps() -> Maps:
    rings = [
        (vip.num * RING_SIZE + slot, real) for vip in (*VIPS, STALE) for slot, real in enumerate(maglev_ring(vip.reals))
    ]
    return {
        "vips": [
            entry(f.address(vip.addr) + be16(vip.port) + bytes([vip.proto, 0]), u32(vip.num) + u32(vip.flags))
            for vip in (*VIPS, EMPTY, STALE, BROKEN)
        ],
        "connections": [entry(flow_key(src, vip), u32(real)) for src, real, vip in PINNED],
        "rings": [entry(u32(slot), u32(real)) for slot, real in rings],
        "reals": [entry(u32(num), f.address(addr) + u32(int(num == DOWN))) for num, addr in REALS.items()],
    }


def settings() -> list[Maps]:
    """Draining: connections are balanced, and none are pinned."""
    return [{".bss": [entry(u32(0), u32(1))]}]


def packet(
    rng: random.Random,
    vip: Vip,
    src: str | None = None,
    sport: int | None = None,
    flags: int = f.ACK,
    data: bytes | None = None,
    **fields: Any,
) -> bytes:
    """A frame to the VIP, from a client out of few enough that connections come again."""
    src = src or f"198.51.{rng.randrange(100, 104)}.{rng.randrange(1, 17)}"
    sport = sport or rng.randrange(40000, 40004)
    data = f.payload(rng, 1400) if data is None else data
    body = (
        f.tcp(src, vip.addr, sport, vip.port, data, flags=flags)
        if vip.proto == f.TCP
        else f.udp(src, vip.addr, sport, vip.port, data)
    )
    return f.pad(f.ethernet(f.ipv4(vip.proto, src, vip.addr, body, **fields)))


def to_vip(rng: random.Random) -> bytes:
    return packet(rng, rng.choice(VIPS), tos=rng.randrange(256), ident=rng.randrange(65536))


def syn(rng: random.Random) -> bytes:
    return packet(rng, rng.choice(VIPS[:2]), flags=rng.choice((f.SYN, f.SYN | f.ACK)), data=b"")


def pinned(rng: random.Random) -> bytes:
    src, _, vip = rng.choice(PINNED)
    return packet(rng, vip, src, PINNED_PORT)


def not_a_vip(rng: random.Random) -> bytes:
    vip = rng.choice(VIPS)
    near = rng.choice(
        (
            Vip("10.200.1.9", vip.port, vip.proto, 0, 0, ()),
            Vip(vip.addr, vip.port ^ 1, vip.proto, 0, 0, ()),
            Vip(vip.addr, vip.port, f.TCP + f.UDP - vip.proto, 0, 0, ()),
        )
    )
    return packet(rng, near)


def large(rng: random.Random) -> bytes:
    """Inner lengths around what still fits after encapsulation, 1480."""
    total = rng.choice((1479, 1480, 1481, 1500))
    vip = rng.choice(VIPS)
    return packet(rng, vip, data=bytes(total - 20 - (20 if vip.proto == f.TCP else 8)))


def lying_length(rng: random.Random) -> bytes:
    return packet(rng, rng.choice(VIPS), total=rng.choice((0, 19, 20, 1480, 1481, 0x8000, 0xFFFF)), data=b"")


def options(rng: random.Random) -> bytes:
    body = f.tcp("198.51.100.9", "10.200.1.1", 40000, 80)
    return f.ethernet(f.ipv4(f.TCP, "198.51.100.9", "10.200.1.1", body, options=bytes(4 * rng.randint(1, 10))))


def other_protocol(rng: random.Random) -> bytes:
    proto = rng.choice((f.ICMP, f.IPIP, f.GRE, f.ESP, f.SCTP))
    return f.ethernet(f.ipv4(proto, "198.51.100.9", rng.choice(VIPS).addr, f.icmp_echo(f.payload(rng, 200))))


def truncated(rng: random.Random) -> bytes:
    return f.truncate(rng, packet(rng, rng.choice(VIPS), data=bytes(20)), 54)


CASES = (
    Case(40, to_vip),
    Case(8, syn),
    Case(6, pinned),
    Case(6, not_a_vip),
    Case(4, large),
    Case(3, lying_length),
    Case(4, lambda rng: packet(rng, rng.choice((EMPTY, STALE)))),
    Case(2, lambda rng: packet(rng, BROKEN)),
    Case(4, lambda rng: packet(rng, rng.choice(VIPS), frag=rng.choice((f.MF, f.MF | 100, 1, 0x1FFF)))),
    Case(2, lambda rng: packet(rng, rng.choice(VIPS), frag=rng.choice((0, 0x8000)))),
    Case(3, options),
    Case(3, lambda rng: f.bad_ipv4(rng, to_vip(rng))),
    Case(4, other_protocol),
    Case(4, truncated),
    Case(4, f.not_ipv4),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation of both transports, and many clients to each VIP, for many slots of the rings."""
    return [
        *f.truncations(packet(rng, VIPS[0], data=b""), 56),
        *f.truncations(packet(rng, VIPS[2], data=b""), 44),
        *(packet(rng, vip, f"203.0.113.{host}", data=b"") for host in range(1, 150) for vip in VIPS),
    ]
