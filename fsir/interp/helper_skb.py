"""Helpers that read and write the bytes and marks of a socket buffer; `helper_skb_layout.py` changes its shape.

The packet is linear and not shared, starts at the MAC header, and its IP header follows 14 bytes later, as it
is for a TC program on an Ethernet device and in a test run.
"""

from fsir.interp.context import ETH_P_IP, ETH_P_IPV6, VLAN_HLEN, VLAN_TYPES
from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import E2BIG, EAGAIN, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP
from fsir.interp.packet_buffer import ETH_HLEN

_INT_MAX = 0x7FFFFFFF
_RECOMPUTE_CSUM, _INVALIDATE_HASH = 1, 2
_HDR_START_MAC, _HDR_START_NET = 0, 1


@helper("skb_store_bytes")
def skb_store_bytes(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    offset, size = r2 & M32, r4 & M32
    if r5 & ~(_RECOMPUTE_CSUM | _INVALIDATE_HASH):
        return -EINVAL
    if offset > _INT_MAX or not machine.packet.write(offset, machine.memory.read_bytes(r3, size)):
        return -EFAULT
    if r5 & _INVALIDATE_HASH:
        machine.skb.set("hash", 0)
    return 0


@helper("skb_load_bytes")
def skb_load_bytes(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """On failure the destination is zeroed."""
    return _load(machine, r2 & M32, r3, r4 & M32)


@helper("skb_load_bytes_relative")
def skb_load_bytes_relative(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    offset, size, start = r2 & M32, r4 & M32, r5 & M32
    if offset > 0xFFFF or start not in (_HDR_START_MAC, _HDR_START_NET):
        machine.memory.write_bytes(r3, bytes(size))
        return -EFAULT
    return _load(machine, offset + (machine.skb.network_offset if start == _HDR_START_NET else 0), r3, size)


def _load(machine: Machine, offset: int, destination: int, size: int) -> int:
    content = machine.packet.read(offset, size) if offset <= _INT_MAX else None
    machine.memory.write_bytes(destination, bytes(size) if content is None else content)
    return -EFAULT if content is None else 0


@helper("skb_pull_data")
def skb_pull_data(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0 if r2 & M32 <= len(machine.packet) else -ENOMEM


@helper("get_hash_recalc", word=True)
def get_hash_recalc(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The kernel's hash of a flow has a random key; here it is 0 unless the program sets it."""
    return machine.skb.get("hash")


@helper("set_hash_invalid", word=True)
def set_hash_invalid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    machine.skb.set("hash", 0)
    return 0


@helper("set_hash", word=True)
def set_hash(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    machine.skb.set("hash", r2 & M32)
    return 0


_OTHERHOST = 3


@helper("skb_change_type")
def skb_change_type(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    wanted = r2 & M32
    if machine.skb.get("pkt_type") > _OTHERHOST or wanted > _OTHERHOST:
        return -EINVAL
    machine.skb.set("pkt_type", wanted)
    return 0


_CLOCK_REALTIME, _CLOCK_MONOTONIC, _CLOCK_TAI = range(3)
_REALTIME_SINCE = (6, 11)


@helper("skb_set_tstamp")
def skb_set_tstamp(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    kind = r3 & M32
    if machine.skb.get("protocol") not in (ETH_P_IP, ETH_P_IPV6):
        return -EOPNOTSUPP
    if machine.kernel < _REALTIME_SINCE:
        wrong = kind > _CLOCK_MONOTONIC or (kind == _CLOCK_MONOTONIC) != bool(r2)
    else:
        wrong = kind > _CLOCK_TAI or (kind != _CLOCK_REALTIME and not r2)
    if wrong:
        return -EINVAL
    machine.skb.set("tstamp", r2)
    machine.skb.set("tstamp_type", kind)
    return 0


@helper("get_route_realm", word=True)
def get_route_realm(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("get_cgroup_classid", word=True)
def get_cgroup_classid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("skb_cgroup_classid", word=True)
def skb_cgroup_classid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


_NOT_ECT, _ECT_1, _ECT_0, _CE = range(4)
_ECN_CHECKSUM = {_ECT_1: 0xFFFD, _ECT_0: 0xFFFE}
"""What turning each codepoint into CE adds to an IPv4 header checksum."""


@helper("skb_ecn_set_ce", word=True)
def skb_ecn_set_ce(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """1 if the packet carries "congestion experienced" now, else 0."""
    packet, offset = machine.packet, machine.skb.network_offset
    protocol = _protocol_behind_vlans(machine)
    if protocol == ETH_P_IP and (header := packet.read(offset, 20)) is not None:
        ecn = header[1] & 3
        if ecn in _ECN_CHECKSUM:
            checksum = int.from_bytes(header[10:12], "big") + _ECN_CHECKSUM[ecn]
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
            packet.write(offset + 1, bytes([header[1] | _CE]))
            packet.write(offset + 10, checksum.to_bytes(2, "big"))
        return int(ecn != _NOT_ECT)
    if protocol == ETH_P_IPV6 and (header := packet.read(offset, 40)) is not None:
        ecn = header[1] >> 4 & 3
        if ecn != _NOT_ECT:
            packet.write(offset + 1, bytes([header[1] | _CE << 4]))
        return int(ecn != _NOT_ECT)
    return 0


_MAX_VLANS = 7


def _protocol_behind_vlans(machine: Machine) -> int:
    """The kernel's vlan_get_protocol; 0 where tags are cut off or too many."""
    skb, packet = machine.skb, machine.packet
    protocol = skb.get("protocol")
    offset = skb.mac_length - VLAN_HLEN if skb.mac_length else ETH_HLEN
    for _ in range(_MAX_VLANS + 1):
        if protocol not in VLAN_TYPES:
            return protocol
        tag = packet.read(offset, VLAN_HLEN)
        if tag is None:
            return 0
        protocol = int.from_bytes(tag[2:], "little")
        offset += VLAN_HLEN
    return 0


# Control groups: everything is in the root group.

_ROOT_GROUP = 1


@helper("skb_cgroup_id", word=True)
def skb_cgroup_id(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _ROOT_GROUP


@helper("skb_ancestor_cgroup_id", word=True)
def skb_ancestor_cgroup_id(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _ROOT_GROUP if r2 & M32 == 0 else 0


@helper("skb_under_cgroup")
def skb_under_cgroup(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Groups cannot be stored in a map here, so each of its entries is empty."""
    return -E2BIG if r3 & M32 >= machine.map_at(r2).max_entries else -EAGAIN
