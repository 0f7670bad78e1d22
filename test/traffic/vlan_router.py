"""Traffic and tables of examples/vlan-router."""

import random
import struct
from ipaddress import IPv6Network, ip_address
from typing import Any

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, device, entry, u32

OWN_MAC = f.HOST_MAC
Tags = tuple[int, ...]

# Tags -> routing table; all on interface 1, where packets come in, and some of interface 3.
INTERFACES: dict[Tags, int] = {(): 0, (10,): 0, (20,): 1, (100, 7): 0, (100, 8): 1, (4094,): 1}
IFINDEXES = (1, 3)

# Interface, outer and inner VLAN, MTU: 2 and 3 are in the devmap, 5 is not.
NEXT_HOPS = (
    (2, 0, 0, 1500),
    (2, 30, 0, 1500),
    (2, 300, 9, 1500),
    (1, 10, 0, 1500),
    (1, 0, 0, 1500),
    (3, 0, 44, 1500),
    (5, 10, 0, 1500),
    (2, 30, 0, 600),
    (1, 100, 7, 1280),
)
# (VRF, prefix) -> first next hop and how many.
ROUTES4 = {
    (0, "10.0.0.0/8"): (0, 1),
    (0, "10.1.0.0/16"): (1, 1),
    (0, "10.2.0.0/16"): (2, 1),
    (0, "10.3.0.0/16"): (3, 1),
    (0, "10.4.0.0/16"): (4, 1),
    (0, "10.5.0.0/16"): (5, 1),
    (0, "10.6.0.0/16"): (6, 1),
    (0, "10.7.0.0/16"): (7, 1),
    (0, "10.8.0.0/16"): (8, 1),
    (0, "10.9.0.0/16"): (0, 5),
    (0, "10.9.9.0/24"): (0, 0),
    (0, "10.10.0.0/16"): (254, 5),  # mostly behind the last next hop
    (1, "10.1.0.0/16"): (2, 3),
    (1, "0.0.0.0/0"): (1, 1),
}
ROUTES6 = {
    (0, "2001:db8::/32"): (0, 1),
    (0, "2001:db8:1::/48"): (1, 1),
    (0, "2001:db8:2::/48"): (2, 1),
    (0, "2001:db8:3::/48"): (3, 1),
    (0, "2001:db8:7::/48"): (7, 1),
    (0, "2001:db8:9::/48"): (0, 6),
    (0, "2001:db8:9:9::/64"): (0, 0),
    (0, "2001:db8:9:9::1/128"): (4, 1),
    (1, "::/0"): (2, 2),
}
ROUTED4 = (*(f"10.{n}.3.4" for n in (*range(11), 200)), "10.9.9.1", "10.9.8.255")
UNROUTED4 = ("11.0.0.0", "9.255.255.255", "192.0.2.1")
ROUTED6 = (*(f"2001:db8:{n}::1" for n in (0, 1, 2, 3, 7, 9)), "2001:db8:9:9::1", "2001:db8:9:9::2")
UNROUTED6 = ("2001:db9::1", "2001:db7:ffff::1", "::1")


def interface_key(ifindex: int, tags: Tags) -> bytes:
    outer, inner = (*tags, 0, 0)[:2]
    return struct.pack("<IHH", ifindex, outer, inner)


def prefix4(vrf: int, text: str) -> bytes:
    addr, length = text.split("/")
    return u32(32 + int(length)) + u32(vrf) + f.address(addr)


def prefix6(vrf: int, text: str) -> bytes:
    network = IPv6Network(text)
    return u32(32 + network.prefixlen) + u32(vrf) + network.network_address.packed


def maps() -> Maps:
    numbered = [(ifindex, tags, vrf) for ifindex in IFINDEXES for tags, vrf in INTERFACES.items()]
    return {
        "interfaces": [
            entry(interface_key(ifindex, tags), u32(vrf) + OWN_MAC + struct.pack("<H", number))
            for number, (ifindex, tags, vrf) in enumerate(numbered)
        ],
        "routes4": [entry(prefix4(*key), struct.pack("<II", *hops)) for key, hops in ROUTES4.items()],
        "routes6": [entry(prefix6(*key), struct.pack("<II", *hops)) for key, hops in ROUTES6.items()],
        "next_hops": [
            entry(
                u32(number),
                struct.pack("<IHH", ifindex, outer, inner)
                + bytes([2, 0, 0, 1, 0, number])
                + bytes([2, 0, 0, 2, 0, number])
                + u32(mtu),
            )
            for number, (ifindex, outer, inner, mtu) in enumerate(NEXT_HOPS)
        ],
        # Both leave by the loopback device, which every machine has.
        "tx_ports": [device(2, 1), device(3, 1)],
    }


def settings() -> list[Maps]:
    """The reverse path filter."""
    return [{".rodata": [entry(u32(0), u32(1) + bytes(range(8)) + u32(7))]}]


def tagged(rng: random.Random, tags: Tags, ethertype: int, payload: bytes, dst: bytes = OWN_MAC) -> bytes:
    """A frame with the tags, which carry priorities; two of them are an 802.1ad and an 802.1Q one."""
    for place, vid in reversed(list(enumerate(tags))):
        payload = struct.pack("!HH", rng.randrange(16) << 12 | vid, ethertype) + payload
        outer = place == 0 and len(tags) > 1
        ethertype = f.ETH_QINQ if outer and rng.random() < 0.8 else f.ETH_VLAN
    return f.ethernet(payload, ethertype, dst=dst)


def ipv6(
    src: str,
    dst: str,
    payload: bytes,
    proto: int = f.UDP,
    hops: int = 64,
    tclass: int = 0,
    label: int = 0,
    version: int = 6,
) -> bytes:
    head = struct.pack("!IHBB", version << 28 | tclass << 20 | label, len(payload), proto, hops)
    return head + ip_address(src).packed + ip_address(dst).packed + payload


def some_tags(rng: random.Random) -> Tags:
    return rng.choice(tuple(INTERFACES))


def packet4(rng: random.Random, dst: str, tags: Tags | None = None, **fields: Any) -> bytes:
    src = fields.pop("src", f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}")
    data = f.payload(rng, 1400)
    proto = rng.choice((f.TCP, f.UDP, f.UDP, f.ICMP))
    bodies = {
        f.TCP: lambda: f.tcp(src, dst, rng.randrange(1024, 65536), 443, data),
        f.UDP: lambda: f.udp(src, dst, rng.randrange(1024, 65536), 53, data),
        f.ICMP: lambda: f.icmp_echo(data),
    }
    fields.setdefault("ttl", rng.choice((2, 64, 255)))
    fields.setdefault("tos", rng.randrange(256))
    packet = f.ipv4(proto, src, dst, bodies[proto](), ident=rng.randrange(65536), **fields)
    return tagged(rng, some_tags(rng) if tags is None else tags, f.ETH_IP, packet)


def packet6(rng: random.Random, dst: str, tags: Tags | None = None, **fields: Any) -> bytes:
    src = fields.pop("src", f"2001:db8:{rng.randrange(16):x}::{rng.randrange(1, 65536):x}")
    data = f.payload(rng, 1380)
    fields.setdefault("hops", rng.choice((2, 64, 255)))
    fields.setdefault("proto", rng.choice((f.TCP, f.UDP, 58, 43, 44, 60, 59)))
    fields.setdefault("label", rng.choice((0, 0, rng.randrange(1 << 20))))
    body = struct.pack("!HHHH", rng.randrange(1024, 65536), 443, 8 + len(data), 0) + data
    packet = ipv6(src, dst, body, tclass=rng.randrange(256), **fields)
    return tagged(rng, some_tags(rng) if tags is None else tags, f.ETH_IPV6, packet)


def forwarded4(rng: random.Random) -> bytes:
    return packet4(rng, rng.choice(ROUTED4))


def forwarded6(rng: random.Random) -> bytes:
    return packet6(rng, rng.choice(ROUTED6))


def too_big(rng: random.Random) -> bytes:
    """A length around the MTU of the next hop, which the frame need not be true to."""
    total = rng.choice((600, 601, 1280, 1281, 1500, 1501, 9000))
    if rng.random() < 0.5:
        return packet4(rng, rng.choice(("10.7.1.1", "10.8.1.1", "10.1.1.1")), total=total)
    size = min(total, 1480) - 40
    return tagged(rng, (10,), f.ETH_IPV6, ipv6("2001:db8::1", "2001:db8:7::1", bytes(size)))


def expired(rng: random.Random) -> bytes:
    limit = rng.choice((0, 1))
    return rng.choice(
        (lambda: packet4(rng, rng.choice(ROUTED4), ttl=limit), lambda: packet6(rng, rng.choice(ROUTED6), hops=limit))
    )()


def not_unicast(rng: random.Random) -> bytes:
    groups6 = ("ff02::1", "ff0e::5", "fe80::1", "febf::1", "fec0::1")
    return rng.choice(
        (
            lambda: packet4(rng, rng.choice(("224.0.0.5", "239.255.255.255", "240.0.0.1", "255.255.255.255"))),
            lambda: packet6(rng, rng.choice(groups6)),
        )
    )()


def with_options(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return packet4(rng, rng.choice(ROUTED4), options=b"\1" * 4 * rng.randint(1, 10))
    return packet6(rng, rng.choice(ROUTED6), proto=0)


def fragment(rng: random.Random) -> bytes:
    return packet4(rng, rng.choice(("10.9.1.1", "10.1.1.1")), frag=rng.choice((f.MF, f.MF | 9, 185, f.DF, 0x8000)))


def unknown_interface(rng: random.Random) -> bytes:
    tags = rng.choice(((11,), (7,), (100,), (100, 9), (7, 100), (0,), (4095,)))
    return packet4(rng, rng.choice(ROUTED4), tags)


def many_tags(rng: random.Random) -> bytes:
    return packet4(rng, rng.choice(ROUTED4), tuple(rng.randrange(4096) for _ in range(rng.choice((3, 4)))))


def other_mac(rng: random.Random) -> bytes:
    """A destination that differs from the router's in one byte."""
    at = rng.randrange(6)
    frame = bytearray(packet4(rng, rng.choice(ROUTED4)))
    frame[at] ^= 1 << rng.randrange(8)
    return bytes(frame)


def other_protocol(rng: random.Random) -> bytes:
    ethertype = rng.choice((f.ETH_ARP, f.ETH_LLDP, 0x8847, 46))
    return tagged(rng, some_tags(rng), ethertype, rng.randbytes(46))


def bad_version(rng: random.Random) -> bytes:
    """The version of one protocol behind the number of the other, or an IPv4 header length under 5."""
    tags = some_tags(rng)
    if rng.random() < 0.4:
        return tagged(rng, tags, f.ETH_IPV6, ipv6("::1", "2001:db8::1", bytes(8), version=rng.choice((0, 4, 5, 7, 15))))
    first = rng.choice((0x65, 0x05, 0x44, 0x40, 0xF5))
    return tagged(rng, tags, f.ETH_IP, bytes([first]) + packet4(rng, "10.1.1.1", ())[15:])


def truncated(rng: random.Random) -> bytes:
    frame = rng.choice((forwarded4, forwarded6))(rng)
    return f.truncate(rng, frame, 66)


CASES = (
    Case(40, forwarded4),
    Case(30, forwarded6),
    Case(4, lambda rng: packet4(rng, rng.choice(UNROUTED4))),
    Case(4, lambda rng: packet6(rng, rng.choice(UNROUTED6))),
    Case(3, lambda rng: packet4(rng, rng.choice(ROUTED4), src=rng.choice(UNROUTED4))),
    Case(3, lambda rng: packet6(rng, rng.choice(ROUTED6), src=rng.choice(UNROUTED6))),
    Case(3, lambda rng: packet4(rng, rng.choice(ROUTED4), check=rng.choice((0, 0xFFFF, 0xFEFF, 0xFEFE, 0xFF00)))),
    Case(8, too_big),
    Case(5, expired),
    Case(5, not_unicast),
    Case(5, with_options),
    Case(4, fragment),
    Case(6, unknown_interface),
    Case(3, many_tags),
    Case(3, other_mac),
    Case(4, other_protocol),
    Case(4, bad_version),
    Case(6, truncated),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every way from tags to tags, every truncation behind each number of tags, every traffic class."""
    return [
        *(packet4(rng, dst, tags) for tags in INTERFACES for dst in ROUTED4 + UNROUTED4),
        *(packet6(rng, dst, tags) for tags in INTERFACES for dst in ROUTED6 + UNROUTED6),
        *(cut for tags in ((), (10,), (100, 7)) for cut in f.truncations(packet4(rng, "10.2.1.1", tags), 48)),
        *f.truncations(packet6(rng, "2001:db8:9::1", (100, 7)), 70),
        *(packet4(rng, "10.1.1.1", (10,), tos=tos) for tos in range(0, 256, 4)),
    ]
