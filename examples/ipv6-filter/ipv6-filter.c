// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A filter for IPv6 that looks behind extension headers.
 *
 * The chain of headers is walked to the transport header, at most MAX_HEADERS
 * far, and has to be one that RFC 8200 (section 4.1) and RFC 7045 let routers
 * expect: hop-by-hop options come first, no header but destination options comes
 * twice, the whole chain is in the first fragment (RFC 7112), routing headers of
 * type 0 are dropped (RFC 5095), and so are options that ask for it. Then the
 * source's zone and the destination port decide.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLANS   2
#define MAX_HEADERS 8
#define MAX_OPTIONS 8
#define MAX_ZONES   1024
#define MAX_RULES   4096
#define MAX_OFFSET  1200 /* headers further back are out of the ordinary */

#define FRAG_OFFSET 0xfff8

#define ROUTING_SEGMENTS 4

#define OPTION_PAD1         0
#define OPTION_UNRECOGNISED 0xc0 /* these bits of an option's type: what to do if it is unknown; 0 is to skip it */
#define OPTION_ROUTER_ALERT 5
#define OPTION_JUMBO        0xc2

/* Policy, set before the program is loaded. */
const volatile __u8 allow_segment_routing = 0;
const volatile __u8 allow_fragments = 1;
/* A bit for each type of ICMPv6: errors, echo, neighbour discovery. */
const volatile __u64 icmp_types[4] = { 0x1e, 0, 0x3e3, 0 };

/* A bit for each extension header that may come only once, 0 for the others. */
const volatile __u8 only_once[256] = {
	[IPPROTO_HOPOPTS] = 1,
	[IPPROTO_ROUTING] = 2,
	[IPPROTO_FRAGMENT] = 4,
	[IPPROTO_AH] = 8,
};

struct vlan_hdr {
	__be16 tci;
	__be16 proto;
};

/* The first 8 bytes of any header behind the IPv6 header. */
struct ext_hdr {
	union {
		struct {
			__u8 nexthdr;
			__u8 hdrlen; /* units and bias depend on the header */
		};
		__u8 icmp_type;
		__be16 source; /* TCP, UDP */
	};
	union {
		struct {
			__u8 type;
			__u8 segments_left;
		} routing;
		__be16 frag_off;
		__be16 dest; /* TCP, UDP */
	};
	__be32 rest;
};

struct source_key {
	__u32 prefixlen;
	struct in6_addr addr;
};

struct rule_key {
	__u32 zone;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct rule {
	__u32 drop;
	__u32 pad;
	__u64 packets;
	__u64 bytes;
};

enum filter_stat {
	STAT_NOT_IPV6,
	STAT_MALFORMED,
	STAT_BAD_CHAIN,
	STAT_TOO_LONG,
	STAT_BAD_OPTION,
	STAT_ROUTING,
	STAT_FRAGMENT,
	STAT_LATER_FRAGMENT,
	STAT_ICMP,
	STAT_ICMP_REFUSED,
	STAT_NO_ZONE,
	STAT_NO_RULE,
	STAT_ALLOWED,
	STAT_DENIED,
	STAT_OPAQUE, /* nothing behind it, or encrypted */
	STAT_OTHER_PROTOCOL,
	STAT_MAX,
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_ZONES);
	__type(key, struct source_key);
	__type(value, __u32);
} zones SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__type(key, struct rule_key);
	__type(value, struct rule);
} rules SEC(".maps");

/* How often each kind of header was seen, by its number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} headers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

/* The largest number of headers seen in front of a transport header. */
__u32 longest_chain;

static __always_inline int verdict(__u32 stat, int action)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	return action;
}

static __always_inline void count_header(__u32 number)
{
	__u64 *seen = bpf_map_lookup_elem(&headers, &number);

	if (seen)
		__sync_fetch_and_add(seen, 1);
}

/*
 * Walks the options at [offset, offset + len) of the packet. Returns 0 if all of
 * them are known, or unknown and to be skipped; 1 if the packet is to be dropped.
 * Global, so that the verifier looks at it once and not for every header.
 */
__noinline int refuse_options(struct xdp_md *ctx, __u64 offset, __u64 len)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u64 done = 0;
	int i;

	if (offset > MAX_OFFSET || len > 255 * 8 + 8)
		return 1;
	for (i = 0; i < MAX_OPTIONS; i++) {
		__u8 *option = data + offset + done;

		if (done >= len)
			return 0;
		if ((void *)(option + 1) > data_end)
			return 1;
		if (*option == OPTION_PAD1) {
			done++;
			continue;
		}
		if ((void *)(option + 2) > data_end)
			return 1;
		if (*option == OPTION_JUMBO)
			return 1;
		if (*option != OPTION_ROUTER_ALERT && (*option & OPTION_UNRECOGNISED))
			return 1;
		done += 2 + option[1];
		if (done > len)
			return 1;
	}
	return done < len;
}

static __always_inline int filter_port(const struct ipv6hdr *ip6, __u8 proto, __be16 port)
{
	struct source_key source = { .prefixlen = 128, .addr = ip6->saddr };
	struct rule_key key = { .port = port, .proto = proto };
	struct rule *rule;
	__u32 *zone;

	zone = bpf_map_lookup_elem(&zones, &source);
	if (!zone)
		return verdict(STAT_NO_ZONE, XDP_DROP);
	key.zone = *zone;
	rule = bpf_map_lookup_elem(&rules, &key);
	if (!rule) {
		key.port = 0; /* the zone's rule for all ports */
		rule = bpf_map_lookup_elem(&rules, &key);
	}
	if (!rule)
		return verdict(STAT_NO_RULE, XDP_DROP);
	__sync_fetch_and_add(&rule->packets, 1);
	__sync_fetch_and_add(&rule->bytes, bpf_ntohs(ip6->payload_len) + sizeof(*ip6));
	return rule->drop ? verdict(STAT_DENIED, XDP_DROP) : verdict(STAT_ALLOWED, XDP_PASS);
}

static __always_inline int filter_icmp(__u8 type)
{
	if (!(icmp_types[type >> 6] & 1ULL << (type & 63)))
		return verdict(STAT_ICMP_REFUSED, XDP_DROP);
	return verdict(STAT_ICMP, XDP_PASS);
}

SEC("xdp")
int xdp_ipv6_filter(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct vlan_hdr *vlan;
	struct ipv6hdr *ip6;
	__u64 offset;
	__u32 seen = 0;
	__be16 proto;
	void *next;
	__u8 number;
	int i;

	if ((void *)(eth + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	proto = eth->h_proto;
	next = eth + 1;
#pragma unroll
	for (i = 0; i < MAX_VLANS; i++) {
		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		vlan = next;
		if ((void *)(vlan + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_DROP);
		proto = vlan->proto;
		next = vlan + 1;
	}
	if (proto != bpf_htons(ETH_P_IPV6))
		return verdict(STAT_NOT_IPV6, XDP_PASS);
	ip6 = next;
	if ((void *)(ip6 + 1) > data_end || ip6->version != 6)
		return verdict(STAT_MALFORMED, XDP_DROP);

	number = ip6->nexthdr;
	offset = (void *)(ip6 + 1) - data;
	for (i = 0; i < MAX_HEADERS; i++) {
		__u32 bit = only_once[number];
		struct ext_hdr *ext;

		count_header(number);
		if (offset > MAX_OFFSET)
			return verdict(STAT_TOO_LONG, XDP_DROP);
		ext = data + offset;
		if (number == IPPROTO_NONE || number == IPPROTO_ESP)
			return verdict(STAT_OPAQUE, XDP_PASS);
		/* The others have at least 8 bytes, all of them. */
		if ((void *)(ext + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_DROP);
		if (seen & bit)
			return verdict(STAT_BAD_CHAIN, XDP_DROP);
		seen |= bit;

		switch (number) {
		case IPPROTO_HOPOPTS:
			if (i > 0)
				return verdict(STAT_BAD_CHAIN, XDP_DROP);
			/* fall through */
		case IPPROTO_DSTOPTS:
			if (refuse_options(ctx, offset + 2, ext->hdrlen * 8 + 6))
				return verdict(STAT_BAD_OPTION, XDP_DROP);
			offset += (ext->hdrlen + 1) * 8;
			break;
		case IPPROTO_ROUTING:
			if (ext->routing.type == ROUTING_SEGMENTS ? !allow_segment_routing : ext->routing.segments_left)
				return verdict(STAT_ROUTING, XDP_DROP);
			offset += (ext->hdrlen + 1) * 8;
			break;
		case IPPROTO_FRAGMENT:
			if (!allow_fragments)
				return verdict(STAT_FRAGMENT, XDP_DROP);
			/* The first fragment decides: without it the others are of no use to anyone. */
			if (ext->frag_off & bpf_htons(FRAG_OFFSET))
				return verdict(STAT_LATER_FRAGMENT, XDP_PASS);
			offset += sizeof(*ext);
			break;
		case IPPROTO_AH:
			offset += (ext->hdrlen + 2) * 4;
			break;
		case IPPROTO_TCP:
			if ((void *)ext + sizeof(struct tcphdr) > data_end)
				return verdict(STAT_MALFORMED, XDP_DROP);
			/* fall through */
		case IPPROTO_UDP:
			if (longest_chain < (__u32)i)
				longest_chain = i;
			return filter_port(ip6, number, ext->dest);
		case IPPROTO_ICMPV6:
			return filter_icmp(ext->icmp_type);
		default:
			return verdict(STAT_OTHER_PROTOCOL, XDP_DROP);
		}

		number = ext->nexthdr;
	}
	return verdict(STAT_TOO_LONG, XDP_DROP);
}

char _license[] SEC("license") = "Apache-2.0";
