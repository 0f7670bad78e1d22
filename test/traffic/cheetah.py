"""Traffic and tables of examples/cheetah: clients and servers that keep the timestamps of their connections."""

import random
import struct
from dataclasses import dataclass

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, u32

COOKIE_KEY = (0x6B8B4567, 0x327B23C6)  # the object's default
BUCKETS = 32
UNUSED, UP, DRAINING = range(3)

Service = tuple[str, int, int]
VIPS: tuple[Service, ...] = (
    ("192.0.2.80", 80, f.TCP),
    ("192.0.2.80", 443, f.TCP),
    ("192.0.2.53", 53, f.UDP),
    ("192.0.2.9", 9, f.TCP),  # has no server that is up
    ("192.0.2.90", 90, f.TCP),  # its buckets lead to servers of another VIP
)


@dataclass(frozen=True)
class Server:
    """A row of the map `servers`: `vip` indexes VIPS."""

    number: int
    vip: int
    addr: str
    state: int = UP


SERVERS = (
    *(Server(1 + i, 0, f"10.0.0.{1 + i}") for i in range(5)),
    Server(6, 0, "10.0.0.6", DRAINING),
    Server(7, 0, "10.0.0.7", UNUSED),
    *(Server(10 + i, 1, f"10.0.1.{10 + i}") for i in range(3)),
    *(Server(20 + i, 2, f"10.0.2.{20 + i}") for i in range(2)),
    Server(30, 3, "10.0.3.30", DRAINING),
)
SERVING = tuple(server for server in SERVERS if server.state != UNUSED)


def endpoint(addr: str, port: int, proto: int) -> bytes:
    return f.address(addr) + be16(port) + bytes([proto, 0])


def bucket_rows() -> list[tuple[int, int]]:
    """Buckets of each VIP and the servers that have them; some are empty, some have servers that are not up."""
    rows = []
    for vip in (0, 1, 2):
        have = [server.number for server in SERVERS if server.vip == vip]
        rows += [(vip * BUCKETS + i, have[i * 7 % len(have)]) for i in range(BUCKETS) if i % 5 != 4]
    rows += [(3 * BUCKETS + i, 30) for i in range(BUCKETS)]
    return rows + [(4 * BUCKETS + i, 1) for i in range(BUCKETS)]


def maps() -> Maps:
    return {
        "vips": [entry(endpoint(*vip), u32(number)) for number, vip in enumerate(VIPS)],
        "buckets": [entry(u32(index), u32(server)) for index, server in bucket_rows()],
        "servers": [
            entry(
                u32(s.number),
                endpoint(*VIPS[s.vip])
                + f.address(s.addr)
                + struct.pack("<H", s.state)
                + bytes([2, 0, 0, 1, 0, s.number]),
            )
            for s in SERVERS
        ],
        # One entry is stale: it leads to a server that is not used any more.
        "server_numbers": [entry(endpoint(s.addr, *VIPS[s.vip][1:]), u32(s.number)) for s in SERVERS],
        "clocks": [entry(u32(1), u32(0x00070008)), entry(u32(2), u32(0x00000010))],
    }


def rol(word: int, shift: int) -> int:
    return (word << shift | word >> (32 - shift)) & 0xFFFFFFFF


def connection_hash(client: str, port: int, vip: Service) -> int:
    """What the program makes of a connection under its default key."""
    words = struct.unpack("<4I", f.address(client) + f.address(vip[0]) + be16(port) + be16(vip[1]) + u32(vip[2]))
    v0, v1 = COOKIE_KEY
    v2, v3 = 0x6C796765 ^ v0, 0x74656462 ^ v1
    for i in range(6):
        word = words[i] if i < 4 else 0
        if i == 4:
            v2 ^= 0xFF
        v3 ^= word
        v0 = (v0 + v1) & 0xFFFFFFFF
        v1 = rol(v1, 5) ^ v0
        v0 = rol(v0, 16)
        v2 = (v2 + v3) & 0xFFFFFFFF
        v3 = rol(v3, 8) ^ v2
        v0 = (v0 + v3) & 0xFFFFFFFF
        v3 = rol(v3, 7) ^ v0
        v2 = (v2 + v1) & 0xFFFFFFFF
        v1 = rol(v1, 13) ^ v2
        v2 = rol(v2, 16)
        v0 ^= word
    return v1 ^ v3


def timestamps(rng: random.Random, value: int, echo: int) -> bytes:
    """TCP options with timestamps: in the usual place, or behind and between others, at odd addresses too."""
    option = struct.pack("!BBII", 8, 10, value, echo)
    mss, scale, permitted = struct.pack("!BBH", 2, 4, 1460), bytes([3, 3, 7]), bytes([4, 2])
    options = rng.choice(
        (
            b"\1\1" + option,
            b"\1\1" + option,
            mss + permitted + option + b"\1" + scale,
            scale + option,
            b"\1" + option,
            option,
            mss + scale + option,
            b"\1" * 30 + option,
            b"\1\1" + option + bytes([5, 10]) + bytes(8),
            bytes([254, 7]) + b"frank" + b"\1" + option,
        )
    )
    return options + bytes(-len(options) % 4)


def without_timestamps(rng: random.Random) -> bytes:
    """TCP options that hold none, or a broken one."""
    return rng.choice(
        (
            b"",
            b"",
            struct.pack("!BBH", 2, 4, 1460),
            b"\1" * 40,
            b"\0" + bytes([8, 10]) + bytes(9),
            bytes([8, 9]) + bytes(10),
            bytes([5, 1]) + bytes(10),
            bytes([5, 0]) + bytes(10),
            bytes([5, 255]) + bytes(10),
            b"\1\1" + bytes([8, 12]) + bytes(12),
            b"\1\1\1\1\1" + bytes([8, 10]) + b"\1",
            bytes([3, 3, 7, 1]) * 10,
        )
    )


def segment(
    src: tuple[str, int],
    dst: tuple[str, int],
    data: bytes = b"",
    flags: int = f.ACK,
    options: bytes = b"",
    ip_options: bytes = b"",
    frag: int = f.DF,
) -> bytes:
    body = f.tcp(src[0], dst[0], src[1], dst[1], data, flags=flags, options=options)
    return f.pad(f.ethernet(f.ipv4(f.TCP, src[0], dst[0], body, options=ip_options, frag=frag)))


class Clients:
    """Connections that clients have, by their servers."""

    def __init__(self) -> None:
        self.clocks = {server.number: 0x00070000 + 777 * server.number for server in SERVERS}

    def client(self, rng: random.Random) -> tuple[str, int]:
        return f"{rng.randint(20, 30)}.1.{rng.randrange(256)}.{rng.randrange(1, 255)}", rng.randrange(1024, 65536)

    def opened(self, rng: random.Random) -> bytes:
        vip = rng.choice([vip for vip in VIPS if vip[2] == f.TCP])
        options = timestamps(rng, rng.randrange(1 << 32), 0)
        return segment(self.client(rng), vip[:2], b"", f.SYN, options, rng.choice((b"", b"", b"\1" * 4)))

    def to_server(self, rng: random.Random) -> bytes:
        """A segment with the cookie of one of the servers that serve."""
        server = rng.choice([s for s in SERVING if VIPS[s.vip][2] == f.TCP])
        vip, client = VIPS[server.vip], self.client(rng)
        cookie = (server.number ^ connection_hash(*client, vip)) & 0xFFFF
        lower = (self.clocks[server.number] + rng.choice((0, 0, -1, 1, -5000, 30000))) & 0xFFFF
        options = timestamps(rng, rng.randrange(1 << 32), cookie << 16 | lower)
        ip_options = b"\1" * rng.choice((0, 0, 0, 4, 40))
        flags = rng.choice((f.ACK, f.ACK | f.PSH, f.FIN | f.ACK, f.SYN | f.ACK, f.RST | f.ACK))
        return segment(client, vip[:2], f.payload(rng, 1360), flags, options, ip_options)

    def to_client(self, rng: random.Random) -> bytes:
        """A segment of a server, whose clock goes on."""
        server = rng.choice([s for s in SERVERS if VIPS[s.vip][2] == f.TCP])
        self.clocks[server.number] = (
            self.clocks[server.number] + rng.choice((0, 1, 250, 40000, 0xFFF00000))
        ) & 0xFFFFFFFF
        options = timestamps(rng, self.clocks[server.number], rng.randrange(1 << 32))
        port = VIPS[server.vip][1]
        flags = rng.choice((f.ACK, f.SYN | f.ACK, f.FIN | f.ACK))
        return segment((server.addr, port), self.client(rng), f.payload(rng, 1360), flags, options)

    def unmarked(self, rng: random.Random) -> bytes:
        """Either direction without timestamps, or with ones that say nothing: neither SYN nor ACK."""
        server = rng.choice([s for s in SERVERS if VIPS[s.vip][2] == f.TCP])
        vip, client = VIPS[server.vip], self.client(rng)
        if rng.random() < 0.3:
            options = timestamps(rng, 1, 2)
            return segment(client, vip[:2], b"", rng.choice((f.RST, f.FIN, 0, f.URG)), options)
        options = without_timestamps(rng)
        if rng.random() < 0.5:
            return segment(client, vip[:2], f.payload(rng, 200), rng.choice((f.SYN, f.ACK)), options)
        return segment((server.addr, vip[1]), client, f.payload(rng, 200), f.ACK, options)

    def bad_cookie(self, rng: random.Random) -> bytes:
        """A cookie that is made up, or for a server of another VIP."""
        vip, client = rng.choice([vip for vip in VIPS if vip[2] == f.TCP]), self.client(rng)
        wrong = rng.choice((0, 7, 11, 20, 30, 63, 64, rng.randrange(1 << 16)))
        cookie = (wrong ^ connection_hash(*client, vip)) & 0xFFFF
        return segment(client, vip[:2], b"x" * 9, f.ACK, timestamps(rng, 5, cookie << 16 | 99))

    def datagram(self, rng: random.Random) -> bytes:
        client, data = self.client(rng), f.payload(rng, 1360)
        if rng.random() < 0.5:
            src, dst = client, VIPS[2][:2]
        else:
            src, dst = (rng.choice(("10.0.2.20", "10.0.2.21")), 53), client
        body = f.udp(src[0], dst[0], src[1], dst[1], data)
        if rng.random() < 0.2:
            body = body[:6] + b"\0\0" + body[8:]
        return f.ethernet(f.ipv4(f.UDP, src[0], dst[0], body, options=b"\1" * rng.choice((0, 0, 8))))


def checksum_to_zero(rng: random.Random) -> bytes:
    """A datagram whose checksum the new address makes 0, which UDP must not write: one port makes up for it."""
    client, (vip, port, _) = f"20.1.2.{rng.randrange(1, 255)}", VIPS[2]
    server = rng.choice(("10.0.2.20", "10.0.2.21"))
    if rng.random() < 0.4:
        missing = int.from_bytes(f.udp(vip, client, port, 0)[6:8], "big")
        return f.udp_frame(server, client, port, missing)
    missing = int.from_bytes(f.udp(client, server, 0, port)[6:8], "big")
    return f.udp_frame(client, vip, missing, port)  # if it is this server that the bucket leads to


def not_ours(rng: random.Random) -> bytes:
    addr, port, proto = rng.choice(VIPS)
    make = f.tcp_frame if proto == f.UDP else f.udp_frame
    return rng.choice(
        (
            lambda: make("20.1.1.1", addr, 4000, port),
            lambda: f.tcp_frame("20.1.1.1", addr, 4000, port ^ 1),
            lambda: f.tcp_frame("10.0.0.1", "20.1.1.1", 81, 4000),
            lambda: f.tcp_frame("20.1.1.1", "192.0.2.81", 4000, 80),
        )
    )()


def fragment(rng: random.Random) -> bytes:
    return segment(("20.1.1.1", 4000), VIPS[0][:2], frag=rng.choice((f.MF, 1, 0x1FFF, f.MF | 64)))


def other_protocol(rng: random.Random) -> bytes:
    return f.ethernet(f.ipv4(rng.choice((f.ICMP, f.GRE, f.ESP)), "20.1.1.1", VIPS[0][0], f.payload(rng, 200)))


def bad_offset(rng: random.Random) -> bytes:
    """A data offset under 5 words, or one that promises options behind the end."""
    body = f.tcp("20.1.1.1", VIPS[0][0], 4000, 80, doff=rng.choice((0, 1, 4, 6, 8, 15)))
    return f.ethernet(f.ipv4(f.TCP, "20.1.1.1", VIPS[0][0], body))


def truncated(rng: random.Random) -> bytes:
    options = timestamps(rng, 1, 2)
    return f.truncate(rng, segment(("20.1.1.1", 4000), VIPS[0][:2], b"", rng.choice((f.SYN, f.ACK)), options), 80)


def cases() -> tuple[Case, ...]:
    net = Clients()
    return (
        Case(20, net.opened),
        Case(40, net.to_server),
        Case(30, net.to_client),
        Case(14, net.unmarked),
        Case(8, net.bad_cookie),
        Case(14, net.datagram),
        Case(4, checksum_to_zero),
        Case(6, not_ours),
        Case(3, fragment),
        Case(3, other_protocol),
        Case(4, bad_offset),
        Case(4, truncated),
        Case(4, lambda rng: f.bad_ipv4(rng, not_ours(rng))),
        Case(4, f.not_ipv4),
    )


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation of a SYN and of a datagram, every data offset, a SYN for every bucket."""
    options = b"\1\1\1" + struct.pack("!BBII", 8, 10, 1, 2) + bytes(3)
    client, vip = ("20.1.1.1", 4000), VIPS[0][:2]
    return [
        *f.truncations(segment(client, vip, flags=f.SYN, options=options), 70),
        *f.truncations(f.udp_frame("20.1.1.1", VIPS[2][0], 4000, 53), 44),
        *(
            f.ethernet(f.ipv4(f.TCP, client[0], vip[0], f.tcp(*(client[0], vip[0], 4000, 80), doff=n)))
            for n in range(16)
        ),
        *(segment(client, vip, flags=f.SYN, options=options) for _ in range(BUCKETS)),
    ]
