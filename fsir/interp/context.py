"""What a program's context pointer points to: `struct xdp_md` and `struct __sk_buff` (linux/bpf.h).

A context is not memory. The 32-bit loads of the packet pointers give full addresses, as they do after the
kernel has rewritten them; everything else is the field's value. An access that no verifier would let through
(unknown offset, wrong size, a store to a read-only field) is a MemoryFault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fsir.interp.memory import Memory, MemoryFault
from fsir.interp.packet_buffer import ETH_HLEN, PacketBuffer

if TYPE_CHECKING:
    from fsir.interp.helper_tunnel import Tunnel

ETH_P_IP, ETH_P_IPV6 = 0x0008, 0xDD86
"""Values of `protocol`, which is in network byte order: htons(0x0800), htons(0x86dd)."""

_LEAST_ETHERTYPE = 1536
_ETH_P_802_2, _ETH_P_802_3 = 0x0400, 0x0100
ETH_P_8021Q, ETH_P_8021AD = 0x0081, 0xA888
VLAN_TYPES = (ETH_P_8021Q, ETH_P_8021AD)
VLAN_HLEN = 4


def skb_protocol(ethertype: bytes, payload: bytes) -> int:
    """What the kernel makes of the type field of a frame and what follows it, as a value of `protocol`."""
    if int.from_bytes(ethertype, "big") >= _LEAST_ETHERTYPE:
        return int.from_bytes(ethertype, "little")
    return _ETH_P_802_3 if payload[:2] == b"\xff\xff" else _ETH_P_802_2


class Context(Protocol):
    """`addr` is what a program gets in r1."""

    addr: int

    def load(self, offset: int, size: int) -> int:
        """Read a field."""
        ...

    def store(self, offset: int, size: int, value: int) -> None:
        """Write a field."""
        ...


def _bad_access(kind: str, addr: int, offset: int, size: int, verb: str) -> MemoryFault:
    return MemoryFault(addr + offset, size, f"{verb} of {size} bytes at {kind}+{offset}: no such context field")


class XdpContext:
    """`struct xdp_md`: six words, none of them writable."""

    def __init__(self, memory: Memory, packet: PacketBuffer):
        self.packet = packet
        self.ingress_ifindex = 0
        self.rx_queue_index = 0
        self.egress_ifindex = 0
        self.addr = memory.alloc_handle("xdp_md", self, self.load, self.store).base

    def load(self, offset: int, size: int) -> int:
        if size == 4:
            packet = self.packet
            if offset == 0:
                return packet.base + packet.data
            if offset == 4:
                return packet.base + packet.data_end
            if offset == 8:
                return packet.base + packet.data_meta
            if offset == 12:
                return self.ingress_ifindex
            if offset == 16:
                return self.rx_queue_index
            if offset == 20:
                return self.egress_ifindex
        raise _bad_access("xdp_md", self.addr, offset, size, "read")

    def store(self, offset: int, size: int, value: int) -> None:
        raise _bad_access("xdp_md", self.addr, offset, size, "write")


@dataclass(frozen=True)
class SkbField:
    """A field of `struct __sk_buff`. A field that is an array is one entry, readable in parts."""

    name: str
    offset: int
    size: int
    writable: bool = False


SKB_FIELDS = (
    SkbField("len", 0, 4),
    SkbField("pkt_type", 4, 4),
    SkbField("mark", 8, 4, writable=True),
    SkbField("queue_mapping", 12, 4, writable=True),
    SkbField("protocol", 16, 4),
    SkbField("vlan_present", 20, 4),
    SkbField("vlan_tci", 24, 4),
    SkbField("vlan_proto", 28, 4),
    SkbField("priority", 32, 4, writable=True),
    SkbField("ingress_ifindex", 36, 4),
    SkbField("ifindex", 40, 4),
    SkbField("tc_index", 44, 4, writable=True),
    SkbField("cb", 48, 20, writable=True),
    SkbField("hash", 68, 4),
    SkbField("tc_classid", 72, 4, writable=True),
    SkbField("data", 76, 4),
    SkbField("data_end", 80, 4),
    SkbField("napi_id", 84, 4),
    SkbField("family", 88, 4),
    SkbField("remote_ip4", 92, 4),
    SkbField("local_ip4", 96, 4),
    SkbField("remote_ip6", 100, 16),
    SkbField("local_ip6", 116, 16),
    SkbField("remote_port", 132, 4),
    SkbField("local_port", 136, 4),
    SkbField("data_meta", 140, 4),
    SkbField("flow_keys", 144, 8),
    SkbField("tstamp", 152, 8, writable=True),
    SkbField("wire_len", 160, 4),
    SkbField("gso_segs", 164, 4),
    SkbField("sk", 168, 8),
    SkbField("gso_size", 176, 4),
    SkbField("tstamp_type", 180, 1),
    SkbField("hwtstamp", 184, 8),
)
_SKB_SIZE = 192
_BY_NAME = {field.name: field for field in SKB_FIELDS}
_BY_BYTE = {byte: field for field in SKB_FIELDS for byte in range(field.offset, field.offset + field.size)}


class SkbContext:
    """`struct __sk_buff`, with `get` and `set` for the machine's own use."""

    def __init__(self, memory: Memory, packet: PacketBuffer):
        self.packet = packet
        self._buf = bytearray(_SKB_SIZE)
        self.csum_level: int | None = None
        """How many checksums were found right, less one; None is CHECKSUM_NONE."""
        self.encapsulation = False
        self.network_offset = ETH_HLEN
        self.transport_offset: int | None = None
        self.mac_length = 0
        """The kernel's mac_len, which is 0 until something sets it."""
        self.tunnel: Tunnel | None = None
        self.addr = memory.alloc_handle("__sk_buff", self, self.load, self.store).base

    def reset(self) -> None:
        """All fields zero, for the next packet."""
        self._buf[:] = bytes(_SKB_SIZE)
        self.csum_level = None
        self.encapsulation = False
        self.network_offset = ETH_HLEN
        self.transport_offset = None
        self.mac_length = 0
        self.tunnel = None

    def get(self, name: str) -> int:
        """The value of a field by name, as an integer whatever its size."""
        field = _BY_NAME[name]
        if name == "len":
            return len(self.packet)
        return int.from_bytes(self._buf[field.offset : field.offset + field.size], "little")

    def set(self, name: str, value: int) -> None:
        """Set a field by name, read-only for programs or not."""
        field = _BY_NAME[name]
        self._buf[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")

    def load(self, offset: int, size: int) -> int:
        field = _BY_BYTE.get(offset)
        if field is None or offset + size > field.offset + field.size:
            raise _bad_access("__sk_buff", self.addr, offset, size, "read")
        packet = self.packet
        if field.name in ("data", "data_end", "data_meta") and size == 4:
            position: int = getattr(packet, field.name)
            return packet.base + position
        if field.name == "len":
            return len(packet) >> 8 * (offset - field.offset) & ((1 << 8 * size) - 1)
        return int.from_bytes(self._buf[offset : offset + size], "little")

    def store(self, offset: int, size: int, value: int) -> None:
        field = _BY_BYTE.get(offset)
        whole = field is not None and (field.name == "cb" or size == field.size)
        if field is None or not field.writable or not whole or offset + size > field.offset + field.size:
            raise _bad_access("__sk_buff", self.addr, offset, size, "write")
        self._buf[offset : offset + size] = value.to_bytes(size, "little")
