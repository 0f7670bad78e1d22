"""Since which kernel there is what an object uses.

The sources are the kernel's history (the release that first contains the commit) and the list of it that bcc
keeps (docs/kernel-versions.md); for helpers see `fsir.interp.helper_table`. Releases are those of mainline: what
distributions port back is not in here, and neither is what a driver or an architecture lacks.
"""

from __future__ import annotations

Release = tuple[int, int]


def _releases(text: str) -> dict[str, Release]:
    """`4.1 name name / 4.2 name` as a table by name."""
    found: dict[str, Release] = {}
    for group in text.split(" / "):
        release, *names = group.split()
        major, minor = release.split(".")
        found.update(dict.fromkeys(names, (int(major), int(minor))))
    return found


PROGRAM_TYPES = _releases(
    "3.19 socket_filter / 4.1 kprobe sched_cls sched_act / 4.7 tracepoint / 4.8 xdp / 4.9 perf_event / 4.10 cgroup_skb "
    "cgroup_sock lwt_in lwt_out lwt_xmit / 4.13 sock_ops / 4.14 sk_skb / 4.15 cgroup_device / 4.17 sk_msg "
    "raw_tracepoint cgroup_sock_addr / 4.18 lwt_seg6local lirc_mode2 / 4.19 sk_reuseport / 4.20 flow_dissector / "
    "5.2 cgroup_sysctl raw_tracepoint_writable / 5.3 cgroup_sockopt / 5.5 tracing / 5.6 struct_ops ext / 5.7 lsm / "
    "5.9 sk_lookup / 5.14 syscall / 6.4 netfilter"
)
"""By `enum bpf_prog_type`."""

MAP_TYPES = _releases(
    "3.19 hash array / 4.2 prog_array / 4.3 perf_event_array / 4.6 percpu_hash percpu_array stack_trace / "
    "4.8 cgroup_array / 4.10 lru_hash lru_percpu_hash / 4.11 lpm_trie / 4.12 array_of_maps hash_of_maps / "
    "4.14 devmap sockmap / 4.15 cpumap / 4.18 xskmap sockhash / 4.19 cgroup_storage reuseport_sockarray / "
    "4.20 percpu_cgroup_storage queue stack / 5.2 sk_storage / 5.4 devmap_hash / 5.6 struct_ops / 5.8 ringbuf / "
    "5.10 inode_storage / 5.11 task_storage / 5.16 bloom_filter / 6.1 user_ringbuf / 6.2 cgrp_storage / 6.9 arena / "
    "6.19 insn_array"
)
"""By `enum bpf_map_type`."""

MAP_FLAGS: dict[int, tuple[str, Release]] = {
    0x1: ("BPF_F_NO_PREALLOC", (4, 6)),
    0x2: ("BPF_F_NO_COMMON_LRU", (4, 10)),
    0x4: ("BPF_F_NUMA_NODE", (4, 14)),
    0x80: ("BPF_F_RDONLY_PROG", (5, 2)),
    0x100: ("BPF_F_WRONLY_PROG", (5, 2)),
    0x400: ("BPF_F_MMAPABLE", (5, 5)),
    0x1000: ("BPF_F_INNER_MAP", (5, 10)),
}

OPERATIONS = _releases(
    "4.14 jlt jle jslt jsle / 5.12 or and xor fetch_add fetch_or fetch_and fetch_xor xchg cmpxchg / 5.13 call_kfunc / "
    "6.6 sdiv smod movsx8 movsx16 movsx32 bswap ldxs gotol / 6.9 may_goto addr_space_cast / 6.15 load_acq store_rel"
)
"""By the operation of a row of the ISA table; what is not here is as old as eBPF. `or`, `and`, `xor` are the atomic
ones, `ldxs` the loads with sign extension, `gotol` the jump with a 32-bit offset."""

SECTIONS = _releases("5.8 xdp/devmap / 5.9 xdp/cpumap / 5.18 xdp.frags xdp.frags/devmap xdp.frags/cpumap")
"""By name of a section with a meaning of its own."""

KFUNCS = _releases(
    "5.18 bpf_xdp_ct_lookup bpf_skb_ct_lookup bpf_ct_release / 6.0 bpf_xdp_ct_alloc bpf_skb_ct_alloc "
    "bpf_ct_insert_entry bpf_ct_set_timeout bpf_ct_change_timeout bpf_ct_set_status bpf_ct_change_status / "
    "6.1 bpf_ct_set_nat_info / "
    "6.2 bpf_rcu_read_lock bpf_rcu_read_unlock bpf_obj_new_impl bpf_obj_drop_impl bpf_list_push_front_impl "
    "bpf_list_push_back_impl bpf_list_pop_front bpf_list_pop_back bpf_task_acquire bpf_task_release "
    "bpf_cast_to_kern_ctx bpf_rdonly_cast bpf_skb_set_xfrm_info bpf_skb_get_xfrm_info / "
    "6.3 bpf_xdp_metadata_rx_timestamp bpf_xdp_metadata_rx_hash bpf_rbtree_add_impl bpf_rbtree_remove bpf_rbtree_first "
    "bpf_cpumask_create bpf_cpumask_release bpf_cpumask_set_cpu bpf_cpumask_clear_cpu bpf_cpumask_test_cpu / "
    "6.4 bpf_dynptr_from_skb bpf_dynptr_from_xdp bpf_dynptr_slice bpf_dynptr_slice_rdwr bpf_iter_num_new "
    "bpf_iter_num_next bpf_iter_num_destroy bpf_refcount_acquire_impl bpf_skb_set_fou_encap bpf_skb_get_fou_encap / "
    "6.5 bpf_dynptr_adjust bpf_dynptr_is_null bpf_dynptr_is_rdonly bpf_dynptr_size bpf_dynptr_clone "
    "bpf_sock_destroy / 6.8 bpf_xdp_metadata_rx_vlan_tag bpf_xdp_get_xfrm_state bpf_xdp_xfrm_state_release "
    "bpf_throw / 6.9 bpf_arena_alloc_pages bpf_arena_free_pages / 6.10 bpf_preempt_disable bpf_preempt_enable "
    "bpf_wq_init bpf_wq_set_callback_impl bpf_wq_start / 6.11 bpf_xdp_flow_lookup / 6.14 bpf_local_irq_save "
    "bpf_local_irq_restore / 6.15 bpf_res_spin_lock bpf_res_spin_unlock"
)
"""Kernel functions that network programs use. They are no stable interface: one may change or go."""

GLOBAL_DATA: Release = (5, 2)
SUBPROGRAMS: Release = (4, 16)
CALLBACKS: Release = (5, 13)
LOOPS: Release = (5, 3)
LARGE: Release = (5, 2)
LARGE_FROM = 4096
"""More instructions than this need `LARGE`, and CAP_BPF."""
TAIL_CALLS_BESIDE_SUBPROGRAMS: Release = (5, 10)
OLDEST: Release = (3, 18)
