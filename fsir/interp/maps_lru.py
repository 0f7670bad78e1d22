"""LRU hashes: a full map evicts to make room. `lru_list.py` says which element goes.

An update takes a node, and so may evict, *before* it looks whether the key exists, as in the kernel. A node
keeps its storage for good, so a pointer to an evicted value sees the value that takes its place. Access from
user space does not count as use.
"""

from collections.abc import Iterator

from fsir.interp.lru_list import CommonLru, Node, PerCpuLru
from fsir.interp.map_base import (
    BPF_EXIST,
    BPF_F_NO_COMMON_LRU,
    BPF_F_NO_PREALLOC,
    EINVAL,
    ENOENT,
    ENOMEM,
    Map,
    MapError,
    MapSpec,
    Value,
)
from fsir.interp.maps_hash import HashMap, check_flags
from fsir.interp.memory import Memory, Region


class LruHashMap(Map):
    """BPF_MAP_TYPE_LRU_HASH."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._nodes: dict[bytes, Node] = {}
        order = PerCpuLru if spec.flags & BPF_F_NO_COMMON_LRU else CommonLru
        if order is PerCpuLru:
            self.max_entries = -(-self.max_entries // ncpu) * ncpu
        self._order: CommonLru | PerCpuLru = order(self.max_entries, ncpu, self._evict)

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.flags & BPF_F_NO_PREALLOC:
            raise MapError(f"map {spec.name}: the kernel refuses BPF_F_NO_PREALLOC for an {spec.type_name}")
        return HashMap.check(spec, ncpu)

    def __len__(self) -> int:
        return len(self._nodes)

    def _evict(self, node: Node) -> None:
        del self._nodes[node.key]

    def _take(self, key: bytes, cpu: int) -> Node | None:
        node = self._order.take(cpu)
        if node is not None:
            node.key = key
            if not node.storage:
                node.storage = self._alloc_values()
        return node

    def _alloc_values(self) -> list[Region]:
        return [self.memory.alloc(self.value_size, f"{self.name} value")]

    def lookup(self, key: bytes, cpu: int) -> int:
        node = self._nodes.get(key)
        if node is None:
            return 0
        node.ref = True
        return node.storage[0].base

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        if flags > BPF_EXIST:
            return -EINVAL
        new = self._take(key, cpu)
        if new is None:
            return -ENOMEM
        self.copy_in(new.storage[0].buf, 0, value)
        old = self._nodes.get(key)
        if error := check_flags(old is not None, flags):
            self._order.give_back(new)
            return error
        self._nodes[key] = new
        if old is not None:
            new.ref = True
            self._order.give_back(old)
        return 0

    def delete(self, key: bytes) -> int:
        node = self._nodes.pop(key, None)
        if node is None:
            return -ENOENT
        self._order.give_back(node)
        return 0

    def for_each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        for key in list(self._nodes):
            if (node := self._nodes.get(key)) is not None:
                yield key, node.storage[cpu if self.per_cpu else 0].base

    def items(self) -> Iterator[tuple[bytes, Value]]:
        for key in list(self._nodes):
            value = self.sys_lookup(key)
            assert value is not None
            yield key, value

    def sys_lookup(self, key: bytes) -> Value | None:
        node = self._nodes.get(key)
        return self.copy_out(node.storage[0].base) if node is not None else None


class LruPerCpuHashMap(LruHashMap):
    """BPF_MAP_TYPE_LRU_PERCPU_HASH: existing elements are updated in place, for the program's CPU only."""

    per_cpu = True

    def _alloc_values(self) -> list[Region]:
        name = f"{self.name} value"
        return [self.memory.alloc(self.value_size, f"{name}[cpu {cpu}]") for cpu in range(self.ncpu)]

    def lookup(self, key: bytes, cpu: int) -> int:
        node = self._nodes.get(key)
        if node is None:
            return 0
        node.ref = True
        return node.storage[cpu].base

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.ncpu else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return self._update(key, {cpu: value}, flags, cpu)

    def sys_update(self, key: bytes, value: Value, flags: int = 0) -> int:
        return self._update(key, dict(enumerate(self.per_cpu_values(value))), flags, 0)

    def _update(self, key: bytes, values: dict[int, bytes], flags: int, cpu: int) -> int:
        if flags > BPF_EXIST:
            return -EINVAL
        new = None
        if flags != BPF_EXIST:
            new = self._take(key, cpu)
            if new is None:
                return -ENOMEM
        old = self._nodes.get(key)
        error = check_flags(old is not None, flags)
        if not error and old is not None:
            old.ref = True
            for number, value in values.items():
                self.copy_in(old.storage[number].buf, 0, value)
        elif not error and new is not None:
            for number, region in enumerate(new.storage):
                self.copy_in(region.buf, 0, values.get(number, bytes(self.value_size)))
            self._nodes[key] = new
            new = None
        if new is not None:
            self._order.give_back(new)
        return error

    def sys_lookup(self, key: bytes) -> Value | None:
        node = self._nodes.get(key)
        return [self.copy_out(region.base) for region in node.storage] if node is not None else None
