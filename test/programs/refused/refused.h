/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* What the programs share: IPv4 is the fast path, of two instructions; counters by what became of a packet. */
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&stats, &what);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

char _license[] SEC("license") = "GPL";
