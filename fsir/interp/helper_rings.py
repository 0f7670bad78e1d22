"""Helpers that send data to user space: ring buffers and perf events."""

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import HelperError, Machine
from fsir.interp.map_base import EFAULT, EINVAL
from fsir.interp.maps_handles import PerfEventArrayMap
from fsir.interp.maps_ringbuf import RingBufMap


def ring_at(machine: Machine, addr: int) -> RingBufMap:
    """The ring buffer at an address."""
    target = machine.map_at(addr)
    if not isinstance(target, RingBufMap):
        raise HelperError(f"map {target.name} is not a ringbuf")
    return target


@helper("ringbuf_output")
def ringbuf_output(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return ring_at(machine, r1).output(machine.memory.read_bytes(r2, r3), r4)


@helper("ringbuf_reserve", word=True)
def ringbuf_reserve(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return ring_at(machine, r1).reserve(r2, r3)


@helper("ringbuf_submit", word=True)
def ringbuf_submit(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return commit_reservation(machine, r1, discard=False)


@helper("ringbuf_discard", word=True)
def ringbuf_discard(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return commit_reservation(machine, r1, discard=True)


def commit_reservation(machine: Machine, addr: int, *, discard: bool) -> int:
    """Submit or discard the reservation at an address."""
    region = machine.memory.region_at(addr)
    if region is None or not isinstance(region.owner, RingBufMap) or not region.owner.commit(addr, discard):
        raise HelperError(f"{machine.memory.describe(addr)} is not an open ring buffer reservation")
    return 0


@helper("ringbuf_query", word=True)
def ringbuf_query(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return ring_at(machine, r1).query(r2)


_INDEX_MASK = M32
_CURRENT_CPU = M32
_CONTEXT_MASK = 0xFFFFF << 32


@helper("perf_event_output")
def perf_event_output(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The record is the program's data, then as much of the packet as the flags ask for."""
    target = machine.map_at(r2)
    if not isinstance(target, PerfEventArrayMap):
        raise HelperError(f"map {target.name} is not a perf_event_array")
    if r3 & ~(_INDEX_MASK | _CONTEXT_MASK):
        return -EINVAL
    captured = machine.packet.read(0, (r3 & _CONTEXT_MASK) >> 32)
    if captured is None:
        return -EFAULT
    index = r3 & _INDEX_MASK
    if index == _CURRENT_CPU:
        index = machine.cpu
    return target.output(index, machine.cpu, machine.memory.read_bytes(r4, r5) + captured)
