"""Kernel functions that need little: critical sections, counting loops, what a device knows of a packet."""

from fsir.interp.helper_base import s32
from fsir.interp.kfunc_base import kfunc
from fsir.interp.machine import Machine
from fsir.interp.map_base import E2BIG, EINVAL, EOPNOTSUPP

_MAX_LOOPS = 8 * 1024 * 1024
M32 = 0xFFFFFFFF


def _nothing(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """There is one thread, which nothing interrupts."""
    return 0


for _name in ("rcu_read_lock", "rcu_read_unlock", "preempt_disable", "preempt_enable"):
    kfunc(f"bpf_{_name}")(_nothing)


def _unknown(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """A test run has no device that would know."""
    return -EOPNOTSUPP


for _name in ("timestamp", "hash", "vlan_tag"):
    kfunc(f"bpf_xdp_metadata_rx_{_name}")(_unknown)


# struct bpf_iter_num: the current number and the end, 32 bits each


def _set_range(machine: Machine, addr: int, current: int, end: int) -> None:
    machine.memory.store32(addr, current & M32)
    machine.memory.store32(addr + 4, end & M32)


@kfunc("bpf_iter_num_new")
def iter_num_new(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    start, end = s32(r2), s32(r3)
    if start > end or end - start > _MAX_LOOPS:
        _set_range(machine, r1, 0, 0)
        return -EINVAL if start > end else -E2BIG
    _set_range(machine, r1, start - 1, end)
    return 0


@kfunc("bpf_iter_num_next")
def iter_num_next(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    following, end = s32(machine.memory.load32(r1) + 1), s32(machine.memory.load32(r1 + 4))
    if following >= end:
        _set_range(machine, r1, 0, 0)
        return 0
    machine.memory.store32(r1, following & M32)
    return r1


@kfunc("bpf_iter_num_destroy")
def iter_num_destroy(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    _set_range(machine, r1, 0, 0)
    return 0
