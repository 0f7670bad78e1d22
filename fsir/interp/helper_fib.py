"""bpf_fib_lookup and bpf_check_mtu, against the routes and interfaces of `machine.fib`."""

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from fsir.interp.fib import Address, Fib, Interface, Route
from fsir.interp.helper_base import M32, helper, s32
from fsir.interp.machine import Machine
from fsir.interp.map_base import EINVAL
from fsir.interp.packet_buffer import ETH_HLEN

ENODEV, EAFNOSUPPORT = 19, 97
_AF_INET, _AF_INET6 = 2, 10
SUCCESS, BLACKHOLE, UNREACHABLE, PROHIBIT, NOT_FWDED, FWD_DISABLED, _, NO_NEIGH, FRAG_NEEDED, NO_SRC_ADDR = range(10)
_DIRECT, _OUTPUT, _SKIP_NEIGH, _TBID, _SRC, _MARK = (1 << bit for bit in range(6))
_SINCE = {_SKIP_NEIGH: (6, 3), _TBID: (6, 5), _SRC: (6, 6), _MARK: (6, 10)}
_METRICS = {4: 0, 6: 1024}
"""Of routes that were made without one."""
_ACTIONS = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT, "local": NOT_FWDED}

_PARAMS = Struct("<BB2s2sHI4s16s16s4s6s6s")
"""`struct bpf_fib_lookup`: family, l4_protocol, sport, dport, tot_len, ifindex, tos, src, dst, vlan, smac, dmac."""


@helper("fib_lookup")
def fib_lookup(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    flags = r4 & M32
    allowed = _DIRECT | _OUTPUT
    for flag, version in _SINCE.items():
        allowed |= flag if machine.kernel >= version else 0
    if s32(r3) < _PARAMS.size or flags & ~allowed:
        return -EINVAL
    params = list(_PARAMS.unpack(machine.memory.read_bytes(r2, _PARAMS.size)))
    if params[0] not in (_AF_INET, _AF_INET6):
        return -EAFNOSUPPORT
    has_length = bool(params[4])
    result = _lookup(machine.fib, params, flags, machine.hook == "xdp" or has_length)
    if result == SUCCESS and machine.hook == "skb" and not has_length:
        mtu = _mtu(machine.fib, None, params[5])
        params[4] = mtu
        if len(machine.packet) > mtu + ETH_HLEN + 4:
            result = FRAG_NEEDED
    machine.memory.write_bytes(r2, _PARAMS.pack(*params))
    return result


def _mtu(fib: Fib, route: Route | None, ifindex: int) -> int:
    if route is not None and route.mtu:
        return route.mtu
    return fib.interfaces.get(ifindex, Interface(ifindex)).mtu


def _address(family: int, field: bytes) -> Address:
    return IPv4Address(field[:4]) if family == _AF_INET else IPv6Address(field)


def _put(address: Address, field: bytes) -> bytes:
    """An IPv4 address takes the first 4 of the 16 bytes and leaves the others."""
    return address.packed + field[len(address.packed) :]


def _never_forwarded(address: Address) -> bool:
    """What the kernel's rt6_need_strict holds for: IPv6 multicast, link-local and loopback."""
    return address.version == 6 and (address.is_multicast or address.is_link_local or address.is_loopback)


def _lookup(fib: Fib, params: list[object], flags: int, check_mtu: bool) -> int:
    family, total, ifindex, source_field, target_field = (params[i] for i in (0, 4, 5, 7, 8))
    assert isinstance(family, int) and isinstance(total, int) and isinstance(ifindex, int)
    assert isinstance(source_field, bytes) and isinstance(target_field, bytes)
    target = _address(family, target_field)
    if _never_forwarded(target) or _never_forwarded(_address(family, source_field)):
        return NOT_FWDED
    if fib.interfaces:
        if ifindex not in fib.interfaces:
            return -ENODEV
        if not fib.interfaces[ifindex].forwarding:
            return FWD_DISABLED
    if flags & _DIRECT and flags & _TBID:
        params[9] = bytes(4)
    route = fib.route(target)
    if route is None:
        return NOT_FWDED
    if route.action != "forward":
        return _ACTIONS[route.action]
    mtu = 0
    if check_mtu:
        mtu = _mtu(fib, route, route.ifindex)
        if total > mtu:
            params[4] = mtu
            return FRAG_NEEDED
    params[5] = route.ifindex
    params[6] = (route.metric or _METRICS[route.prefix.version]).to_bytes(4, "little")
    if flags & _SRC:
        if route.source is None:
            return NO_SRC_ADDR
        params[7] = _put(route.source, source_field)
    next_hop = route.gateway or target
    if route.gateway is not None:
        params[8] = _put(route.gateway, target_field)
        params[0] = _AF_INET if route.gateway.version == 4 else _AF_INET6
    if not flags & _SKIP_NEIGH:
        neighbour = fib.neighbours.get((route.ifindex, next_hop))
        if neighbour is None:
            return NO_NEIGH
        params[10] = fib.interfaces.get(route.ifindex, Interface(route.ifindex)).mac
        params[11] = neighbour
    params[9] = bytes(4)
    if mtu:
        params[4] = mtu
    return SUCCESS


_MTU_FRAG_NEEDED = 1
_MTU_SEGS = 1


@helper("check_mtu")
def check_mtu(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Interface 0 is the one the packet came by, with an MTU of 1500 unless the machine knows better."""
    given = machine.memory.load32(r3)
    allowed = 0 if machine.hook == "xdp" else _MTU_SEGS
    delta = s32(r4)
    if r5 & ~allowed or (r5 & _MTU_SEGS and (delta or given)):
        return -EINVAL
    current = machine.xdp.ingress_ifindex if machine.hook == "xdp" else machine.skb.get("ifindex")
    ifindex = r2 & M32 or current
    if machine.fib.interfaces and ifindex not in machine.fib.interfaces:
        return -ENODEV
    mtu = _mtu(machine.fib, None, ifindex)
    length = (given + ETH_HLEN if given else len(machine.packet)) + delta
    machine.memory.store32(r3, mtu)
    return _MTU_FRAG_NEEDED if length > mtu + ETH_HLEN else 0
