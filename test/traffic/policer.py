"""Traffic and tables of examples/policer."""

import random
import struct
from ipaddress import IPv6Network, ip_address

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, entry, u32

CLASSES = 4
MAPPED = bytes(10) + b"\xff\xff"

# Policy -> committed rate and burst, peak rate and burst, of each class: bytes per second, bytes.
NO_LIMIT = (0, 0, 0, 0)
POLICIES: dict[int, tuple[tuple[int, int, int, int], ...]] = {
    1: ((0, 2000, 0, 6000), (0, 0, 0, 4000), (0, 1000, 0, 1000), NO_LIMIT),  # bursts only: the clock is nothing to it
    2: ((100_000, 1500, 1_000_000, 3000), (1 << 20, 9000, 1 << 31, 90000), (1, 300, 2, 600), (8000, 200, 16000, 400)),
    3: ((0, 0, 0, 1), NO_LIMIT, (0, 70, 0, 200), (0, 1 << 40, 0, 1 << 40)),
    63: ((0, 0, 0, 100), NO_LIMIT, NO_LIMIT, NO_LIMIT),
    64: (),  # behind the last one
}
PREFIXES = {
    "10.1.0.0/16": 1,
    "10.2.0.0/16": 2,
    "10.2.2.0/24": 3,
    "10.2.2.2/32": 1,
    "172.16.0.0/12": 63,
    "192.168.0.0/16": 64,
    "2001:db8::/32": 1,
    "2001:db8:2::/48": 2,
    "2001:db8:3::/64": 3,
    "2001:db8:ff::/48": 64,
}
POLICED = ("10.1.0.1", "10.1.0.2", "10.1.255.255", "10.2.0.1", "10.2.2.1", "10.2.2.2", "10.2.2.3", "172.16.0.1")
POLICED6 = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:2::1", "2001:db8:2::2", "2001:db8:3::1")
FREE = ("10.0.255.255", "10.3.0.1", "11.1.0.1", "192.168.0.1", "8.8.8.8")
FREE6 = ("2001:db9::1", "2001:db8:ff::1", "2001:db7::1", "fe80::1", "::ffff:8.8.8.8", "::1")
# Assured forwarding, expedited forwarding, class selectors, best effort.
DSCPS = (
    *(8 * af + 2 * precedence for af in range(1, 5) for precedence in (1, 2, 3)),
    46,
    0,
    8,
    40,
    48,
    56,
    63,
    9,
    42,
    2,
)


def prefix(text: str) -> bytes:
    """An LPM trie key; IPv4 is mapped into IPv6."""
    addr, length = text.split("/")
    if ":" in text:
        return u32(int(length)) + IPv6Network(text).network_address.packed
    return u32(96 + int(length)) + MAPPED + f.address(addr)


def maps() -> Maps:
    return {
        "prefixes": [entry(prefix(net), u32(policy)) for net, policy in PREFIXES.items()],
        "policies": [
            entry(u32(policy * CLASSES + place), struct.pack("<4Q", *limits))
            for policy, classes in POLICIES.items()
            for place, limits in enumerate(classes)
            if limits != NO_LIMIT
        ],
    }


def settings() -> list[Maps]:
    """Counting only, with other classes: number 7 becomes 3 and number 4 becomes 0."""
    return [{".rodata": [entry(u32(0), u32(0) + u32(0) + bytes([7, 4, 1, 0, 3, 2, 1, 1]))]}]


def tags(rng: random.Random, payload: bytes, ethertype: int, count: int) -> bytes:
    """A frame with so many tags in front of the payload."""
    for _ in range(count):
        payload = struct.pack("!HH", rng.randrange(1 << 16), ethertype) + payload
        ethertype = rng.choice((f.ETH_VLAN, f.ETH_QINQ))
    return f.ethernet(payload, ethertype)


def packet4(rng: random.Random, src: str, dscp: int, data: bytes, count: int = 0, **fields: int) -> bytes:
    options = b"\1" * rng.choice((0, 0, 0, 4))
    body = f.udp(src, "8.8.8.8", 4000, 53, data)
    packet = f.ipv4(f.UDP, src, "8.8.8.8", body, tos=dscp << 2 | rng.randrange(4), options=options, **fields)
    return tags(rng, packet, f.ETH_IP, count)


def packet6(rng: random.Random, src: str, dscp: int, data: bytes, count: int = 0, version: int = 6) -> bytes:
    head = version << 28 | (dscp << 2 | rng.randrange(4)) << 20 | rng.randrange(1 << 20)
    packet = struct.pack("!IHBB", head, len(data), f.UDP, 64) + ip_address(src).packed + bytes(16) + data
    return tags(rng, packet, f.ETH_IPV6, count)


def policed(rng: random.Random) -> bytes:
    count = rng.choice((0, 0, 0, 1, 2))
    if rng.random() < 0.6:
        return packet4(rng, rng.choice(POLICED), rng.choice(DSCPS), f.payload(rng, 1400), count)
    return packet6(rng, rng.choice(POLICED6), rng.choice(DSCPS), f.payload(rng, 1400), count)


def new_source(rng: random.Random) -> bytes:
    """A source that was not seen before, probably: many of them fill the table."""
    if rng.random() < 0.8:
        src = f"10.{rng.choice((1, 1, 2))}.{rng.randrange(256)}.{rng.randrange(256)}"
        return packet4(rng, src, rng.choice(DSCPS), f.payload(rng, 300))
    src6 = f"2001:db8:{rng.choice((1, 2, 4))}:{rng.randrange(1 << 16):x}::{rng.randrange(1, 1 << 16):x}"
    return packet6(rng, src6, rng.choice(DSCPS), f.payload(rng, 300))


def free(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return packet4(rng, rng.choice(FREE), rng.choice(DSCPS), f.payload(rng, 300), rng.choice((0, 1)))
    return packet6(rng, rng.choice(FREE6), rng.choice(DSCPS), f.payload(rng, 300))


def edge_checksum(rng: random.Random) -> bytes:
    """Assured forwarding out of the peak bucket only, so that it is marked, with checksums at the carry."""
    dscp = rng.choice((10, 12, 18, 20))
    check = rng.choice((0x0000, 0xFFFF, 0x0004, 0x0003, 0xFFFB, 0x0008, 0xFFF7))
    return packet4(rng, f"10.1.{rng.randrange(256)}.7", dscp, b"", check=check)


def bad_version(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return packet6(rng, "2001:db8::1", 0, bytes(8), rng.choice((0, 1)), version=rng.choice((0, 4, 5, 7)))
    return packet4(rng, "10.1.0.1", 0, bytes(8), version=rng.choice((0, 3, 5, 6)))


def short_header(rng: random.Random) -> bytes:
    return packet4(rng, "10.1.0.1", 0, bytes(8), rng.choice((0, 1, 2)), ihl=rng.randrange(5))


def many_tags(rng: random.Random) -> bytes:
    return packet4(rng, "10.1.0.1", 0, bytes(8), 3)


def truncated(rng: random.Random) -> bytes:
    make = rng.choice((packet4, packet6))
    src = "10.1.0.1" if make is packet4 else "2001:db8::1"
    return f.truncate(rng, make(rng, src, 0, bytes(20), rng.choice((0, 1, 2))), 64)


CASES = (
    Case(60, policed),
    Case(110, new_source),
    Case(10, free),
    Case(8, edge_checksum),
    Case(4, bad_version),
    Case(4, short_header),
    Case(2, many_tags),
    Case(5, truncated),
    Case(5, f.not_ipv4),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every DSCP of sources whose peak bucket only has something, every truncation behind 0 to 2 tags."""
    return [
        *(packet4(rng, f"10.1.9.{dscp}", dscp, bytes(8)) for dscp in range(64)),
        *(packet6(rng, f"2001:db8:0:{dscp + 1:x}::1", dscp, bytes(8)) for dscp in range(64)),
        *(packet4(rng, "10.1.0.9", dscp, bytes(1200)) for dscp in (0, 10, 12, 14, 18, 20) for _ in range(6)),
        *(packet6(rng, "2001:db8:0:ffff::9", dscp, bytes(1200)) for dscp in (0, 10, 12, 14, 18, 20) for _ in range(6)),
        *(cut for count in range(3) for cut in f.truncations(packet4(rng, "10.1.0.1", 0, b"", count), 46)),
        *f.truncations(packet6(rng, "2001:db8::1", 0, b"", 1), 60),
    ]
