"""Whole P4 programs as tables of packets and what they become."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_RR
from scapy.layers.l2 import Ether
from scapy.utils import checksum

from fsir.backends.p4.interp import (
    ControlPlaneError,
    Exact,
    KeyMatch,
    Lpm,
    Output,
    P4RuntimeError,
    Range,
    Switch,
    Ternary,
    load,
)

P4 = Path(__file__).parent / "p4"
HOST, GATEWAY, NEXT = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
NEXT_HOP = 0x020000000003


def switch(name: str, **options: int) -> Switch:
    """A switch running test/unit/p4/NAME.p4."""
    path = P4 / f"{name}.p4"
    return Switch(load(path.read_text(), path.name), **options)


def frame(*, payload: bytes = b"payload", dport: int = 2000, **given: Any) -> bytes:
    fields: dict[str, Any] = {"src": "192.0.2.1", "dst": "10.1.2.3", "ttl": 64} | given
    return bytes(Ether(dst=GATEWAY, src=HOST) / IP(**fields) / UDP(sport=1000, dport=dport) / payload)


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


# -- access control ------------------------------------------------------------------------------------------------

ANY = Ternary(0, 0)
NET10 = Ternary(0x0A000000, 0xFF000000)
ACL_ENTRIES: list[tuple[list[KeyMatch], str, list[int], int]] = [
    ([ANY, NET10, Range(1000, 2000), Exact(17)], "allow", [2], 10),
    ([Exact(0xC0000263), ANY, Range(0, 65535), ANY], "deny", [], 20),
    ([ANY, ANY, Range(53, 53), ANY], "mirror", [7], 5),
    ([ANY, NET10, Range(80, 80), Exact(6)], "allow", [4], 1),
]


def tcp(**fields: Any) -> bytes:
    return bytes(Ether(dst=GATEWAY, src=HOST) / IP(dst="10.1.2.3", **fields) / TCP(dport=80))


def changed(**fields: int) -> Callable[[bytes], bytes]:
    """IPv4 fields set, the checksum left as it was."""

    def change(data: bytes) -> bytes:
        packet = Ether(data)
        for name, new in fields.items():
            packet[IP].setfieldval(name, new)
        return bytes(packet)

    return change


ACL = [
    ("allowed by range and protocol", frame(dport=2000), [(2, changed(ttl=0))], 0),
    ("just outside of the range", frame(dport=2001), [], None),
    ("a higher priority denies", frame(src="192.0.2.99"), [], 1),
    ("mirrored with the protocol as tos", frame(dst="11.0.0.1", dport=53), [(7, changed(tos=17, ttl=0))], 2),
    ("the first constant entry that matches wins", tcp(), [(8, bytes)], 3),
    ("marked as expedited: denied by constant entry", frame(tos=46 << 2), [], 0),
    ("sent back where it came from: dropped in egress", frame(dport=53, dst="11.0.0.1"), [], 2, 7),
    ("by ingress port", frame(), [(9, bytes)], 0, 3),
    ("a fragment has no ports", frame(frag=4), [], None),
    ("options hide the ports", frame(options=b"\x01" * 4), [], None),
]


@pytest.mark.parametrize("undefined", [0, 0xBAD])
@pytest.mark.parametrize("row", ACL, ids=[str(row[0]) for row in ACL])
def test_acl(row: tuple[Any, ...], undefined: int) -> None:
    _, data, expected, hit, *port = row
    acl = switch("acl", undefined=undefined)
    for key, action, params, priority in ACL_ENTRIES:
        acl.insert("acl", key, action, params, priority)
    assert acl.process(data, port=port[0] if port else 1) == [Output(p, change(data)) for p, change in expected]
    counts = [acl.direct_counter("acl", key, priority) for key, _, _, priority in ACL_ENTRIES]
    assert counts == [(1, len(data)) if number == hit else (0, 0) for number in range(4)]


def test_equal_priorities_keep_the_order_of_insertion() -> None:
    acl = switch("acl")
    acl.insert("acl", [ANY, ANY, Range(0, 65535), ANY], "allow", [4])
    acl.insert("acl", [ANY, NET10, Range(0, 65535), ANY], "allow", [5])
    assert [output.port for output in acl.process(frame(), 1)] == [4]


# -- label stacks --------------------------------------------------------------------------------------------------


def labels(*shown: tuple[int, int], kind: int | None = None, rest: bytes = b"rest") -> bytes:
    """A frame with (label, ttl) entries, the last one with the bottom bit."""
    words = [label << 12 | (number == len(shown) - 1) << 8 | ttl for number, (label, ttl) in enumerate(shown)]
    stack = b"".join(word.to_bytes(4, "big") for word in words)
    found = (0x8847 if shown else 0x0800) if kind is None else kind
    return bytes(Ether(dst=GATEWAY, src=HOST, type=found)) + stack + rest


MPLS = [
    ("swap", labels((100, 9)), labels((200, 8)), 2),
    ("swap leaves what is below", labels((100, 9), (5, 5)), labels((200, 8), (5, 5)), 2),
    ("pop", labels((101, 9), (5, 5)), labels((5, 5)), 3),
    ("pop the last one", labels((101, 9)), labels(), 3),
    ("push", labels((102, 9), (5, 5)), labels((300, 64), (102, 9), (5, 5)), 4),
    ("push on a full stack loses the lowest", labels((102, 9), (5, 5), (6, 6)),
     labels((300, 64), (102, 9), (5, 5))[:-4], 4),
    ("encapsulate", labels(), labels((400, 64)), 5),
    ("unknown label", labels((7, 7)), None, 0),
    ("four labels", labels((100, 1), (1, 1), (2, 2), (3, 3)), None, 0),
    ("stack cut short", labels((100, 1), (1, 1), rest=b"")[:-1], None, 0),
]  # fmt: skip


@pytest.mark.parametrize("undefined", [0, 0xBAD])
@pytest.mark.parametrize("row", MPLS, ids=[row[0] for row in MPLS])
def test_mpls(row: tuple[str, bytes, bytes | None, int], undefined: int) -> None:
    name, data, expected, port = row
    mpls = switch("mpls", undefined=undefined)
    mpls.insert("labels", [Exact(100)], "swap", [200, 2])
    mpls.insert("labels", [Exact(101)], "pop", [3])
    mpls.insert("labels", [Exact(102)], "push", [300, 4])
    mpls.insert("encapsulate", [Exact(0x020000000002)], "push", [400, 5])
    if name.startswith("push on a full"):
        assert expected is not None
        word = int.from_bytes(expected[-4:], "big") & ~0x100  # the bottom bit went with the lowest entry
        expected = expected[:-4] + word.to_bytes(4, "big") + b"rest"
    assert mpls.process(data, 1) == ([] if expected is None else [Output(port, expected)])


def test_why_the_parser_stopped() -> None:
    mpls = switch("mpls")
    mpls.process(labels((100, 1), (1, 1), (2, 2), (3, 3)), 1)
    seen = mpls.metadata_of_last
    assert seen["standard_metadata"]["parser_error"] == "TooManyLabels"
    assert seen["metadata"] == {"depth": 3}
    assert [entry["label"] for entry in seen["headers"]["mpls"]] == [100, 1, 2]


# -- options -------------------------------------------------------------------------------------------------------


def ttl_less(data: bytes) -> bytes:
    packet = Ether(data)
    packet[IP].ttl -= 1
    del packet[IP].chksum
    return bytes(packet)


OPTIONS = [
    ("none", frame(), 5),
    ("one word", frame(options=b"\x01" * 4), 6),
    ("three words", frame(options=[IPOption_RR(routers=["1.2.3.4", "5.6.7.8"])]), 8),
    ("ten words", frame(options=b"\x01" * 40), 15),
    ("a wrong option", corrupt(frame(options=b"\x01" * 4), 35), None),
    ("a header length below 5", corrupt(frame(), 14), None),
    ("options cut short", frame(options=b"\x01" * 40)[:60], None),
]


@pytest.mark.parametrize(("data", "port"), [row[1:] for row in OPTIONS], ids=[row[0] for row in OPTIONS])
def test_options(data: bytes, port: int | None) -> None:
    expected = [] if port is None else [Output(port, ttl_less(data))]
    assert switch("options").process(data, 1) == expected


# -- state ---------------------------------------------------------------------------------------------------------


def ask(state: Switch, op: int, arg: int = 0, index: int = 0, value: int = 0, rest: bytes = b"") -> list[Output]:
    return state.process(bytes([op, arg]) + index.to_bytes(2, "big") + value.to_bytes(4, "big") + rest, 1)


def answer(state: Switch, op: int, arg: int = 0, index: int = 0, value: int = 0) -> int:
    [output] = ask(state, op, arg, index, value)
    return int.from_bytes(output.data[4:8], "big")


def test_registers() -> None:
    state = switch("state")
    assert answer(state, 0, index=3) == 0
    answer(state, 1, index=3, value=0xDEADBEEF)
    assert answer(state, 0, index=3) == 0xDEADBEEF
    answer(state, 1, index=8, value=5)  # beyond the end: nothing
    assert state.register("cells") == [0, 0, 0, 0xDEADBEEF, 0, 0, 0, 0]
    state.register("cells")[7] = 9
    assert answer(state, 0, index=7) == 9


def test_what_a_register_gives_beyond_its_end_is_undefined() -> None:
    assert answer(switch("state"), 0, index=8, value=77) == 0
    assert answer(switch("state", undefined=1), 0, index=8, value=77) not in (0, 77)


def test_instances_have_their_own_registers() -> None:
    state = switch("state")
    assert [answer(state, 2, value=3) for _ in range(3)] == [1, 2, 3]
    assert answer(state, 3, value=3) == 1
    assert state.register("I.small.seen") == [0, 0, 0, 3]
    assert len(state.register("I.large.seen")) == 16
    with pytest.raises(ControlPlaneError, match=r"seen is ambiguous: I.large.seen, I.small.seen"):
        state.register("seen")


def test_signed_registers() -> None:
    state = switch("state")
    assert [answer(state, 15) for _ in range(3)] == [0, 0xFFFFFFFF, 0xFFFFFFFE]
    assert state.register("signed_cells") == [0, -3]


def test_counters() -> None:
    state = switch("state")
    for rest in (b"", b"abc"):
        ask(state, 1, rest=rest)
    ask(state, 15)  # beyond the counter's size
    assert state.counter("by_op", 1) == (2, 8 + 11)
    assert state.counters == {"I.by_op": [(0, 0), (2, 19), (0, 0), (0, 0)]}
    with pytest.raises(ControlPlaneError, match="by_op has 4 elements: no index 4"):
        state.counter("by_op", 4)


def arc(data: bytes) -> int:
    """CRC-16/ARC bit by bit, from its definition: reflected polynomial 0x8005."""
    register = 0
    for bit in (byte >> place & 1 for byte in data for place in range(8)):
        register = (register >> 1) ^ (0xA001 if (register ^ bit) & 1 else 0)
    return register


HASHES = [
    (4, 0x31, 0x3233, zlib.crc32(b"231")),
    (5, 0, 0x3132, 5 + arc(b"12") % 10),
    (6, 0x5, 0xABCD, 0x5ABCD0 % 0x100000),
    (7, 0x99, 0x1234, 7),  # a maximum of 0 gives the base
    (17, 0x99, 0x1234, 0x1234 ^ 0x9912 ^ 0x3400),
    (16, 0x77, 0xABCD, 0x0000ABCD),  # the first eight bytes, and of them what the result can hold
]


@pytest.mark.parametrize(("op", "arg", "index", "expected"), HASHES)
def test_hashes(op: int, arg: int, index: int, expected: int) -> None:
    assert arc(b"123456789") == 0xBB3D  # the check value of the CRC catalogue
    assert answer(switch("state"), op, arg, index) == expected


def test_random_numbers_depend_on_the_seed_only() -> None:
    def draw(seed: int) -> list[int]:
        state = switch("state", seed=seed)
        return [answer(state, 8, arg=200) for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)
    assert all(10 <= number <= 200 for number in draw(3))
    with pytest.raises(P4RuntimeError, match="random: 10 is above 9"):
        answer(switch("state"), 8, arg=9)


def test_digests_and_log() -> None:
    state = switch("state")
    answer(state, 9, value=42)
    assert state.digests == [(1, {"op": 9, "value": 42})]
    assert state.log == ["value is 42", "plain"]


@pytest.mark.parametrize("rest", [b"", b"x", b"even", b"\xff" * 7])
def test_a_checksum_over_the_payload(rest: bytes) -> None:
    [output] = ask(switch("state"), 10, arg=1, index=2, value=3, rest=rest)
    head = bytes([10, 1, 0, 2, 0, 0, 0, 3])
    assert output.data == head + checksum(head + rest).to_bytes(2, "big") + rest


def test_truncation() -> None:
    [output] = ask(switch("state"), 11, index=10, rest=b"abcdef")
    assert output.data == bytes([11, 0, 0, 10, 0, 0, 0, 0]) + b"ab"


def test_meters_are_green() -> None:
    assert answer(switch("state"), 12, index=1, value=99) == 0


def test_length_and_time() -> None:
    packet = bytes([13, 0, 0, 0, 0, 0, 0, 0])
    [output] = switch("state").process(packet, 1, timestamp_ns=0x100_000_000)
    assert int.from_bytes(output.data[4:8], "big") == 8 ^ 0x100_000_000 // 1000


def test_multicast() -> None:
    state = switch("state")
    assert ask(state, 14, index=9) == []
    state.set_multicast(9, [(4, 1), (5, 2)])
    assert [(output.port, output.data[1]) for output in ask(state, 14, index=9)] == [(4, 1), (5, 2)]
