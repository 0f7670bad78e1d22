"""Traffic and tables of examples/router."""

import random
import struct
from typing import Any

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, device, entry, prefix, u32

# Prefix -> ifindex: packets come in at 1 (XDP_TX); 2 and 3 are in the devmap, 5 is not and 70 cannot be.
ROUTES = {
    "10.0.0.0/8": 2,
    "10.1.0.0/16": 3,
    "10.1.2.0/24": 1,
    "10.1.2.3/32": 0,
    "10.1.2.128/25": 2,
    "100.64.0.0/10": 3,
    "128.0.0.0/1": 1,
    "172.16.0.0/12": 5,
    "192.168.0.0/16": 70,
    "203.0.113.77/32": 2,
}
# One destination per longest match, and neighbours on both sides of prefix ends.
ROUTED = (
    "10.9.9.9", "10.255.255.255", "10.1.9.9", "10.1.3.0", "10.1.2.9", "10.1.2.127", "10.1.2.128",
    "10.1.2.255", "100.64.0.0", "100.127.255.255", "128.0.0.1", "224.0.0.5", "255.255.255.255", "203.0.113.77",
    "203.0.113.76",
)  # fmt: skip
UNROUTED = ("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "127.255.255.255", "0.0.0.0")
# Checksums around the carry of the incremental update.
EDGE_CHECKSUMS = (0x0000, 0xFFFF, 0xFEFF, 0xFEFE, 0xFF00, 0x00FF, 0x0100, 0xFFFE)


def maps() -> Maps:
    hops = {
        net: u32(ifindex) + bytes([2, 0, 0, 1, 0, ifindex]) + bytes([2, 0, 0, 2, 0, ifindex])
        for net, ifindex in ROUTES.items()
    }
    return {
        "routes": [entry(prefix(net), hop) for net, hop in hops.items()],
        # Both leave by the loopback device, which every machine has.
        "tx_ports": [device(2, 1), device(3, 1)],
    }


def packet(rng: random.Random, dst: str, **fields: Any) -> bytes:
    src = f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    ports = rng.randrange(1024, 65536), rng.randrange(1, 1024)
    proto = rng.choice((f.TCP, f.UDP, f.ICMP, f.ESP))
    data = f.payload(rng, 1400)
    bodies = {
        f.TCP: lambda: f.tcp(src, dst, *ports, data),
        f.UDP: lambda: f.udp(src, dst, *ports, data),
        f.ICMP: lambda: f.icmp_echo(data),
        f.ESP: lambda: data,
    }
    fields.setdefault("ttl", rng.choice((2, 3, 64, 128, 255)))
    return f.ethernet(f.ipv4(proto, src, dst, bodies[proto](), ident=rng.randrange(65536), **fields))


def forwarded(rng: random.Random) -> bytes:
    return f.pad(packet(rng, rng.choice(ROUTED), tos=rng.randrange(256)))


def edge_checksum(rng: random.Random) -> bytes:
    return packet(rng, rng.choice(ROUTED), check=rng.choice(EDGE_CHECKSUMS))


def corrected_to_zero(rng: random.Random) -> bytes:
    """A right checksum that is 0x0000 or near: the identification makes up the difference."""
    target = rng.choice((0x0000, 0xFFFF, 0xFEFF, 0xFF00))
    dst = rng.choice(ROUTED)
    head = f.ipv4(f.UDP, "10.0.0.2", dst, b"", check=0, total=28)
    # ~(sum + ident) == target, so ident is what is missing to ~target.
    ident = (~target - (~f.checksum(head) & 0xFFFF)) % 0xFFFF
    body = f.udp("10.0.0.2", dst, 4000, 53)
    return f.ethernet(f.ipv4(f.UDP, "10.0.0.2", dst, body, ident=ident))


def options(rng: random.Random) -> bytes:
    words = rng.randint(1, 10)
    ip = f.ipv4(f.UDP, "10.0.0.2", "10.1.2.9", f.udp("10.0.0.2", "10.1.2.9", 1, 2), options=b"\1" * 4 * words)
    return f.ethernet(ip)


def truncated(rng: random.Random) -> bytes:
    return f.truncate(rng, packet(rng, "10.9.9.9"), 40)


def header_only(rng: random.Random) -> bytes:
    """Ends exactly where the IPv4 header does, though it promises more."""
    return f.ethernet(f.ipv4(rng.randrange(256), "10.0.0.2", rng.choice(ROUTED), b"", total=rng.choice((0, 40, 65535))))


CASES = (
    Case(40, forwarded),
    Case(6, edge_checksum),
    Case(6, corrected_to_zero),
    Case(6, lambda rng: packet(rng, "10.1.2.3")),
    Case(6, lambda rng: packet(rng, f"172.{rng.randint(16, 31)}.1.1")),
    Case(4, lambda rng: packet(rng, "192.168.1.1")),
    Case(8, lambda rng: packet(rng, rng.choice(UNROUTED))),
    Case(6, lambda rng: packet(rng, rng.choice(ROUTED), ttl=rng.choice((0, 1)))),
    Case(4, lambda rng: packet(rng, rng.choice(ROUTED), frag=rng.choice((f.MF, f.MF | 9, 185)))),
    Case(4, options),
    Case(4, lambda rng: f.bad_ipv4(rng, packet(rng, "10.9.9.9"))),
    Case(4, truncated),
    Case(2, header_only),
    Case(6, f.not_ipv4),
    # The destination is any address: mostly the half of them under 128.0.0.0/1.
    Case(4, lambda rng: packet(rng, ".".join(map(str, rng.randbytes(4))))),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation, every TTL, every destination at a prefix end, every edge checksum."""
    return [
        *f.truncations(packet(rng, "10.9.9.9"), 40),
        *(packet(rng, "10.9.9.9", ttl=ttl) for ttl in range(256)),
        *(packet(rng, dst) for dst in ROUTED + UNROUTED),
        *(packet(rng, "10.1.2.9", check=check) for check in EDGE_CHECKSUMS),
        *(f.ethernet(struct.pack("!B", first) + bytes(19)) for first in range(0x40, 0x50)),
    ]
