"""Helpers that change the length of a socket buffer, or move its headers."""

from fsir.interp.context import ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, VLAN_HLEN, VLAN_TYPES, skb_protocol
from fsir.interp.helper_base import M32, helper, s32
from fsir.interp.helper_checksum import ENOTSUPP
from fsir.interp.machine import Machine
from fsir.interp.map_base import EFAULT, EINVAL, ENOMEM
from fsir.interp.packet_buffer import ETH_HLEN

EALREADY = 114
_MAX_LENGTH = 16384 - 320
_ADDRESSES = 12
_IP_HEADERS = {ETH_P_IP: 20, ETH_P_IPV6: 40}


def _insert(machine: Machine, offset: int, content: bytes) -> int:
    """Room in the packet; the transport header stays where its bytes are."""
    error = machine.packet.insert(offset, content)
    if not error and machine.skb.transport_offset is not None:
        machine.skb.transport_offset += len(content)
    return error


def _remove(machine: Machine, offset: int, size: int) -> int:
    error = machine.packet.remove(offset, size)
    if not error and machine.skb.transport_offset is not None:
        machine.skb.transport_offset -= size
    return error


@helper("skb_change_tail")
def skb_change_tail(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    length, skb = r2 & M32, machine.skb
    shortest = skb.network_offset
    if skb.transport_offset is not None and skb.transport_offset > 0:
        shortest = skb.transport_offset
    if r3 or length > _MAX_LENGTH or length < shortest:
        return -EINVAL
    if skb.encapsulation:
        return -ENOTSUPP
    return machine.packet.resize(length)


@helper("skb_change_head")
def skb_change_head(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    room = r2 & M32
    if r3 or len(machine.packet) + room > _MAX_LENGTH:
        return -EINVAL
    error = _insert(machine, 0, bytes(room))
    if not error:
        machine.skb.network_offset += room
        machine.skb.mac_length = machine.skb.network_offset
    return error


@helper("skb_change_proto")
def skb_change_proto(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Makes or takes room for the longer IPv6 header; the program fills in the headers."""
    skb, target = machine.skb, r2 & 0xFFFF
    if r3:
        return -EINVAL
    change = (skb.get("protocol"), target)
    if change == (ETH_P_IP, ETH_P_IPV6):
        error = _insert(machine, skb.network_offset, bytes(20))
    elif change == (ETH_P_IPV6, ETH_P_IP):
        error = _remove(machine, skb.network_offset, 20)
    else:
        return -ENOTSUPP
    if not error:
        skb.set("protocol", target)
        skb.set("hash", 0)
    return error


(
    _FIXED_GSO,
    _ENCAP_IPV4,
    _ENCAP_IPV6,
    _ENCAP_GRE,
    _ENCAP_UDP,
    _NO_CSUM_RESET,
    _ENCAP_ETH,
    _DECAP_IPV4,
    _DECAP_IPV6,
) = (1 << bit for bit in range(9))
_ENCAP_L3 = _ENCAP_IPV4 | _ENCAP_IPV6
_ENCAP_L4 = _ENCAP_GRE | _ENCAP_UDP
_DECAP_L3 = _DECAP_IPV4 | _DECAP_IPV6
_L2_SHIFT = 56
_ROOM_FLAGS = (1 << 7) - 1 | 0xFF << _L2_SHIFT
_DECAP_SINCE = (6, 2)
_ROOM_NET, _ROOM_MAC = 0, 1


@helper("skb_adjust_room")
def skb_adjust_room(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Room is made or taken behind the IP header (mode NET) or the MAC header (mode MAC)."""
    skb, packet, delta, mode = machine.skb, machine.packet, s32(r2), r3 & M32
    protocol = skb.get("protocol")
    if r4 & ~(_ROOM_FLAGS | (_DECAP_L3 if machine.kernel >= _DECAP_SINCE else 0)):
        return -EINVAL
    if abs(delta) > 0xFFF:
        return -EFAULT
    if protocol not in _IP_HEADERS or mode not in (_ROOM_NET, _ROOM_MAC):
        return -ENOTSUPP
    offset = skb.network_offset + (_IP_HEADERS[protocol] if mode == _ROOM_NET else 0)
    shortest = _IP_HEADERS[protocol]
    if r4 & _DECAP_L3:
        if delta >= 0 or r4 & _DECAP_L3 == _DECAP_L3:
            return -EINVAL
        shortest = _IP_HEADERS[ETH_P_IP if r4 & _DECAP_IPV4 else ETH_P_IPV6]
    payload = len(packet) - skb.network_offset
    if delta < 0 and (-delta >= payload or payload + delta < shortest):
        return -ENOTSUPP
    if delta >= 0 and len(packet) + delta > _MAX_LENGTH:
        return -ENOTSUPP
    error = _shrink(machine, offset, -delta, r4) if delta < 0 else _grow(machine, offset, delta, r4)
    if not error and not r4 & _NO_CSUM_RESET:
        skb.csum_level = None
    return error


def _shrink(machine: Machine, offset: int, size: int, flags: int) -> int:
    if flags & ~(_FIXED_GSO | _DECAP_L3 | _NO_CSUM_RESET):
        return -EINVAL
    error = _remove(machine, offset, size)
    if not error and flags & _DECAP_L3:
        machine.skb.set("protocol", ETH_P_IP if flags & _DECAP_IPV4 else ETH_P_IPV6)
    return error


def _grow(machine: Machine, offset: int, size: int, flags: int) -> int:
    skb = machine.skb
    if flags & _ENCAP_L3:
        inner_mac = flags >> _L2_SHIFT
        if flags & _ENCAP_L3 == _ENCAP_L3 or flags & _ENCAP_L4 == _ENCAP_L4:
            return -EINVAL
        if flags & _ENCAP_ETH and inner_mac < ETH_HLEN:
            return -EINVAL
        if skb.encapsulation:
            return -EALREADY
        if inner_mac > size:
            return -EINVAL
    error = _insert(machine, offset, bytes(size))
    if not error and flags & _ENCAP_L3:
        skb.encapsulation = True
        if flags & _ENCAP_L4:
            skb.transport_offset = skb.network_offset + (40 if flags & _ENCAP_IPV6 else 20)
        skb.set("protocol", ETH_P_IPV6 if flags & _ENCAP_IPV6 else ETH_P_IP)
    return error


_PUSH_MOVES_NETWORK_HEADER_UNTIL = (6, 12)
"""Since then the network header is where the outer tag is, as after receiving such a frame."""


@helper("skb_vlan_push")
def skb_vlan_push(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The outermost tag is kept beside the packet (vlan_tci, vlan_proto); one that was there moves into it."""
    skb, protocol = machine.skb, r2 & 0xFFFF
    if protocol not in VLAN_TYPES:
        protocol = ETH_P_8021Q
    if skb.get("vlan_present"):
        outer = skb.get("vlan_proto")
        tag = outer.to_bytes(2, "little") + skb.get("vlan_tci").to_bytes(2, "big")
        error = _insert(machine, _ADDRESSES, tag)
        if error:
            return error
        skb.set("protocol", outer)
        if machine.kernel < _PUSH_MOVES_NETWORK_HEADER_UNTIL:
            skb.network_offset += VLAN_HLEN
            skb.mac_length += VLAN_HLEN
    _set_tag(machine, protocol, r3 & 0xFFFF)
    return 0


@helper("skb_vlan_pop")
def skb_vlan_pop(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Drops the outermost tag; the next one, if any, moves out of the packet."""
    skb = machine.skb
    if skb.get("vlan_present"):
        skb.set("vlan_present", 0)
        skb.set("vlan_tci", 0)
        skb.set("vlan_proto", 0)
    elif skb.get("protocol") not in VLAN_TYPES:
        return 0
    else:
        error, _ = _remove_tag(machine)
        if error:
            return error
    protocol = skb.get("protocol")
    if protocol not in VLAN_TYPES:
        return 0
    error, tci = _remove_tag(machine)
    if not error:
        _set_tag(machine, protocol, tci)
    return error


def _set_tag(machine: Machine, protocol: int, tci: int) -> None:
    machine.skb.set("vlan_present", 1)
    machine.skb.set("vlan_proto", protocol)
    machine.skb.set("vlan_tci", tci)


def _remove_tag(machine: Machine) -> tuple[int, int]:
    """Cut the tag out of the packet; the protocol becomes that of what follows."""
    skb, packet = machine.skb, machine.packet
    tag = packet.read(_ADDRESSES + 2, VLAN_HLEN)
    if tag is None:
        return -ENOMEM, 0
    _remove(machine, _ADDRESSES, VLAN_HLEN)
    skb.network_offset = max(skb.network_offset - VLAN_HLEN, ETH_HLEN)
    skb.mac_length = skb.network_offset
    skb.set("protocol", skb_protocol(tag[2:], packet.read(ETH_HLEN, 2) or b""))
    return 0, int.from_bytes(tag[:2], "big")
