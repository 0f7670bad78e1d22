// A state for each flow, made with its first packet. Packets with an odd byte 15 have a loop without a bound.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} flows SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 1, *value;
	__u32 flow;

	if (data + 20 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_DROP;
	flow = *(__u32 *)data;
	if (data[15] & 1)
		for (__u8 *at = data + 16; at + 1 <= end && *at; at++)
			sum = sum * 3 + *at;
	value = bpf_map_lookup_elem(&flows, &flow);
	if (!value)
		return bpf_map_update_elem(&flows, &flow, &sum, BPF_NOEXIST) ? XDP_ABORTED : XDP_PASS;
	sum += *value * 31 + data[14];
	bpf_map_update_elem(&flows, &flow, &sum, BPF_EXIST);
	return sum & 4 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
