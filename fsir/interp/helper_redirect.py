"""Helpers that send the packet elsewhere. The machine records where; nothing leaves it."""

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import HelperError, Machine, Redirect
from fsir.interp.map_base import EINVAL
from fsir.interp.maps_redirect import RedirectMap

XDP_ABORTED, XDP_REDIRECT = 0, 4
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
F_INGRESS = 1
F_BROADCAST, F_EXCLUDE_INGRESS = 1 << 3, 1 << 4
_VERDICT_MASK = 3
_REDIR_NEIGH_SIZE = 20


@helper("redirect", word=True)
def redirect(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if machine.hook == "xdp":
        if r2:
            return XDP_ABORTED
        machine.redirect = Redirect(ifindex=r1 & M32)
        return XDP_REDIRECT
    if r2 & ~F_INGRESS:
        return TC_ACT_SHOT
    machine.redirect = Redirect(ifindex=r1 & M32, flags=r2)
    return TC_ACT_REDIRECT


@helper("redirect_peer", word=True)
def redirect_peer(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if r2:
        return TC_ACT_SHOT
    machine.redirect = Redirect(ifindex=r1 & M32, kind="peer")
    return TC_ACT_REDIRECT


@helper("redirect_neigh", word=True)
def redirect_neigh(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    size = r3 & M32
    if r4 or 0 < size < _REDIR_NEIGH_SIZE:
        return TC_ACT_SHOT
    machine.redirect = Redirect(ifindex=r1 & M32, kind="neighbour")
    return TC_ACT_REDIRECT


@helper("redirect_map", word=True)
def redirect_map(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """A key without an entry gives the verdict in the low bits of the flags, and forgets an earlier redirect."""
    target = machine.map_at(r1)
    if not isinstance(target, RedirectMap):
        raise HelperError(f"redirect_map: map {target.name} is a {target.spec.type_name}")
    key = r2 & M32
    allowed = _VERDICT_MASK | (F_BROADCAST | F_EXCLUDE_INGRESS if target.broadcast else 0)
    if r3 & ~allowed:
        return XDP_ABORTED
    if target.target(key) is None and not r3 & F_BROADCAST:
        machine.redirect = None
        return r3 & _VERDICT_MASK
    flags = r3 & (F_BROADCAST | F_EXCLUDE_INGRESS)
    machine.redirect = Redirect(map_name=target.name, key=None if flags & F_BROADCAST else key, flags=flags)
    return XDP_REDIRECT


@helper("clone_redirect")
def clone_redirect(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Every interface exists, unless the machine's interfaces are declared."""
    if r3 & ~F_INGRESS:
        return -EINVAL
    ifindex = r2 & M32
    interfaces = machine.fib.interfaces
    if ifindex == 0 or (interfaces and ifindex not in interfaces):
        return -EINVAL
    machine.clones.append((ifindex, r3, machine.packet.packet))
    return 0
