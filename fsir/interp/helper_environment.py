"""Helpers that ask for the time, a random number, the CPU or the current task.

Time is the machine's clock, which stands still while a program runs unless its owner moves it. A task is
running as it would be in a test run by root; there is only one.
"""

from fsir.interp.environment import CLOCK_OF, CLOCKS, RANDOM, clock_words
from fsir.interp.helper_base import M32, Call, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import EINVAL, ENOENT

_COMM = b"fs-run"


@helper("ktime_get_ns", word=True)
def ktime_get_ns(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.clock_ns


def _clock(helper_name: str) -> Call:
    number = CLOCKS.index(CLOCK_OF[helper_name])

    def read(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        return clock_words(machine.clock_ns)[number]

    return read


for _name in CLOCK_OF.keys() - {"ktime_get_ns"}:
    helper(_name, word=True)(_clock(_name))


@helper(RANDOM, word=True)
def get_prandom_u32(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.prandom.next()


@helper("get_smp_processor_id", word=True)
def get_smp_processor_id(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.cpu


@helper("get_numa_node_id", word=True)
def get_numa_node_id(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("get_current_pid_tgid", word=True)
def get_current_pid_tgid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 1 << 32 | 1


@helper("get_current_uid_gid", word=True)
def get_current_uid_gid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("get_current_comm")
def get_current_comm(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    size = r2 & M32
    machine.memory.write_bytes(r1, _COMM[: size - 1].ljust(size, b"\0"))
    return 0


@helper("get_current_cgroup_id", word=True)
def get_current_cgroup_id(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 1


@helper("get_current_ancestor_cgroup_id", word=True)
def get_current_ancestor_cgroup_id(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 1 if r1 & M32 == 0 else 0


@helper("get_ns_current_pid_tgid")
def get_ns_current_pid_tgid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """No namespace has the device and inode asked for."""
    size = r4 & M32
    machine.memory.write_bytes(r3, bytes(size))
    return -EINVAL if size != 8 else -ENOENT


@helper("send_signal")
def send_signal(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return -EINVAL if r1 & M32 > 64 else 0
