"""SYN cookies without a socket: bpf_tcp_raw_{gen,check}_syncookie_ipv{4,6}.

The kernel's cookies are keyed by a secret; these by the machine's seed. They carry the MSS in the same coarse
steps, and only a check by the same machine accepts them.
"""

import hashlib

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import EINVAL

EACCES = 13
_TCP_HEADER = 20
_MSS_V4, _MSS_V6 = (536, 1300, 1440, 1460), (1220, 1420, 1440, 8940)
_OPT_END, _OPT_NOP, _OPT_MSS = 0, 1, 2


def _cookie(machine: Machine, addresses: bytes, ports: bytes, sequence: int, step: int) -> int:
    content = addresses + ports + sequence.to_bytes(4, "big")
    digest = hashlib.blake2s(content, key=machine.seed.to_bytes(32, "big")).digest()
    return int.from_bytes(digest[:4], "big") & ~3 | step


def _mss_option(header: bytes) -> int:
    """The MSS that a TCP header announces, or 0."""
    offset = _TCP_HEADER
    while offset < len(header):
        kind = header[offset]
        if kind == _OPT_END:
            return 0
        if kind == _OPT_NOP:
            offset += 1
            continue
        if offset + 1 >= len(header):
            return 0
        size = header[offset + 1]
        if size < 2 or offset + size > len(header):
            return 0
        if kind == _OPT_MSS and size == 4:
            return int.from_bytes(header[offset + 2 : offset + 4], "big")
        offset += size
    return 0


def _generate(machine: Machine, addresses: bytes, tcp: int, size: int, steps: tuple[int, ...]) -> int:
    if size < _TCP_HEADER:
        return -EINVAL
    header = machine.memory.read_bytes(tcp, size)
    if size != (header[12] >> 4) * 4:
        return -EINVAL
    mss = _mss_option(header) or steps[0]
    step = max((index for index, value in enumerate(steps) if value <= mss), default=0)
    sequence = int.from_bytes(header[4:8], "big")
    return _cookie(machine, addresses, header[:4], sequence, step) | steps[step] << 32


def _check(machine: Machine, addresses: bytes, tcp: int) -> int:
    header = machine.memory.read_bytes(tcp, _TCP_HEADER)
    sequence = int.from_bytes(header[4:8], "big") - 1 & M32
    cookie = int.from_bytes(header[8:12], "big") - 1 & M32
    return 0 if cookie == _cookie(machine, addresses, header[:4], sequence, cookie & 3) else -EACCES


@helper("tcp_raw_gen_syncookie_ipv4")
def gen_syncookie_ipv4(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _generate(machine, machine.memory.read_bytes(r1 + 12, 8), r2, r3 & M32, _MSS_V4)


@helper("tcp_raw_gen_syncookie_ipv6")
def gen_syncookie_ipv6(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _generate(machine, machine.memory.read_bytes(r1 + 8, 32), r2, r3 & M32, _MSS_V6)


@helper("tcp_raw_check_syncookie_ipv4")
def check_syncookie_ipv4(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _check(machine, machine.memory.read_bytes(r1 + 12, 8), r2)


@helper("tcp_raw_check_syncookie_ipv6")
def check_syncookie_ipv6(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _check(machine, machine.memory.read_bytes(r1 + 8, 32), r2)
