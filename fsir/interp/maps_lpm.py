"""BPF_MAP_TYPE_LPM_TRIE: longest-prefix match.

A key is a 32-bit prefix length in host byte order followed by the data, most significant bit first. Elements
are kept by prefix length, so a lookup costs one dictionary access per length in use.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass

from fsir.interp.map_base import (
    BPF_EXIST,
    BPF_F_NO_PREALLOC,
    BPF_NOEXIST,
    EEXIST,
    EINVAL,
    ENOENT,
    ENOSPC,
    Map,
    MapError,
    MapSpec,
    Value,
)
from fsir.interp.memory import Memory, Region


@dataclass(slots=True)
class _Node:
    key: bytes
    """As given, bits beyond the prefix included: that is how the kernel returns it."""
    value: Region


class LpmTrieMap(Map):
    """Elements are equal when their prefix lengths and the bits within the prefix are."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._bits = (self.key_size - 4) * 8
        self._lengths: list[int] = []
        self._nodes: dict[int, dict[int, _Node]] = {}
        self._count = 0

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if not 5 <= spec.key_size <= 4 + 256 or spec.value_size == 0:
            raise MapError(f"map {spec.name}: an lpm_trie key has 5 to 260 bytes, and its value at least 1")
        if not spec.flags & BPF_F_NO_PREALLOC:
            raise MapError(f"map {spec.name}: the kernel wants BPF_F_NO_PREALLOC in map_flags of an lpm_trie")
        return super().check(spec, ncpu)

    def __len__(self) -> int:
        return self._count

    def _split(self, key: bytes) -> tuple[int, int]:
        return int.from_bytes(key[:4], "little"), int.from_bytes(key[4:], "big")

    def _find(self, key: bytes) -> _Node | None:
        length, data = self._split(key)
        if length > self._bits:
            return None
        for candidate in reversed(self._lengths[: bisect_right(self._lengths, length)]):
            node = self._nodes[candidate].get(data >> (self._bits - candidate))
            if node is not None:
                return node
        return None

    def lookup(self, key: bytes, cpu: int) -> int:
        node = self._find(key)
        return node.value.base if node is not None else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        length, data = self._split(key)
        if flags > BPF_EXIST or length > self._bits:
            return -EINVAL
        level = self._nodes.get(length, {})
        prefix = data >> (self._bits - length)
        old = level.get(prefix)
        if old is not None:
            if flags == BPF_NOEXIST:
                return -EEXIST
        elif flags == BPF_EXIST:
            return -ENOENT
        elif self._count >= self.max_entries:
            return -ENOSPC
        region = self.memory.alloc(self.value_size, f"{self.name} value")
        self.copy_in(region.buf, 0, value)
        if old is not None:
            self.memory.retire(old.value)
        else:
            self._count += 1
            if length not in self._nodes:
                self._nodes[length] = level
                insort(self._lengths, length)
        level[prefix] = _Node(key, region)
        return 0

    def delete(self, key: bytes) -> int:
        length, data = self._split(key)
        if length > self._bits:
            return -EINVAL
        level = self._nodes.get(length, {})
        node = level.pop(data >> (self._bits - length), None)
        if node is None:
            return -ENOENT
        if not level:
            del self._nodes[length]
            self._lengths.remove(length)
        self._count -= 1
        self.memory.retire(node.value)
        return 0

    def items(self) -> Iterator[tuple[bytes, Value]]:
        for node in [node for level in self._nodes.values() for node in level.values()]:
            yield node.key, self.copy_out(node.value.base)
