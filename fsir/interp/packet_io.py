"""Packets from and to files: pcap, pcapng, and hex. Time stamps are whole nanoseconds since the epoch."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dpkt import UnpackError, pcap, pcapng  # type: ignore[import-untyped]

ETH_HLEN = 14
_NANOSECONDS = 1_000_000_000
_SNAPLEN = 262144
_SECONDS = 0xFFFFFFFF  # a pcap file holds as many bits of the time


class PcapError(Exception):
    """A file that packets cannot be read from; the message is `FILE: error: what and what to do`."""

    def __init__(self, file: str | Path, what: str):
        super().__init__(f"{file}: error: {what}")


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame, and when it was captured."""

    data: bytes
    time_ns: int = 0


def read_packets(path: str | Path) -> list[Packet]:
    """The packets of a pcap or pcapng file of Ethernet frames, in order.

    PcapError if it is neither, is cut off, holds no packets, or holds one that is not a whole Ethernet frame.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(pcap.FileHdr.__hdr_len__)
            if _is_capture(content[:4]):  # else this may be a device that never ends
                content += file.read()
    except OSError as error:
        raise PcapError(path, f"{error.strerror or error}; give an existing pcap file") from error
    if not content:
        raise PcapError(path, "the file is empty; give a pcap file")
    is_pcapng = content[:4] == struct.pack("<I", pcapng.PCAPNG_BT_SHB)
    packets = list((_pcapng if is_pcapng else _pcap)(path, content))
    if not packets:
        raise PcapError(path, "there are no packets in the file")
    for number, packet in enumerate(packets):
        if len(packet.data) < ETH_HLEN:
            raise PcapError(path, f"packet {number} {_too_short(packet.data)}")
    return packets


def format_packets(packets: Iterable[Packet]) -> bytes:
    """A pcap file with nanosecond time stamps."""
    header = pcap.LEFileHdr(snaplen=_SNAPLEN, linktype=_ETHERNET, magic=pcap.TCPDUMP_MAGIC_NANO)
    file = bytearray(bytes(header))
    for packet in packets:
        seconds, nanoseconds = divmod(packet.time_ns, _NANOSECONDS)
        size = len(packet.data)
        file += bytes(pcap.LEPktHdr(tv_sec=seconds & _SECONDS, tv_usec=nanoseconds, caplen=size, len=size))
        file += packet.data
    return bytes(file)


def packet_from_hex(text: str, where: str = "packet") -> bytes:
    """A frame from hex digits; white space, colons and a leading 0x are ignored. ValueError says what is wrong."""
    digits = "".join(text.split()).replace(":", "").removeprefix("0x")
    try:
        frame = bytes.fromhex(digits)
    except ValueError as error:
        raise ValueError(f"{where}: not hex digits: {text[:60]!r}") from error
    if len(frame) < ETH_HLEN:
        raise ValueError(f"{where} {_too_short(frame)}")
    return frame


def _too_short(frame: bytes) -> str:
    return f"has {len(frame)} bytes, a frame has at least {ETH_HLEN}; remove it"


# pcap

_ETHERNET = 1


def _is_capture(start: bytes) -> bool:
    if start == struct.pack("<I", pcapng.PCAPNG_BT_SHB):
        return True
    return len(start) == 4 and int.from_bytes(start, "big") in pcap.MAGIC_TO_PKT_HDR


def _check_linktype(path: str | Path, linktype: int) -> None:
    if linktype != _ETHERNET:
        raise PcapError(path, f"link type {linktype} is not Ethernet (1); convert it")


def _pcap(path: str | Path, content: bytes) -> Iterator[Packet]:
    try:
        header = pcap.FileHdr(content[: pcap.FileHdr.__hdr_len__])
    except UnpackError as error:
        raise PcapError(path, "not a pcap file: too short for its header; give a pcap file") from error
    record_type = pcap.MAGIC_TO_PKT_HDR.get(header.magic)
    if record_type is None:
        raise PcapError(path, f"not a pcap file (it begins with {content[:4].hex()}); give a pcap or pcapng file")
    if header.magic in (pcap.PMUDPCT_MAGIC, pcap.PMUDPCT_MAGIC_NANO, pcap.PACPDOM_MAGIC):
        header = pcap.LEFileHdr(content[: pcap.FileHdr.__hdr_len__])
    _check_linktype(path, header.linktype & 0xFFFF)
    unit = 1 if header.magic in (pcap.TCPDUMP_MAGIC_NANO, pcap.PMUDPCT_MAGIC_NANO) else 1000
    offset = pcap.FileHdr.__hdr_len__
    number = 0
    while offset < len(content):
        start = offset + record_type.__hdr_len__
        if start > len(content):
            raise PcapError(path, f"cut off in the header of packet {number}, at byte {offset}; capture it again")
        record = record_type(content[offset:start])
        end = start + record.caplen
        if end > len(content):
            raise PcapError(path, f"cut off in packet {number}, at byte {start}; capture it again")
        yield Packet(content[start:end], record.tv_sec * _NANOSECONDS + record.tv_usec * unit)
        offset = end
        number += 1


# pcapng


@dataclass
class _Interface:
    """How an interface of a pcapng section counts time."""

    units_per_second: int
    offset_seconds: int

    def nanoseconds(self, high: int, low: int) -> int:
        return (high << 32 | low) * _NANOSECONDS // self.units_per_second + self.offset_seconds * _NANOSECONDS


def _pcapng(path: str | Path, content: bytes) -> Iterator[Packet]:
    order = "<"
    interfaces: list[_Interface] = []
    offset = 0
    while offset < len(content):
        if content[offset : offset + 4] == struct.pack("<I", pcapng.PCAPNG_BT_SHB):
            magic = content[offset + 8 : offset + 12]
            order = "<" if magic == struct.pack("<I", pcapng.BYTE_ORDER_MAGIC) else ">"
            interfaces = []
        if offset + 12 > len(content):
            raise PcapError(path, f"cut off in a block header, at byte {offset}; capture it again")
        kind, size = struct.unpack_from(order + "II", content, offset)
        if size < 12 or size % 4 or offset + size > len(content):
            raise PcapError(path, f"cut off or corrupt in the block at byte {offset}; capture it again")
        block = content[offset : offset + size]
        offset += size
        try:
            if kind == pcapng.PCAPNG_BT_IDB:
                interfaces.append(_interface(path, block, order))
            elif kind in (pcapng.PCAPNG_BT_EPB, pcapng.PCAPNG_BT_PB):
                yield _captured(block, order, interfaces, kind)
            elif kind == pcapng.PCAPNG_BT_SPB:
                (length,) = struct.unpack_from(order + "I", block, 8)
                yield Packet(block[12 : min(12 + length, size - 4)])
        except (UnpackError, IndexError, struct.error, ValueError) as error:
            raise PcapError(path, f"corrupt block before byte {offset}; capture it again") from error


def _interface(path: str | Path, block: bytes, order: str) -> _Interface:
    little = order == "<"
    parsed = (pcapng.InterfaceDescriptionBlockLE if little else pcapng.InterfaceDescriptionBlock)(block)
    _check_linktype(path, parsed.linktype)
    interface = _Interface(1_000_000, 0)
    for option in parsed.opts:
        if option.code == pcapng.PCAPNG_OPT_IF_TSRESOL:
            exponent = option.data[0]
            interface.units_per_second = (2 if exponent & 0x80 else 10) ** (exponent & 0x7F)
        elif option.code == pcapng.PCAPNG_OPT_IF_TSOFFSET:
            (interface.offset_seconds,) = struct.unpack(order + "q", option.data[:8])
    return interface


def _captured(block: bytes, order: str, interfaces: list[_Interface], kind: int) -> Packet:
    layout = order + ("I" if kind == pcapng.PCAPNG_BT_EPB else "H2x")
    (number,) = struct.unpack_from(layout, block, 8)
    high, low, length = struct.unpack_from(order + "III", block, 12)
    if 28 + length > len(block) - 4:
        raise ValueError("packet longer than its block")
    return Packet(block[28 : 28 + length], interfaces[number].nanoseconds(high, low))
