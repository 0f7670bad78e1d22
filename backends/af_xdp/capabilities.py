"""What the AF_XDP target can run, as data: for placement to ask, and for the emitter's errors to say the same.

A helper is here when it has a meaning in user space: state of the kernel (routes, sockets, perf and ring buffers
whose reader expects a kernel producer) is not within reach. A map type is here when its elements can be read and
changed by system calls, or by mapping, with the effect that the same access has from a program.
"""

from __future__ import annotations

from fsir.interp.helpers import HELPERS

HELPER_NAMES = (
    "map_lookup_elem",
    "map_update_elem",
    "map_delete_elem",
    "map_push_elem",
    "map_pop_elem",
    "map_peek_elem",
    "ktime_get_ns",
    "ktime_get_boot_ns",
    "ktime_get_coarse_ns",
    "ktime_get_tai_ns",
    "trace_printk",
    "get_prandom_u32",
    "get_smp_processor_id",
    "redirect",
    "redirect_map",
    "csum_diff",
    "xdp_adjust_head",
    "xdp_adjust_meta",
    "xdp_adjust_tail",
    "xdp_get_buff_len",
    "xdp_load_bytes",
    "xdp_store_bytes",
    "probe_read",
    "loop",
    "strncmp",
)

SUPPORTED_HELPERS: frozenset[int] = frozenset(n for n, helper in HELPERS.items() if helper.name in HELPER_NAMES)

MAP_TYPES: dict[str, int] = {
    "hash": 1,
    "array": 2,
    "percpu_hash": 5,
    "percpu_array": 6,
    "lru_hash": 9,
    "lru_percpu_hash": 10,
    "lpm_trie": 11,
    "devmap": 14,
    "cpumap": 16,
    "queue": 22,
    "stack": 23,
    "devmap_hash": 25,
    "bloom_filter": 30,
}
"""The map types that a part may touch, with their numbers in `enum bpf_map_type`."""

REDIRECT_TYPES = frozenset({"devmap", "cpumap", "devmap_hash"})
"""Map types that are targets of bpf_redirect_map."""

BY_PROGRAM = frozenset({"percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash"})
"""Map types whose elements plain system calls do not give as a program has them: accesses are made by one."""

AGING_TYPES = frozenset({"lru_hash", "lru_percpu_hash"})
"""Map types where a lookup keeps the element alive."""

IN_PLACE_TYPES = frozenset({"array", "percpu_array", "percpu_hash"})
"""Map types where an update writes over the element's value, so that held addresses see it."""

READ_ONLY_VALUES = frozenset({"lpm_trie", "devmap", "cpumap", "devmap_hash"})
"""Map types whose values cannot be changed through their address: a store could not be written back."""

_MAP_REASONS = {
    "prog_array": "tail calls stay in the kernel",
    "xskmap": "only the kernel can redirect into a socket",
    "array_of_maps": "inner maps are reached by kernel programs only",
    "hash_of_maps": "inner maps are reached by kernel programs only",
}

_HELPER_REASONS = {
    "tail_call": "tail calls stay in the kernel",
    "fib_lookup": "the routing table is the kernel's",
}


def supported_helper(number: int) -> str | None:
    """None if AF_XDP parts can call helper `number`, else the reason why not."""
    if number in SUPPORTED_HELPERS:
        return None
    helper = HELPERS.get(number)
    if helper is None:
        return f"there is no helper {number}"
    reason = _HELPER_REASONS.get(helper.name, "it has no meaning in user space")
    return f"{helper.c_name} (helper {number}) cannot be called on AF_XDP: {reason}"


def supported_map(type_name: str) -> str | None:
    """None if AF_XDP parts can use maps of this type, else the reason why not."""
    if type_name in MAP_TYPES:
        return None
    reason = _MAP_REASONS.get(type_name, "its elements have no use outside the kernel")
    return f"maps of type {type_name} cannot be used on AF_XDP: {reason}"


__all__ = [
    "AGING_TYPES",
    "BY_PROGRAM",
    "IN_PLACE_TYPES",
    "MAP_TYPES",
    "READ_ONLY_VALUES",
    "REDIRECT_TYPES",
    "SUPPORTED_HELPERS",
    "supported_helper",
    "supported_map",
]
