"""What a map is: the kernel's map types by name, and ``MapDef``, one map of an object."""

from __future__ import annotations

from dataclasses import dataclass, field

MAP_TYPES = (
    "unspec", "hash", "array", "prog_array", "perf_event_array", "percpu_hash", "percpu_array", "stack_trace",
    "cgroup_array", "lru_hash", "lru_percpu_hash", "lpm_trie", "array_of_maps", "hash_of_maps", "devmap",
    "sockmap", "cpumap", "xskmap", "sockhash", "cgroup_storage", "reuseport_sockarray",
    "percpu_cgroup_storage", "queue", "stack", "sk_storage", "devmap_hash", "struct_ops", "ringbuf",
    "inode_storage", "task_storage", "bloom_filter", "user_ringbuf", "cgrp_storage", "arena", "insn_array",
)  # fmt: skip
"""Names by number: ``enum bpf_map_type`` without its prefix."""

ARRAY, PROG_ARRAY = MAP_TYPES.index("array"), MAP_TYPES.index("prog_array")
MAPS_OF_MAPS = frozenset((MAP_TYPES.index("array_of_maps"), MAP_TYPES.index("hash_of_maps")))
BPF_F_RDONLY_PROG, BPF_F_MMAPABLE = 0x80, 0x400
PIN_NONE, PIN_BY_NAME = 0, 1


def map_type_name(number: int) -> str:
    """``enum bpf_map_type`` as a name; ``type<N>`` for one newer than this compiler."""
    return MAP_TYPES[number] if number < len(MAP_TYPES) else f"type{number}"


@dataclass(slots=True)
class MapDef:
    """One map. Sizes are in bytes, ``max_entries`` 0 is left for the loader to fill in.

    ``section``, ``offset``, ``size``: where its definition (its content, if ``internal``) lies; an inner
    map's template has no place. ``values``: what the object puts into a program array or map of maps, as
    (index, symbol name). ``inner``: the template of a map of maps. ``key_btf_id``, ``value_btf_id``: 0 when
    only sizes are known. ``pinning``: ``PIN_BY_NAME`` is the loader's pin directory.
    """

    name: str
    section: str = ".maps"
    offset: int = 0
    size: int = 0
    type: int = 0
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    pinning: int = PIN_NONE
    numa_node: int | None = None
    map_extra: int = 0
    inner: MapDef | None = None
    values: list[tuple[int, str]] = field(default_factory=list)
    key_btf_id: int = 0
    value_btf_id: int = 0
    legacy: bool = False
    internal: bool = False

    @property
    def type_name(self) -> str:
        """The kernel's lower-case name, like ``lpm_trie``."""
        return map_type_name(self.type)
