"""Maps of maps: a lookup gives the address of the inner map, by which programs then refer to it."""

from collections.abc import Iterator

from fsir.interp.map_base import E2BIG, EINVAL, ENOENT, Map, MapError, MapSpec, Value
from fsir.interp.memory import Memory


class MapOfMaps(Map):
    """What both types share. Programs can only look up; user space puts maps in with `set_inner`."""

    entry_kind = "map"

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._inner: dict[bytes, Map] = {}

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.value_size != 4 or spec.key_size == 0:
            raise MapError(f"map {spec.name}: a {spec.type_name} has a key, and values of 4 bytes")
        return super().check(spec, ncpu)

    def inner_map(self, key: bytes) -> Map | None:
        """The map under `key`."""
        return self._inner.get(key)

    def lookup(self, key: bytes, cpu: int) -> int:
        inner = self._inner.get(key)
        return inner.addr if inner is not None else 0

    def set_inner(self, key: bytes, inner: Map) -> int:
        """Put a map under `key`, as user space does."""
        self.check_sizes(key)
        if key not in self._inner and len(self._inner) >= self.max_entries:
            return -E2BIG
        self._inner[key] = inner
        return 0

    def delete(self, key: bytes) -> int:
        return 0 if self._inner.pop(key, None) is not None else -ENOENT

    def sys_lookup(self, key: bytes) -> Value | None:
        raise MapError(f"map {self.name}: its entries are maps, not values")

    def inner_maps(self) -> Iterator[tuple[bytes, Map]]:
        """The inner maps by key."""
        return iter(sorted(self._inner.items(), key=lambda entry: entry[0]))


class ArrayOfMaps(MapOfMaps):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS."""

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.key_size != 4:
            raise MapError(f"map {spec.name}: the key of an array has 4 bytes, not {spec.key_size}")
        return super().check(spec, ncpu)

    def set_inner(self, key: bytes, inner: Map) -> int:
        self.check_sizes(key)
        if int.from_bytes(key, "little") >= self.max_entries:
            return -E2BIG
        self._inner[key] = inner
        return 0

    def delete(self, key: bytes) -> int:
        if int.from_bytes(key, "little") >= self.max_entries:
            return -EINVAL
        return super().delete(key)


class HashOfMaps(MapOfMaps):
    """BPF_MAP_TYPE_HASH_OF_MAPS."""
