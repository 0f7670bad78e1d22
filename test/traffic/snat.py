"""Traffic and tables of examples/snat. The internal network is the object's default, 10.0.0.0/8."""

import random
import struct
from collections.abc import Callable

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, u32

POOL = ("192.0.2.1", "192.0.2.2")
OUTSIDE = ("93.184.216.34", "8.8.8.8", "1.1.1.1", "198.51.100.80")
LONG_AGO, FAR_AHEAD = 1, 1 << 62  # times of use: of a mapping that has ended, and of one that does not

Endpoint = tuple[str, int, int]
# Mappings that are there from the start: internal and public endpoint, time of use, whether it is closing.
PRESENT: tuple[tuple[Endpoint, Endpoint, int, int], ...] = (
    (("10.0.0.8", 5353, f.UDP), ("192.0.2.1", 5353, f.UDP), FAR_AHEAD, 0),
    (("10.0.0.9", 4000, f.TCP), ("192.0.2.2", 4000, f.TCP), FAR_AHEAD, 0),
    (("10.0.0.9", 77, f.ICMP), ("192.0.2.2", 2077, f.ICMP), FAR_AHEAD, 1),
    (("10.0.0.10", 4001, f.TCP), ("192.0.2.1", 60001, f.TCP), LONG_AGO, 0),
    (("10.0.0.10", 4002, f.TCP), ("192.0.2.1", 60002, f.TCP), LONG_AGO, 1),
    (("10.0.0.10", 4003, f.UDP), ("192.0.2.1", 60003, f.UDP), LONG_AGO, 0),
    (("10.0.0.10", 4004, f.ICMP), ("192.0.2.1", 60004, f.ICMP), LONG_AGO, 0),
)
CLOSED_PORTS = (60001, 60002, 60003, 60004)


def endpoint_key(endpoint: Endpoint) -> bytes:
    addr, port, proto = endpoint
    return f.address(addr) + be16(port) + bytes([proto, 0])


def mapping(other: Endpoint, used: int, closing: int) -> bytes:
    return endpoint_key(other) + struct.pack("<QII", used, closing, 0)


def maps() -> Maps:
    return {
        "pool": [entry(u32(index), f.address(addr)) for index, addr in enumerate(POOL)],
        "public_addrs": [entry(f.address(addr), u32(index)) for index, addr in enumerate((*POOL, "192.0.2.9"))],
        "by_internal": [entry(endpoint_key(inside), mapping(public, 0, 0)) for inside, public, _, _ in PRESENT],
        "by_public": [entry(endpoint_key(public), mapping(inside, *rest)) for inside, public, *rest in PRESENT],
    }


def settings() -> list[Maps]:
    """Few ports, which run out; and a pool with an entry that is empty."""

    def data(pool: int, first: int, last: int) -> Maps:
        head = u32(0x0A000000) + u32(0xFF000000) + u32(pool) + struct.pack("<HH", first, last)
        return {".rodata": [entry(u32(0), head + struct.pack("<IIII", 7440, 240, 300, 60))]}

    return [data(1, 5000, 5000), data(3, 1024, 65535)]


def packet(
    src: Endpoint, dst: Endpoint, data: bytes = b"", flags: int = f.ACK, options: bytes = b"", frag: int = f.DF
) -> bytes:
    """An IPv4 packet between the endpoints; the port of an echo is its identifier."""
    if src[2] == f.TCP:
        body = f.tcp(src[0], dst[0], src[1], dst[1], data, flags=flags)
    elif src[2] == f.UDP:
        body = f.udp(src[0], dst[0], src[1], dst[1], data)
    else:
        body = f.icmp_echo(data, ident=src[1])
    return f.ipv4(src[2], src[0], dst[0], body, frag=frag, options=options)


def fresh(rng: random.Random) -> Endpoint:
    """An internal endpoint; some ports are under what mappings may have, and some are of ended mappings."""
    addr = f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    port = rng.choice((rng.randrange(1024, 65536), rng.randrange(1024, 65536), rng.choice(CLOSED_PORTS), 4000, 5353))
    return addr, port, rng.choice((f.TCP, f.UDP, f.ICMP))


def low_port(rng: random.Random) -> bytes:
    """A port that is not kept, but drawn."""
    addr, _, proto = fresh(rng)
    return f.ethernet(packet((addr, rng.randrange(1024), proto), outside(rng, proto), f.payload(rng, 200)))


def outside(rng: random.Random, proto: int) -> Endpoint:
    return rng.choice(OUTSIDE), rng.choice((53, 80, 443)), proto


def public_of(inside: Endpoint) -> Endpoint:
    """The public endpoint of an internal one that kept its port."""
    for internal, public, _, _ in PRESENT:
        if internal == inside:
            return public
    return POOL[int.from_bytes(f.address(inside[0]), "big") % len(POOL)], inside[1], inside[2]


class Network:
    """The internal hosts, and the endpoints that they have used."""

    def __init__(self) -> None:
        self.used: list[Endpoint] = [inside for inside, _, used, _ in PRESENT if used == FAR_AHEAD]

    def connect(self, rng: random.Random) -> bytes:
        inside = fresh(rng)
        self.used.append(inside)
        flags = rng.choice((f.SYN, f.SYN, f.ACK))
        options = b"\1" * rng.choice((0, 0, 0, 4, 40))
        return f.pad(f.ethernet(packet(inside, outside(rng, inside[2]), f.payload(rng, 1360), flags, options)))

    def again(self, rng: random.Random) -> bytes:
        inside = rng.choice(self.used)
        flags = rng.choice((f.ACK, f.ACK, f.FIN | f.ACK, f.RST))
        return f.pad(f.ethernet(packet(inside, outside(rng, inside[2]), f.payload(rng, 1360), flags)))

    def reply(self, rng: random.Random) -> bytes:
        """To the public endpoint that the internal one has if it could keep its port."""
        inside = rng.choice(self.used)
        public = public_of(inside)
        src = outside(rng, inside[2])
        if inside[2] == f.ICMP:  # a reply has the identifier of the request
            src = (src[0], public[1], f.ICMP)
        flags = rng.choice((f.SYN | f.ACK, f.ACK, f.FIN | f.ACK, f.RST))
        return f.ethernet(packet(src, public, f.payload(rng, 1360), flags, b"\1" * rng.choice((0, 0, 8))))

    def error(self, rng: random.Random) -> bytes:
        """An ICMP error that quotes a packet of a mapping, as it was outside; mostly just its first bytes."""
        inside = rng.choice(self.used)
        public = public_of(inside) if rng.random() < 0.8 else ("192.0.2.1", rng.choice(CLOSED_PORTS), f.TCP)
        quoted = packet(public, outside(rng, public[2]), f.payload(rng, 200), options=b"\1" * rng.choice((0, 0, 4, 40)))
        return error_about(rng, quoted, public[0])

    def odd_error(self, rng: random.Random) -> bytes:
        """An ICMP error whose quote is cut off, of no known mapping or protocol, or not IPv4."""
        inside = rng.choice(self.used)
        quoted = packet(public_of(inside), outside(rng, inside[2]))
        wrong: Callable[[], bytes] = rng.choice(
            (
                lambda: quoted[: rng.randrange(len(quoted))],
                lambda: bytes([rng.choice((0x65, 0x44, 0x4F))]) + quoted[1:],
                lambda: packet(("192.0.2.1", 9, f.UDP), outside(rng, f.UDP)),
                lambda: f.ipv4(rng.choice((f.GRE, f.ESP)), "192.0.2.1", "8.8.8.8", bytes(20)),
            )
        )
        return error_about(rng, wrong(), public_of(inside)[0], whole=True)


def error_about(rng: random.Random, quoted: bytes, dst: str, whole: bool = False) -> bytes:
    kind, code = rng.choice(((3, 1), (3, 4), (11, 0), (12, 0)))
    if not whole and rng.random() < 0.6:
        quoted = quoted[: (quoted[0] & 15) * 4 + 8]
    body = struct.pack("!BBHI", kind, code, 0, 0) + quoted
    body = body[:2] + struct.pack("!H", f.checksum(body)) + body[4:]
    return f.ethernet(f.ipv4(f.ICMP, rng.choice(OUTSIDE), dst, body, options=b"\1" * rng.choice((0, 0, 4))))


def udp_without_checksum(rng: random.Random) -> bytes:
    body = f.udp("10.0.0.8", "8.8.8.8", 5353, 53, f.payload(rng, 200))
    if rng.random() < 0.5:
        return f.ethernet(f.ipv4(f.UDP, "10.0.0.8", "8.8.8.8", body[:6] + b"\0\0" + body[8:]))
    # or one that becomes 0 by the translation, and must be written as 0xffff
    missing = int.from_bytes(f.udp("192.0.2.1", "8.8.8.8", 5353, 0)[6:8], "big")
    return f.udp_frame("10.0.0.8", "8.8.8.8", 5353, missing)


def udp_to_zero_inside(rng: random.Random) -> bytes:
    missing = int.from_bytes(f.udp("8.8.8.8", "10.0.0.8", 0, 5353)[6:8], "big")
    return f.udp_frame("8.8.8.8", "192.0.2.1", missing, 5353)


def ended(rng: random.Random) -> bytes:
    """From outside to a mapping that has ended, or to none, or to a public address that is not in the pool."""
    proto = rng.choice((f.TCP, f.UDP, f.ICMP))
    port = rng.choice((*CLOSED_PORTS, rng.randrange(1024)))
    public = (rng.choice(("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.9")), port, proto)
    src = (rng.choice(OUTSIDE), port if proto == f.ICMP else 443, proto)
    return f.ethernet(packet(src, public, f.payload(rng, 100)))


def reopened(rng: random.Random) -> bytes:
    """An internal endpoint that wants the port of a mapping that has ended, or of one that has not."""
    proto = rng.choice((f.TCP, f.UDP, f.ICMP))
    port = rng.choice((*CLOSED_PORTS, 4000, 5353))
    return f.ethernet(packet((f"10.200.{rng.randrange(256)}.{rng.randrange(256)}", port, proto), outside(rng, proto)))


def local(rng: random.Random) -> bytes:
    src, dst = rng.choice((("10.0.0.8", "10.1.0.1"), ("8.8.8.8", "192.0.2.200"), ("8.8.8.8", "10.0.0.8")))
    proto = rng.choice((f.TCP, f.UDP))
    return f.ethernet(packet((src, 5353, proto), (dst, 53, proto), f.payload(rng, 100)))


def other_protocol(rng: random.Random) -> bytes:
    """Protocols without ports, other ICMP messages, and errors that go out."""
    src, dst = rng.choice((("10.0.0.8", "8.8.8.8"), ("8.8.8.8", "192.0.2.1")))
    kind = rng.choice((4, 5, 9, 10, 13, 255))
    return rng.choice(
        (
            lambda: f.ethernet(f.ipv4(rng.choice((f.GRE, f.ESP, f.SCTP)), src, dst, f.payload(rng, 200))),
            lambda: f.ethernet(f.ipv4(f.ICMP, src, dst, bytes([kind, 0, 0, 0]) + rng.randbytes(20))),
            lambda: f.ethernet(f.ipv4(f.ICMP, "10.0.0.8", "8.8.8.8", bytes([3, 3, 0, 0]) + bytes(40))),
        )
    )()


def fragment(rng: random.Random) -> bytes:
    inside = fresh(rng)
    return f.ethernet(
        packet(inside, outside(rng, inside[2]), bytes(64), frag=rng.choice((f.MF, f.MF | 9, 185, 0x1FFF)))
    )


def truncated(rng: random.Random) -> bytes:
    inside = fresh(rng)
    return f.truncate(rng, f.ethernet(packet(inside, outside(rng, inside[2]), bytes(20))), 54)


def cases() -> tuple[Case, ...]:
    net = Network()
    return (
        Case(40, net.connect),
        Case(20, net.again),
        Case(30, net.reply),
        Case(14, net.error),
        Case(8, net.odd_error),
        Case(6, low_port),
        Case(4, udp_without_checksum),
        Case(3, udp_to_zero_inside),
        Case(8, ended),
        Case(10, reopened),
        Case(5, local),
        Case(5, other_protocol),
        Case(3, fragment),
        Case(4, truncated),
        Case(4, lambda rng: f.bad_ipv4(rng, local(rng))),
        Case(4, f.not_ipv4),
    )


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation of all protocols and of an error, every type of ICMP, one port wanted by many."""
    there = "8.8.8.8"
    tries = [packet((inside, port, proto), (there, 53, proto)) for inside, port, proto in (
        ("10.0.0.8", 5353, f.UDP), ("10.0.0.9", 4000, f.TCP), ("10.0.0.9", 77, f.ICMP))]  # fmt: skip
    quoted = packet(("192.0.2.1", 5353, f.UDP), (there, 53, f.UDP), bytes(8))
    error = f.ipv4(f.ICMP, there, "192.0.2.1", struct.pack("!BBHI", 11, 0, 0, 0) + quoted)
    return [
        *(cut for one in tries for cut in f.truncations(f.ethernet(one), 56)),
        *f.truncations(f.ethernet(error), 80),
        *(f.ethernet(f.ipv4(f.ICMP, there, "192.0.2.1", bytes([kind, 0, 0, 0]) + quoted)) for kind in range(20)),
        *(f.ethernet(packet((f"10.9.0.{n}", 33000, f.UDP), (there, 53, f.UDP))) for n in range(40)),
    ]
