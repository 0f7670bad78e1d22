"""Packets for programs that nobody knows: frames of the usual protocols, and mutations of them."""

from __future__ import annotations

import struct
from functools import cache

from traffic import fuzz_packets
from traffic.frames import (
    ETH_ARP,
    ETH_IP,
    ETH_IPV6,
    ETH_LLDP,
    ETH_QINQ,
    GRE,
    ICMP,
    IPIP,
    SYN,
    TCP,
    UDP,
    arp_request,
    checksum,
    ethernet,
    icmp_echo,
    ipv4,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
    vlan,
)

SRC, DST = "10.0.0.2", "10.0.0.1"
SRC6, DST6 = bytes.fromhex("fd00") + bytes(13) + b"\2", bytes.fromhex("fd00") + bytes(13) + b"\1"
ICMPV6, HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, IPV6 = 58, 0, 43, 44, 60, 41
ETH_MPLS, ETH_BRIDGING = 0x8847, 0x6558


def ipv6(next_header: int, payload: bytes, hops: int = 64) -> bytes:
    """An IPv6 packet."""
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, hops) + SRC6 + DST6 + payload


def extension(next_header: int, words: int = 0, body: bytes = b"") -> bytes:
    """An IPv6 extension header of 8 + 8 * words bytes."""
    return (bytes([next_header, words]) + body).ljust(8 + 8 * words, b"\0")


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    head = struct.pack("!BBH", kind, code, 0)
    return head[:2] + struct.pack("!H", checksum(head + rest)) + rest


@cache
def seeds() -> tuple[bytes, ...]:
    """One frame of each kind."""
    text = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
    dns = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\7example\3org\0\0\1\0\1"
    syn = tcp(SRC, DST, 40000, 80, flags=SYN, options=b"\2\4\5\xb4\4\2\x08\x0a" + bytes(8) + b"\1\3\3\7")
    datagram = udp(SRC, DST, 1234, 7, b"hello")
    inner = ipv4(UDP, "192.168.1.1", "192.168.1.2", udp("192.168.1.1", "192.168.1.2", 5, 6, b"inner"))
    vxlan = b"\x08\0\0\0\0\0\x2a\0" + ethernet(inner)
    over4 = [
        ipv4(TCP, SRC, DST, syn),
        ipv4(UDP, SRC, DST, datagram, options=b"\x94\4\0\0\1\1\1\1"),
        ipv4(UDP, SRC, DST, datagram, frag=0x2000),
        ipv4(UDP, SRC, DST, datagram, frag=0x00B9),
        ipv4(UDP, SRC, DST, datagram, ttl=1),
        ipv4(ICMP, SRC, DST, icmp_echo(bytes(56))),
        ipv4(ICMP, SRC, DST, icmp(3, 4, b"\0\0\5\x78" + inner)),
        ipv4(IPIP, SRC, DST, inner),
        ipv4(IPV6, SRC, DST, ipv6(UDP, datagram)),
        ipv4(GRE, SRC, DST, struct.pack("!HH", 0, ETH_IP) + inner),
        ipv4(UDP, SRC, DST, udp(SRC, DST, 40001, 4789, vxlan)),
        ipv4(UDP, SRC, DST, udp(SRC, DST, 40002, 53, dns)),
        ipv4(50, SRC, DST, bytes(40)),
    ]
    over6 = [
        ipv6(TCP, syn),
        ipv6(UDP, datagram),
        ipv6(UDP, datagram, hops=1),
        ipv6(ICMPV6, icmp(128, 0, struct.pack("!HH", 1, 1) + bytes(32))),
        ipv6(ICMPV6, icmp(2, 0, struct.pack("!I", 1280) + ipv6(UDP, datagram))),
        ipv6(HOP_BY_HOP, extension(UDP) + datagram),
        ipv6(ROUTING, extension(TCP, 2, b"\4\1") + syn),
        ipv6(FRAGMENT, extension(UDP, 0, b"\0\1\0\0\0\7") + datagram),
        ipv6(DESTINATION, extension(HOP_BY_HOP) + extension(TCP) + syn),
        ipv6(IPIP, inner),
        ipv6(59, b""),
    ]
    frames = [
        *(ethernet(packet) for packet in over4),
        *(ethernet(packet, ETH_IPV6) for packet in over6),
        tcp_frame(SRC, DST, 40003, 443, text),
        udp_frame(SRC, DST, 9, 9, bytes(400)),
        udp_frame(SRC, DST, 9, 9, bytes(1400)),
        vlan(over4[0]),
        vlan(over6[0], inner=ETH_IPV6),
        vlan(struct.pack("!HH", 7, ETH_IP) + over4[0], 5, 0x8100, ETH_QINQ),
        arp_request(SRC, DST),
        ethernet(struct.pack("!I", 16 << 12 | 0x140) + over4[0], ETH_MPLS),
        ethernet(bytes(46), ETH_LLDP),
        ethernet(bytes(46), 46),
        ethernet(b"", ETH_ARP),
        bytes(range(64)),
    ]
    return tuple(frames)


def packets(count: int, seed: int) -> list[bytes]:
    """Every seed as it is, then mutations: `count` frames, equal for equal arguments."""
    plain = list(seeds())[:count]
    return plain + fuzz_packets(list(seeds()), max(0, count - len(plain)), seed)
