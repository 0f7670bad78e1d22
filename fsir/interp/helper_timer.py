"""Timers in map values. They fire between packets: `fire_timers` runs the callbacks that are due."""

from fsir.interp.helper_base import helper
from fsir.interp.machine import Machine, Timer
from fsir.interp.map_base import EBUSY, EINVAL

_CLOCKS = (0, 1, 7)
_ABSOLUTE, _PINNED = 1, 2


@helper("timer_init")
def timer_init(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if r3 not in _CLOCKS:
        return -EINVAL
    if r1 in machine.timers:
        return -EBUSY
    machine.memory.store64(r1, 1)
    machine.timers[r1] = Timer(r2)
    return 0


@helper("timer_set_callback")
def timer_set_callback(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    timer = machine.timers.get(r1)
    if timer is None:
        return -EINVAL
    timer.callback = r2
    return 0


@helper("timer_start")
def timer_start(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    timer = machine.timers.get(r1)
    if r3 & ~(_ABSOLUTE | _PINNED) or timer is None or timer.callback is None:
        return -EINVAL
    timer.expires_ns = r2 if r3 & _ABSOLUTE else machine.clock_ns + r2
    return 0


@helper("timer_cancel")
def timer_cancel(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    timer = machine.timers.get(r1)
    if timer is None:
        return -EINVAL
    was_running, timer.expires_ns = timer.expires_ns is not None, None
    return int(was_running)


def fire_timers(machine: Machine) -> int:
    """Run what is due by the machine's clock, earliest first; returns how many callbacks ran.

    A timer whose element is gone is forgotten, as the kernel cancels it with the element.
    """
    fired = 0
    while True:
        due = [
            (timer.expires_ns, addr)
            for addr, timer in machine.timers.items()
            if timer.expires_ns is not None and timer.expires_ns <= machine.clock_ns
        ]
        if not due:
            return fired
        addr = min(due)[1]
        timer = machine.timers[addr]
        timer.expires_ns = None
        element = _element_of(machine, timer, addr)
        if element is None:
            del machine.timers[addr]
            continue
        key, value_addr = element
        region = machine.memory.alloc(len(key), "key of a timer's element", writable=False, data=key)
        assert timer.callback is not None
        machine.call_function(timer.callback, timer.map_addr, region.base, value_addr)
        machine.memory.free(region)
        fired += 1


def _element_of(machine: Machine, timer: Timer, addr: int) -> tuple[bytes, int] | None:
    owner = machine.map_at(timer.map_addr)
    for key, value_addr in owner.for_each(machine.cpu):
        if value_addr <= addr < value_addr + owner.value_size:
            return key, value_addr
    return None
