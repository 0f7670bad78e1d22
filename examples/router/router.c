// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * An IPv4 router.
 *
 * A packet whose destination matches a route gets its TTL decremented and its
 * MAC addresses rewritten, and leaves by the interface of the next hop: back
 * out of the one it came in on (XDP_TX), or of another one (devmap). All that
 * a router needs the kernel for is passed to it unchanged: ARP and everything
 * else that is not IPv4, IP options, expiring TTLs (ICMP time exceeded), and
 * destinations without a route.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_ROUTES 1024
#define MAX_PORTS  64

enum router_stat {
	STAT_NOT_IPV4,
	STAT_MALFORMED,
	STAT_OPTIONS,
	STAT_TTL_EXPIRED,
	STAT_NO_ROUTE,
	STAT_BLACKHOLE,
	STAT_HAIRPIN,
	STAT_FORWARDED,
	STAT_MAX,
};

struct route_key {
	__u32 prefixlen;
	__be32 daddr;
};

/* ifindex 0 is a blackhole route. */
struct next_hop {
	__u32 ifindex;
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_ROUTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route_key);
	__type(value, struct next_hop);
} routes SEC(".maps");

/* Egress interfaces, by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} tx_ports SEC(".maps");

/* Packets, by what became of them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void count(__u32 stat)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		*packets += 1;
}

/* RFC 1141: the checksum follows the TTL without looking at the rest of the header. */
static __always_inline void decrement_ttl(struct iphdr *iph)
{
	__u32 check = iph->check;

	check += bpf_htons(0x0100);
	iph->check = (__u16)(check + (check >= 0xffff));
	iph->ttl--;
}

SEC("xdp")
int xdp_router(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct route_key key;
	struct next_hop *nh;
	struct iphdr *iph;

	if ((void *)(eth + 1) > data_end) {
		count(STAT_MALFORMED);
		return XDP_DROP;
	}
	if (eth->h_proto != bpf_htons(ETH_P_IP)) {
		count(STAT_NOT_IPV4);
		return XDP_PASS;
	}

	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end || iph->version != 4 || iph->ihl < 5) {
		count(STAT_MALFORMED);
		return XDP_DROP;
	}
	if (iph->ihl != 5) {
		count(STAT_OPTIONS);
		return XDP_PASS;
	}
	if (iph->ttl <= 1) {
		count(STAT_TTL_EXPIRED);
		return XDP_PASS;
	}

	key.prefixlen = 32;
	key.daddr = iph->daddr;
	nh = bpf_map_lookup_elem(&routes, &key);
	if (!nh) {
		count(STAT_NO_ROUTE);
		return XDP_PASS;
	}
	if (nh->ifindex == 0) {
		count(STAT_BLACKHOLE);
		return XDP_DROP;
	}

	decrement_ttl(iph);
	__builtin_memcpy(eth->h_dest, nh->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, nh->smac, ETH_ALEN);

	if (nh->ifindex == ctx->ingress_ifindex) {
		count(STAT_HAIRPIN);
		return XDP_TX;
	}
	count(STAT_FORWARDED);
	/* An interface that is not in the map: the packet was rewritten already, so drop it. */
	return bpf_redirect_map(&tx_ports, nh->ifindex, XDP_DROP);
}

char _license[] SEC("license") = "Apache-2.0";
