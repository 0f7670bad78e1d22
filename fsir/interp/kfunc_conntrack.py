"""Looking up tracked connections. There are none, as in a network namespace of its own, so what is left are the errors.

Making connections (`bpf_xdp_ct_alloc` and what follows it) is not interpreted.
"""

from struct import Struct

from fsir.interp.helper_base import M32
from fsir.interp.kfunc_base import kfunc
from fsir.interp.machine import Machine
from fsir.interp.map_base import EINVAL, ENOENT, EPROTO

ENONET, EAFNOSUPPORT = 64, 97
_OPTIONS = Struct("<iiBBH")  # struct bpf_ct_opts: namespace, error, protocol, direction, zone, and in 16 bytes:
_LONG, _SHORT = 16, 12  # zone direction, three reserved
_ERROR = 4
_TUPLE_SIZES = (12, 36)  # of struct bpf_sock_tuple, IPv4 and IPv6
_TCP, _UDP = 6, 17
_CURRENT_NAMESPACE = -1


def _error(options: bytes, tuple_size: int) -> int:
    namespace, _, protocol, _, zone = _OPTIONS.unpack_from(options)
    if len(options) not in (_SHORT, _LONG) or any(options[13:]) or (len(options) == _SHORT and zone):
        return -EINVAL
    if protocol not in (_TCP, _UDP):
        return -EPROTO
    if namespace < _CURRENT_NAMESPACE:
        return -EINVAL
    if tuple_size not in _TUPLE_SIZES:
        return -EAFNOSUPPORT
    return -ENONET if namespace >= 0 else -ENOENT


@kfunc("bpf_xdp_ct_lookup")
@kfunc("bpf_skb_ct_lookup")
def ct_lookup(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    options = machine.memory.read_bytes(r4, r5 & M32)
    machine.memory.store32(r4 + _ERROR, _error(options, r3 & M32) & M32)
    return 0
