// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * Source NAT: an internal network behind a pool of public IPv4 addresses.
 *
 * Every internal endpoint (address, port, protocol) gets one public endpoint,
 * whatever it talks to (RFC 4787: endpoint-independent mapping), always with
 * the same public address ("paired"), and with its own port if that is free.
 * ICMP echo is translated by its identifier, ICMP errors by the packet that
 * they quote. Mappings end after a time without packets; ports of ended ones
 * are taken over by new ones, so no sweeper is needed.
 *
 * The program translates; translated packets go up to the kernel, which
 * routes them. Everything that is not between the two sides is passed as it is.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_POOL     16
#define MAX_MAPPINGS 4096
#define MAX_TRIES    24 /* ports that are tried for a new mapping */

#define IP_MF     0x2000
#define IP_OFFSET 0x1fff

/* <linux/icmp.h> includes headers of the C library, which the BPF target does not have. */
#define ICMP_ECHOREPLY     0
#define ICMP_DEST_UNREACH  3
#define ICMP_ECHO          8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

#define NSEC_PER_SEC 1000000000ULL

/* The internal network, in host byte order. */
const volatile __u32 internal_net = 0x0a000000; /* 10.0.0.0 */
const volatile __u32 internal_mask = 0xff000000; /* /8 */
const volatile __u32 pool_size = 2;
/* Ports that mappings may have. */
const volatile __u16 port_min = 1024;
const volatile __u16 port_max = 65535;
/* Seconds without packets until a mapping ends. */
const volatile __u32 timeout_tcp = 7440; /* RFC 5382 */
const volatile __u32 timeout_tcp_closing = 240;
const volatile __u32 timeout_udp = 300; /* RFC 4787 */
const volatile __u32 timeout_icmp = 60; /* RFC 5508 */

/* How often a port had to be taken from an ended mapping; read by the control plane. */
__u64 reclaimed;

enum snat_stat {
	STAT_NOT_IPV4,
	STAT_MALFORMED,
	STAT_FRAGMENT,
	STAT_OTHER_PROTO,
	STAT_LOCAL,
	STAT_OUT_NEW,
	STAT_OUT_KNOWN,
	STAT_OUT_NO_PORT,
	STAT_IN,
	STAT_IN_ERROR,
	STAT_IN_UNKNOWN,
	STAT_IN_ENDED,
	STAT_MAX,
};

/* The port of ICMP echo is its identifier. */
struct endpoint {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct mapping {
	struct endpoint other; /* public for an internal endpoint, internal for a public one */
	__u64 last_used; /* nanoseconds; of the entry by public endpoint */
	__u32 closing; /* a FIN or RST was seen; likewise */
	__u32 pad;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Offsets of headers that are read back from memory: the verifier has forgotten how large they can be. */
#define MAX_OFFSET 0x7f

/* What was found in a packet, offsets from its start. */
struct packet {
	struct endpoint src;
	struct endpoint dst;
	__u32 l4; /* TCP, UDP or ICMP header */
	__u32 inner; /* IP header of the packet that an ICMP error quotes, else 0 */
	__u32 closing;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_POOL);
	__type(key, __u32);
	__type(value, __be32);
} pool SEC(".maps");

/* Public addresses, to know them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_POOL);
	__type(key, __be32);
	__type(value, __u32);
} public_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_MAPPINGS);
	__type(key, struct endpoint);
	__type(value, struct mapping);
} by_internal SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_MAPPINGS);
	__type(key, struct endpoint);
	__type(value, struct mapping);
} by_public SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline int verdict(struct xdp_md *ctx, __u32 stat, int action)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &stat);

	if (counter) {
		counter->packets++;
		counter->bytes += ctx->data_end - ctx->data;
	}
	return action;
}

static __always_inline int is_internal(__be32 addr)
{
	return (bpf_ntohl(addr) & internal_mask) == internal_net;
}

/* RFC 1624, equation 3. */
static __always_inline void csum_replace2(__u16 *check, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~*check + (__u16)~from + (__u32)to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~sum;
}

static __always_inline void csum_replace4(__u16 *check, __be32 from, __be32 to)
{
	csum_replace2(check, from & 0xffff, to & 0xffff);
	csum_replace2(check, from >> 16, to >> 16);
}

/* Nanoseconds without packets after which a mapping ends. A function that the verifier checks by itself. */
__noinline __u64 lifetime(__u32 proto, __u32 closing)
{
	__u32 seconds = timeout_udp;

	if (proto == IPPROTO_TCP)
		seconds = closing ? timeout_tcp_closing : timeout_tcp;
	else if (proto == IPPROTO_ICMP)
		seconds = timeout_icmp;
	return seconds * NSEC_PER_SEC;
}

static __always_inline int has_ended(const struct mapping *mapping, __u64 now)
{
	/* Another CPU may have used it later than `now`. */
	return now > mapping->last_used + lifetime(mapping->other.proto, mapping->closing);
}

/*
 * A public endpoint for a new mapping: entered in both maps, and left in `public`. 0, or -1 if there is none: all
 * ports that were tried are in use, or the maps are full.
 */
static __noinline int allocate(const struct endpoint *internal, struct endpoint *public, __u64 now)
{
	__u32 span = (__u32)port_max - port_min + 1, at = bpf_ntohs(internal->port), index, i;
	struct mapping forth = { .last_used = now }, back = { .last_used = now };
	struct mapping *old;
	__be32 *addr;

	index = pool_size ? bpf_ntohl(internal->addr) % pool_size : 0;
	addr = bpf_map_lookup_elem(&pool, &index);
	if (!addr || !*addr)
		return -1;
	public->addr = *addr;
	public->proto = internal->proto;
	public->pad = 0;
	back.other = *internal;

	if (at < port_min || at > port_max)
		at = port_min + bpf_get_prandom_u32() % span;
	for (i = 0; i < MAX_TRIES; i++) {
		public->port = bpf_htons(at);
		if (!bpf_map_update_elem(&by_public, public, &back, BPF_NOEXIST))
			break;
		old = bpf_map_lookup_elem(&by_public, public);
		if (old && has_ended(old, now)) {
			struct endpoint ended = old->other;

			bpf_map_delete_elem(&by_internal, &ended);
			if (bpf_map_update_elem(&by_public, public, &back, BPF_EXIST))
				return -1;
			reclaimed++;
			break;
		}
		at = i ? at + 1 : port_min + bpf_get_prandom_u32() % span;
		if (at > port_max)
			at = port_min;
	}
	if (i == MAX_TRIES)
		return -1;

	forth.other = *public;
	if (bpf_map_update_elem(&by_internal, internal, &forth, BPF_ANY)) {
		bpf_map_delete_elem(&by_public, public);
		return -1;
	}
	return 0;
}

/* The stat that a packet ends with before translation, or -1 and `packet` filled in. */
static __always_inline int parse(void *data, void *data_end, struct packet *packet)
{
	struct ethhdr *eth = data;
	struct icmphdr *icmp;
	struct iphdr *iph;
	__u8 proto;
	__u32 l4;

	if ((void *)(eth + 1) > data_end)
		return STAT_MALFORMED;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return STAT_NOT_IPV4;
	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end || iph->version != 4 || iph->ihl < 5)
		return STAT_MALFORMED;
	/* Only the first fragment has ports: the kernel puts them together and gives the whole back. */
	if (iph->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return STAT_FRAGMENT;

	l4 = sizeof(*eth) + iph->ihl * 4;
	proto = iph->protocol;
	packet->src.addr = iph->saddr;
	packet->dst.addr = iph->daddr;
	packet->src.proto = packet->dst.proto = proto;
	packet->l4 = l4;

	if (proto == IPPROTO_TCP) {
		struct tcphdr *tcp = data + l4;

		if ((void *)(tcp + 1) > data_end)
			return STAT_MALFORMED;
		packet->src.port = tcp->source;
		packet->dst.port = tcp->dest;
		packet->closing = tcp->fin || tcp->rst;
		return -1;
	}
	if (proto == IPPROTO_UDP) {
		struct udphdr *udp = data + l4;

		if ((void *)(udp + 1) > data_end)
			return STAT_MALFORMED;
		packet->src.port = udp->source;
		packet->dst.port = udp->dest;
		return -1;
	}
	if (proto != IPPROTO_ICMP)
		return STAT_OTHER_PROTO;

	icmp = data + l4;
	if ((void *)(icmp + 1) > data_end)
		return STAT_MALFORMED;
	switch (icmp->type) {
	case ICMP_ECHO:
	case ICMP_ECHOREPLY:
		packet->src.port = packet->dst.port = icmp->id;
		return -1;
	case ICMP_DEST_UNREACH:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		packet->inner = l4 + sizeof(*icmp);
		return -1;
	}
	return STAT_OTHER_PROTO;
}

/* Where an ICMP header and those of TCP and UDP have what stands for the port, and where their checksums are. */
static __always_inline __u16 *port_field(void *l4h, __u8 proto, int source)
{
	if (proto == IPPROTO_ICMP)
		return l4h + 4;
	return source ? l4h : l4h + 2;
}

/* Change one side's endpoint, and the checksums with it. */
static __always_inline int translate(void *data, void *data_end, const struct packet *packet,
				     const struct endpoint *to, int source)
{
	struct iphdr *iph = data + sizeof(struct ethhdr);
	void *l4h = data + (packet->l4 & MAX_OFFSET);
	__u16 *check, *port;
	__be32 *addr;
	int optional;

	if ((void *)(iph + 1) > data_end || l4h + sizeof(struct udphdr) > data_end)
		return -1;
	addr = source ? &iph->saddr : &iph->daddr;
	port = port_field(l4h, to->proto, source);

	if (to->proto == IPPROTO_TCP) {
		if (l4h + sizeof(struct tcphdr) > data_end)
			return -1;
		check = l4h + __builtin_offsetof(struct tcphdr, check);
	} else if (to->proto == IPPROTO_UDP) {
		check = l4h + __builtin_offsetof(struct udphdr, check);
	} else {
		check = l4h + __builtin_offsetof(struct icmphdr, checksum);
	}

	optional = to->proto == IPPROTO_UDP;
	if (!optional || *check) {
		if (to->proto != IPPROTO_ICMP)
			csum_replace4(check, *addr, to->addr);
		csum_replace2(check, *port, to->port);
		if (optional && !*check)
			*check = 0xffff;
	}
	csum_replace4(&iph->check, *addr, to->addr);
	*port = to->port;
	*addr = to->addr;
	return 0;
}

static __always_inline int outbound(struct xdp_md *ctx, void *data, void *data_end, const struct packet *packet,
				    __u64 now)
{
	struct mapping *forth, *back;
	struct endpoint public = {};
	int stat = STAT_OUT_KNOWN;

	if (packet->inner)
		return verdict(ctx, STAT_OTHER_PROTO, XDP_PASS);

	forth = bpf_map_lookup_elem(&by_internal, &packet->src);
	if (forth) {
		public = forth->other;
	} else {
		if (allocate(&packet->src, &public, now))
			return verdict(ctx, STAT_OUT_NO_PORT, XDP_DROP);
		stat = STAT_OUT_NEW;
	}
	back = bpf_map_lookup_elem(&by_public, &public);
	if (back) {
		back->last_used = now;
		if (packet->closing)
			back->closing = 1;
	}
	if (translate(data, data_end, packet, &public, 1))
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	return verdict(ctx, stat, XDP_PASS);
}

static __always_inline int inbound(struct xdp_md *ctx, void *data, void *data_end, const struct packet *packet,
				   __u64 now)
{
	struct endpoint internal;
	struct mapping *back;

	back = bpf_map_lookup_elem(&by_public, &packet->dst);
	if (!back)
		return verdict(ctx, STAT_IN_UNKNOWN, XDP_PASS); /* to this machine itself, perhaps */
	if (has_ended(back, now))
		return verdict(ctx, STAT_IN_ENDED, XDP_DROP);
	if (packet->closing)
		back->closing = 1;
	internal = back->other;
	if (translate(data, data_end, packet, &internal, 0))
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	return verdict(ctx, STAT_IN, XDP_PASS);
}

/*
 * An ICMP error about a packet that went out: the quoted packet gets its internal source back, the error goes to it.
 * The quoted transport checksum stays wrong: nobody can check it, since the quote ends early.
 */
static __always_inline int inbound_error(struct xdp_md *ctx, void *data, void *data_end, const struct packet *packet,
					 __u64 now)
{
	struct iphdr *iph = data + sizeof(struct ethhdr), *quoted = data + (packet->inner & MAX_OFFSET);
	struct endpoint public = {}, internal;
	struct icmphdr *icmp = data + (packet->l4 & MAX_OFFSET);
	struct mapping *back;
	__u16 before, *port;
	void *l4h;

	if ((void *)(iph + 1) > data_end || (void *)(icmp + 1) > data_end || (void *)(quoted + 1) > data_end ||
	    quoted->version != 4 || quoted->ihl < 5)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);
	if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP && quoted->protocol != IPPROTO_ICMP)
		return verdict(ctx, STAT_OTHER_PROTO, XDP_PASS);
	l4h = (void *)quoted + quoted->ihl * 4;
	if (l4h + 8 > data_end)
		return verdict(ctx, STAT_MALFORMED, XDP_DROP);

	port = port_field(l4h, quoted->protocol, 1);
	public.addr = quoted->saddr;
	public.port = *port;
	public.proto = quoted->protocol;
	back = bpf_map_lookup_elem(&by_public, &public);
	if (!back)
		return verdict(ctx, STAT_IN_UNKNOWN, XDP_PASS);
	if (has_ended(back, now))
		return verdict(ctx, STAT_IN_ENDED, XDP_DROP);
	internal = back->other;

	before = quoted->check;
	csum_replace4(&quoted->check, quoted->saddr, internal.addr);
	csum_replace2(&icmp->checksum, before, quoted->check);
	csum_replace4(&icmp->checksum, quoted->saddr, internal.addr);
	csum_replace2(&icmp->checksum, *port, internal.port);
	quoted->saddr = internal.addr;
	*port = internal.port;

	csum_replace4(&iph->check, iph->daddr, internal.addr);
	iph->daddr = internal.addr;
	return verdict(ctx, STAT_IN_ERROR, XDP_PASS);
}

SEC("xdp")
int xdp_snat(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct packet packet = {};
	__u64 now;
	int stat;

	stat = parse(data, data_end, &packet);
	if (stat >= 0)
		return verdict(ctx, stat, stat == STAT_MALFORMED ? XDP_DROP : XDP_PASS);

	now = bpf_ktime_get_ns();
	if (is_internal(packet.src.addr)) {
		if (is_internal(packet.dst.addr))
			return verdict(ctx, STAT_LOCAL, XDP_PASS);
		return outbound(ctx, data, data_end, &packet, now);
	}
	if (!bpf_map_lookup_elem(&public_addrs, &packet.dst.addr))
		return verdict(ctx, STAT_LOCAL, XDP_PASS);
	if (packet.inner)
		return inbound_error(ctx, data, data_end, &packet, now);
	return inbound(ctx, data, data_end, &packet, now);
}

char _license[] SEC("license") = "Apache-2.0";
