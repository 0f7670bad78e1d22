// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A router for IPv4 and IPv6 between VLANs, with 802.1ad (QinQ) and VRFs.
 *
 * The interface and up to two tags say which logical interface a packet came
 * in on, that one which routing table (VRF) is asked. The route leads to one or
 * several next hops, of which the flow's hash picks one; the next hop says
 * which tags the packet leaves with, so tags are pushed, popped or rewritten.
 * The priority in the tag is that of the DSCP.
 *
 * What a router needs the kernel for is passed to it unchanged: other
 * protocols, packets to the router itself (no route), expiring TTLs, IPv4
 * options, IPv6 hop-by-hop options, multicast, and packets that are too big.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_TAGS       2
#define MAX_INTERFACES 64
#define MAX_ROUTES     1024
#define MAX_NEXT_HOPS  256
#define MAX_PORTS      64

#define IP_OFFSET 0x1fff
#define IP_MF     0x2000
#define VID_MASK  0x0fff

#define NEXTHDR_HOP      0
#define NEXTHDR_FRAGMENT 44

/* Loose reverse path filter: a source needs a route, too. */
const volatile __u32 rp_filter = 0;
/* The 802.1p priority of each DSCP class selector (the upper 3 of 6 bits). */
const volatile __u8 priorities[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
const volatile __u32 hash_seed = 0x9e3779b9;

enum router_stat {
	STAT_OTHER_PROTO,
	STAT_MALFORMED,
	STAT_TOO_MANY_TAGS,
	STAT_NO_INTERFACE,
	STAT_NOT_FOR_US,
	STAT_OPTIONS,
	STAT_MULTICAST,
	STAT_TTL_EXPIRED,
	STAT_NO_ROUTE,
	STAT_MARTIAN,
	STAT_BLACKHOLE,
	STAT_TOO_BIG,
	STAT_NO_ROOM,
	STAT_HAIRPIN,
	STAT_FORWARDED,
	STAT_MAX,
};

struct vlan_hdr {
	__be16 tci;
	__be16 proto;
};

/* A tag is its VLAN number; 0 without one. */
struct interface_key {
	__u32 ifindex;
	__u16 outer;
	__u16 inner;
};

struct interface {
	__u32 vrf;
	__u8 mac[ETH_ALEN];
	__u16 num; /* in interface_stats */
};

struct route4_key {
	__u32 prefixlen; /* 32 more than that of the address */
	__u32 vrf;
	__be32 addr;
};

struct route6_key {
	__u32 prefixlen; /* likewise */
	__u32 vrf;
	__be32 addr[4];
};

/* Next hops [first, first + count); a route without next hops is a blackhole. */
struct route {
	__u32 first;
	__u32 count;
};

struct next_hop {
	__u32 ifindex;
	__u16 outer; /* VLAN of the 802.1ad tag if there is an inner one, else of the only tag; 0 for none */
	__u16 inner;
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
	__u32 mtu; /* of the IP packet */
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* What was found in front of the IP header, and in it. */
struct packet {
	__u32 l3; /* offset of the IP header */
	__u16 vlans[MAX_TAGS];
	__be16 proto;
	__u16 length; /* of the IP packet */
	__u32 dscp;
	__u32 flow; /* what of the flow is hashed, folded */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_INTERFACES);
	__type(key, struct interface_key);
	__type(value, struct interface);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_ROUTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route4_key);
	__type(value, struct route);
} routes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_ROUTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route6_key);
	__type(value, struct route);
} routes6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_NEXT_HOPS);
	__type(key, __u32);
	__type(value, struct next_hop);
} next_hops SEC(".maps");

/* Egress interfaces, by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} tx_ports SEC(".maps");

/* Packets that came in by each logical interface. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_INTERFACES);
	__type(key, __u32);
	__type(value, struct counter);
} interface_stats SEC(".maps");

/* Packets, by what became of them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline int verdict(__u32 stat, int action)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		*packets += 1;
	return action;
}

static __always_inline void count_interface(__u32 num, __u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(&interface_stats, &num);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

/* The finaliser of MurmurHash3. A function that the verifier checks by itself. */
__noinline __u32 mix(__u32 word, __u32 seed)
{
	word ^= seed;
	word ^= word >> 16;
	word *= 0x85ebca6b;
	word ^= word >> 13;
	word *= 0xc2b2ae35;
	word ^= word >> 16;
	return word;
}

/* Both ports, or 0 where there are none. */
static __always_inline __u32 ports(void *l4h, void *data_end, __u8 proto)
{
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	if (l4h + 4 > data_end)
		return 0;
	return *(__u32 *)l4h;
}

/* RFC 1141: the checksum follows the TTL without looking at the rest of the header. */
static __always_inline void decrement_ttl(struct iphdr *iph)
{
	__u32 check = iph->check;

	check += bpf_htons(0x0100);
	iph->check = (__u16)(check + (check >= 0xffff));
	iph->ttl--;
}

/* Tags off. Returns -1, or the stat that the packet ends with. */
static __always_inline int parse_tags(void *data, void *data_end, struct packet *packet)
{
	struct ethhdr *eth = data;
	void *next = eth + 1;
	int i;

	packet->proto = eth->h_proto;
	packet->l3 = sizeof(*eth);
#pragma unroll
	for (i = 0; i < MAX_TAGS; i++) {
		struct vlan_hdr *tag = next;

		if (packet->proto != bpf_htons(ETH_P_8021Q) && packet->proto != bpf_htons(ETH_P_8021AD))
			return -1;
		if ((void *)(tag + 1) > data_end)
			return STAT_MALFORMED;
		packet->vlans[i] = bpf_ntohs(tag->tci) & VID_MASK;
		packet->proto = tag->proto;
		packet->l3 += sizeof(*tag);
		next = tag + 1;
	}
	if (packet->proto == bpf_htons(ETH_P_8021Q) || packet->proto == bpf_htons(ETH_P_8021AD))
		return STAT_TOO_MANY_TAGS;
	return -1;
}

/* Routes of both versions end here: the next hop, or the stat that the packet ends with. */
static __always_inline struct next_hop *pick(const struct route *route, __u32 flow, int *stat)
{
	__u32 index;

	if (!route->count) {
		*stat = STAT_BLACKHOLE;
		return 0;
	}
	index = route->first + flow % route->count;
	*stat = STAT_NO_ROUTE; /* if it is outside of the array */
	return bpf_map_lookup_elem(&next_hops, &index);
}

static __always_inline struct next_hop *route4(void *data, void *data_end, struct packet *packet, __u32 vrf,
					       int *stat)
{
	struct iphdr *iph = data + packet->l3;
	struct route4_key key;
	struct next_hop *hop;
	struct route *route;

	if ((void *)(iph + 1) > data_end || iph->version != 4 || iph->ihl < 5) {
		*stat = STAT_MALFORMED;
		return 0;
	}
	packet->length = bpf_ntohs(iph->tot_len);
	packet->dscp = iph->tos >> 2;
	*stat = STAT_OPTIONS;
	if (iph->ihl != 5)
		return 0;
	*stat = STAT_MULTICAST;
	if ((iph->daddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000))
		return 0;
	*stat = STAT_TTL_EXPIRED;
	if (iph->ttl <= 1)
		return 0;

	key.prefixlen = 64;
	key.vrf = vrf;
	if (rp_filter) {
		key.addr = iph->saddr;
		*stat = STAT_MARTIAN;
		if (!bpf_map_lookup_elem(&routes4, &key))
			return 0;
	}
	key.addr = iph->daddr;
	*stat = STAT_NO_ROUTE;
	route = bpf_map_lookup_elem(&routes4, &key);
	if (!route)
		return 0;

	packet->flow = mix(iph->saddr ^ iph->protocol, hash_seed);
	packet->flow = mix(iph->daddr, packet->flow);
	if (!(iph->frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		packet->flow = mix(ports(iph + 1, data_end, iph->protocol), packet->flow);
	hop = pick(route, packet->flow, stat);
	if (hop && packet->length > hop->mtu) {
		*stat = STAT_TOO_BIG;
		return 0;
	}
	if (hop)
		decrement_ttl(iph);
	return hop;
}

static __always_inline struct next_hop *route6(void *data, void *data_end, struct packet *packet, __u32 vrf,
					       int *stat)
{
	struct ipv6hdr *iph = data + packet->l3;
	struct route6_key key;
	struct next_hop *hop;
	struct route *route;
	int i;

	if ((void *)(iph + 1) > data_end || iph->version != 6) {
		*stat = STAT_MALFORMED;
		return 0;
	}
	packet->length = bpf_ntohs(iph->payload_len) + sizeof(*iph);
	packet->dscp = (__u32)iph->priority << 2 | iph->flow_lbl[0] >> 6;
	*stat = STAT_OPTIONS;
	if (iph->nexthdr == NEXTHDR_HOP)
		return 0;
	/* Multicast and link-local addresses */
	*stat = STAT_MULTICAST;
	if (iph->daddr.s6_addr[0] == 0xff || (iph->daddr.s6_addr32[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return 0;
	*stat = STAT_TTL_EXPIRED;
	if (iph->hop_limit <= 1)
		return 0;

	key.prefixlen = 32 + 128;
	key.vrf = vrf;
	if (rp_filter) {
		__builtin_memcpy(key.addr, &iph->saddr, sizeof(key.addr));
		*stat = STAT_MARTIAN;
		if (!bpf_map_lookup_elem(&routes6, &key))
			return 0;
	}
	__builtin_memcpy(key.addr, &iph->daddr, sizeof(key.addr));
	*stat = STAT_NO_ROUTE;
	route = bpf_map_lookup_elem(&routes6, &key);
	if (!route)
		return 0;

	/* RFC 6438: a flow label stands for the ports, which may lie behind extension headers. */
	packet->flow = mix(*(__be32 *)iph & bpf_htonl(0x000fffff), hash_seed);
	for (i = 0; i < 4; i++) {
		packet->flow = mix(iph->saddr.s6_addr32[i], packet->flow);
		packet->flow = mix(iph->daddr.s6_addr32[i], packet->flow);
	}
	packet->flow = mix(ports(iph + 1, data_end, iph->nexthdr), packet->flow);
	hop = pick(route, packet->flow, stat);
	if (hop && packet->length > hop->mtu) {
		*stat = STAT_TOO_BIG;
		return 0;
	}
	if (hop)
		iph->hop_limit--;
	return hop;
}

/* Make room for the tags of the next hop in place of those that the packet came with, and write the new header. */
static __noinline int rewrite(struct xdp_md *ctx, const struct next_hop *hop, const struct packet *packet)
{
	int tags = !!hop->outer + !!hop->inner;
	int grow = (int)sizeof(struct ethhdr) + tags * (int)sizeof(struct vlan_hdr) - (int)packet->l3;
	__be16 priority = bpf_htons((__u16)priorities[packet->dscp >> 3 & 7] << 13);
	struct vlan_hdr *tag;
	void *data, *data_end;
	struct ethhdr *eth;

	if (grow && bpf_xdp_adjust_head(ctx, -grow))
		return -1;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	tag = (void *)(eth + 1);
	if ((void *)(eth + 1) > data_end)
		return -1;
	__builtin_memcpy(eth->h_dest, hop->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, hop->smac, ETH_ALEN);
	if (!tags) {
		eth->h_proto = packet->proto;
		return 0;
	}

	if ((void *)(tag + 1) > data_end)
		return -1;
	tag->tci = bpf_htons(hop->outer ? hop->outer : hop->inner) | priority;
	tag->proto = packet->proto;
	eth->h_proto = bpf_htons(ETH_P_8021Q);
	if (tags == 1)
		return 0;

	if ((void *)(tag + 2) > data_end)
		return -1;
	eth->h_proto = bpf_htons(ETH_P_8021AD);
	tag[0].proto = bpf_htons(ETH_P_8021Q);
	tag[1].tci = bpf_htons(hop->inner) | priority;
	tag[1].proto = packet->proto;
	return 0;
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	int i;

	for (i = 0; i < ETH_ALEN; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

SEC("xdp")
int xdp_vlan_router(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct interface_key key = {};
	struct interface *interface;
	struct packet packet = {};
	struct ethhdr *eth = data;
	struct next_hop *hop;
	int stat;

	if ((void *)(eth + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	stat = parse_tags(data, data_end, &packet);
	if (stat >= 0)
		return verdict(stat, XDP_DROP);

	key.ifindex = ctx->ingress_ifindex;
	key.outer = packet.vlans[0];
	key.inner = packet.vlans[1];
	interface = bpf_map_lookup_elem(&interfaces, &key);
	if (!interface)
		return verdict(STAT_NO_INTERFACE, XDP_DROP);
	count_interface(interface->num, data_end - data);
	if (!same_mac(eth->h_dest, interface->mac))
		return verdict(STAT_NOT_FOR_US, XDP_PASS);

	if (packet.proto == bpf_htons(ETH_P_IP))
		hop = route4(data, data_end, &packet, interface->vrf, &stat);
	else if (packet.proto == bpf_htons(ETH_P_IPV6))
		hop = route6(data, data_end, &packet, interface->vrf, &stat);
	else
		return verdict(STAT_OTHER_PROTO, XDP_PASS);
	if (!hop) {
		int drop = stat == STAT_MALFORMED || stat == STAT_MARTIAN || stat == STAT_BLACKHOLE;

		return verdict(stat, drop ? XDP_DROP : XDP_PASS);
	}

	if (rewrite(ctx, hop, &packet))
		return verdict(STAT_NO_ROOM, XDP_DROP);
	if (hop->ifindex == ctx->ingress_ifindex)
		return verdict(STAT_HAIRPIN, XDP_TX);
	verdict(STAT_FORWARDED, 0);
	/* An interface that is not in the map: the packet was rewritten already, so drop it. */
	return bpf_redirect_map(&tx_ports, hop->ifindex, XDP_DROP);
}

char _license[] SEC("license") = "Apache-2.0";
