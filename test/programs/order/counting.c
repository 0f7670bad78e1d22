// Both parts add to the same values, per CPU and in a hash; nobody looks at them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct total {
	__u64 packets;
	__u32 bytes, odd;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct total);
} flows SEC(".maps");

static void count(struct total *total, __u32 bytes)
{
	if (!total)
		return;
	total->packets += 1;
	total->bytes += bytes;
	total->odd += bytes & 1;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 one = 1, flow, rounds, sum = 0;
	struct total *some;

	if (data + 20 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_PASS;
	flow = *(__u32 *)data;
	count(bpf_map_lookup_elem(&totals, &one), data[14]);
	count(bpf_map_lookup_elem(&flows, &flow), data[14]);
	if (!(data[15] & 1))
		return XDP_DROP;
	some = bpf_map_lookup_elem(&flows, &flow);
	for (rounds = *(__u32 *)(data + 16); rounds; rounds--) /* meanwhile, others add */
		sum = sum * 3 + rounds;
	one = sum != 7; /* almost always */
	count(bpf_map_lookup_elem(&totals, &one), data[14]);
	count(some, data[14]);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
