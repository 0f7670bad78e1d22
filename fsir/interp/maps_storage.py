"""Storage that hangs on another object: on a cgroup, a socket, a task, an inode.

The machine has one of each such object at most; an object is known by its address.
"""

from collections.abc import Iterator

from fsir.interp.map_base import EINVAL, ENOENT, Map, MapError, MapSpec, Value
from fsir.interp.memory import Memory, Region


class CgroupStorageMap(Map):
    """BPF_MAP_TYPE_CGROUP_STORAGE: the value for the one cgroup the program is attached to."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        copies = ncpu if self.per_cpu else 1
        self._regions = [memory.alloc(self.value_size, f"{self.name} value") for _ in range(copies)]

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.max_entries:
            raise MapError(f"map {spec.name}: max_entries of a {spec.type_name} must be 0")
        if spec.value_size == 0:
            raise MapError(f"map {spec.name}: value_size is 0")
        return spec

    def local_storage(self, cpu: int) -> int:
        """The address that bpf_get_local_storage gives."""
        return self._regions[cpu if self.per_cpu else 0].base


class PerCpuCgroupStorageMap(CgroupStorageMap):
    """BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE."""

    per_cpu = True


class ObjectStorageMap(Map):
    """BPF_MAP_TYPE_{SK,INODE,TASK,CGRP}_STORAGE: a value per object, made on demand."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._values: dict[int, Region] = {}

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.max_entries or spec.value_size == 0:
            raise MapError(f"map {spec.name}: a {spec.type_name} has max_entries 0 and a value_size above 0")
        return spec

    def storage_of(self, owner: int, initial: bytes | None, create: bool) -> int:
        """The address of the value of the object at `owner`; made from `initial` or zeros if `create`."""
        region = self._values.get(owner)
        if region is None and create and owner:
            region = self.memory.alloc(self.value_size, f"{self.name} value")
            if initial is not None:
                self.copy_in(region.buf, 0, initial)
            self._values[owner] = region
        return region.base if region is not None else 0

    def delete_of(self, owner: int) -> int:
        """Drop the value of an object."""
        region = self._values.pop(owner, None)
        if region is None:
            return -ENOENT if owner else -EINVAL
        self.memory.retire(region)
        return 0

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """The values, with empty keys: an object has no name outside the machine."""
        for region in self._values.values():
            yield b"", self.copy_out(region.base)
