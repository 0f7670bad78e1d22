"""Helpers that call a subprogram of the caller."""

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import E2BIG, EINVAL

MAX_LOOPS = 8 * 1024 * 1024


@helper("loop")
def loop(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    count = r1 & M32
    if r4:
        return -EINVAL
    if count > MAX_LOOPS:
        return -E2BIG
    for index in range(count):
        if machine.call_function(r2, index, r3):
            return index + 1
    return count


@helper("for_each_map_elem")
def for_each_map_elem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if r4:
        return -EINVAL
    target = machine.map_at(r1)
    key_region = machine.memory.alloc(target.key_size, f"key of {target.name}", writable=False)
    visited = 0
    for key, value_addr in target.for_each(machine.cpu):
        key_region.buf[:] = key
        visited += 1
        if machine.call_function(r2, r1, key_region.base, value_addr, r3):
            break
    machine.memory.free(key_region)
    return visited
