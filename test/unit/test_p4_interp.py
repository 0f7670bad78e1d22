"""Whole P4 programs as tables of packets and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from fsir.backends.p4.interp import Lpm, Output, Switch, load

P4 = Path(__file__).parent / "p4"
HOST, GATEWAY, NEXT = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
NEXT_HOP = 0x020000000003


def switch(name: str, **options: int) -> Switch:
    """A switch running test/unit/p4/NAME.p4."""
    path = P4 / f"{name}.p4"
    return Switch(load(path.read_text(), path.name), **options)


def frame(*, payload: bytes = b"payload", **given: Any) -> bytes:
    fields: dict[str, Any] = {"src": "192.0.2.1", "dst": "10.1.2.3", "ttl": 64} | given
    return bytes(Ether(dst=GATEWAY, src=HOST) / IP(**fields) / UDP(sport=1000, dport=2000) / payload)


def forwarded(data: bytes) -> bytes:
    """`data` as an IPv4 router sends it on; scapy computes the checksum."""
    packet = Ether(data)
    packet.src, packet.dst = GATEWAY, NEXT
    packet[IP].ttl -= 1
    del packet[IP].chksum
    return bytes(packet)


def corrupt(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]


ROUTER = [
    ("routed by /8", frame(), [(3, forwarded)]),
    ("longest prefix wins", frame(dst="10.9.9.9"), [(4, forwarded)]),
    ("default route drops", frame(dst="11.0.0.1"), []),
    ("ttl 1 goes to the CPU", frame(ttl=1), [(510, bytes)]),
    ("options are not looked at", frame(options=b"\x01" * 4), []),
    ("bad checksum", corrupt(frame(), 24), []),
    ("not IPv4", bytes(Ether(dst=GATEWAY, src=HOST, type=0x86DD) / (b"\0" * 40)), []),
    ("IPv4 header cut short", frame()[:30], []),
    ("Ethernet header cut short", b"\x02\x00", []),
]


@pytest.mark.parametrize("undefined", [0, 1, 0xBAD])
@pytest.mark.parametrize(("data", "expected"), [row[1:] for row in ROUTER], ids=[row[0] for row in ROUTER])
def test_router(data: bytes, expected: list[tuple[int, Any]], undefined: int) -> None:
    router = switch("router", undefined=undefined)
    router.insert("ipv4_lpm", [Lpm(0x0A000000, 8)], "ipv4_forward", [NEXT_HOP, 3])
    router.insert("MyIngress.ipv4_lpm", [Lpm(0x0A090000, 16)], "MyIngress.ipv4_forward", [NEXT_HOP, 4])
    assert router.process(data, port=1) == [Output(port, change(data)) for port, change in expected]
    count = sum(port != 510 for port, _ in expected)
    assert sum(packets for packets, _ in router.counters["MyIngress.per_port"]) == count
