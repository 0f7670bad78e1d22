"""The targets of bpf_redirect_map: device maps, CPU maps and AF_XDP socket maps.

Which device, CPU or socket an entry means is outside the machine, so entries are symbolic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fsir.interp.map_base import (
    BPF_EXIST,
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


@dataclass(frozen=True)
class Target:
    """Where an entry leads: an interface or queue size by number, and the program that runs there, if any."""

    number: int
    program: str | None = None


class RedirectMap(Map):
    """What the four types share. `symbol` names the number of a target in a maps file."""

    entry_kind = "symbol"
    symbol: ClassVar[str]
    broadcast: ClassVar[bool] = False
    """Whether bpf_redirect_map takes BPF_F_BROADCAST for this type."""
    value_sizes: ClassVar[tuple[int, ...]] = (4, 8)

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._targets: dict[int, Target] = {}
        self._values: dict[int, Region] = {}

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.key_size != 4 or spec.value_size not in cls.value_sizes:
            sizes = " or ".join(map(str, cls.value_sizes))
            raise MapError(f"map {spec.name}: a {spec.type_name} has keys of 4 bytes and values of {sizes}")
        return super().check(spec, ncpu)

    def target(self, index: int) -> Target | None:
        """Where bpf_redirect_map leads with this key."""
        return self._targets.get(index)

    def lookup(self, key: bytes, cpu: int) -> int:
        region = self._values.get(int.from_bytes(key, "little"))
        return region.base if region is not None else 0

    def set_target(self, index: int, target: Target | None) -> int:
        """Set or clear an entry, as user space does."""
        if (old := self._values.pop(index, None)) is not None:
            self.memory.retire(old)
        self._targets.pop(index, None)
        if target is not None:
            value = target.number.to_bytes(4, "little").ljust(self.value_size, b"\0")
            region = self.memory.alloc(self.value_size, f"{self.name} entry", writable=False, data=value)
            self._values[index] = region
            self._targets[index] = target
        return 0

    def admits(self, index: int) -> int:
        """0, or -E2BIG where there is no room for an entry under this key."""
        return -E2BIG if index >= self.max_entries else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        number = int.from_bytes(value[:4], "little")
        if flags > BPF_EXIST:
            return -EINVAL
        if error := self.admits(index):
            return error
        if flags == BPF_NOEXIST:
            return -EEXIST
        return self.set_target(index, Target(number) if number else None)

    def delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        return -EINVAL if index >= self.max_entries else self.set_target(index, None)

    def items(self) -> Iterator[tuple[bytes, Value]]:
        for index, region in sorted(self._values.items()):
            yield index.to_bytes(4, "little"), bytes(region.buf)

    def targets(self) -> Iterator[tuple[int, Target]]:
        """The entries by index."""
        return iter(sorted(self._targets.items()))


class DevMap(RedirectMap):
    """BPF_MAP_TYPE_DEVMAP."""

    symbol = "ifindex"
    broadcast = True


class DevHashMap(DevMap):
    """BPF_MAP_TYPE_DEVMAP_HASH: any key, up to max_entries of them."""

    def admits(self, index: int) -> int:
        return -E2BIG if index not in self._targets and len(self._targets) >= self.max_entries else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        number = int.from_bytes(value[:4], "little")
        if flags > BPF_EXIST or not number:
            return -EINVAL
        if index in self._targets and flags & BPF_NOEXIST:
            return -EEXIST
        return self.admits(index) or self.set_target(index, Target(number))

    def delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        return self.set_target(index, None) if index in self._targets else -ENOENT


class CpuMap(RedirectMap):
    """BPF_MAP_TYPE_CPUMAP: the number of a target is the size of its queue."""

    symbol = "qsize"


class XskMap(RedirectMap):
    """BPF_MAP_TYPE_XSKMAP: the number of a target is whatever the caller uses to name a socket."""

    symbol = "socket"
    value_sizes = (4,)
