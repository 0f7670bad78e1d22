// Maps whose elements user space cannot have by plain system calls; all of it runs there, for its loop.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(TYPE, name, entries) \
	struct { \
		__uint(type, TYPE); \
		__uint(max_entries, entries); \
		__type(key, __u32); \
		__type(value, __u64); \
	} name SEC(".maps")

MAP(BPF_MAP_TYPE_LRU_HASH, seen, 64);
MAP(BPF_MAP_TYPE_LRU_PERCPU_HASH, cpus, 64);
MAP(BPF_MAP_TYPE_PERCPU_HASH, parts, 64);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, counts, 4);

SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 1, *value;
	int verdict = XDP_DROP;
	__u32 key, which;

	if (data + 20 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_DROP;
	for (__u8 *at = data + 16; at + 1 <= end && *at; at++)
		sum = sum * 3 + *at;
	key = data[14];
	value = bpf_map_lookup_elem(&seen, &key);
	if (value) {
		*value += sum;
		verdict = *value & 1 ? XDP_PASS : XDP_DROP;
	} else {
		bpf_map_update_elem(&seen, &key, &sum, BPF_ANY);
	}
	value = bpf_map_lookup_elem(&cpus, &key);
	if (value)
		*value = *value * 3 + sum;
	else
		bpf_map_update_elem(&cpus, &key, &sum, BPF_NOEXIST);
	key &= 31;
	value = bpf_map_lookup_elem(&parts, &key);
	if (value)
		*value = *value * 3 + sum;
	else
		bpf_map_update_elem(&parts, &key, &sum, BPF_NOEXIST);
	if (data[14] == 7)
		bpf_map_delete_elem(&parts, &key);
	which = key & 3;
	value = bpf_map_lookup_elem(&counts, &which);
	if (value)
		*value += 1;
	return verdict;
}

char _license[] SEC("license") = "GPL";
