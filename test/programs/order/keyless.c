// Maps without keys, in user space, where all of it runs, for its loop.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 20);
	__type(value, __u64);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 20);
	__type(value, __u64);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 100);
	__type(value, __u32);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} state SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 1, value = 3, *all;
	__u32 zero = 0, kind;
	long error;

	if (data + 20 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_DROP;
	for (__u8 *at = data + 16; at + 1 <= end && *at; at++)
		sum = sum * 3 + *at;
	kind = data[14];
	if (kind & 1)
		error = bpf_map_push_elem(&waiting, &sum, kind & 2 ? BPF_EXIST : BPF_ANY);
	else
		error = kind & 4 ? bpf_map_peek_elem(&waiting, &value) : bpf_map_pop_elem(&waiting, &value);
	if (kind & 8)
		error = error * 31 + bpf_map_push_elem(&recent, &sum, BPF_ANY);
	else
		error = error * 31 + (kind & 16 ? bpf_map_peek_elem(&recent, &sum) : bpf_map_pop_elem(&recent, &sum));
	if (kind & 32)
		error = error * 31 + bpf_map_push_elem(&known, &kind, BPF_ANY);
	else
		kind |= 32;
	error = error * 31 + bpf_map_peek_elem(&known, &kind);
	all = bpf_map_lookup_elem(&state, &zero);
	if (all)
		*all = (*all + error) * 7 + value + sum;
	return value & 1 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
