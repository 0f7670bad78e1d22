// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * Cheetah, a layer 4 load balancer that keeps no state per connection
 * (Barbette et al., NSDI'20, the stateless variant).
 *
 * The server of a connection is written into every packet that the server
 * sends: the upper half of the TCP timestamp (TSval) becomes a cookie, the
 * number of the server XOR a keyed hash of the connection. The client echoes it
 * (TSecr), so that each of its packets says where it belongs, however the
 * servers behind the VIP have changed since. Therefore new connections may go
 * to any server, here in turn. Packets without timestamps (TCP without the
 * option, UDP) fall back to a hash over the servers.
 *
 * Both directions pass the load balancer, which translates the addresses. A
 * server must get back the upper half of its own timestamps: the newest one of
 * each server is remembered.
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
#define MAX_SERVERS     64
#define BUCKETS         32 /* per VIP; a server has as many of them as its weight says */
#define MAX_TCP_OPTIONS 40 /* bytes, thus also the largest number of options */

#define IP_MF     0x2000
#define IP_OFFSET 0x1fff

#define TCPOPT_EOL       0
#define TCPOPT_NOP       1
#define TCPOPT_TIMESTAMP 8
#define TCPOLEN_TIMESTAMP 10

/* NOP, NOP, TIMESTAMP, 10: how nearly every sender lays out the option. */
#define TIMESTAMP_ALIGNED bpf_htonl(0x0101080a)

const volatile __u32 cookie_key[2] = { 0x6b8b4567, 0x327b23c6 };
const volatile __u8 gateway_mac[ETH_ALEN] = { 0x02, 0x00, 0x00, 0x00, 0x00, 0xfe };

enum cheetah_stat {
	STAT_NOT_IPV4,
	STAT_MALFORMED,
	STAT_FRAGMENT,
	STAT_OTHER_PROTO,
	STAT_NOT_OURS,
	STAT_NEW,
	STAT_BY_COOKIE,
	STAT_BY_HASH,
	STAT_BAD_COOKIE,
	STAT_NO_SERVER,
	STAT_MARKED,
	STAT_UNMARKED,
	STAT_MAX,
};

enum server_state {
	SERVER_UNUSED,
	SERVER_UP,
	SERVER_DRAINING, /* keeps its connections, gets no new ones */
};

struct endpoint {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct vip {
	__u32 num; /* its place in the buckets and in turns */
};

struct server {
	struct endpoint vip; /* what it stands for */
	__be32 addr;
	__u16 state;
	__u8 mac[ETH_ALEN];
};

/* A connection as the client sees it. */
struct connection {
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 vip_port;
	__u32 proto;
};

/* Bytes, since options lie anywhere. */
struct timestamp_option {
	__u8 kind;
	__u8 length;
	__u8 value[4];
	__u8 echo[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct endpoint);
	__type(value, struct vip);
} vips SEC(".maps");

/* Servers of new connections, by VIP and bucket; server 0 is never used. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VIPS *BUCKETS);
	__type(key, __u32);
	__type(value, __u32);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVERS);
	__type(key, __u32);
	__type(value, struct server);
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SERVERS);
	__type(key, struct endpoint);
	__type(value, __u32);
} server_numbers SEC(".maps");

/* The newest timestamp that each server sent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVERS);
	__type(key, __u32);
	__type(value, __u32);
} clocks SEC(".maps");

/* The bucket of each VIP whose turn it is. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VIPS);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

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

static __always_inline __u32 rol32(__u32 word, unsigned int shift)
{
	return (word << shift) | (word >> (32 - shift));
}

/* HalfSipHash with one round a word: short, keyed, and hard enough to guess for 16 bits of it. */
static __noinline __u32 connection_hash(const struct connection *connection)
{
	const __u32 *word = (const __u32 *)connection;
	__u32 v0 = cookie_key[0], v1 = cookie_key[1];
	__u32 v2 = 0x6c796765 ^ cookie_key[0], v3 = 0x74656462 ^ cookie_key[1];
	int i;

	for (i = 0; i < 6; i++) {
		__u32 m = i < 4 ? word[i] : 0;

		if (i == 4)
			v2 ^= 0xff;
		v3 ^= m;
		v0 += v1;
		v1 = rol32(v1, 5) ^ v0;
		v0 = rol32(v0, 16);
		v2 += v3;
		v3 = rol32(v3, 8) ^ v2;
		v0 += v3;
		v3 = rol32(v3, 7) ^ v0;
		v2 += v1;
		v1 = rol32(v1, 13) ^ v2;
		v2 = rol32(v2, 16);
		v0 ^= m;
	}
	return v1 ^ v3;
}

/* Where the timestamp option starts, from the start of the packet; 0 if there is none. */
static __noinline __u32 find_timestamp(void *data, void *data_end, __u32 at, __u32 end)
{
	int i;

	for (i = 0; i < MAX_TCP_OPTIONS; i++) {
		__u8 *option = data + at;

		if (at >= end || (void *)(option + 2) > data_end || option[0] == TCPOPT_EOL)
			return 0;
		if (option[0] == TCPOPT_NOP) {
			at = (at + 1) & 0xff;
			continue;
		}
		if (option[0] == TCPOPT_TIMESTAMP)
			return option[1] == TCPOLEN_TIMESTAMP && at + TCPOLEN_TIMESTAMP <= end ? at : 0;
		if (option[1] < 2)
			return 0;
		at = (at + option[1]) & 0xff;
	}
	return 0;
}

/* The timestamp option of a segment; NULL without one. `l4` is where its header starts. */
static __always_inline struct timestamp_option *timestamp(void *data, void *data_end, __u32 l4)
{
	struct tcphdr *tcp = data + l4;
	struct timestamp_option *option;
	__u32 at, doff;
	__be32 *first;

	if ((void *)(tcp + 1) > data_end)
		return 0;
	doff = tcp->doff * 4;
	first = (void *)(tcp + 1);
	if (doff >= sizeof(*tcp) + 12 && (void *)(first + 3) <= data_end && *first == TIMESTAMP_ALIGNED)
		return (void *)first + 2;

	at = find_timestamp(data, data_end, l4 + sizeof(*tcp), l4 + doff);
	option = data + (at & 0xff);
	if (!at || (void *)(option + 1) > data_end)
		return 0;
	return option;
}

static __always_inline __u32 get_half(const __u8 *half)
{
	return (__u32)half[0] << 8 | half[1];
}

/* Write half a timestamp; the checksum sees it in two halves if the option lies at an odd address. */
static __always_inline void replace_half(__u16 *check, __u8 *half, __u32 to, __u32 odd)
{
	__u32 from = get_half(half);

	half[0] = to >> 8;
	half[1] = to;
	if (odd)
		csum_replace2(check, from, to);
	else
		csum_replace2(check, bpf_htons(from), bpf_htons(to));
}

static __always_inline struct server *usable_server(__u32 number)
{
	struct server *server = bpf_map_lookup_elem(&servers, &number);

	return server && server->state != SERVER_UNUSED ? server : 0;
}

/* The server that has the bucket, or the next one that is up; 0 if none is. */
static __always_inline __u32 server_of_bucket(__u32 vip, __u32 bucket)
{
	int i;

	for (i = 0; i < BUCKETS; i++) {
		__u32 index = vip * BUCKETS + (bucket + i) % BUCKETS;
		__u32 *number = bpf_map_lookup_elem(&buckets, &index);
		struct server *server;

		if (!number)
			return 0;
		server = usable_server(*number);
		if (server && server->state == SERVER_UP)
			return *number;
	}
	return 0;
}

static __always_inline __u32 next_server(__u32 vip)
{
	__u32 *turn = bpf_map_lookup_elem(&turns, &vip);

	if (!turn)
		return 0;
	*turn += 1;
	return server_of_bucket(vip, *turn);
}

/* The upper half of the newest timestamp of the server with this lower half. */
static __always_inline __u32 upper_half(__u32 server, __u32 lower)
{
	__u32 *clock = bpf_map_lookup_elem(&clocks, &server);
	__u32 now = clock ? *clock : 0;
	__u32 upper = now >> 16;

	if (lower > (now & 0xffff))
		upper--; /* from before the lower half wrapped */
	return upper & 0xffff;
}

static __always_inline int to_server(void *data, void *data_end, __u32 l4, struct connection *connection,
				     const struct vip *vip)
{
	struct timestamp_option *option = 0;
	struct iphdr *iph = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = data + l4;
	struct udphdr *udp = data + l4;
	struct ethhdr *eth = data;
	struct server *server;
	__u32 hash, number;
	int stat;

	if ((void *)(iph + 1) > data_end || (void *)(udp + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	hash = connection_hash(connection);
	if (connection->proto == IPPROTO_TCP)
		option = timestamp(data, data_end, l4);

	if (option && (void *)(tcp + 1) <= data_end && tcp->syn && !tcp->ack) {
		stat = STAT_NEW;
		number = next_server(vip->num);
	} else if (option && (void *)(tcp + 1) <= data_end && tcp->ack) {
		stat = STAT_BY_COOKIE;
		number = get_half(option->echo) ^ (hash & 0xffff);
	} else {
		stat = STAT_BY_HASH;
		number = server_of_bucket(vip->num, hash % BUCKETS);
	}

	server = usable_server(number);
	if (!server)
		return verdict(stat == STAT_BY_COOKIE ? STAT_BAD_COOKIE : STAT_NO_SERVER, XDP_DROP);
	if (server->vip.addr != connection->vip || server->vip.port != connection->vip_port ||
	    server->vip.proto != connection->proto)
		return verdict(STAT_BAD_COOKIE, XDP_DROP);

	if (connection->proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_DROP);
		if (stat == STAT_BY_COOKIE)
			replace_half(&tcp->check, option->echo, upper_half(number, get_half(option->echo + 2)),
				     ((void *)option - (void *)tcp) & 1);
		csum_replace4(&tcp->check, iph->daddr, server->addr);
	} else if (udp->check) {
		csum_replace4(&udp->check, iph->daddr, server->addr);
		if (!udp->check)
			udp->check = 0xffff;
	}
	csum_replace4(&iph->check, iph->daddr, server->addr);
	iph->daddr = server->addr;
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, server->mac, ETH_ALEN);
	return verdict(stat, XDP_TX);
}

static __always_inline int to_client(void *data, void *data_end, __u32 l4, struct connection *connection,
				     __u32 number)
{
	struct iphdr *iph = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = data + l4;
	struct udphdr *udp = data + l4;
	struct timestamp_option *option;
	struct ethhdr *eth = data;
	int stat = STAT_UNMARKED;
	struct server *server;
	int i;

	server = usable_server(number);
	if (!server)
		return verdict(STAT_NO_SERVER, XDP_DROP);
	if ((void *)(iph + 1) > data_end || (void *)(udp + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	connection->vip = server->vip.addr;
	connection->vip_port = server->vip.port;

	if (connection->proto == IPPROTO_TCP) {
		option = timestamp(data, data_end, l4);
		if ((void *)(tcp + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_DROP);
		if (option) {
			__u32 *clock = bpf_map_lookup_elem(&clocks, &number);
			__u32 cookie = (number ^ connection_hash(connection)) & 0xffff;

			if (clock)
				*clock = get_half(option->value) << 16 | get_half(option->value + 2);
			replace_half(&tcp->check, option->value, cookie, ((void *)option - (void *)tcp) & 1);
			stat = STAT_MARKED;
		}
		csum_replace4(&tcp->check, iph->saddr, connection->vip);
	} else if (udp->check) {
		csum_replace4(&udp->check, iph->saddr, connection->vip);
		if (!udp->check)
			udp->check = 0xffff;
	}
	csum_replace4(&iph->check, iph->saddr, connection->vip);
	iph->saddr = connection->vip;
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	for (i = 0; i < ETH_ALEN; i++)
		eth->h_dest[i] = gateway_mac[i];
	return verdict(stat, XDP_TX);
}

SEC("xdp")
int xdp_cheetah(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct connection connection = {};
	struct endpoint endpoint = {};
	struct ethhdr *eth = data;
	__u32 *number, l4;
	struct udphdr *l4h;
	struct iphdr *iph;
	struct vip *vip;

	if ((void *)(eth + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return verdict(STAT_NOT_IPV4, XDP_PASS);

	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end || iph->version != 4 || iph->ihl < 5)
		return verdict(STAT_MALFORMED, XDP_DROP);
	if (iph->protocol != IPPROTO_TCP && iph->protocol != IPPROTO_UDP)
		return verdict(STAT_OTHER_PROTO, XDP_PASS);
	if (iph->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return verdict(STAT_FRAGMENT, XDP_PASS);

	/* Ports are at the same place in both; a whole TCP header is asked for where it matters. */
	l4 = sizeof(*eth) + iph->ihl * 4;
	l4h = data + l4;
	if ((void *)(l4h + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	if (iph->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = data + l4;

		if ((void *)(tcp + 1) > data_end || tcp->doff < 5)
			return verdict(STAT_MALFORMED, XDP_DROP);
	}

	connection.proto = iph->protocol;
	endpoint.proto = iph->protocol;
	endpoint.addr = iph->daddr;
	endpoint.port = l4h->dest;
	vip = bpf_map_lookup_elem(&vips, &endpoint);
	if (vip) {
		connection.client = iph->saddr;
		connection.client_port = l4h->source;
		connection.vip = iph->daddr;
		connection.vip_port = l4h->dest;
		return to_server(data, data_end, l4, &connection, vip);
	}

	endpoint.addr = iph->saddr;
	endpoint.port = l4h->source;
	number = bpf_map_lookup_elem(&server_numbers, &endpoint);
	if (number) {
		connection.client = iph->daddr;
		connection.client_port = l4h->dest;
		return to_client(data, data_end, l4, &connection, *number);
	}
	return verdict(STAT_NOT_OURS, XDP_PASS);
}

char _license[] SEC("license") = "Apache-2.0";
