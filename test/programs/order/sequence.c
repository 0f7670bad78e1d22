// One state, which each packet changes. Packets with an odd byte 15 have a loop without a bound.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} state SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	__u64 sum = 0, *value;

	if (data + 20 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_DROP;
	if (data[15] & 1)
		for (__u8 *at = data + 16; at + 1 <= end && *at; at++)
			sum = sum * 3 + *at;
	value = bpf_map_lookup_elem(&state, &zero);
	if (!value)
		return XDP_ABORTED;
	*value = *value * 31 + data[14] + sum;
	return *value & 4 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
