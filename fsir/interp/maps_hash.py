"""Hash tables. Each element's value is a region of its own.

Updating an existing element of a plain hash puts a *new* element in its place, as the kernel does: a pointer
to the old value stays usable until the end of the run, but what is written through it is lost.
"""

from collections.abc import Iterator

from fsir.interp.map_base import (
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_NOEXIST,
    E2BIG,
    EEXIST,
    EINVAL,
    ENOENT,
    Map,
    MapError,
    MapSpec,
    Value,
)
from fsir.interp.memory import Memory, Region


def check_flags(exists: bool, flags: int) -> int:
    """Whether BPF_NOEXIST or BPF_EXIST forbids an update of an element that does or does not exist."""
    wanted = flags & ~BPF_F_LOCK
    if exists and wanted == BPF_NOEXIST:
        return -EEXIST
    if not exists and wanted == BPF_EXIST:
        return -ENOENT
    return 0


class HashMap(Map):
    """BPF_MAP_TYPE_HASH."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._elements: dict[bytes, Region] = {}

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.key_size == 0 or spec.value_size == 0:
            raise MapError(f"map {spec.name}: a hash needs a key_size and a value_size above 0")
        return super().check(spec, ncpu)

    def __len__(self) -> int:
        return len(self._elements)

    def lookup(self, key: bytes, cpu: int) -> int:
        region = self._elements.get(key)
        return region.base if region is not None else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        if flags & ~BPF_F_LOCK > BPF_EXIST:
            return -EINVAL
        if flags & BPF_F_LOCK and self.lock_offset is None:
            return -EINVAL
        old = self._elements.get(key)
        if error := check_flags(old is not None, flags):
            return error
        if old is not None and flags & BPF_F_LOCK:
            self.copy_in(old.buf, 0, value)
            return 0
        if old is None and len(self._elements) >= self.max_entries:
            return -E2BIG
        new = self._alloc_value()
        self.copy_in(new.buf, 0, value)
        self._elements[key] = new
        if old is not None:
            self.memory.retire(old)
        return 0

    def delete(self, key: bytes) -> int:
        region = self._elements.pop(key, None)
        if region is None:
            return -ENOENT
        self.memory.retire(region)
        return 0

    def for_each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        for key in list(self._elements):
            if addr := self.lookup(key, cpu):
                yield key, addr

    def items(self) -> Iterator[tuple[bytes, Value]]:
        for key in list(self._elements):
            yield key, self._value_of(key)

    def sys_lookup(self, key: bytes) -> Value | None:
        return self._value_of(key) if key in self._elements else None

    def _value_of(self, key: bytes) -> Value:
        return self.copy_out(self._elements[key].base)

    def _alloc_value(self) -> Region:
        return self.memory.alloc(self.value_size, f"{self.name} value")


class PerCpuValues:
    """The values of one element on all CPUs, for the per-CPU hashes."""

    __slots__ = ("regions",)

    def __init__(self, owner: Map):
        name = f"{owner.name} value"
        self.regions = [owner.memory.alloc(owner.value_size, f"{name}[cpu {cpu}]") for cpu in range(owner.ncpu)]

    def retire(self, memory: Memory) -> None:
        for region in self.regions:
            memory.retire(region)


class PerCpuHashMap(Map):
    """BPF_MAP_TYPE_PERCPU_HASH: a program sees and updates in place the value of its own CPU.

    An element that a program adds holds zeros on the other CPUs.
    """

    per_cpu = True

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._elements: dict[bytes, PerCpuValues] = {}

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        return HashMap.check(spec, ncpu)

    def __len__(self) -> int:
        return len(self._elements)

    def lookup(self, key: bytes, cpu: int) -> int:
        values = self._elements.get(key)
        return values.regions[cpu].base if values is not None else 0

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.ncpu else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return self._update(key, {cpu: value}, flags, cpu)

    def sys_update(self, key: bytes, value: Value, flags: int = 0) -> int:
        return self._update(key, dict(enumerate(self.per_cpu_values(value))), flags, 0)

    def _update(self, key: bytes, values: dict[int, bytes], flags: int, cpu: int) -> int:
        if flags > BPF_EXIST:
            return -EINVAL
        element = self._elements.get(key)
        if error := check_flags(element is not None, flags):
            return error
        if element is None:
            if len(self._elements) >= self.max_entries:
                return -E2BIG
            element = self._elements[key] = PerCpuValues(self)
        for number, value in values.items():
            self.copy_in(element.regions[number].buf, 0, value)
        return 0

    def delete(self, key: bytes) -> int:
        element = self._elements.pop(key, None)
        if element is None:
            return -ENOENT
        element.retire(self.memory)
        return 0

    def for_each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        for key in list(self._elements):
            if addr := self.lookup(key, cpu):
                yield key, addr

    def items(self) -> Iterator[tuple[bytes, Value]]:
        for key in list(self._elements):
            value = self.sys_lookup(key)
            assert value is not None
            yield key, value

    def sys_lookup(self, key: bytes) -> Value | None:
        element = self._elements.get(key)
        return [self.copy_out(region.base) for region in element.regions] if element is not None else None
