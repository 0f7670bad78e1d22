"""Ethernet frames from header fields, as bytes: what the traffic of every example is built from.

Addresses are dotted strings or 4 bytes, ports and lengths host integers. Lengths and checksums are right
unless a caller overrides them; a header that lies about itself is what many cases are about.
"""

import random
import struct
from collections.abc import Sequence

ETH_IP, ETH_ARP, ETH_VLAN, ETH_IPV6, ETH_QINQ, ETH_LLDP = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8, 0x88CC
ICMP, IPIP, TCP, UDP, GRE, ESP, SCTP = 1, 4, 6, 17, 47, 50, 132
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MF, DF = 0x2000, 0x4000

HOST_MAC = bytes.fromhex("020000000001")
PEER_MAC = bytes.fromhex("020000000002")
MIN_FRAME = 14  # shorter ones are refused by BPF_PROG_TEST_RUN


def address(text: str | bytes) -> bytes:
    """The 4 bytes of an IPv4 address, network order."""
    return text if isinstance(text, bytes) else bytes(map(int, text.split(".")))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data, padded to an even length."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    rest = total % 0xFFFF  # 2**16 is 1 modulo 0xffff, so this is the folded sum
    return (0xFFFF - rest if rest else 0) if total else 0xFFFF


def ethernet(payload: bytes, ethertype: int = ETH_IP, dst: bytes = HOST_MAC, src: bytes = PEER_MAC) -> bytes:
    return dst + src + struct.pack("!H", ethertype) + payload


def vlan(payload: bytes, tag: int = 100, inner: int = ETH_IP, ethertype: int = ETH_VLAN) -> bytes:
    """A frame with one tag in front of an inner ethertype."""
    return ethernet(struct.pack("!HH", tag, inner) + payload, ethertype)


def ipv4(
    proto: int,
    src: str | bytes,
    dst: str | bytes,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 0,
    frag: int = DF,
    options: bytes = b"",
    version: int = 4,
    ihl: int | None = None,
    total: int | None = None,
    check: int | None = None,
) -> bytes:
    """An IPv4 packet; `options` is a multiple of 4 bytes, `frag` the 16 bits of flags and offset."""
    words = 5 + len(options) // 4
    length = 20 + len(options) + len(payload)
    first = version << 4 | (words if ihl is None else ihl)
    head = struct.pack("!BBHHHBB", first, tos, length if total is None else total, ident, frag, ttl, proto)
    tail = address(src) + address(dst) + options
    value = checksum(head + b"\0\0" + tail) if check is None else check
    return head + struct.pack("!H", value) + tail + payload


def tcp(
    src: str | bytes,
    dst: str | bytes,
    sport: int,
    dport: int,
    payload: bytes = b"",
    *,
    flags: int = ACK,
    seq: int = 0,
    options: bytes = b"",
    doff: int | None = None,
) -> bytes:
    """A TCP segment with its checksum; `options` is a multiple of 4 bytes."""
    words = 5 + len(options) // 4 if doff is None else doff
    head = struct.pack("!HHIIBBH", sport, dport, seq, 0, words << 4, flags, 65535)
    rest = b"\0\0" + options + payload
    pseudo = address(src) + address(dst) + struct.pack("!HH", TCP, 20 + len(options) + len(payload))
    value = checksum(pseudo + head + b"\0\0" + rest)
    return head + struct.pack("!H", value) + rest


def udp(src: str | bytes, dst: str | bytes, sport: int, dport: int, payload: bytes = b"") -> bytes:
    """A UDP datagram with its checksum."""
    length = 8 + len(payload)
    head = struct.pack("!HHH", sport, dport, length)
    pseudo = address(src) + address(dst) + struct.pack("!HH", UDP, length)
    return head + struct.pack("!H", checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF) + payload


def icmp_echo(payload: bytes = b"", ident: int = 1, seq: int = 1) -> bytes:
    head = struct.pack("!BBHHH", 8, 0, 0, ident, seq)
    return struct.pack("!BBHHH", 8, 0, checksum(head + payload), ident, seq) + payload


def tcp_frame(
    src: str | bytes, dst: str | bytes, sport: int, dport: int, payload: bytes = b"", flags: int = ACK
) -> bytes:
    return ethernet(ipv4(TCP, src, dst, tcp(src, dst, sport, dport, payload, flags=flags)))


def udp_frame(src: str | bytes, dst: str | bytes, sport: int, dport: int, payload: bytes = b"") -> bytes:
    return ethernet(ipv4(UDP, src, dst, udp(src, dst, sport, dport, payload)))


def arp_request(src: str = "10.0.0.2", dst: str = "10.0.0.1") -> bytes:
    fixed = struct.pack("!HHBBH", 1, ETH_IP, 6, 4, 1)
    body = fixed + PEER_MAC + address(src) + bytes(6) + address(dst)
    return ethernet(body + bytes(18), ETH_ARP, dst=b"\xff" * 6)


def ipv6_frame(payload: bytes = bytes(8)) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), UDP, 64)
    return ethernet(head + b"\xfd" + bytes(15) + b"\xfd" + bytes(14) + b"\1" + payload, ETH_IPV6)


def payload(rng: random.Random, largest: int = 1460) -> bytes:
    """Random bytes, mostly few; one in fifty is as large as `largest` allows."""
    size = rng.choices((0, rng.randint(1, 64), rng.randint(65, 256), rng.randint(257, 900), largest), (8, 60, 25, 5, 2))
    return rng.randbytes(min(size[0], largest))


def pad(frame: bytes, size: int = 60) -> bytes:
    """The frame with Ethernet padding up to the minimum that a wire carries."""
    return frame.ljust(size, b"\0")


def truncate(rng: random.Random, frame: bytes, limit: int = 74) -> bytes:
    """The frame cut off somewhere in its headers."""
    return frame[: rng.randint(MIN_FRAME, min(limit, len(frame)))]


def truncations(frame: bytes, limit: int = 74) -> list[bytes]:
    """The frame cut off at every length up to `limit`."""
    return [frame[:size] for size in range(MIN_FRAME, min(limit, len(frame)) + 1)]


def not_ipv4(rng: random.Random) -> bytes:
    """A frame that no IPv4 program has business with: ARP, IPv6, VLAN, LLDP, 802.3, a bare header."""
    inner = ipv4(UDP, "10.0.0.2", "10.1.2.9", udp("10.0.0.2", "10.1.2.9", 1, 2, payload(rng, 100)))
    frames: Sequence[bytes] = (
        arp_request(),
        ipv6_frame(payload(rng, 200)),
        vlan(inner, rng.randrange(4096)),
        vlan(struct.pack("!HH", 7, ETH_IP) + inner, 5, ETH_VLAN, ETH_QINQ),
        ethernet(rng.randbytes(46), ETH_LLDP, dst=bytes.fromhex("0180c200000e")),
        ethernet(rng.randbytes(46), 46),
        ethernet(b"", rng.choice((ETH_ARP, ETH_IPV6, 0x0008, 0xFFFF))),
    )
    return rng.choice(frames)


def bad_ipv4(rng: random.Random, frame: bytes) -> bytes:
    """An IPv4 frame whose first byte is wrong: version not 4, or a header length under 5 words."""
    first = rng.choice((0x65, 0x05, 0x35, 0xF5, 0x40, 0x41, 0x44, 0x00, 0x60))
    return frame[:14] + bytes([first]) + frame[15:]
