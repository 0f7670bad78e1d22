// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A VXLAN gateway: connects VLANs of a local trunk with segments of an overlay.
 *
 * A frame with a VLAN tag that belongs to a segment loses the tag, gets Ethernet,
 * IPv4, UDP and VXLAN headers in front (RFC 7348), and leaves by the uplink
 * towards the tunnel endpoint that its destination lives behind. What comes from
 * a known endpoint to ours is unpacked, tagged, and leaves by the segment's port;
 * on the way, the gateway learns behind which endpoint the sender is. DSCP and
 * congestion marks are carried over in both directions (RFC 6040). Broadcast,
 * unknown destinations and frames that are too large go to the kernel, which
 * floods, and answers with ICMP.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_SEGMENTS 4096
#define MAX_VTEPS    1024
#define MAX_STATIONS 16384
#define MAX_PORTS    64
#define UPLINK       0 /* key of the port towards the underlay */

#define VXLAN_PORT  4789
#define VXLAN_VALID 0x08000000 /* the flag I: there is a VNI */
#define VLAN_VID    0x0fff
#define IP_DF       0x4000
#define IP_MF       0x2000
#define IP_OFFSET   0x1fff
#define ECN_MASK    3
#define ECN_CE      3

/* The smallest and the largest source port of the tunnel: the hash of the flow inside is between them. */
#define FIRST_SPORT 49152
#define SPORT_MASK  0x3fff

/* Our end of the tunnels. */
const volatile __be32 local_vtep = bpf_htonl(0xac100001); /* 172.16.0.1 */
const volatile __u8 local_mac[ETH_ALEN] = { 0x02, 0x00, 0x00, 0x00, 0x00, 0x01 };
const volatile __u32 underlay_mtu = 1500;

/* Changed while the program runs. */
__u32 outer_ttl = 64;
__u32 learning = 1;

struct vlan_hdr {
	__be16 tci;
	__be16 proto;
};

struct vxlan_hdr {
	__be32 flags;
	__be32 vni; /* in the upper 24 bits */
};

/* What encapsulation puts in front of the inner Ethernet header. */
#define OUTER_LEN (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr) + sizeof(struct vxlan_hdr))

struct segment {
	__u32 port; /* towards its stations */
	__u16 vlan;
	__u16 pad;
};

struct vtep {
	__u8 next_hop[ETH_ALEN];
	__u16 down;
	__u64 packets;
};

struct station_key {
	__u32 vni;
	__u8 mac[ETH_ALEN];
	__u16 pad;
};

struct counters {
	__u64 packets;
	__u64 bytes;
};

enum gateway_stat {
	STAT_OTHER, /* neither from a segment's VLAN nor to our endpoint */
	STAT_MALFORMED,
	STAT_ENCAPSULATED,
	STAT_FLOOD,
	STAT_UNKNOWN_STATION,
	STAT_TOO_LARGE,
	STAT_VTEP_DOWN,
	STAT_DECAPSULATED,
	STAT_UNKNOWN_VTEP,
	STAT_UNKNOWN_VNI,
	STAT_INNER_TAG,
	STAT_CONGESTED, /* marked outside, and the packet inside can't be marked */
	STAT_MAX,
};

/* VLAN to VNI, and VNI to where its stations are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SEGMENTS);
	__type(key, __u16);
	__type(value, __u32);
} vlans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SEGMENTS);
	__type(key, __u32);
	__type(value, struct segment);
} segments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VTEPS);
	__type(key, __be32);
	__type(value, struct vtep);
} vteps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_STATIONS);
	__type(key, struct station_key);
	__type(value, __be32);
} stations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, MAX_PORTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, struct counters);
} stats SEC(".maps");

static __always_inline int verdict(struct xdp_md *ctx, __u32 stat, int action)
{
	struct counters *count = bpf_map_lookup_elem(&stats, &stat);

	if (count) {
		count->packets++;
		count->bytes += ctx->data_end - ctx->data;
	}
	return action;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u16 ip_checksum(const struct iphdr *iph)
{
	const __u16 *word = (const __u16 *)iph;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < (int)sizeof(*iph) / 2; i++)
		sum += word[i];
	return fold(sum);
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

/*
 * The hash of the flow that the packet behind Ethernet header and tag belongs to. The
 * class of service is stored to *tos, 0 if there is none.
 */
static __noinline __u32 inner_flow(struct xdp_md *ctx, __u32 proto, __u8 *tos)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	void *l3 = data + sizeof(struct ethhdr) + sizeof(struct vlan_hdr);
	__u32 hash = proto, *ports = 0;
	int i;

	*tos = 0;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *iph = l3;

		if ((void *)(iph + 1) > data_end || iph->ihl < 5)
			return hash;
		*tos = iph->tos;
		hash = mix(mix(mix(hash, iph->saddr), iph->daddr), iph->protocol);
		if (iph->frag_off & bpf_htons(IP_MF | IP_OFFSET))
			return hash;
		if (iph->protocol == IPPROTO_TCP || iph->protocol == IPPROTO_UDP)
			ports = l3 + iph->ihl * 4;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > data_end)
			return hash;
		*tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
		for (i = 0; i < 4; i++)
			hash = mix(mix(hash, ip6->saddr.in6_u.u6_addr32[i]), ip6->daddr.in6_u.u6_addr32[i]);
		if (ip6->nexthdr == IPPROTO_TCP || ip6->nexthdr == IPPROTO_UDP)
			ports = (void *)(ip6 + 1);
	}
	if (ports && (void *)(ports + 1) <= data_end)
		hash = mix(hash, *ports);
	return hash;
}

static __always_inline int encapsulate(struct xdp_md *ctx, __u32 vni)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct station_key station = { .vni = vni };
	struct ethhdr *eth = data, *inner;
	struct vlan_hdr *vlan = (void *)(eth + 1);
	struct vxlan_hdr *vxlan;
	__be32 *remote, addr;
	struct udphdr *udp;
	struct iphdr *iph;
	struct vtep *vtep;
	__be16 proto;
	__u32 len, hash;
	__u8 tos;

	if ((void *)(vlan + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (eth->h_dest[0] & 1)
		return verdict(ctx, STAT_FLOOD, XDP_PASS);
	__builtin_memcpy(station.mac, eth->h_dest, ETH_ALEN);
	proto = vlan->proto;

	remote = bpf_map_lookup_elem(&stations, &station);
	if (!remote)
		return verdict(ctx, STAT_UNKNOWN_STATION, XDP_PASS);
	addr = *remote;
	vtep = bpf_map_lookup_elem(&vteps, &addr);
	if (!vtep || vtep->down)
		return verdict(ctx, STAT_VTEP_DOWN, XDP_DROP);

	/* The length of the outer IP packet. */
	len = data_end - data - sizeof(*vlan) + OUTER_LEN - sizeof(*eth);
	if (len > underlay_mtu)
		return verdict(ctx, STAT_TOO_LARGE, XDP_PASS);
	hash = inner_flow(ctx, proto, &tos);

	/* The tag goes away: the MAC addresses move to where it ends. */
	if (bpf_xdp_adjust_head(ctx, (int)sizeof(*vlan) - (int)OUTER_LEN))
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	inner = data + OUTER_LEN;
	if ((void *)(inner + 1) > data_end)
		return XDP_DROP;
	eth = (void *)inner - sizeof(*vlan);
	__builtin_memmove(inner->h_source, eth->h_source, ETH_ALEN);
	__builtin_memcpy(inner->h_dest, station.mac, ETH_ALEN);
	inner->h_proto = proto;

	eth = data;
	__builtin_memcpy(eth->h_dest, vtep->next_hop, ETH_ALEN);
	eth->h_source[0] = local_mac[0];
	eth->h_source[1] = local_mac[1];
	eth->h_source[2] = local_mac[2];
	eth->h_source[3] = local_mac[3];
	eth->h_source[4] = local_mac[4];
	eth->h_source[5] = local_mac[5];
	eth->h_proto = bpf_htons(ETH_P_IP);

	iph = (void *)(eth + 1);
	iph->version = 4;
	iph->ihl = sizeof(*iph) / 4;
	iph->tos = tos;
	iph->tot_len = bpf_htons(len);
	iph->id = 0;
	iph->frag_off = bpf_htons(IP_DF);
	iph->ttl = outer_ttl;
	iph->protocol = IPPROTO_UDP;
	iph->check = 0;
	iph->saddr = local_vtep;
	iph->daddr = addr;
	iph->check = ip_checksum(iph);

	udp = (void *)(iph + 1);
	udp->source = bpf_htons(FIRST_SPORT + (hash & SPORT_MASK));
	udp->dest = bpf_htons(VXLAN_PORT);
	udp->len = bpf_htons(len - sizeof(*iph));
	udp->check = 0; /* as RFC 7348 wants it */

	vxlan = (void *)(udp + 1);
	vxlan->flags = bpf_htonl(VXLAN_VALID);
	vxlan->vni = bpf_htonl(vni << 8);

	__sync_fetch_and_add(&vtep->packets, 1);
	verdict(ctx, STAT_ENCAPSULATED, 0);
	return bpf_redirect_map(&ports, UPLINK, XDP_DROP);
}

/* Marks an IPv4 or IPv6 packet as having met congestion. Returns -1 if its sender would not understand. */
static __always_inline int mark_congested(void *l3, void *data_end, __be16 proto)
{
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *iph = l3;
		__u8 ecn;

		if ((void *)(iph + 1) > data_end)
			return -1;
		ecn = iph->tos & ECN_MASK;
		if (!ecn)
			return -1;
		if (ecn != ECN_CE) {
			/* The sum grows by what is added, so its complement shrinks; 0xffff is zero (RFC 1624). */
			__u32 check = iph->check + bpf_htons(0xffff - (ECN_CE - ecn));

			iph->check = check + (check >= 0xffff);
			iph->tos |= ECN_CE;
		}
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > data_end || !(ip6->flow_lbl[0] & ECN_MASK << 4))
			return -1;
		ip6->flow_lbl[0] |= ECN_CE << 4;
	}
	return 0;
}

static __always_inline void learn(struct station_key *station, __be32 addr)
{
	__be32 *known = bpf_map_lookup_elem(&stations, station);

	if (!known || *known != addr)
		bpf_map_update_elem(&stations, station, &addr, BPF_ANY);
}

static __always_inline int decapsulate(struct xdp_md *ctx, const struct iphdr *iph, const struct vxlan_hdr *vxlan)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth, *inner = (void *)(vxlan + 1);
	struct station_key station = {};
	__u8 dest[ETH_ALEN], tos;
	struct segment *segment;
	struct vlan_hdr *vlan;
	struct vtep *vtep;
	__u32 vni, headers;
	__be16 proto;
	__be32 addr;

	if ((void *)(inner + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (!(vxlan->flags & bpf_htonl(VXLAN_VALID)))
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	addr = iph->saddr;
	tos = iph->tos;
	vtep = bpf_map_lookup_elem(&vteps, &addr);
	if (!vtep)
		return verdict(ctx, STAT_UNKNOWN_VTEP, XDP_DROP);
	vni = bpf_ntohl(vxlan->vni) >> 8;
	segment = bpf_map_lookup_elem(&segments, &vni);
	if (!segment)
		return verdict(ctx, STAT_UNKNOWN_VNI, XDP_DROP);
	proto = inner->h_proto;
	if (proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD))
		return verdict(ctx, STAT_INNER_TAG, XDP_DROP);
	if ((tos & ECN_MASK) == ECN_CE && mark_congested(inner + 1, data_end, proto))
		return verdict(ctx, STAT_CONGESTED, XDP_DROP);

	__builtin_memcpy(dest, inner->h_dest, ETH_ALEN);
	__builtin_memcpy(station.mac, inner->h_source, ETH_ALEN);
	station.vni = vni;
	if (learning && !(station.mac[0] & 1))
		learn(&station, addr);

	/* Room for the tag between the addresses and the inner packet. */
	headers = (void *)inner - data - sizeof(*vlan);
	if (bpf_xdp_adjust_head(ctx, headers))
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	vlan = (void *)(eth + 1);
	if ((void *)(vlan + 1) > data_end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_dest, dest, ETH_ALEN);
	__builtin_memcpy(eth->h_source, station.mac, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_8021Q);
	vlan->tci = bpf_htons(segment->vlan & VLAN_VID);
	vlan->proto = proto;

	__sync_fetch_and_add(&vtep->packets, 1);
	verdict(ctx, STAT_DECAPSULATED, 0);
	return bpf_redirect_map(&ports, segment->port, XDP_PASS);
}

SEC("xdp")
int xdp_vxlan_gateway(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct udphdr *udp;
	struct iphdr *iph;

	if ((void *)(eth + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (eth->h_proto == bpf_htons(ETH_P_8021Q)) {
		struct vlan_hdr *vlan = (void *)(eth + 1);
		__u32 *vni;
		__u16 vid;

		if ((void *)(vlan + 1) > data_end)
			return verdict(ctx, STAT_MALFORMED, XDP_DROP);
		vid = bpf_ntohs(vlan->tci) & VLAN_VID;
		vni = bpf_map_lookup_elem(&vlans, &vid);
		if (!vni)
			return verdict(ctx, STAT_OTHER, XDP_PASS);
		return encapsulate(ctx, *vni);
	}
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return verdict(ctx, STAT_OTHER, XDP_PASS);

	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (iph->protocol != IPPROTO_UDP || iph->daddr != local_vtep)
		return verdict(ctx, STAT_OTHER, XDP_PASS);
	if (iph->version != 4 || iph->ihl < 5)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (iph->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return verdict(ctx, STAT_OTHER, XDP_PASS);
	udp = (void *)iph + iph->ihl * 4;
	if ((void *)(udp + 1) > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (udp->dest != bpf_htons(VXLAN_PORT))
		return verdict(ctx, STAT_OTHER, XDP_PASS);
	return decapsulate(ctx, iph, (void *)(udp + 1));
}

char _license[] SEC("license") = "Apache-2.0";
