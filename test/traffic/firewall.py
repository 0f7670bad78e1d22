"""Traffic and tables of examples/firewall. The internal network is the object's default, 10.0.0.0/8."""

import random
import struct

from traffic import frames as f
from traffic.cases import Case
from traffic.tables import Maps, be16, entry, prefix, u32

BLOCKED = ("192.0.2.0/24", "198.51.100.7/32", "203.0.113.128/25", "10.66.0.0/16")
BLOCKED_SOURCES = ("192.0.2.0", "192.0.2.255", "198.51.100.7", "203.0.113.128", "203.0.113.255", "10.66.1.2")
FREE_SOURCES = (
    "192.0.1.255",
    "192.0.3.0",
    "198.51.100.6",
    "198.51.100.8",
    "203.0.113.127",
    "1.1.1.1",
    "11.0.0.0",
)
SERVICES = (
    ("10.0.0.80", 80, f.TCP),
    ("10.0.0.80", 443, f.TCP),
    ("10.0.0.53", 53, f.UDP),
    ("10.0.0.53", 53, f.TCP),
)
PRESENT = ("10.0.0.9", "8.8.8.8", 5353, 53, f.UDP)  # a flow that is in the table from the start

Flow = tuple[str, str, int, int, int]


def flow_key(flow: Flow) -> bytes:
    src, dst, sport, dport, proto = flow
    return f.address(src) + f.address(dst) + struct.pack("!HHB3x", sport, dport, proto)


def maps() -> Maps:
    return {
        "blocklist": [entry(prefix(net), u32(1)) for net in BLOCKED],
        "flows": [entry(flow_key(PRESENT), u32(0))],
        "allowed": [entry(f.address(dst) + be16(port) + bytes([proto, 0]), u32(1)) for dst, port, proto in SERVICES],
    }


def settings() -> list[Maps]:
    """The internal interface is the one that everything comes in on, and another one (all of it is spoofed)."""
    network = u32(0x0A000000) + u32(0xFF000000)
    return [{".rodata": [entry(u32(0), network + u32(ifindex))]} for ifindex in (1, 2)]


def segment(flow: Flow, data: bytes = b"", flags: int = f.ACK, frag: int = f.DF, options: bytes = b"") -> bytes:
    """A frame of the flow, in the direction the flow is written."""
    src, dst, sport, dport, proto = flow
    body = f.tcp(src, dst, sport, dport, data, flags=flags) if proto == f.TCP else f.udp(src, dst, sport, dport, data)
    return f.pad(f.ethernet(f.ipv4(proto, src, dst, body, frag=frag, options=options)))


def reverse(flow: Flow) -> Flow:
    src, dst, sport, dport, proto = flow
    return dst, src, dport, sport, proto


class Network:
    """The hosts on both sides, with the flows that they have opened: replies need something to reply to."""

    def __init__(self) -> None:
        self.open: list[Flow] = [PRESENT]

    def fresh(self, rng: random.Random) -> Flow:
        src = f"10.{rng.randrange(64)}.{rng.randrange(256)}.{rng.randrange(256)}"
        dst = rng.choice(("93.184.216.34", "8.8.8.8", "1.1.1.1", "10.0.0.80"))
        port = rng.choice((53, 80, 443, 8443))
        return src, dst, rng.randrange(1024, 65536), port, rng.choice((f.TCP, f.UDP))

    def connect(self, rng: random.Random) -> bytes:
        flow = self.fresh(rng)
        self.open.append(flow)
        return segment(flow, f.payload(rng, 300), rng.choice((f.SYN, f.SYN, f.SYN, f.ACK)))

    def again(self, rng: random.Random) -> bytes:
        return segment(rng.choice(self.open), f.payload(rng), rng.choice((f.ACK, f.SYN, f.FIN | f.ACK)))

    def reply(self, rng: random.Random) -> bytes:
        return segment(reverse(rng.choice(self.open)), f.payload(rng), rng.choice((f.ACK, f.SYN | f.ACK)))

    def reset(self, rng: random.Random) -> bytes:
        """One side resets a connection; packets of it that come later find no flow."""
        flow = rng.choice([flow for flow in self.open if flow[4] == f.TCP] or [self.fresh(rng)])
        return segment(flow if rng.random() < 0.5 else reverse(flow), flags=rng.choice((f.RST, f.RST | f.ACK)))

    def near_miss(self, rng: random.Random) -> bytes:
        """A reply that differs from an open flow in one field."""
        src, dst, sport, dport, proto = reverse(rng.choice(self.open))
        other = f.TCP + f.UDP - proto
        return segment(
            rng.choice(
                (
                    ("9.9.9.9", dst, sport, dport, proto),
                    (src, "10.250.0.1", sport, dport, proto),
                    (src, dst, sport ^ 1, dport, proto),
                    (src, dst, sport, dport ^ 0x100, proto),
                    (src, dst, sport, dport, other),
                )
            ),
            f.payload(rng, 200),
        )


def source(rng: random.Random) -> str:
    return rng.choice(FREE_SOURCES)


def to_service(rng: random.Random) -> bytes:
    dst, port, proto = rng.choice(SERVICES)
    return segment((source(rng), dst, rng.randrange(1024, 65536), port, proto), f.payload(rng), f.SYN)


def not_a_service(rng: random.Random) -> bytes:
    dst, port, proto = rng.choice(SERVICES)
    sport = rng.randrange(1024, 65536)
    wrong = rng.choice((("10.0.0.81", port, proto), (dst, port + 1, proto), (dst, 80, f.UDP), ("11.0.0.80", 80, f.TCP)))
    return segment((source(rng), wrong[0], sport, wrong[1], wrong[2]), f.payload(rng, 200), rng.choice((f.SYN, f.RST)))


def blocked(rng: random.Random) -> bytes:
    src = rng.choice(BLOCKED_SOURCES)
    dst, port, proto = rng.choice(SERVICES)
    frag, options = rng.choice((f.DF, f.MF)), rng.choice((b"", bytes(4)))
    return segment((src, dst, 4000, port, proto), f.payload(rng, 200), frag=frag, options=options)


def options(rng: random.Random) -> bytes:
    return segment((source(rng), "10.0.0.80", 4000, 80, f.TCP), options=b"\1" * 4 * rng.randint(1, 10))


def fragment(rng: random.Random) -> bytes:
    frag = rng.choice((f.MF, f.MF | 100, 1, 0x1FFF, 0x100))
    return segment((source(rng), "10.0.0.80", 4000, 80, f.TCP), frag=frag)


def reserved_flag(rng: random.Random) -> bytes:
    """The one bit of that field that is not about fragments."""
    return segment((source(rng), "10.0.0.80", 4000, 80, f.TCP), frag=rng.choice((0x8000, 0xC000, 0)))


def other_protocol(rng: random.Random) -> bytes:
    proto = rng.choice((0, 2, f.IPIP, f.GRE, f.ESP, f.SCTP, 255))
    return f.ethernet(f.ipv4(proto, source(rng), "10.0.0.80", f.payload(rng, 200)))


def ping(rng: random.Random) -> bytes:
    src, dst = rng.choice((("1.1.1.1", "10.0.0.80"), ("10.0.0.80", "1.1.1.1")))
    return f.ethernet(f.ipv4(f.ICMP, src, dst, f.icmp_echo(f.payload(rng))))


def truncated(rng: random.Random) -> bytes:
    proto = rng.choice((f.TCP, f.UDP, f.ICMP))
    return f.truncate(rng, segment(("1.1.1.1", "10.0.0.80", 4000, 80, proto), bytes(20)), 54)


def cases() -> tuple[Case, ...]:
    net = Network()
    return (
        # Most packets open flows, so that the table of 1024 is full before 2,000 packets are through.
        Case(180, net.connect),
        Case(12, net.again),
        Case(14, net.reply),
        Case(3, net.reset),
        Case(6, net.near_miss),
        Case(6, to_service),
        Case(6, not_a_service),
        Case(6, blocked),
        Case(3, options),
        Case(3, fragment),
        Case(2, reserved_flag),
        Case(3, other_protocol),
        Case(4, ping),
        Case(4, lambda rng: f.bad_ipv4(rng, to_service(rng))),
        Case(3, truncated),
        Case(5, f.not_ipv4),
    )


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation of both transports, every source at a blocked prefix's end, every set of TCP flags."""
    tcp: Flow = ("1.1.1.1", "10.0.0.80", 4000, 80, f.TCP)
    udp: Flow = ("1.1.1.1", "10.0.0.53", 4000, 53, f.UDP)
    flagged: Flow = ("10.70.0.1", "1.1.1.1", 4001, 80, f.TCP)
    return [
        *f.truncations(segment(tcp), 56),
        *f.truncations(segment(udp), 44),
        *(segment((src, "10.0.0.80", 4000, 80, f.TCP)) for src in BLOCKED_SOURCES + FREE_SOURCES),
        *(segment(direction, flags=flags) for flags in range(64) for direction in (flagged, reverse(flagged))),
    ]
