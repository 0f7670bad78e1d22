// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A stateful IPv4 firewall between an internal network and the rest.
 *
 * Outbound connections are remembered and their replies let in. Other inbound
 * packets need a rule for their destination (address, port, protocol). Sources
 * on the blocklist, fragments, IP options and spoofed internal addresses are
 * dropped before any state is looked at.
 *
 * Configuration is read-only data, set before the program is loaded.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_FLOWS   1024
#define MAX_RULES   256
#define MAX_BLOCKED 1024

#define IP_MF     0x2000
#define IP_OFFSET 0x1fff

/* The internal network, in host byte order. */
const volatile __u32 internal_net = 0x0a000000; /* 10.0.0.0 */
const volatile __u32 internal_mask = 0xff000000; /* /8 */
/* The interface of the internal network; 0 if the firewall has only one interface. */
const volatile __u32 internal_ifindex = 0;

enum firewall_stat {
	STAT_NOT_IPV4,
	STAT_MALFORMED,
	STAT_BLOCKED,
	STAT_OPTIONS,
	STAT_FRAGMENT,
	STAT_ICMP,
	STAT_OTHER_PROTO,
	STAT_SPOOFED,
	STAT_OUT_NEW,
	STAT_OUT_KNOWN,
	STAT_OUT_TABLE_FULL,
	STAT_IN_ESTABLISHED,
	STAT_IN_ALLOWED,
	STAT_IN_REFUSED,
	STAT_RESET,
	STAT_MAX,
};

struct block_key {
	__u32 prefixlen;
	__be32 saddr;
};

/* A flow as its internal side sees it: src is internal. */
struct flow_key {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

struct flow_state {
	__u32 opened_by_syn;
};

struct rule_key {
	__be32 daddr;
	__be16 dport;
	__u8 proto;
	__u8 pad;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_BLOCKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct block_key);
	__type(value, __u32);
} blocklist SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow_state);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__type(key, struct rule_key);
	__type(value, __u32);
} allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline int verdict(struct xdp_md *ctx, __u32 stat, int action)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &stat);

	if (counter) {
		__sync_fetch_and_add(&counter->packets, 1);
		__sync_fetch_and_add(&counter->bytes, ctx->data_end - ctx->data);
	}
	return action;
}

static __always_inline int is_internal(__be32 addr)
{
	return (bpf_ntohl(addr) & internal_mask) == internal_net;
}

static __always_inline int outbound(struct xdp_md *ctx, const struct flow_key *key, int syn, int rst)
{
	struct flow_state state = { .opened_by_syn = syn };

	if (bpf_map_lookup_elem(&flows, key)) {
		if (rst) {
			bpf_map_delete_elem(&flows, key);
			return verdict(ctx, STAT_RESET, XDP_PASS);
		}
		return verdict(ctx, STAT_OUT_KNOWN, XDP_PASS);
	}
	if (bpf_map_update_elem(&flows, key, &state, BPF_ANY))
		return verdict(ctx, STAT_OUT_TABLE_FULL, XDP_DROP);
	return verdict(ctx, STAT_OUT_NEW, XDP_PASS);
}

static __always_inline int inbound(struct xdp_md *ctx, const struct flow_key *key, int rst)
{
	struct rule_key rule = {
		.daddr = key->saddr,
		.dport = key->sport,
		.proto = key->proto,
	};

	if (bpf_map_lookup_elem(&flows, key)) {
		if (rst) {
			bpf_map_delete_elem(&flows, key);
			return verdict(ctx, STAT_RESET, XDP_PASS);
		}
		return verdict(ctx, STAT_IN_ESTABLISHED, XDP_PASS);
	}
	if (bpf_map_lookup_elem(&allowed, &rule))
		return verdict(ctx, STAT_IN_ALLOWED, XDP_PASS);
	return verdict(ctx, STAT_IN_REFUSED, XDP_DROP);
}

SEC("xdp")
int xdp_firewall(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct flow_key key = {};
	struct ethhdr *eth = data;
	struct block_key block;
	__be16 sport, dport;
	int syn = 0, rst = 0;
	struct iphdr *iph;

	if ((void *)(eth + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return verdict(ctx, STAT_NOT_IPV4, XDP_PASS);

	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (iph->version != 4 || iph->ihl < 5)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);

	block.prefixlen = 32;
	block.saddr = iph->saddr;
	if (bpf_map_lookup_elem(&blocklist, &block))
		return verdict(ctx, STAT_BLOCKED, XDP_DROP);

	if (iph->ihl != 5)
		return verdict(ctx, STAT_OPTIONS, XDP_DROP);
	if (iph->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return verdict(ctx, STAT_FRAGMENT, XDP_DROP);

	if (iph->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)(iph + 1);

		if ((void *)(tcp + 1) > data_end)
			return verdict(ctx, STAT_MALFORMED, XDP_DROP);
		sport = tcp->source;
		dport = tcp->dest;
		syn = tcp->syn;
		rst = tcp->rst;
	} else if (iph->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(iph + 1);

		if ((void *)(udp + 1) > data_end)
			return verdict(ctx, STAT_MALFORMED, XDP_DROP);
		sport = udp->source;
		dport = udp->dest;
	} else if (iph->protocol == IPPROTO_ICMP) {
		return verdict(ctx, STAT_ICMP, XDP_PASS);
	} else {
		return verdict(ctx, STAT_OTHER_PROTO, XDP_DROP);
	}

	key.proto = iph->protocol;
	if (is_internal(iph->saddr)) {
		if (internal_ifindex && ctx->ingress_ifindex != internal_ifindex)
			return verdict(ctx, STAT_SPOOFED, XDP_DROP);
		key.saddr = iph->saddr;
		key.daddr = iph->daddr;
		key.sport = sport;
		key.dport = dport;
		return outbound(ctx, &key, syn, rst);
	}
	key.saddr = iph->daddr;
	key.daddr = iph->saddr;
	key.sport = dport;
	key.dport = sport;
	return inbound(ctx, &key, rst);
}

char _license[] SEC("license") = "Apache-2.0";
