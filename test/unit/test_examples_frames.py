"""What examples make of single frames, by a second reading of the protocols: lengths and checksums are right."""

from __future__ import annotations

import random
import struct
from functools import cache
from pathlib import Path

import pytest
import traffic
from traffic import frames as f
from traffic import frames6 as f6
from traffic import kv_cache, tc_marker, vxlan_gateway

from fsir.interp.engine import InterpProgram, Outcome
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TX, REDIRECT = 3, 4


@cache
def program(name: str) -> InterpProgram:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    return InterpProgram(module, traffic.program(name), maps=traffic.maps(name))


def run(name: str, frame: bytes) -> Outcome:
    return program(name).run(frame)


def network_header(frame: bytes) -> int:
    """The offset of what follows Ethernet and tags."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return at + 2


def check_ipv4(packet: bytes) -> bytes:
    """The payload of an IPv4 packet whose header and transport checksums, and lengths, are right."""
    size, total, proto = packet[0] % 16 * 4, struct.unpack_from("!H", packet, 2)[0], packet[9]
    assert f.checksum(packet[:size]) == 0
    assert total <= len(packet)
    body = packet[size:total]
    if proto == f.UDP:
        assert struct.unpack_from("!H", body, 4)[0] == len(body)
    if proto == f.TCP or body[6:8] != bytes(2):
        assert f.checksum(packet[12:20] + struct.pack("!HH", proto, len(body)) + body) == 0
    return body


def check_ipv6(packet: bytes) -> None:
    body = packet[40 : 40 + struct.unpack_from("!H", packet, 4)[0]]
    assert f.checksum(packet[8:40] + struct.pack("!II", len(body), packet[6]) + body) == 0


@pytest.mark.parametrize("key", kv_cache.DATA, ids=lambda key: key.decode())
def test_a_cached_key_is_answered(key: bytes) -> None:
    """The reply goes back where the request came from, under the request's number."""
    request = kv_cache.over_udp(random.Random(1), b"get " + key + b"\r\n")
    at = network_header(request)
    outcome = run("kv-cache", request)
    assert outcome.verdict == TX
    reply = outcome.data
    assert (reply[:6], reply[6:12]) == (request[6:12], request[:6])
    assert reply[12:at] == request[12:at], "the tags stay"
    body = check_ipv4(reply[at:])
    assert reply[at + 12 : at + 20] == request[at + 16 : at + 20] + request[at + 12 : at + 16]
    assert body[:4] == request[at + 22 : at + 24] + request[at + 20 : at + 22]
    assert body[8:16] == request[at + 28 : at + 30] + bytes.fromhex("000000010000")
    assert body[16:] == kv_cache.reply(key)


def test_encapsulation_and_decapsulation_are_inverse() -> None:
    """What one gateway packs, the next one unpacks, tag and all; the outer headers are right."""
    rng = random.Random(2)
    for _ in range(30):
        frame = vxlan_gateway.trunk(rng, 100, vxlan_gateway.mac(5000, 1))
        packed = run("vxlan-gateway", frame)
        assert packed.verdict == REDIRECT
        body = check_ipv4(packed.data[14:])
        assert struct.unpack_from("!H", body, 2)[0] == vxlan_gateway.VXLAN
        assert struct.unpack_from("!H", body)[0] >= 49152
        # The way back: from the endpoint, and not marked as congested on the way.
        there = f.address(vxlan_gateway.VTEPS[0]) + f.address(vxlan_gateway.LOCAL)
        back = packed.data[:15] + b"\0" + packed.data[16:26] + there + packed.data[34:]
        unpacked = run("vxlan-gateway", back)
        assert unpacked.verdict == REDIRECT
        assert unpacked.data == frame[:14] + struct.pack("!H", 100) + frame[16:]


@pytest.mark.parametrize("inner", [1, 2, 3])
def test_congestion_reaches_the_inner_packet(inner: int) -> None:
    body = f.ipv4(f.UDP, "192.168.0.1", "192.168.0.7", f.udp("192.168.0.1", "192.168.0.7", 1, 2), tos=0x28 | inner)
    outcome = run("vxlan-gateway", vxlan_gateway.tunnel(random.Random(3), 5000, packet=(f.ETH_IP, body), tos=3))
    assert outcome.verdict == REDIRECT
    check_ipv4(outcome.data[18:])
    assert outcome.data[19] == 0x2B


def test_what_the_marker_changes_keeps_its_checksums() -> None:
    """DSCP, a clamped segment size at any offset of the options, another destination: all sums stay right."""
    rng = random.Random(4)
    changed = 0
    for make in (tc_marker.tcp, tc_marker.udp, tc_marker.syn):
        for _ in range(100):
            frame = make(rng)
            data = run("tc-marker", frame).data
            changed += data != frame
            at = network_header(data)
            if data[at - 2 : at] == b"\x08\x00":
                check_ipv4(data[at:])
            elif data[at - 2 : at] == b"\x86\xdd":
                check_ipv6(data[at:])
    assert changed > 50


def test_a_large_segment_size_is_clamped() -> None:
    options = b"\1" + b"\2\4" + struct.pack("!H", 1460) + b"\1\1\1"
    segment = f6.tcp(tc_marker.SRC6, tc_marker.IPV6[0], 1, 443, flags=f.SYN, options=options)
    frame = f.ethernet(f6.ipv6(f.TCP, tc_marker.SRC6, tc_marker.IPV6[0], segment), f.ETH_IPV6)
    data = run("tc-marker", frame).data
    check_ipv6(data[14:])
    assert data[14 + 40 + 20 :][:8] == b"\1\2\4" + struct.pack("!H", 1280) + b"\1\1\1"
