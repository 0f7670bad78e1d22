// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * An egress classifier for tc: marks, rewrites and steers what leaves a host.
 *
 *     tc qdisc add dev eth0 clsact
 *     tc filter add dev eth0 egress bpf direct-action obj tc-marker.o section tc
 *
 * The destination's site and the transport's port lead to a class. The class sets
 * DSCP, the socket buffer's mark and priority, may send the packet to another
 * destination (a proxy) or out of another interface, or refuse it. TCP
 * connections to sites behind tunnels get their maximum segment size clamped.
 * IPv4 and IPv6; VLAN tags in the packet and in the socket buffer.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_SITES   1024
#define MAX_CLASSES 256
#define MAX_RULES   4096
#define MAX_VLANS   2
#define MAX_OPTIONS 10
#define PULLED      94 /* two tags, IPv6 or IPv4 with options, a transport header */

#define IP_MF     0x2000
#define IP_OFFSET 0x1fff
#define ECN_MASK  3

#define TCPOPT_EOL 0
#define TCPOPT_NOP 1
#define TCPOPT_MSS 2

/* Class 0 is for packets that no rule matches. */
const volatile __u32 default_class = 0;
const volatile __u16 least_mss = 536;

__u32 enforcing = 1; /* 0: count what would be refused, and let it go */

struct vlan_hdr {
	__be16 tci;
	__be16 proto;
};

struct site_key {
	__u32 prefixlen;
	struct in6_addr addr; /* IPv4 as ::ffff:a.b.c.d */
};

struct site {
	__u32 num;
	__u16 mss; /* 0: not clamped */
	__u16 pad;
};

struct rule_key {
	__u32 site;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

#define CLASS_REFUSE 1
#define CLASS_DSCP   2 /* sets DSCP; it may be 0 */
#define CLASS_PROXY  4 /* IPv4 only */

struct class {
	__u32 flags;
	__u32 mark;
	__u32 priority;
	__u32 ifindex; /* 0: where it goes anyway */
	__be32 proxy_addr;
	__be16 proxy_port;
	__u8 dscp;
	__u8 pad;
};

struct class_stats {
	__u64 packets;
	__u64 bytes;
	__u64 marked;
	__u64 clamped;
	__u64 proxied;
	__u64 refused;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SITES);
	__type(key, struct site_key);
	__type(value, struct site);
} sites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__type(key, struct rule_key);
	__type(value, __u32);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct class);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct class_stats);
} stats SEC(".maps");

/* What a packet is, and where its headers are. */
struct parsed {
	__u32 l3;
	__u32 l4; /* 0: no ports, as in later fragments */
	__be16 port;
	__u8 proto;
	__u8 ipv4;
	__u8 tos;
	__u8 tcp_flags;
	__u8 tcp_len;
	__be32 daddr;
	struct in6_addr addr;
};

static __always_inline int parse_transport(const void *l4, const void *data_end, struct parsed *packet)
{
	if (packet->proto == IPPROTO_TCP) {
		const struct tcphdr *tcp = l4;

		if ((const void *)(tcp + 1) > data_end)
			return -1;
		packet->port = tcp->dest;
		packet->tcp_flags = ((const __u8 *)tcp)[13];
		packet->tcp_len = tcp->doff * 4;
	} else if (packet->proto == IPPROTO_UDP) {
		const struct udphdr *udp = l4;

		if ((const void *)(udp + 1) > data_end)
			return -1;
		packet->port = udp->dest;
	} else {
		packet->l4 = 0;
	}
	return 0;
}

/* Returns -1 for packets that are neither IPv4 nor IPv6, or not whole. */
static __noinline int parse(struct __sk_buff *skb, struct parsed *packet)
{
	void *data_end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;
	__u32 offset = sizeof(*eth);
	__be16 proto;
	int i;

	if ((void *)(eth + 1) > data_end)
		return -1;
	proto = eth->h_proto;
	for (i = 0; i < MAX_VLANS; i++) {
		struct vlan_hdr *vlan = data + offset;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > data_end)
			return -1;
		proto = vlan->proto;
		offset += sizeof(*vlan);
	}

	packet->l3 = offset;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *iph = data + offset;

		if ((void *)(iph + 1) > data_end || iph->ihl < 5)
			return -1;
		packet->ipv4 = 1;
		packet->tos = iph->tos;
		packet->proto = iph->protocol;
		packet->daddr = iph->daddr;
		packet->addr.in6_u.u6_addr16[5] = 0xffff;
		packet->addr.in6_u.u6_addr32[3] = iph->daddr;
		if (iph->frag_off & bpf_htons(IP_OFFSET))
			return 0;
		packet->l4 = offset + iph->ihl * 4;
		return parse_transport((void *)iph + iph->ihl * 4, data_end, packet);
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = data + offset;

		if ((void *)(ip6 + 1) > data_end)
			return -1;
		packet->tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
		packet->proto = ip6->nexthdr;
		packet->addr = ip6->daddr;
		packet->l4 = offset + sizeof(*ip6);
		return parse_transport(ip6 + 1, data_end, packet);
	}
	return -1;
}

/* Returns 1 if the packet was changed, 0 if it has that DSCP already or can't be written. */
static __noinline int set_dscp(struct __sk_buff *skb, const struct parsed *packet, __u8 dscp)
{
	__u8 tos = dscp << 2 | (packet->tos & ECN_MASK);
	__u8 bytes[2];

	if (tos == packet->tos)
		return 0;
	if (packet->ipv4) {
		__u32 check = packet->l3 + offsetof(struct iphdr, check);

		if (bpf_l3_csum_replace(skb, check, bpf_htons(packet->tos), bpf_htons(tos), 2))
			return 0;
		return bpf_skb_store_bytes(skb, packet->l3 + offsetof(struct iphdr, tos), &tos, 1, 0) == 0;
	}
	/* Version, traffic class, and the first bits of the flow label. */
	if (bpf_skb_load_bytes(skb, packet->l3, bytes, sizeof(bytes)))
		return 0;
	bytes[0] = 0x60 | tos >> 4;
	bytes[1] = (tos & 15) << 4 | (bytes[1] & 15);
	return bpf_skb_store_bytes(skb, packet->l3, bytes, sizeof(bytes), BPF_F_RECOMPUTE_CSUM) == 0;
}

/* Lowers the maximum segment size in the options of a SYN. Returns 1 if it was larger. */
static __noinline int clamp_mss(struct __sk_buff *skb, const struct parsed *packet, __u16 most)
{
	__u32 offset = packet->l4 + sizeof(struct tcphdr);
	__u32 end = packet->l4 + packet->tcp_len;
	__be16 mss, clamped = bpf_htons(most);
	__u8 option[2];
	int i;

	for (i = 0; i < MAX_OPTIONS; i++) {
		if (offset + 2 > end || bpf_skb_load_bytes(skb, offset, option, sizeof(option)))
			return 0;
		if (option[0] == TCPOPT_EOL)
			return 0;
		if (option[0] == TCPOPT_NOP) {
			offset++;
			continue;
		}
		if (option[1] < 2)
			return 0;
		if (option[0] == TCPOPT_MSS && option[1] == 4) {
			if (offset + 4 > end || bpf_skb_load_bytes(skb, offset + 2, &mss, sizeof(mss)))
				return 0;
			if (bpf_ntohs(mss) <= most)
				return 0;
			/* A word that starts at an odd offset is swapped in the sum. */
			if ((offset - packet->l4) & 1)
				bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct tcphdr, check), __builtin_bswap16(mss),
						    __builtin_bswap16(clamped), sizeof(mss));
			else
				bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct tcphdr, check), mss, clamped,
						    sizeof(mss));
			return bpf_skb_store_bytes(skb, offset + 2, &clamped, sizeof(clamped), 0) == 0;
		}
		offset += option[1];
	}
	return 0;
}

/* Gives the packet another destination. Returns 1 if that worked. */
static __noinline int to_proxy(struct __sk_buff *skb, const struct parsed *packet, const struct class *class)
{
	__be32 addr = class->proxy_addr;
	__be16 port = class->proxy_port;
	__u32 check, flags = 0;

	if (packet->proto == IPPROTO_TCP) {
		check = packet->l4 + offsetof(struct tcphdr, check);
	} else {
		check = packet->l4 + offsetof(struct udphdr, check);
		flags = BPF_F_MARK_MANGLED_0; /* a datagram without checksum stays one */
	}
	if (bpf_l4_csum_replace(skb, check, packet->daddr, addr, flags | BPF_F_PSEUDO_HDR | sizeof(addr)) ||
	    bpf_l4_csum_replace(skb, check, packet->port, port, flags | sizeof(port)) ||
	    bpf_l3_csum_replace(skb, packet->l3 + offsetof(struct iphdr, check), packet->daddr, addr, sizeof(addr)))
		return 0;
	if (bpf_skb_store_bytes(skb, packet->l3 + offsetof(struct iphdr, daddr), &addr, sizeof(addr), 0))
		return 0;
	/* The destination port is at the same place in both. */
	return bpf_skb_store_bytes(skb, packet->l4 + offsetof(struct udphdr, dest), &port, sizeof(port), 0) == 0;
}

static __always_inline __u32 class_of(const struct parsed *packet, const struct site *site)
{
	struct rule_key key = { .port = packet->port, .proto = packet->proto };
	__u32 *num;

	if (!site)
		return default_class;
	key.site = site->num;
	num = bpf_map_lookup_elem(&rules, &key);
	if (!num) {
		key.port = 0; /* all ports of the site */
		num = bpf_map_lookup_elem(&rules, &key);
	}
	return num ? *num : default_class;
}

SEC("tc")
int tc_marker(struct __sk_buff *skb)
{
	struct site_key key = { .prefixlen = 128 };
	struct parsed packet = {};
	struct class_stats *stat;
	struct class *class;
	struct site *site;
	__u32 num;

	/* Headers may be in fragments of the buffer; those that are not there stay out of reach. */
	bpf_skb_pull_data(skb, skb->len < PULLED ? skb->len : PULLED);
	if (parse(skb, &packet))
		return TC_ACT_OK;

	key.addr = packet.addr;
	site = bpf_map_lookup_elem(&sites, &key);
	num = class_of(&packet, site);
	class = bpf_map_lookup_elem(&classes, &num);
	stat = bpf_map_lookup_elem(&stats, &num);
	if (!class || !stat)
		return TC_ACT_OK;
	stat->packets++;
	stat->bytes += skb->len + (skb->vlan_present ? sizeof(struct vlan_hdr) : 0);

	if (class->flags & CLASS_REFUSE) {
		stat->refused++;
		if (enforcing)
			return TC_ACT_SHOT;
	}
	if (class->flags & CLASS_DSCP)
		stat->marked += set_dscp(skb, &packet, class->dscp & 63);
	if (site && site->mss >= least_mss && packet.l4 && (packet.tcp_flags & 2))
		stat->clamped += clamp_mss(skb, &packet, site->mss);
	if ((class->flags & CLASS_PROXY) && packet.ipv4 && packet.l4)
		stat->proxied += to_proxy(skb, &packet, class);

	skb->mark = class->mark;
	if (class->priority)
		skb->priority = class->priority;
	if (class->ifindex)
		return bpf_redirect(class->ifindex, 0);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Apache-2.0";
