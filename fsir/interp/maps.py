"""Making a map by the name of its type; `map_base.py` says what a map is."""

from fsir.interp.map_base import Map, MapError, MapSpec
from fsir.interp.maps_array import ArrayMap, PerCpuArrayMap
from fsir.interp.maps_bloom import BloomFilterMap
from fsir.interp.maps_handles import (
    CgroupArrayMap,
    PerfEventArrayMap,
    ProgArrayMap,
    SockHashMap,
    SockMap,
    StackTraceMap,
)
from fsir.interp.maps_hash import HashMap, PerCpuHashMap
from fsir.interp.maps_lpm import LpmTrieMap
from fsir.interp.maps_lru import LruHashMap, LruPerCpuHashMap
from fsir.interp.maps_nested import ArrayOfMaps, HashOfMaps
from fsir.interp.maps_queue import QueueMap, StackMap
from fsir.interp.maps_redirect import CpuMap, DevHashMap, DevMap, XskMap
from fsir.interp.maps_ringbuf import RingBufMap, UserRingBufMap
from fsir.interp.maps_storage import CgroupStorageMap, ObjectStorageMap, PerCpuCgroupStorageMap
from fsir.interp.memory import Memory

MAP_TYPES: dict[str, type[Map]] = {
    "array": ArrayMap,
    "percpu_array": PerCpuArrayMap,
    "hash": HashMap,
    "percpu_hash": PerCpuHashMap,
    "lru_hash": LruHashMap,
    "lru_percpu_hash": LruPerCpuHashMap,
    "lpm_trie": LpmTrieMap,
    "queue": QueueMap,
    "stack": StackMap,
    "bloom_filter": BloomFilterMap,
    "ringbuf": RingBufMap,
    "user_ringbuf": UserRingBufMap,
    "devmap": DevMap,
    "devmap_hash": DevHashMap,
    "cpumap": CpuMap,
    "xskmap": XskMap,
    "array_of_maps": ArrayOfMaps,
    "hash_of_maps": HashOfMaps,
    "prog_array": ProgArrayMap,
    "perf_event_array": PerfEventArrayMap,
    "cgroup_array": CgroupArrayMap,
    "sockmap": SockMap,
    "sockhash": SockHashMap,
    "reuseport_sockarray": SockMap,
    "stack_trace": StackTraceMap,
    "cgroup_storage": CgroupStorageMap,
    "percpu_cgroup_storage": PerCpuCgroupStorageMap,
    "sk_storage": ObjectStorageMap,
    "inode_storage": ObjectStorageMap,
    "task_storage": ObjectStorageMap,
    "cgrp_storage": ObjectStorageMap,
}
"""The interpreted types, by kernel name in lower case without BPF_MAP_TYPE_."""


def create_map(spec: MapSpec, memory: Memory, ncpu: int = 1) -> Map:
    """A new, empty map. Raises MapError where the kernel would refuse the declaration."""
    family = MAP_TYPES.get(spec.type_name)
    if family is None:
        raise MapError(f"map {spec.name}: maps of type {spec.type_name} are not interpreted")
    return family(spec, memory, ncpu)
