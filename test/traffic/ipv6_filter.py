"""Traffic and tables of examples/ipv6-filter."""

import random
import struct
from typing import Any

from traffic import frames as f
from traffic import frames6 as f6
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, u32

DST = "2001:db8:0:1::80"
# Prefix to zone.
ZONES = {"2001:db8:a::/48": 1, "2001:db8:a:b::/64": 2, "2001:db8:a:b::c/128": 3, "fe80::/10": 4, "2000::/3": 9}
# An address out of each, in that order, one of zone 9, and ones in none.
SOURCES = ("2001:db8:a::1", "2001:db8:a:b::1", "2001:db8:a:b::c", "fe80::1", "2600::1")
NOWHERE = ("fc00::1", "::1", "4000::")
# (zone, protocol, port, drop); port 0 is for all ports.
RULES = (
    (1, f.TCP, 80, 0),
    (1, f.TCP, 443, 0),
    (1, f.TCP, 0, 1),
    (1, f.UDP, 53, 0),
    (2, f.TCP, 22, 0),
    (2, f.UDP, 0, 0),
    (3, f.TCP, 0, 0),
    (3, f.TCP, 25, 1),
    (9, f.TCP, 80, 0),
)
PORTS = (22, 25, 53, 80, 443, 0x5000)
ALLOWED_ICMP = (1, 2, 3, 4, 128, 129, 133, 134, 135, 136, 137)
MAX_HEADERS = 8


def prefix(text: str) -> bytes:
    addr, length = text.split("/")
    return u32(int(length)) + f6.address(addr)


def maps() -> Maps:
    return {
        "zones": [entry(prefix(net), u32(zone)) for net, zone in ZONES.items()],
        "rules": [
            entry(u32(zone) + be16(port) + bytes([proto, 0]), u32(drop) + bytes(20))
            for zone, proto, port, drop in RULES
        ],
    }


def settings() -> list[Maps]:
    """Segment routing allowed, and fragments refused."""
    once = bytes({f6.HOPOPTS: 1, f6.ROUTING: 2, f6.FRAGMENT: 4, f6.AH: 8}.get(number, 0) for number in range(256))
    return [{".rodata": [entry(u32(0), struct.pack("<BB6x4Q", 1, 0, 0x1E, 0, 0x3E3, 0) + once)]}]


def frame(rng: random.Random, packet: bytes, tags: int | None = None) -> bytes:
    count = rng.choices((0, 1, 2, 3), (12, 3, 2, 1))[0] if tags is None else tags
    kind = rng.choice((f.ETH_QINQ, f.ETH_VLAN))
    return f6.tagged(f.ethernet(packet, f.ETH_IPV6), *(rng.randrange(4096) for _ in range(count)), outer=kind)


def transport(rng: random.Random, src: str, data: bytes | None = None) -> tuple[int, bytes]:
    data = f.payload(rng, 900) if data is None else data
    make, proto = rng.choice(((f6.tcp, f.TCP), (f6.udp, f.UDP)))
    return proto, make(src, DST, rng.randrange(1024, 65536), rng.choice(PORTS), data)


def packet(rng: random.Random, extensions: list[f6.Extension], src: str | None = None, **fields: Any) -> bytes:
    src = src or rng.choice(SOURCES)
    proto, body = transport(rng, src)
    return frame(rng, f6.ipv6(proto, src, DST, body, extensions=extensions, **fields))


def plain(rng: random.Random) -> bytes:
    return packet(rng, [], tclass=rng.randrange(256), flow=rng.randrange(1 << 20))


def nowhere(rng: random.Random) -> bytes:
    return packet(rng, [], rng.choice(NOWHERE))


def good_options(rng: random.Random) -> bytes:
    """Router alert, padding of both kinds, unknown options that are to be skipped; 1 to 8 of them."""
    known = (b"\0", b"\1\0", b"\1\3\0\0\0", b"\5\2\0\0", b"\x1e\0", b"\x3e\4abcd")
    return b"".join(rng.choice(known) for _ in range(rng.randint(1, 7)))


def good_chain(rng: random.Random) -> list[f6.Extension]:
    """Some of the extension headers, in the order of RFC 8200."""
    whole = [
        f6.options(f6.HOPOPTS, good_options(rng)),
        f6.options(f6.DSTOPTS, good_options(rng)),
        f6.routing(rng.choice((0, 2, 3)), 0, ["2001:db8::1"] * rng.randint(0, 3)),
        f6.fragment(0, rng.random() < 0.5),
        f6.authentication(rng.choice((4, 6, 8))),
        f6.options(f6.DSTOPTS, good_options(rng)),
    ]
    return [header for header in whole if rng.random() < 0.4]


def with_chain(rng: random.Random) -> bytes:
    return packet(rng, good_chain(rng))


def fragment(rng: random.Random) -> bytes:
    return packet(rng, [f6.fragment(rng.choice((0, 8, 1000, 0xFFF8)), rng.random() < 0.5, rng.randrange(1 << 32))])


def bad_option(rng: random.Random) -> bytes:
    """Options that ask for a discard, that are jumbograms, that reach behind their header; more than eight."""
    bad = (
        b"\x4e\0",
        b"\x80\0",
        b"\xff\2aa",
        b"\xc2\4\0\1\0\0",
        b"\x1e\x09",
        b"\1\xff",
        bytes(9),
        b"\x1e\0" * 7 + bytes(2),
    )
    kind = rng.choice((f6.HOPOPTS, f6.DSTOPTS))
    return packet(rng, [f6.options(kind, rng.choice((b"", good_options(rng))) + rng.choice(bad))])


def bad_routing(rng: random.Random) -> bytes:
    return packet(rng, [f6.routing(*rng.choice(((0, 1), (2, 1), (4, 0), (4, 2), (3, 255))))])


def bad_order(rng: random.Random) -> bytes:
    """Hop-by-hop options that do not come first, and headers that come twice."""
    again = rng.choice((f6.routing(2), f6.fragment(0), f6.authentication()))
    hop = f6.options(f6.HOPOPTS)
    return packet(
        rng,
        rng.choice(([f6.options(f6.DSTOPTS), hop], [hop, hop], [again, again], [again, f6.options(f6.DSTOPTS), again])),
    )


def long_chain(rng: random.Random) -> bytes:
    count = rng.choice((MAX_HEADERS - 2, MAX_HEADERS - 1, MAX_HEADERS, MAX_HEADERS + 1))
    return packet(rng, [f6.options(f6.DSTOPTS) for _ in range(count)])


def far(rng: random.Random) -> bytes:
    """A transport header behind the last offset that the filter looks at, or near it."""
    size = rng.choice((1100, 1136, 1144, 1152, 1160))
    segments = ["2001:db8::1"] * (size // 16)
    return packet(rng, [f6.routing(2, 0, segments)])[:1514]


def icmp(rng: random.Random) -> bytes:
    src = rng.choice((*SOURCES, *NOWHERE))
    kind = rng.choice((*ALLOWED_ICMP, 0, 5, 64, 100, 127, 130, 138, 191, 192, 255))
    body = f6.icmp(src, DST, kind, struct.pack("!HH", 1, 1) + f.payload(rng, 100))
    return frame(rng, f6.ipv6(f6.ICMPV6, src, DST, body, extensions=good_chain(rng)))


def other_protocol(rng: random.Random) -> bytes:
    proto = rng.choice((f6.NONE, f.ESP, f.SCTP, f.GRE, 41, f.IPIP, 135, 255))
    return frame(rng, f6.ipv6(proto, SOURCES[0], DST, f.payload(rng, 60), extensions=good_chain(rng)))


def bad_version(rng: random.Random) -> bytes:
    return packet(rng, [], version=rng.choice((0, 4, 5, 7, 14)))


def lying_length(rng: random.Random) -> bytes:
    """An extension header whose length leads past the end of the packet, or near it."""
    number, body = rng.choice((f6.options(f6.DSTOPTS, bytes(4)), f6.routing(2, 0, []), f6.authentication(4)))
    return packet(rng, [(number, body[:1] + bytes([rng.choice((1, 2, 9, 100, 255))]) + body[2:])])


def truncated(rng: random.Random) -> bytes:
    return f.truncate(rng, packet(rng, good_chain(rng)), 140)


CASES = (
    Case(16, plain),
    Case(4, nowhere),
    Case(14, with_chain),
    Case(5, fragment),
    Case(6, bad_option),
    Case(4, bad_routing),
    Case(4, bad_order),
    Case(4, long_chain),
    Case(2, far),
    Case(8, icmp),
    Case(4, other_protocol),
    Case(2, bad_version),
    Case(5, lying_length),
    Case(6, truncated),
    Case(4, f.not_ipv4),
    Case(2, lambda rng: f.udp_frame("10.0.0.1", "10.0.0.2", 1, 2, f.payload(rng))),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every rule from every source, every type of ICMP in question, every truncation of a long chain."""
    chain = [f6.options(f6.HOPOPTS), f6.routing(2), f6.fragment(0), f6.authentication(4), f6.options(f6.DSTOPTS)]
    whole = f6.ipv6(f.TCP, SOURCES[0], DST, f6.tcp(SOURCES[0], DST, 4000, 80, bytes(4)), extensions=chain)
    return [
        *f.truncations(frame(rng, whole, 0), 190),
        *f.truncations(frame(rng, whole, 2), 50),
        *(
            frame(rng, f6.ipv6(proto, src, DST, make(src, DST, 4000, port)), 0)
            for src in (*SOURCES, *NOWHERE)
            for make, proto in ((f6.tcp, f.TCP), (f6.udp, f.UDP))
            for port in PORTS
        ),
        *(
            frame(rng, f6.ipv6(f6.ICMPV6, SOURCES[0], DST, f6.icmp(SOURCES[0], DST, kind)), 0)
            for kind in range(0, 256, 3)
        ),
    ]
