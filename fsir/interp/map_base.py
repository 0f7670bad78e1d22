"""eBPF maps with the semantics of the kernel: what all types share.

A map has two faces. Programs use `lookup`, `update` and `delete`, with keys and values as bytes, on one CPU;
a lookup gives the *address* of the value in the machine's memory (0 when there is none). User space uses
`sys_lookup`, `sys_update` and `items`, with copies of values, and with the values of all CPUs for per-CPU
types. Errors are returned as the kernel returns them: 0 or a negative errno.

The types themselves are in the `maps_*.py` files, one family each; `maps.create_map` makes one by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from fsir.interp.memory import Memory

ENOENT, E2BIG, EAGAIN, ENOMEM, EFAULT, EBUSY, EEXIST, EINVAL, ENOSPC = 2, 7, 11, 12, 14, 16, 17, 22, 28
ERANGE, EPROTO, EOPNOTSUPP = 34, 71, 95

# Flags of update (linux/bpf.h)
BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK = 0, 1, 2, 4

# Flags of creation
BPF_F_NO_PREALLOC = 1 << 0
BPF_F_NO_COMMON_LRU = 1 << 1
BPF_F_RDONLY_PROG = 1 << 7
BPF_F_ZERO_SEED = 1 << 6
BPF_F_MMAPABLE = 1 << 10


class MapError(Exception):
    """A map that the kernel would refuse to create, or content that does not fit it. The message says why."""


@dataclass(frozen=True)
class SpecialField:
    """A field of a value that the kernel manages: copies of a value leave it out.

    `kind` is `spin_lock`, `timer`, `kptr`, `refcount` … as in `enum btf_field_type`.
    """

    kind: str
    offset: int
    size: int


@dataclass(frozen=True)
class MapSpec:
    """The declaration of a map. `type_name` is that of `enum bpf_map_type` in lower case, `percpu_hash`.

    `inner` is the declaration of the maps inside a map of maps.
    """

    name: str
    type_name: str
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    map_extra: int = 0
    inner: MapSpec | None = None
    special: tuple[SpecialField, ...] = ()


Value = bytes | list[bytes]
"""What user space sees of a value: its bytes, or those of each CPU for a per-CPU type."""


class Map:
    """What all types share. `addr` is the address by which programs refer to the map."""

    per_cpu: ClassVar[bool] = False
    entry_kind: ClassVar[Literal["value", "map", "symbol", "queue"]] = "value"
    """How an entry is written in a maps file: by value, as an inner map, symbolically, or in order."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        self.spec = self.check(spec, ncpu)
        self.name = spec.name
        self.memory = memory
        self.ncpu = ncpu
        self.key_size = self.spec.key_size
        self.value_size = self.spec.value_size
        self.max_entries = self.spec.max_entries
        self.flags = self.spec.flags
        self.lock_offset = next((f.offset for f in spec.special if f.kind == "spin_lock"), None)
        self._hidden = tuple((f.offset, f.offset + f.size) for f in spec.special)
        self._handle = memory.alloc_handle(f"map {spec.name}", self)
        self.addr = self._handle.base

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        """The declaration as the kernel would take it, or MapError. Families add their own rules."""
        if spec.max_entries == 0:
            raise MapError(f"map {spec.name}: max_entries is 0; give its size with --map-size {spec.name}=N")
        return spec

    # The program's side

    def lookup(self, key: bytes, cpu: int) -> int:
        """The address of the value under `key` on `cpu`, or 0."""
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Set the value under `key`, for this CPU where the type is per-CPU."""
        return -EINVAL

    def delete(self, key: bytes) -> int:
        """Remove the element under `key`."""
        return -EINVAL

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        """The address of the value that `cpu` has under `key`; 0 if the CPU or the element does not exist."""
        return 0

    def push(self, value: bytes, flags: int) -> int:
        """Add to a queue, stack or bloom filter."""
        return -EINVAL

    def for_each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        """Key and value address of each element, tolerating changes meanwhile, for bpf_for_each_map_elem."""
        raise MapError(f"map {self.name}: {self.spec.type_name} maps cannot be iterated by programs")

    # User space's side

    def sys_lookup(self, key: bytes) -> Value | None:
        """A copy of the value (of every CPU's value), with the kernel's own fields zeroed."""
        addr = self.lookup(key, 0)
        return self.copy_out(addr) if addr else None

    def sys_update(self, key: bytes, value: Value, flags: int = BPF_ANY) -> int:
        """As the update system call: a per-CPU type needs one value per CPU."""
        if isinstance(value, list):
            raise MapError(f"map {self.name}: {self.spec.type_name} has one value per key, not one per CPU")
        return self.update(key, value, flags, 0)

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """All elements, as user space would read them. The order is that of insertion, or of the index."""
        return iter(())

    # For the families

    def copy_out(self, addr: int) -> bytes:
        """The value at `addr` as a lookup system call returns it."""
        return self.shown(self.memory.read_bytes(addr, self.value_size))

    def shown(self, value: bytes | bytearray) -> bytes:
        """A value with the kernel's own fields zeroed."""
        data = bytearray(value)
        for start, end in self._hidden:
            data[start:end] = bytes(end - start)
        return bytes(data)

    def copy_in(self, buf: bytearray, offset: int, value: bytes) -> None:
        """Replace a value in its storage, except for the kernel's own fields."""
        kept = [(start, end, bytes(buf[offset + start : offset + end])) for start, end in self._hidden]
        buf[offset : offset + self.value_size] = value
        for start, end, data in kept:
            buf[offset + start : offset + end] = data

    def per_cpu_values(self, value: Value) -> list[bytes]:
        """One value per CPU, which is what an update from user space must bring; MapError otherwise."""
        if not isinstance(value, list):
            raise MapError(f"map {self.name}: {self.spec.type_name} needs one value for each CPU")
        if len(value) != self.ncpu:
            raise MapError(f"map {self.name}: {len(value)} values given for {self.ncpu} CPUs")
        return value

    def check_sizes(self, key: bytes, value: bytes | None = None) -> None:
        """MapError unless key and value have the declared sizes; for content that comes from outside."""
        if len(key) != self.key_size:
            raise MapError(f"map {self.name}: key has {len(key)} bytes, must have {self.key_size}")
        if value is not None and len(value) != self.value_size:
            raise MapError(f"map {self.name}: value has {len(value)} bytes, must have {self.value_size}")
