"""Helpers on maps: elements, queues, locks."""

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import HelperError, Machine
from fsir.interp.map_base import EOPNOTSUPP, Map
from fsir.interp.maps_bloom import BloomFilterMap
from fsir.interp.maps_queue import QueueMap
from fsir.interp.maps_storage import CgroupStorageMap


@helper("map_lookup_elem", word=True)
def map_lookup_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = machine.map_at(r1)
    return target.lookup(machine.memory.read_bytes(r2, target.key_size), machine.cpu)


@helper("map_lookup_percpu_elem", word=True)
def map_lookup_percpu_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = machine.map_at(r1)
    return target.lookup_percpu(machine.memory.read_bytes(r2, target.key_size), r3 & M32)


@helper("map_update_elem")
def map_update_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = machine.map_at(r1)
    key = machine.memory.read_bytes(r2, target.key_size)
    value = machine.memory.read_bytes(r3, target.value_size)
    return target.update(key, value, r4, machine.cpu)


@helper("map_delete_elem")
def map_delete_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = machine.map_at(r1)
    return target.delete(machine.memory.read_bytes(r2, target.key_size))


@helper("map_push_elem")
def map_push_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = machine.map_at(r1)
    return target.push(machine.memory.read_bytes(r2, target.value_size), r3)


@helper("map_pop_elem")
def map_pop_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _take(machine, r1, r2, remove=True)


@helper("map_peek_elem")
def map_peek_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _take(machine, r1, r2, remove=False)


def _take(machine: Machine, map_addr: int, value_addr: int, *, remove: bool) -> int:
    target = machine.map_at(map_addr)
    asks = isinstance(target, BloomFilterMap)
    asked = machine.memory.read_bytes(value_addr, target.value_size) if asks else b""
    error, value = take(target, asked, remove)
    if not asks:
        machine.memory.write_bytes(value_addr, value)
    return error


def take(target: Map, value: bytes, remove: bool) -> tuple[int, bytes]:
    """bpf_map_peek_elem, or bpf_map_pop_elem: the result, and what the value is afterwards."""
    if isinstance(target, BloomFilterMap):
        return -EOPNOTSUPP if remove else target.peek(value), value
    if not isinstance(target, QueueMap):
        raise HelperError(f"map {target.name} is neither a queue, a stack nor a bloom filter")
    return target.peek(remove)


@helper("get_local_storage", word=True)
def get_local_storage(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = machine.map_at(r1)
    if not isinstance(target, CgroupStorageMap):
        raise HelperError(f"map {target.name} is not a cgroup_storage")
    return target.local_storage(machine.cpu)


@helper("spin_lock", word=True)
def spin_lock(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if machine.held_lock is not None:
        raise HelperError("spin_lock: another lock is held; one at a time is allowed")
    machine.memory.load32(r1)
    machine.held_lock = r1
    return 0


@helper("spin_unlock", word=True)
def spin_unlock(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if machine.held_lock != r1:
        raise HelperError(f"spin_unlock: the lock at {machine.memory.describe(r1)} is not held")
    machine.held_lock = None
    return 0


@helper("kptr_xchg", word=True)
def kptr_xchg(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    old = machine.memory.load64(r1)
    machine.memory.store64(r1, r2)
    return old
