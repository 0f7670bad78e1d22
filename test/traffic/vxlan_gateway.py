"""Traffic and tables of examples/vxlan-gateway."""

import random
import struct
from typing import Any

from traffic import frames as f
from traffic import frames6 as f6
from traffic.cases import Case
from traffic.tables import Entry, Maps, device, entry, u32

LOCAL = "172.16.0.1"
VXLAN = 4789
# Tunnel endpoints, and the one that is down; the last is known to the stations only.
VTEPS = ("172.16.1.1", "172.16.1.2", "172.16.1.3")
DOWN, FORGOTTEN, STRANGER = "172.16.1.9", "172.16.1.10", "172.16.2.1"
# VLAN to VNI; each segment's port. Port 7 leads nowhere, and VLAN 400's segment is known in one direction only.
VLANS = {100: 5000, 200: 5001, 300: 0xFFFFFE, 400: 1}
PORTS = {5000: 1, 5001: 2, 0xFFFFFE: 7}
# Stations that are known from the start, by segment: (number, endpoint).
STATIONS = ((1, VTEPS[0]), (2, VTEPS[1]), (3, VTEPS[2]), (4, DOWN), (5, FORGOTTEN))
MAX_FRAME = 1468  # with its tag; what is larger does not fit the underlay


def mac(vni: int, number: int) -> bytes:
    return struct.pack("!BBHH", 2, 0xAA, vni & 0xFFFF, number)


def station(vni: int, number: int, vtep: str) -> Entry:
    return entry(u32(vni) + mac(vni, number) + bytes(2), f.address(vtep))


def maps() -> Maps:
    return {
        "vlans": [entry(struct.pack("<H", vlan), u32(vni)) for vlan, vni in VLANS.items()],
        "segments": [
            entry(u32(vni), struct.pack("<IHH", PORTS[vni], vlan, 0)) for vlan, vni in VLANS.items() if vni in PORTS
        ],
        "vteps": [
            entry(f.address(vtep), bytes([2, 0, 0, 0, 1, index]) + struct.pack("<HQ", vtep == DOWN, 0))
            for index, vtep in enumerate((*VTEPS, DOWN))
        ],
        "stations": [station(vni, number, vtep) for vni in VLANS.values() for number, vtep in STATIONS],
        # All leave by the loopback device, which every machine has.
        "ports": [device(0, 1), device(1, 1), device(2, 1)],
    }


def settings() -> list[Maps]:
    """Without learning."""
    return [{".data": [entry(u32(0), u32(9) + u32(0))]}]


def inner(rng: random.Random, tos: int | None = None, largest: int = 1300) -> tuple[int, bytes]:
    """Ethertype and layer 3 packet of a station."""
    tos = rng.randrange(256) if tos is None else tos
    src, dst = f"192.168.{rng.randrange(4)}.{rng.randrange(1, 255)}", f"192.168.{rng.randrange(4)}.7"
    src6, dst6 = f"fd00::{rng.randrange(1, 255):x}", "fd00::7"
    ports, data = (rng.randrange(1024, 65536), rng.choice((22, 53, 443))), f.payload(rng, largest)
    kind = rng.randrange(9)
    if kind < 4:
        tcp = rng.random() < 0.6
        body = (f.tcp if tcp else f.udp)(src, dst, *ports, data)
        options = bytes(4 * rng.choice((0, 0, 0, 1, 10)))
        frag = rng.choice((f.DF, f.DF, 0, f.MF, 100))
        return f.ETH_IP, f.ipv4(f.TCP if tcp else f.UDP, src, dst, body, tos=tos, options=options, frag=frag)
    if kind == 4:
        return f.ETH_IP, f.ipv4(f.ICMP, src, dst, f.icmp_echo(data), tos=tos)
    if kind < 7:
        tcp = rng.random() < 0.6
        body = (f6.tcp if tcp else f6.udp)(src6, dst6, *ports, data)
        extensions = [f6.options(f6.DSTOPTS)] if rng.random() < 0.2 else []
        return f.ETH_IPV6, f6.ipv6(f.TCP if tcp else f.UDP, src6, dst6, body, tclass=tos, extensions=extensions)
    return rng.choice((f.ETH_ARP, f.ETH_LLDP, 0x0600)), rng.randbytes(rng.randint(0, 60))


def trunk(rng: random.Random, vlan: int, dst: bytes, packet: tuple[int, bytes] | None = None) -> bytes:
    """A frame from the local trunk; the tag has random priority bits."""
    ethertype, body = packet or inner(rng)
    source = mac(VLANS.get(vlan, 0), rng.randrange(100, 120))
    return f6.tagged(f.ethernet(body, ethertype, dst=dst, src=source), vlan | rng.randrange(16) << 12)


def to_tunnel(rng: random.Random) -> bytes:
    vlan = rng.choice(list(VLANS))
    return trunk(rng, vlan, mac(VLANS[vlan], rng.choice((1, 2, 3))))


def to_bad_vtep(rng: random.Random) -> bytes:
    return trunk(rng, 100, mac(5000, rng.choice((4, 5))))


def to_learned(rng: random.Random) -> bytes:
    """To stations that are only known when something has come from them."""
    vlan = rng.choice((100, 200, 300))
    return trunk(rng, vlan, mac(VLANS[vlan], rng.randrange(40, 60)))


def flood(rng: random.Random) -> bytes:
    return trunk(
        rng,
        rng.choice(list(VLANS)),
        rng.choice((b"\xff" * 6, bytes.fromhex("01005e0000fb"), bytes.fromhex("333300000001"))),
    )


def other_vlan(rng: random.Random) -> bytes:
    return trunk(rng, rng.choice((0, 1, 101, 4095)), mac(5000, 1))


def large(rng: random.Random) -> bytes:
    """Frames around the size that still fits the underlay."""
    size = MAX_FRAME + rng.choice((-30, -1, 0, 1, 30))
    body = f.ipv4(f.UDP, "192.168.0.1", "192.168.0.7", f.udp("192.168.0.1", "192.168.0.7", 1, 2, bytes(size - 46)))
    return trunk(rng, 100, mac(5000, 1), (f.ETH_IP, body))


def bad_inner(rng: random.Random) -> bytes:
    """What is inside is cut off, or its header length is wrong."""
    ethertype, body = inner(rng, largest=60)
    body = rng.choice((body[: rng.randrange(60)], bytes([0x40 | rng.randrange(16)]) + body[1:]))
    return trunk(rng, 100, mac(5000, 1), (ethertype, body))


def tunnel(
    rng: random.Random,
    vni: int,
    src: str | None = None,
    packet: tuple[int, bytes] | None = None,
    *,
    number: int | None = None,
    flags: int = 0x08000000,
    port: int = VXLAN,
    dst: str = LOCAL,
    **fields: Any,
) -> bytes:
    """A frame out of a tunnel."""
    src = src or rng.choice(VTEPS)
    ethertype, body = packet or inner(rng)
    source = mac(vni, rng.randrange(40, 60) if number is None else number)
    frame = f.ethernet(body, ethertype, dst=mac(vni, rng.randrange(100, 120)), src=source)
    vxlan = struct.pack("!II", flags, vni << 8 | rng.choice((0, 0, 0xAB)))
    udp = struct.pack("!HHHH", 49152 + rng.randrange(16384), port, 16 + len(frame), 0)
    fields.setdefault("options", bytes(4 * rng.choice((0, 0, 0, 0, 1, 3, 10))))
    return f.ethernet(f.ipv4(f.UDP, src, dst, udp + vxlan + frame, **fields))[:1514]


def from_tunnel(rng: random.Random) -> bytes:
    return tunnel(rng, rng.choice(list(PORTS)), tos=rng.choice((0, 0, 1, 2, 0x28)))


def congested(rng: random.Random) -> bytes:
    """Marked outside: what is inside gets the mark, has it, or can't have it."""
    packet = rng.choice(
        (inner(rng, rng.randrange(256)), inner(rng, rng.choice((1, 2))), (f.ETH_IP, bytes(10)), (f.ETH_IPV6, bytes(39)))
    )
    return tunnel(rng, 5000, packet=packet, tos=rng.choice((3, 0xFF)))


def congested_edge(rng: random.Random) -> bytes:
    """Checksums around the carry of the incremental update."""
    check = rng.choice((0, 1, 2, 3, 0xFFFF, 0xFFFE, 0xFFFD, 0xFFFC, 0x0100, 0xFF00, 0x00FF))
    body = f.ipv4(f.UDP, "192.168.0.1", "192.168.0.7", bytes(8), tos=rng.choice((1, 2)), check=check)
    return tunnel(rng, 5000, packet=(f.ETH_IP, body), tos=3)


def moved(rng: random.Random) -> bytes:
    """A station that was behind another endpoint, or has an address that is none."""
    frame = tunnel(rng, 5000, number=rng.choice((1, 2, 3, 4)), options=b"")
    at = 14 + 20 + 8 + 8 + 6
    return frame if rng.random() < 0.7 else frame[:at] + b"\xff" + frame[at + 1 :]


def refused(rng: random.Random) -> bytes:
    """From strangers, for unknown segments, without a VNI, with a tag inside."""
    tagged = (f.ETH_VLAN, bytes(40))
    return rng.choice(
        (
            lambda: tunnel(rng, 5000, rng.choice((STRANGER, FORGOTTEN))),
            lambda: tunnel(rng, rng.choice((1, 0, 4999, 0xFFFFFF))),
            lambda: tunnel(rng, 5000, flags=rng.choice((0, 0xF7FFFFFF))),
            lambda: tunnel(rng, 5000, packet=rng.choice((tagged, (f.ETH_QINQ, bytes(40))))),
        )
    )()


def not_ours(rng: random.Random) -> bytes:
    """Other ports and addresses, other protocols, fragments."""
    return rng.choice(
        (
            lambda: tunnel(rng, 5000, port=rng.choice((4788, 4790, 0xB512, 53))),
            lambda: tunnel(rng, 5000, dst="172.16.0.2"),
            lambda: tunnel(rng, 5000, frag=rng.choice((f.MF, 1, 0x1FFF))),
            lambda: f.tcp_frame(VTEPS[0], LOCAL, 40000, VXLAN, f.payload(rng)),
            lambda: f6.tagged(tunnel(rng, 5000), 7, 8, outer=f.ETH_QINQ)[:1514],
        )
    )()


def truncated(rng: random.Random) -> bytes:
    return f.truncate(rng, tunnel(rng, 5000, options=bytes(4 * rng.randrange(3))), 110)


CASES = (
    Case(24, to_tunnel),
    Case(3, to_bad_vtep),
    Case(5, to_learned),
    Case(3, flood),
    Case(2, other_vlan),
    Case(2, large),
    Case(4, bad_inner),
    Case(24, from_tunnel),
    Case(6, congested),
    Case(4, congested_edge),
    Case(3, moved),
    Case(6, refused),
    Case(5, not_ours),
    Case(4, truncated),
    Case(2, lambda rng: f.bad_ipv4(rng, from_tunnel(rng))),
    Case(3, f.not_ipv4),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation in both directions, every pair of congestion marks, every header length of the outer packet."""
    marks = [(outer, ecn) for outer in range(4) for ecn in range(4)]
    plain = f.ipv4(f.TCP, "192.168.0.1", "192.168.0.7", f.tcp("192.168.0.1", "192.168.0.7", 1, 2))
    plain6 = f6.ipv6(f.UDP, "fd00::1", "fd00::7", f6.udp("fd00::1", "fd00::7", 1, 2))
    return [
        *f.truncations(tunnel(rng, 5000, packet=(f.ETH_IP, plain), options=b"", tos=3), 110),
        *f.truncations(trunk(rng, 100, mac(5000, 1), (f.ETH_IP, plain)), 64),
        *f.truncations(trunk(rng, 200, mac(5001, 2), (f.ETH_IPV6, plain6)), 76),
        *(tunnel(rng, 5000, packet=(f.ETH_IP, f.ipv4(f.UDP, LOCAL, LOCAL, bytes(8), tos=e)), tos=o) for o, e in marks),
        *(
            tunnel(rng, 5001, packet=(f.ETH_IPV6, f6.ipv6(f.UDP, "fd00::1", "fd00::2", bytes(8), tclass=e)), tos=o)
            for o, e in marks
        ),
        *(tunnel(rng, 5000, packet=(f.ETH_IP, plain), ihl=ihl, options=b"") for ihl in range(16)),
    ]
