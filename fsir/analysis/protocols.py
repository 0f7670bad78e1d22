"""Protocol headers as data: fields, lengths, and which field says what comes next.

Offsets and sizes are in bytes, selector values as the protocol's documents write them (network byte order).  Names are
those of the kernel's uapi structs where there is one (`linux/if_ether.h`, `linux/ip.h`, `linux/tcp.h` …).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """A header. `length` is its fixed part; `selector` (offset, size) is the field that names the next header by
    `following`; `scale` tells a header whose length stands in its first byte's low bits (IPv4) or elsewhere: (offset of
    the byte, mask, shift) such that length = ((byte & mask) >> shift) * unit + extra."""

    length: int
    fields: Mapping[tuple[int, int], str]
    selector: tuple[int, int] | None = None
    following: Mapping[int, str] | None = None
    scale: tuple[int, int, int] | None = None
    unit: int = 4
    extra: int = 0


_ETHERTYPES = {
    0x0800: "ipv4",
    0x0806: "arp",
    0x8100: "vlan",
    0x88A8: "vlan",
    0x86DD: "ipv6",
    0x8847: "mpls",
    0x8848: "mpls",
}
_IP_PROTOCOLS = {
    0: "hopopts",
    1: "icmp",
    4: "ipv4",
    6: "tcp",
    17: "udp",
    41: "ipv6",
    43: "srh",
    44: "frag",
    47: "gre",
    51: "ah",
    58: "icmpv6",
    60: "dstopts",
    132: "sctp",
    135: "mobility",
}

_OPTIONS = Header(
    8, {(0, 1): "nexthdr", (1, 1): "hdrlen", (2, 6): "options"}, (0, 1), _IP_PROTOCOLS, (1, 0xFF, 0), unit=8, extra=8
)
"""Hop-by-hop and destination options of IPv6, and what all extension headers but a few have in common (RFC 6564)."""

HEADERS: Mapping[str, Header] = {
    "eth": Header(14, {(0, 6): "h_dest", (6, 6): "h_source", (12, 2): "h_proto"}, (12, 2), _ETHERTYPES),
    "vlan": Header(4, {(0, 2): "tci", (2, 2): "proto"}, (2, 2), _ETHERTYPES),
    "arp": Header(
        28,
        {
            (0, 2): "htype",
            (2, 2): "ptype",
            (4, 1): "hlen",
            (5, 1): "plen",
            (6, 2): "op",
            (8, 6): "sha",
            (14, 4): "spa",
            (18, 6): "tha",
            (24, 4): "tpa",
        },
    ),
    "mpls": Header(4, {(0, 4): "entry"}),
    "ipv4": Header(
        20,
        {
            (0, 1): "version_ihl",
            (1, 1): "tos",
            (2, 2): "tot_len",
            (4, 2): "id",
            (6, 2): "frag_off",
            (8, 1): "ttl",
            (9, 1): "protocol",
            (10, 2): "check",
            (12, 4): "saddr",
            (16, 4): "daddr",
        },
        (9, 1),
        _IP_PROTOCOLS,
        (0, 0x0F, 0),
    ),
    "ipv6": Header(
        40,
        {
            (0, 4): "version_class_flow",
            (4, 2): "payload_len",
            (6, 1): "nexthdr",
            (7, 1): "hop_limit",
            (8, 16): "saddr",
            (24, 16): "daddr",
        },
        (6, 1),
        _IP_PROTOCOLS,
    ),
    "frag": Header(8, {(0, 1): "nexthdr", (2, 2): "frag_off", (4, 4): "identification"}, (0, 1), _IP_PROTOCOLS),
    "srh": Header(
        8,
        {
            (0, 1): "nexthdr",
            (1, 1): "hdrlen",
            (2, 1): "type",
            (3, 1): "segments_left",
            (4, 1): "first_segment",
            (5, 1): "flags",
            (6, 2): "tag",
        },
        (0, 1),
        _IP_PROTOCOLS,
        (1, 0xFF, 0),
        unit=8,
        extra=8,
    ),
    "hopopts": _OPTIONS,
    "dstopts": _OPTIONS,
    "mobility": _OPTIONS,
    "exthdr": _OPTIONS,  # EXTENSION
    "ah": Header(
        12,
        {(0, 1): "nexthdr", (1, 1): "hdrlen", (2, 2): "reserved", (4, 4): "spi", (8, 4): "seq_no"},
        (0, 1),
        _IP_PROTOCOLS,
        (1, 0xFF, 0),
        extra=8,
    ),
    "tcp": Header(
        20,
        {
            (0, 2): "source",
            (2, 2): "dest",
            (4, 4): "seq",
            (8, 4): "ack_seq",
            (12, 1): "doff",
            (13, 1): "flags",
            (14, 2): "window",
            (16, 2): "check",
            (18, 2): "urg_ptr",
        },
        scale=(12, 0xF0, 4),
    ),
    "udp": Header(
        8,
        {(0, 2): "source", (2, 2): "dest", (4, 2): "len", (6, 2): "check"},
        (2, 2),
        {4789: "vxlan", 6081: "geneve", 2152: "gtpu"},
    ),
    "sctp": Header(12, {(0, 2): "source", (2, 2): "dest", (4, 4): "vtag", (8, 4): "checksum"}),
    "ports": Header(4, {(0, 2): "source", (2, 2): "dest"}),
    "icmp": Header(
        8,
        {(0, 1): "type", (1, 1): "code", (2, 2): "checksum", (4, 4): "un"},
        (0, 1),
        dict.fromkeys((3, 4, 5, 11, 12), "ipv4"),  # errors have the packet that they are about behind them
    ),
    "icmpv6": Header(
        8,
        {(0, 1): "type", (1, 1): "code", (2, 2): "cksum", (4, 4): "un"},
        (0, 1),
        dict.fromkeys((1, 2, 3, 4), "ipv6"),
    ),
    "gre": Header(4, {(0, 2): "flags", (2, 2): "protocol"}, (2, 2), _ETHERTYPES | {0x6558: "eth"}),
    "vxlan": Header(8, {(0, 4): "flags", (4, 4): "vni"}),
    "geneve": Header(
        8,
        {(0, 1): "ver_opt_len", (1, 1): "flags", (2, 2): "protocol", (4, 4): "vni"},
        (2, 2),
        _ETHERTYPES | {0x6558: "eth"},
        (0, 0x3F, 0),
        extra=8,
    ),
    "gtpu": Header(8, {(0, 1): "flags", (1, 1): "type", (2, 2): "length", (4, 4): "teid"}),
}

EXTENSION = "exthdr"
"""An extension header of IPv6, of whatever kind."""
ALIKE = {
    frozenset({"hopopts", "dstopts", "srh", "mobility", "ah", "frag"}): EXTENSION,
    frozenset({"tcp", "udp", "sctp"}): "ports",
}
"""Headers that programs read in the same way, by what any of them is called."""
ALWAYS_FOLLOWED = {"vxlan": "eth"}
"""Headers that are followed by one kind only."""


def one_of(protocols: Set[str]) -> str | None:
    """What a header is called that is one of these; None where they have nothing in common."""
    if len(protocols) == 1:
        return next(iter(protocols))
    return next((name for group, name in ALIKE.items() if protocols <= group), None) if protocols else None


def field_name(protocol: str, offset: int, size: int) -> str | None:
    """The name of bytes [offset, offset + size) of a header: `ipv4.saddr`; `udp.source+dest` for several fields;
    `eth.h_proto[1]` for a byte of one, `ipv6.saddr[4:8]` for several bytes; None for bytes across field bounds."""
    fields = HEADERS[protocol].fields
    covered = [(at, n, name) for (at, n), name in fields.items() if at < offset + size and offset < at + n]
    if not covered or covered[0][0] > offset:
        return None
    if len(covered) == 1:
        at, n, name = covered[0]
        if (at, n) == (offset, size):
            return f"{protocol}.{name}"
        if offset + size > at + n:
            return None
        part = str(offset - at) if size == 1 else f"{offset - at}:{offset - at + size}"
        return f"{protocol}.{name}[{part}]"
    if covered[0][0] != offset or covered[-1][0] + covered[-1][1] != offset + size:
        return None
    return f"{protocol}." + "+".join(name for _, _, name in covered)
