// One state, as in sequence.c, and maps that only the kernel's part touches unless user space does all of a packet: it
// then works on copies of their values.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 300);
	__type(key, __u32);
	__type(value, __u64);
} fast SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, kind, which;
	__u64 sum = 0, one = 1, *value, *count;

	if (data + 20 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_DROP;
	kind = data[15] & 1;
	count = bpf_map_lookup_elem(&seen, &kind);
	if (count)
		*count += 1;
	if (kind) {
		for (__u8 *at = data + 16; at + 1 <= end && *at; at++)
			sum = sum * 3 + *at;
	} else {
		which = data[14];
		count = bpf_map_lookup_elem(&fast, &which);
		if (count)
			*count = *count * 3 + data[16];
		else
			bpf_map_update_elem(&fast, &which, &one, BPF_ANY);
	}
	value = bpf_map_lookup_elem(&state, &zero);
	if (!value)
		return XDP_ABORTED;
	*value = *value * 31 + data[14] + sum;
	return *value & 4 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
