"""Helpers on kernel objects: the current task, and storage that hangs on objects."""

from fsir.interp.helper_base import helper
from fsir.interp.machine import HelperError, Machine
from fsir.interp.map_base import EINVAL
from fsir.interp.maps_storage import ObjectStorageMap

_CREATE = 1


@helper("get_current_task", word=True)
def get_current_task(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.task_addr


@helper("get_current_task_btf", word=True)
def get_current_task_btf(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.task_addr


def _storage(machine: Machine, addr: int) -> ObjectStorageMap:
    target = machine.map_at(addr)
    if not isinstance(target, ObjectStorageMap):
        raise HelperError(f"map {target.name} is not storage of an object")
    return target


def _get(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    target = _storage(machine, r1)
    if r4 > _CREATE:
        return 0
    initial = machine.memory.read_bytes(r3, target.value_size) if r3 else None
    return target.storage_of(r2, initial, r4 == _CREATE)


def _delete(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _storage(machine, r1).delete_of(r2) if r2 else -EINVAL


for _kind in ("sk", "inode", "task", "cgrp"):
    helper(f"{_kind}_storage_get", word=True)(_get)
    helper(f"{_kind}_storage_delete")(_delete)
