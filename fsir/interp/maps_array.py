"""Arrays: every index below max_entries exists from the start, holds zeros, and is never deleted."""

import re
from collections.abc import Iterator

from fsir.interp.map_base import (
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_F_RDONLY_PROG,
    BPF_NOEXIST,
    E2BIG,
    EEXIST,
    EINVAL,
    Map,
    MapError,
    MapSpec,
    Value,
)
from fsir.interp.memory import Memory, Region


def check_array(spec: MapSpec) -> None:
    """The kernel's demands on the sizes of any array."""
    if spec.key_size != 4:
        raise MapError(f"map {spec.name}: the key of an array has 4 bytes, not {spec.key_size}")
    if spec.value_size == 0:
        raise MapError(f"map {spec.name}: value_size is 0")


_LARGEST = 1 << 32
"""Bytes of all values of a map; offsets in a region have 32 bits."""
_BLOCK = 1 << 16
_NOT_ZERO = re.compile(rb"[^\0]")


class ArrayMap(Map):
    """BPF_MAP_TYPE_ARRAY, mmapable or not, and the maps behind .rodata, .data and .bss.

    All values lie in one buffer, `stride` bytes apart. Each is a region of its own, made when it is first looked up and
    kept for good: what is next to a value is out of bounds.
    """

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        check_array(spec)
        self.stride = (self.value_size + 7) & ~7
        if self.max_entries * self.stride * (ncpu if self.per_cpu else 1) > _LARGEST:
            raise MapError(
                f"map {spec.name}: {self.max_entries} values of {self.stride} bytes are more than the interpreter "
                f"holds; give another size with --map-size {spec.name}=N"
            )
        writable = not self.flags & BPF_F_RDONLY_PROG
        self._regions = [self._alloc_values(cpu, writable) for cpu in range(ncpu if self.per_cpu else 1)]
        self._addresses: list[dict[int, int]] = [{} for _ in self._regions]

    def _alloc_values(self, cpu: int, writable: bool) -> Region:
        name = f"{self.name}[cpu {cpu}]" if self.per_cpu else self.name
        region = self.memory.alloc(self.max_entries * self.stride, name, writable=writable)
        self.memory.set_bounds(region, 0, (self.max_entries - 1) * self.stride + self.value_size)
        return region

    def _address(self, cpu: int, index: int) -> int:
        """The address of a value, 0 for an index out of range."""
        return self._addresses[cpu].get(index) or self._place(cpu, index)

    def _place(self, cpu: int, index: int) -> int:
        if index >= self.max_entries:
            return 0
        region, at = self._regions[cpu], index * self.stride
        if self.max_entries > 1:
            region = self.memory.window(region, at, at + self.value_size, f"{region.name}[{index}]")
        self._addresses[cpu][index] = region.base + at
        return region.base + at

    def _content(self, cpu: int, index: int) -> bytes:
        at = index * self.stride
        return self.shown(self._regions[cpu].buf[at : at + self.value_size])

    @property
    def values_addr(self) -> int:
        """The address of the value at index 0, to which direct value addresses are relative."""
        return self._regions[0].base

    def lookup(self, key: bytes, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        return self._address(0, index)

    def sys_lookup(self, key: bytes) -> Value | None:
        index = int.from_bytes(key, "little")
        return self._content(0, index) if index < self.max_entries else None

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        error = self._refuses(index, flags)
        if not error:
            buf = self._regions[cpu if self.per_cpu else 0].buf
            self.copy_in(buf, index * self.stride, value)
        return error

    def _refuses(self, index: int, flags: int) -> int:
        if flags & ~BPF_F_LOCK > BPF_EXIST:
            return -EINVAL
        if index >= self.max_entries:
            return -E2BIG
        if flags & BPF_NOEXIST:
            return -EEXIST
        if flags & BPF_F_LOCK and self.lock_offset is None:
            return -EINVAL
        return 0

    def delete(self, key: bytes) -> int:
        return -EINVAL

    def for_each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        for index in range(self.max_entries):
            key = index.to_bytes(4, "little")
            yield key, self.lookup(key, cpu)

    def items(self) -> Iterator[tuple[bytes, Value]]:
        for index in range(self.max_entries):
            key = index.to_bytes(4, "little")
            value = self.sys_lookup(key)
            assert value is not None
            yield key, value

    def set_items(self) -> Iterator[tuple[bytes, Value]]:
        """The elements that hold anything but zeros, by index; quick also where there are millions."""
        found: set[int] = set()
        for region in self._regions:
            for start in range(0, len(region.buf), _BLOCK):
                block = region.buf[start : start + _BLOCK]
                if block.count(0) != len(block):
                    found.update((start + match.start()) // self.stride for match in _NOT_ZERO.finditer(block))
        for index in sorted(found):
            key = index.to_bytes(4, "little")
            value = self.sys_lookup(key)
            if value is not None and any(map(any, value if isinstance(value, list) else [value])):
                yield key, value


class PerCpuArrayMap(ArrayMap):
    """BPF_MAP_TYPE_PERCPU_ARRAY: each CPU has its own region of values."""

    per_cpu = True

    def lookup(self, key: bytes, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        return self._address(cpu, index)

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.ncpu else 0

    def sys_lookup(self, key: bytes) -> Value | None:
        index = int.from_bytes(key, "little")
        return [self._content(cpu, index) for cpu in range(self.ncpu)] if index < self.max_entries else None

    def sys_update(self, key: bytes, value: Value, flags: int = 0) -> int:
        index = int.from_bytes(key, "little")
        error = self._refuses(index, flags)
        if not error:
            for region, data in zip(self._regions, self.per_cpu_values(value), strict=True):
                self.copy_in(region.buf, index * self.stride, data)
        return error
