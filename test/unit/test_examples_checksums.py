"""Packets with right checksums leave the examples with right ones, whatever was changed in them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import traffic
from traffic.frames import DF, ETH_IP, ETH_QINQ, ETH_VLAN, ICMP, TCP, UDP, checksum

from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2}
START = 1_700_000_000_000_000_000


def ipv4_of(frame: bytes) -> bytes | None:
    """The IPv4 packet of a frame, behind any tags, without padding; None if there is no whole one."""
    at = 12
    while (ethertype := int.from_bytes(frame[at : at + 2], "big")) in (ETH_VLAN, ETH_QINQ):
        at += 4
    packet = frame[at + 2 :]
    if ethertype != ETH_IP or len(packet) < 20 or packet[0] >> 4 != 4 or packet[0] & 15 < 5:
        return None
    length = int.from_bytes(packet[2:4], "big")
    return packet[:length] if (packet[0] & 15) * 4 <= length <= len(packet) else None


def protocol(packet: bytes) -> int | None:
    """TCP, UDP or ICMP if the packet holds a whole segment of it, with a checksum; else None."""
    proto, body = packet[9], packet[(packet[0] & 15) * 4 :]
    if proto not in CHECKSUM_AT or int.from_bytes(packet[6:8], "big") & ~DF:
        return None
    at = CHECKSUM_AT[proto]
    if len(body) < at + 2 or (proto == UDP and body[at : at + 2] == b"\0\0"):
        return None
    return proto


def right(packet: bytes) -> bool:
    """Whether the checksums of the header and of what it holds are right."""
    header, body = packet[: (packet[0] & 15) * 4], packet[(packet[0] & 15) * 4 :]
    proto = protocol(packet)
    if checksum(header) or proto is None:
        return not checksum(header)
    pseudo = b"" if proto == ICMP else header[12:20] + struct.pack("!HH", proto, len(body))
    return checksum(pseudo + body) == 0


@pytest.mark.parametrize(
    ("name", "changed"), [("cheetah", 1000), ("snat", 1000), ("vlan-router", 500), ("policer", 30)]
)
def test_checksums_stay_right(name: str, changed: int) -> None:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    seen = 0
    with InterpProgram(module, maps=traffic.maps(name)) as program:
        for number, frame in enumerate(traffic.generate(name, 2000, seed=9)):
            before = ipv4_of(frame)
            outcome = program.run(frame, clock_ns=START + number * 1_000_000)
            after = ipv4_of(outcome.data)
            if before is None or after is None or before == after or not right(before):
                continue
            seen += 1
            assert right(after), f"packet {number}: {frame.hex()}"
            assert protocol(after) == protocol(before), f"packet {number}: {frame.hex()}"
    assert seen >= changed
