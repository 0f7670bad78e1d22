"""Packets from files: every flavour of pcap with exact time, and clear errors for what is no pcap."""

import struct
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap, wrpcapng

from fsir.interp.packet_io import Packet, PcapError, format_packets, packet_from_hex, read_packets

FRAME = bytes(range(60))
TIME = 1_700_000_000_123_456_789


def classic(magic: int, order: str, fraction: int, linktype: int = 1) -> bytes:
    header = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    record = struct.pack(order + "IIII", TIME // 10**9, fraction, len(FRAME), len(FRAME))
    return header + record + FRAME


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "fraction", "time"),
    [(0xA1B2C3D4, 123_456, TIME // 1000 * 1000), (0xA1B23C4D, 123_456_789, TIME)],
)
def test_pcap_of_either_byte_order_and_resolution(
    tmp_path: Path, order: str, magic: int, fraction: int, time: int
) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(classic(magic, order, fraction))
    assert read_packets(path) == [Packet(FRAME, time)]


def test_written_packets_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    packets = [Packet(FRAME, TIME), Packet(b"\xff" * 1500, TIME + 1), Packet(FRAME[:14], 0)]
    path.write_bytes(format_packets(packets))
    assert read_packets(path) == packets


def test_scapy_agrees_on_pcap_and_pcapng(tmp_path: Path) -> None:
    frames = [Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / (b"x" * size) for size in (1, 47, 1400)]
    for number, frame in enumerate(frames):
        frame.time = 1_700_000_000 + number
    for writer in (wrpcap, wrpcapng):
        path = tmp_path / "in"
        writer(str(path), frames)
        read = read_packets(path)
        assert [packet.data for packet in read] == [bytes(frame) for frame in frames]
        assert [packet.time_ns for packet in read] == [int(frame.time) * 10**9 for frame in frames]


def block(kind: int, body: bytes, order: str) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("exponent", "units"), [(9, 10**9), (6, 10**6), (0x80 | 20, 1 << 20)])
def test_pcapng_time_resolution_and_offset(tmp_path: Path, order: str, exponent: int, units: int) -> None:
    options = struct.pack(order + "HHB3xHHqHH", 9, 1, exponent, 14, 8, 100, 0, 0)
    ticks = 5 * units + 3
    content = (
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
        + block(1, struct.pack(order + "HHI", 1, 0, 0) + options, order)
        + block(6, struct.pack(order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 60, 60) + FRAME, order)
    )
    path = tmp_path / "in.pcapng"
    path.write_bytes(content)
    assert read_packets(path) == [Packet(FRAME, 105 * 10**9 + 3 * 10**9 // units)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"abc", "not a pcap file: too short"),
        (b"not a pcap file at all, certainly", "not a pcap file (it begins with 6e6f7420)"),
        (classic(0xA1B2C3D4, "<", 0)[:-1], "cut off in packet 0, at byte 40"),
        (classic(0xA1B2C3D4, "<", 0)[:30], "cut off in the header of packet 0, at byte 24"),
        (classic(0xA1B2C3D4, "<", 0)[:24], "there are no packets"),
        (classic(0xA1B2C3D4, "<", 0, linktype=101), "link type 101 is not Ethernet"),
        (block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), "<")[:-4], "cut off or corrupt"),
    ],
)
def test_what_is_no_pcap_is_an_error_with_a_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(content)
    with pytest.raises(PcapError) as error:
        read_packets(path)
    assert str(error.value).startswith(f"{path}: error: ")
    assert message in str(error.value)


def test_missing_file_and_short_frame(tmp_path: Path) -> None:
    with pytest.raises(PcapError, match="No such file"):
        read_packets(tmp_path / "none.pcap")
    (tmp_path / "short.pcap").write_bytes(format_packets([Packet(FRAME), Packet(FRAME[:13])]))
    with pytest.raises(PcapError, match=r"short\.pcap: error: packet 1 has 13 bytes, a frame has at least 14"):
        read_packets(tmp_path / "short.pcap")


def test_hex_packets() -> None:
    assert packet_from_hex("0x" + "ab" * 14) == b"\xab" * 14
    assert packet_from_hex("00:11:22 33 44 55\n" + "00" * 8) == bytes.fromhex("001122334455" + "00" * 8)
    with pytest.raises(ValueError, match="not hex digits"):
        packet_from_hex("zz")
    with pytest.raises(ValueError, match="has 1 bytes"):
        packet_from_hex("aa")
