"""Helpers on a socket buffer's tunnel metadata: with what it came out of a tunnel, or shall go into one.

Packets arrive without. What a program sets it can read again, addresses exchanged: `set` takes the far end as the
destination, `get` gives the far end as the source, as of a packet that arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import EINVAL, ENOENT, ENOMEM, EPROTO

# struct bpf_tunnel_key: id, far address (16), tos, ttl, ext or flags (u16), label, near address (16)
_KEY_SIZE = 44
_OLD_SIZES = (8, 22, 24, 28)
"""Where earlier forms of the structure ended: behind the IPv4 address, before `ext`, the label, the near address."""
_FAR, _TOS, _TTL, _EXT, _LABEL, _NEAR = 4, 20, 21, 22, 24, 28
_LABEL_MASK = 0xFFFFF

_IPV6, _ZERO_CSUM, _DONT_FRAGMENT, _SEQUENCE, _NO_KEY, _WITH_FLAGS = 1, 2, 4, 8, 16, 16
_SET_FLAGS = _IPV6 | _ZERO_CSUM | _DONT_FRAGMENT | _SEQUENCE | _NO_KEY
_GET_FLAGS = _IPV6 | _WITH_FLAGS

# include/uapi/linux/if_tunnel.h, as big-endian numbers
_TUN_CSUM, _TUN_KEY, _TUN_SEQ, _TUN_DONT_FRAGMENT, _TUN_NOCACHE = 0x1, 0x4, 0x8, 0x100, 0x2000
_TUN_OPTIONS = 0x800 | 0x1000 | 0x4000 | 0x8000  # of Geneve, VXLAN, ERSPAN, GTP
_OPTIONS_MAX = 255


@dataclass
class Tunnel:
    """Tunnel metadata as a program set it (struct ip_tunnel_info); `key` as the program reads it."""

    key: bytes
    ipv6: bool
    flags: int
    options: bytes | None = None


@helper("skb_set_tunnel_key")
def skb_set_tunnel_key(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    size = r3 & M32
    if r4 & ~_SET_FLAGS or size not in (*_OLD_SIZES, _KEY_SIZE):
        return -EINVAL
    key = machine.memory.read_bytes(r2, size).ljust(_KEY_SIZE, b"\0")
    ipv6 = bool(r4 & _IPV6)
    if any(key[_EXT:_LABEL]) or (not ipv6 and any(key[_LABEL:_NEAR])):
        return -EINVAL
    flags = _TUN_NOCACHE | (_TUN_DONT_FRAGMENT if r4 & _DONT_FRAGMENT else 0) | (_TUN_SEQ if r4 & _SEQUENCE else 0)
    flags |= (0 if r4 & _ZERO_CSUM else _TUN_CSUM) | (0 if r4 & _NO_KEY else _TUN_KEY)
    exchanged = key[:_FAR] + key[_NEAR:] + key[_TOS:_NEAR] + key[_FAR:_TOS]
    machine.skb.tunnel = Tunnel(exchanged, ipv6, flags)
    return 0


@helper("skb_get_tunnel_key")
def skb_get_tunnel_key(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """On failure the destination is zeroed."""
    size, tunnel = r3 & M32, machine.skb.tunnel
    error, key = _get_key(tunnel, size, r4)
    machine.memory.write_bytes(r2, key[:size])
    return error


def _get_key(tunnel: Tunnel | None, size: int, flags: int) -> tuple[int, bytes]:
    nothing = bytes(size)
    if tunnel is None or flags & ~_GET_FLAGS:
        return -EINVAL, nothing
    if tunnel.ipv6 != bool(flags & _IPV6):
        return -EPROTO, nothing
    if size not in (*_OLD_SIZES, _KEY_SIZE) or (size == _OLD_SIZES[0] and tunnel.ipv6):
        return -EINVAL, nothing
    key = bytearray(tunnel.key)
    if flags & _WITH_FLAGS:
        key[_EXT:_LABEL] = tunnel.flags.to_bytes(2, "big")
    if tunnel.ipv6:
        label = int.from_bytes(key[_LABEL:_NEAR], "little") & _LABEL_MASK
        key[_LABEL:_NEAR] = label.to_bytes(4, "little")
    else:
        key[_FAR + 4 : _TOS] = bytes(12)
        key[_NEAR + 4 :] = bytes(12)
    return 0, bytes(key)


@helper("skb_set_tunnel_opt")
def skb_set_tunnel_opt(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    size, tunnel = r3 & M32, machine.skb.tunnel
    if tunnel is None or size & 3:
        return -EINVAL
    if size > _OPTIONS_MAX:
        return -ENOMEM
    tunnel.options = machine.memory.read_bytes(r2, size)
    tunnel.flags |= _TUN_OPTIONS
    return 0


@helper("skb_get_tunnel_opt")
def skb_get_tunnel_opt(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """On failure the destination is zeroed."""
    size, tunnel = r3 & M32, machine.skb.tunnel
    options = tunnel.options if tunnel is not None else None
    fits = options is not None and size >= len(options)
    machine.memory.write_bytes(r2, options.ljust(size, b"\0") if options is not None and fits else bytes(size))
    if options is None:
        return -ENOENT
    return len(options) if fits else -ENOMEM


@helper("skb_get_xfrm_state")
def skb_get_xfrm_state(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """No packet came through IPsec."""
    machine.memory.write_bytes(r3, bytes(r4 & M32))
    return -EINVAL
