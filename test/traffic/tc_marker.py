"""Traffic and tables of examples/tc-marker."""

import random
import struct
from typing import Any

from traffic import frames as f
from traffic import frames6 as f6
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, u32

REFUSE, DSCP, PROXY = 1, 2, 4
# Prefix to (site, largest segment); the last one is under the least that is clamped to.
SITES = {
    "10.1.0.0/16": (1, 1300),
    "10.1.2.0/24": (2, 0),
    "10.2.0.0/16": (3, 1200),
    "2001:db8:1::/48": (1, 1280),
    "2001:db8:2::/48": (3, 1200),
    "10.3.0.0/16": (4, 500),
}
# (site, protocol, port) to class; port 0 is for all ports. Class 300 is past the end.
RULES = {
    (1, f.TCP, 443): 1,
    (1, f.UDP, 53): 2,
    (1, f.TCP, 80): 3,
    (1, f.UDP, 4500): 3,
    (1, f.TCP, 25): 4,
    (1, f.ICMP, 0): 5,
    (1, f6.ICMPV6, 0): 5,
    (2, f.TCP, 0): 6,
    (2, f.UDP, 0): 7,
    (3, f.TCP, 443): 5,
    (3, f.UDP, 0): 8,
    (3, f.TCP, 9): 300,
    (3, f.ICMP, 0): 3,
}
PORTS = (9, 25, 53, 80, 443, 4500, 8080)
# flags, mark, priority, interface, proxy, DSCP
CLASSES = {
    1: (DSCP, 0x11, 5, 0, None, 34),
    2: (DSCP | PROXY, 0x22, 0, 0, ("10.9.9.9", 5353), 46),
    3: (PROXY, 0x33, 6, 0, ("10.9.9.8", 3128), 0),
    4: (REFUSE, 0x44, 0, 0, None, 0),
    5: (DSCP, 0, 0, 1, None, 0),
    6: (DSCP, 0x66, 1, 0, None, 10),
    7: (0, 0x77, 0, 1, None, 0),
    8: (DSCP | PROXY, 0, 0, 1, ("0.0.0.0", 0), 63),
}
IPV4 = ("10.1.9.9", "10.1.2.3", "10.2.0.1", "10.3.0.1", "10.4.0.1")
IPV6 = ("2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1")
SRC4, SRC6 = "192.0.2.1", "2001:db8:ffff::1"


def runs(frame: bytes) -> bool:
    """Whether the kernel's test runs take the frame as a socket buffer: not without its whole network header."""
    header = {f.ETH_IP: 20, f.ETH_IPV6: 40}.get(int.from_bytes(frame[12:14], "big"), 0)
    return len(frame) >= 14 + header


def runnable(frame: bytes) -> bytes:
    """The frame, with the ethertype of a VLAN tag if it would not run."""
    return frame if runs(frame) else frame[:12] + be16(f.ETH_VLAN) + frame[14:]


def prefix(text: str) -> bytes:
    """IPv4 prefixes as those of mapped addresses."""
    addr, length = text.split("/")
    if ":" in addr:
        return u32(int(length)) + f6.address(addr)
    return u32(96 + int(length)) + bytes(10) + b"\xff\xff" + f.address(addr)


def maps() -> Maps:
    return {
        "sites": [entry(prefix(net), struct.pack("<IHH", num, mss, 0)) for net, (num, mss) in SITES.items()],
        "rules": [
            entry(u32(site) + be16(port) + bytes([proto, 0]), u32(num)) for (site, proto, port), num in RULES.items()
        ],
        "classes": [
            entry(
                u32(num),
                struct.pack("<4I", flags, mark, priority, ifindex)
                + (f.address(proxy[0]) + be16(proxy[1]) if proxy else bytes(6))
                + bytes([dscp, 0]),
            )
            for num, (flags, mark, priority, ifindex, proxy, dscp) in CLASSES.items()
        ],
    }


def settings() -> list[Maps]:
    """Refused packets are only counted."""
    return [{".data": [entry(u32(0), u32(0))]}]


def tags(rng: random.Random, frame: bytes) -> bytes:
    vids = [rng.randrange(1, 4096) for _ in range(rng.choices((0, 1, 2, 3), (9, 2, 1, 1))[0])]
    return f6.tagged(frame, *vids, outer=rng.choice((f.ETH_QINQ, f.ETH_VLAN)))


def mss_options(rng: random.Random) -> bytes:
    """TCP options with a maximum segment size somewhere, at even and odd offsets, or none, or broken ones."""
    mss = b"\2\4" + be16(rng.choice((0, 535, 536, 1199, 1200, 1201, 1280, 1300, 1301, 1460, 8960, 65535)))
    other = (b"\1", b"\1\1", b"\4\2", b"\3\3\7", b"\x08\x0a" + bytes(8), b"\x22\4ab")
    before = b"".join(rng.choice(other) for _ in range(rng.choice((0, 0, 0, 1, 2, 3, 12))))
    broken = (b"\2\3\5", b"\2\2", b"\5\0", b"\5\1", b"\0", b"\x1e\xff", b"")
    body = before + rng.choice((mss, mss, mss, mss + b"\4\2", rng.choice(broken) + mss, rng.choice(broken)))
    return (body + bytes(-len(body) % 4))[:40]


def frame4(rng: random.Random, proto: int, dst: str, body: bytes, **fields: Any) -> bytes:
    fields.setdefault("tos", rng.choice((0, 0x88, 0xB8, 0x28, 0xFF, rng.randrange(256))))
    fields.setdefault("options", bytes(4 * rng.choice((0, 0, 0, 0, 1, 10))))
    return tags(rng, f.ethernet(f.ipv4(proto, SRC4, dst, body, ident=rng.randrange(65536), **fields)))


def frame6(rng: random.Random, proto: int, dst: str, body: bytes, **fields: Any) -> bytes:
    fields.setdefault("tclass", rng.choice((0, 0x88, 0x28, 0xFF, rng.randrange(256))))
    return tags(rng, f.ethernet(f6.ipv6(proto, SRC6, dst, body, flow=rng.randrange(1 << 20), **fields), f.ETH_IPV6))


def tcp(rng: random.Random) -> bytes:
    data, port = f.payload(rng, 1380), rng.choice(PORTS)
    if rng.random() < 0.6:
        dst = rng.choice(IPV4)
        return frame4(rng, f.TCP, dst, f.tcp(SRC4, dst, rng.randrange(1024, 65536), port, data))
    dst = rng.choice(IPV6)
    return frame6(rng, f.TCP, dst, f6.tcp(SRC6, dst, rng.randrange(1024, 65536), port, data))


def udp(rng: random.Random) -> bytes:
    """Datagrams, of which some over IPv4 have no checksum."""
    data, port = f.payload(rng, 1380), rng.choice(PORTS)
    if rng.random() < 0.6:
        dst = rng.choice(IPV4)
        body = f.udp(SRC4, dst, rng.randrange(1024, 65536), port, data)
        body = body[:6] + bytes(2) + body[8:] if rng.random() < 0.3 else body
        return frame4(rng, f.UDP, dst, body)
    dst = rng.choice(IPV6)
    return frame6(rng, f.UDP, dst, f6.udp(SRC6, dst, rng.randrange(1024, 65536), port, data))


def syn(rng: random.Random) -> bytes:
    flags, options, port = rng.choice((f.SYN, f.SYN | f.ACK)), mss_options(rng), rng.choice(PORTS)
    if rng.random() < 0.6:
        dst = rng.choice(IPV4)
        return frame4(rng, f.TCP, dst, f.tcp(SRC4, dst, 40000, port, flags=flags, options=options))
    dst = rng.choice(IPV6)
    return frame6(rng, f.TCP, dst, f6.tcp(SRC6, dst, 40000, port, flags=flags, options=options))


def edge_checksum(rng: random.Random) -> bytes:
    """Checksums of the IP header around the carry of the incremental update, on packets that are marked and proxied."""
    check = rng.choice((0, 1, 0xFFFF, 0xFFFE, 0xFF00, 0x00FF, 0x0100))
    proto, port = rng.choice(((f.UDP, 53), (f.TCP, 443), (f.TCP, 80)))
    body = (f.udp if proto == f.UDP else f.tcp)(SRC4, IPV4[0], 40000, port)
    edge = rng.choice((0x0000, 0xFFFF, 0x0001))
    at = 6 if proto == f.UDP else 16
    return frame4(rng, proto, IPV4[0], body[:at] + be16(edge) + body[at + 2 :], check=check)


def data_offset(rng: random.Random) -> bytes:
    body = f.tcp(SRC4, IPV4[0], 1, 443, flags=f.SYN, options=b"\2\4\5\xb4", doff=rng.choice((0, 4, 5, 6, 7, 15)))
    return frame4(rng, f.TCP, IPV4[0], body)


def fragment(rng: random.Random) -> bytes:
    """First fragments have ports, later ones do not, whatever their bytes look like."""
    dst, frag = rng.choice(IPV4), rng.choice((f.MF, f.MF | 1, 1, 0x1FFF, 0x8000))
    return frame4(rng, f.UDP, dst, f.udp(SRC4, dst, 1, rng.choice(PORTS), f.payload(rng, 200)), frag=frag)


def other_protocol(rng: random.Random) -> bytes:
    if rng.random() < 0.6:
        return frame4(
            rng, rng.choice((f.ICMP, f.ICMP, f.GRE, f.ESP)), rng.choice(IPV4), f.icmp_echo(f.payload(rng, 100))
        )
    body = f6.icmp(SRC6, IPV6[0], 128)
    return frame6(rng, rng.choice((f6.ICMPV6, f6.NONE, f6.DSTOPTS)), rng.choice(IPV6), body)


def bad_length(rng: random.Random) -> bytes:
    return frame4(rng, f.TCP, IPV4[0], f.tcp(SRC4, IPV4[0], 1, 443), ihl=rng.choice((0, 4, 6, 7, 15)), options=b"")


def truncated(rng: random.Random) -> bytes:
    return runnable(f.truncate(rng, rng.choice((tcp, udp, syn))(rng), 100))


CASES = (
    Case(20, tcp),
    Case(16, udp),
    Case(24, syn),
    Case(6, edge_checksum),
    Case(3, data_offset),
    Case(5, fragment),
    Case(6, other_protocol),
    Case(2, bad_length),
    Case(5, truncated),
    Case(4, lambda rng: runnable(f.not_ipv4(rng))),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every rule with every traffic class, every truncation, a maximum segment size at each offset of the options."""
    plain = f.ethernet(f.ipv4(f.TCP, SRC4, IPV4[0], f.tcp(SRC4, IPV4[0], 1, 443, flags=f.SYN, options=b"\2\4\5\xb4")))
    plain6 = f6.ipv6(f.UDP, SRC6, IPV6[0], f6.udp(SRC6, IPV6[0], 1, 53))
    shifted = [(b"\1" * n + b"\2\4\x23\0").ljust(40, b"\0") for n in range(12)]
    return [
        *map(runnable, f.truncations(plain, 62)),
        *map(runnable, f.truncations(f.ethernet(plain6, f.ETH_IPV6), 66)),
        *(f6.tagged(frame, 1) for frame in f.truncations(plain, 62)),
        *(f6.tagged(frame, 1, 2) for frame in f.truncations(f.ethernet(plain6, f.ETH_IPV6), 66)),
        *(
            frame4(rng, proto, dst, make(SRC4, dst, 40000, port))
            for dst in IPV4
            for make, proto in ((f.tcp, f.TCP), (f.udp, f.UDP))
            for port in PORTS
        ),
        *(frame4(rng, f.TCP, IPV4[0], f.tcp(SRC4, IPV4[0], 1, 443), tos=tos, options=b"") for tos in range(0, 256, 5)),
        *(frame4(rng, f.TCP, IPV4[0], f.tcp(SRC4, IPV4[0], 1, 443, flags=f.SYN, options=o)) for o in shifted),
        *(frame6(rng, f.TCP, IPV6[0], f6.tcp(SRC6, IPV6[0], 1, 443, flags=f.SYN, options=o)) for o in shifted),
    ]
