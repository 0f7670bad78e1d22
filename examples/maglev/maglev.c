// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A layer 4 load balancer with Maglev hashing and IPIP encapsulation.
 *
 * A packet to a virtual IP (address, port, protocol) goes to one of the real
 * servers behind it: the one its connection is pinned to, or else the one that
 * the VIP's Maglev ring gives for the hash of its 5-tuple. It leaves with a new
 * outer IPv4 header, back out of the interface it came in on, towards the
 * gateway; the real server decapsulates it and answers the client directly.
 * Everything that is not for a VIP is passed to the kernel.
 *
 * The rings of all VIPs lie one behind the other in one array; the control
 * plane fills them (Eisenbud et al., NSDI'16, section 3.4).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VIPS        8
#define MAX_REALS       64
#define MAX_CONNECTIONS 65536
#define RING_SIZE       251 /* a prime, much larger than the number of reals of a VIP */

#define IP_MF     0x2000
#define IP_OFFSET 0x1fff

/* The largest inner packet that still fits the path to the reals. */
#define MAX_INNER_LEN (1500 - (int)sizeof(struct iphdr))

/* VIP flags. */
#define VIP_NO_CONNECTION_TABLE 1 /* hash only, for VIPs without long connections (DNS) */
#define VIP_HASH_NO_PORT        2 /* all packets of a client go to the same real */

/* The address that encapsulated packets come from, and the gateway towards the reals. */
const volatile __be32 local_addr = bpf_htonl(0xac100001); /* 172.16.0.1 */
const volatile __u8 gateway_mac[ETH_ALEN] = { 0x02, 0x00, 0x00, 0x00, 0x00, 0xfe };
const volatile __u32 hash_seed = 0x2d31e867;

/* Changed while the program runs. */
__u32 outer_ttl = 64;
__u32 draining = 0; /* pin no new connections */

struct vip_key {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct vip {
	__u32 num; /* index of its ring and its statistics */
	__u32 flags;
};

struct flow_key {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

struct connection {
	__u32 real;
};

/* Real 0 is never used: an empty ring slot leads to it. */
struct real {
	__be32 addr; /* 0: an unused slot */
	__u32 down; /* not 0: send it nothing */
};

struct vip_stats {
	__u64 packets;
	__u64 bytes;
	__u64 new_connections;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct vip_key);
	__type(value, struct vip);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, struct flow_key);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VIPS *RING_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_REALS);
	__type(key, __u32);
	__type(value, struct real);
} reals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VIPS);
	__type(key, __u32);
	__type(value, struct vip_stats);
} stats SEC(".maps");

static __always_inline __u32 rol32(__u32 word, unsigned int shift)
{
	return (word << shift) | (word >> (32 - shift));
}

/* jhash_3words() of <linux/jhash.h>. Its own function: this is the one place that is all arithmetic. */
static __noinline __u32 jhash_3words(__u32 a, __u32 b, __u32 c, __u32 initval)
{
	initval += 0xdeadbeef + (3 << 2);
	a += initval;
	b += initval;
	c += initval;

	c ^= b;
	c -= rol32(b, 14);
	a ^= c;
	a -= rol32(c, 11);
	b ^= a;
	b -= rol32(a, 25);
	c ^= b;
	c -= rol32(b, 16);
	a ^= c;
	a -= rol32(c, 4);
	b ^= a;
	b -= rol32(a, 14);
	c ^= b;
	c -= rol32(b, 24);
	return c;
}

static __always_inline __u32 flow_hash(const struct flow_key *key, __u32 flags)
{
	__u32 ports = key->sport | (__u32)key->dport << 16;

	if (flags & VIP_HASH_NO_PORT)
		ports = key->dport;
	return jhash_3words(jhash_3words(key->saddr, key->daddr, key->proto, hash_seed), ports, 0, hash_seed);
}

/* The real that the ring of the VIP gives for the flow, 0 if none. */
static __always_inline __u32 pick_real(const struct vip *vip, const struct flow_key *key)
{
	__u32 slot = vip->num * RING_SIZE + flow_hash(key, vip->flags) % RING_SIZE;
	__u32 *real = bpf_map_lookup_elem(&rings, &slot);

	return real ? *real : 0;
}

static __always_inline struct real *usable_real(__u32 index)
{
	struct real *real = bpf_map_lookup_elem(&reals, &index);

	if (!real || !real->addr || real->down)
		return 0;
	return real;
}

static __always_inline __u16 ip_checksum(const struct iphdr *iph)
{
	const __u16 *word = (const __u16 *)iph;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < (int)sizeof(*iph) / 2; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline int encapsulate(struct xdp_md *ctx, const struct real *real, __u8 tos, __u16 inner_len)
{
	struct ethhdr *eth, *old_eth;
	struct iphdr *outer;
	void *data, *data_end;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	outer = (void *)(eth + 1);
	old_eth = data + sizeof(*outer);
	if ((void *)(outer + 1) > data_end || (void *)(old_eth + 1) > data_end)
		return XDP_DROP;

	__builtin_memcpy(eth->h_source, old_eth->h_dest, ETH_ALEN);
	eth->h_dest[0] = gateway_mac[0];
	eth->h_dest[1] = gateway_mac[1];
	eth->h_dest[2] = gateway_mac[2];
	eth->h_dest[3] = gateway_mac[3];
	eth->h_dest[4] = gateway_mac[4];
	eth->h_dest[5] = gateway_mac[5];
	eth->h_proto = bpf_htons(ETH_P_IP);

	outer->version = 4;
	outer->ihl = sizeof(*outer) / 4;
	outer->tos = tos;
	outer->tot_len = bpf_htons(inner_len + sizeof(*outer));
	outer->id = 0;
	outer->frag_off = 0;
	outer->ttl = outer_ttl;
	outer->protocol = IPPROTO_IPIP;
	outer->check = 0;
	outer->saddr = local_addr;
	outer->daddr = real->addr;
	outer->check = ip_checksum(outer);
	return XDP_TX;
}

SEC("xdp")
int xdp_maglev(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct vip_key vip_key = {};
	struct flow_key key = {};
	struct connection *connection;
	struct ethhdr *eth = data;
	struct vip_stats *stat;
	struct real *real = 0;
	__u16 inner_len;
	struct iphdr *iph;
	struct vip *vip;
	int syn = 0;
	__u8 tos;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end)
		return XDP_DROP;
	if (iph->version != 4 || iph->ihl != 5)
		return XDP_PASS;
	if (iph->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)(iph + 1);

		if ((void *)(tcp + 1) > data_end)
			return XDP_DROP;
		key.sport = tcp->source;
		key.dport = tcp->dest;
		syn = tcp->syn;
	} else if (iph->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(iph + 1);

		if ((void *)(udp + 1) > data_end)
			return XDP_DROP;
		key.sport = udp->source;
		key.dport = udp->dest;
	} else {
		return XDP_PASS;
	}
	key.saddr = iph->saddr;
	key.daddr = iph->daddr;
	key.proto = iph->protocol;

	vip_key.addr = key.daddr;
	vip_key.port = key.dport;
	vip_key.proto = key.proto;
	vip = bpf_map_lookup_elem(&vips, &vip_key);
	if (!vip)
		return XDP_PASS;
	stat = bpf_map_lookup_elem(&stats, &vip->num);
	if (!stat)
		return XDP_ABORTED;

	inner_len = bpf_ntohs(iph->tot_len);
	tos = iph->tos;
	/* A fragment has no ports to hash, or part of a packet only; a large packet would not fit. */
	if ((iph->frag_off & bpf_htons(IP_MF | IP_OFFSET)) || inner_len > MAX_INNER_LEN) {
		stat->dropped++;
		return XDP_DROP;
	}

	if (!syn && !(vip->flags & VIP_NO_CONNECTION_TABLE)) {
		connection = bpf_map_lookup_elem(&connections, &key);
		if (connection)
			real = usable_real(connection->real);
	}
	if (!real) {
		struct connection fresh = { .real = pick_real(vip, &key) };

		real = usable_real(fresh.real);
		if (!real) {
			stat->dropped++;
			return XDP_DROP;
		}
		if (!(vip->flags & VIP_NO_CONNECTION_TABLE) && !draining) {
			bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
			stat->new_connections++;
		}
	}

	stat->packets++;
	stat->bytes += inner_len;
	return encapsulate(ctx, real, tos, inner_len);
}

char _license[] SEC("license") = "Apache-2.0";
