// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A cache in front of a key-value server that speaks memcached's text protocol.
 *
 * GET requests over UDP are answered here if the key is in the cache: the
 * request becomes the reply in place and goes back out. Requests for other keys,
 * and whatever is no plain GET of one key, go on to the server. Commands over TCP
 * that change a key remove it from the cache before the server sees them. The
 * control plane fills the cache from what the server answers (Ghigoff et al.,
 * "BMC", NSDI'21).
 *
 * Three programs: the first finds out what a packet is, and tail-calls the one
 * that answers or the one that invalidates. They meet in a per-CPU slot.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_ENTRIES 4096
#define MAX_KEY     32
#define MAX_REPLY   160
#define MAX_PAYLOAD 160 /* the payload starts in front of this offset: 2 tags, TCP with all options */
#define MAX_VLANS   2

#define IP_MF     0x2000
#define IP_OFFSET 0x1fff

/* The port of the server, and whether the cache answers at all. */
const volatile __be16 service_port = bpf_htons(11211);
__u32 serving = 1;

struct vlan_hdr {
	__be16 tci;
	__be16 proto;
};

/* In front of every request and reply over UDP. */
struct memcached_udp {
	__be16 request;
	__be16 sequence;
	__be16 datagrams;
	__be16 reserved;
};

struct cache_key {
	__u32 len;
	__u8 bytes[MAX_KEY]; /* zero behind the key */
};

/* What the server answers: "VALUE key flags length\r\ndata\r\nEND\r\n". */
struct cache_entry {
	__u32 len;
	__u32 sum; /* of the reply's 16-bit words, not folded */
	__u64 hits;
	__u8 reply[MAX_REPLY];
};

/* Where a packet's headers are, for the programs that are called. */
struct parsed {
	__u16 l3;
	__u16 l4;
	__u16 payload;
	__u16 pad;
};

enum cache_stat {
	STAT_OTHER, /* not for the server */
	STAT_MALFORMED,
	STAT_NOT_A_GET,
	STAT_BAD_KEY,
	STAT_MISS,
	STAT_HIT,
	STAT_INVALIDATED,
	STAT_NOT_CACHED, /* a key was changed that is not here */
	STAT_NO_ROOM,
	STAT_MAX,
};

enum stage {
	STAGE_GET,
	STAGE_INVALIDATE,
	STAGE_MAX,
};

int kv_get(struct xdp_md *ctx);
int kv_invalidate(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGE_MAX);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} stages SEC(".maps") = {
	.values = {
		[STAGE_GET] = (void *)&kv_get,
		[STAGE_INVALIDATE] = (void *)&kv_invalidate,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct cache_key);
	__type(value, struct cache_entry);
} cache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parsed);
} slot SEC(".maps");

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
		(*packets)++;
	return action;
}

static __always_inline struct parsed *parsed_slot(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&slot, &zero);
}

/*
 * Reads the key that starts at the offset and ends with a blank or the end of
 * the line. Returns the byte that ended it, or -1: no key, or too long a one.
 */
static __noinline int read_key(struct xdp_md *ctx, __u32 offset, struct cache_key *key)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u8 *byte;
	__u32 i;

	if (offset > MAX_PAYLOAD + 16)
		return -1;
	byte = data + offset;
	for (i = 0; i <= MAX_KEY; i++, byte++) {
		if ((void *)(byte + 1) > data_end)
			return -1;
		if (*byte == ' ' || *byte == '\r') {
			key->len = i;
			return i ? *byte : -1;
		}
		if (i == MAX_KEY || *byte < ' ')
			return -1;
		key->bytes[i] = *byte;
	}
	return -1;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u16 ip_checksum(const struct iphdr *iph)
{
	const __u16 *word = (const __u16 *)iph;
	__u64 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < (int)sizeof(*iph) / 2; i++)
		sum += word[i];
	return fold(sum);
}

/* Of a datagram whose payload is the header given and a reply with the sum given. */
static __always_inline __u16 udp_checksum(const struct iphdr *iph, const struct udphdr *udp,
					  const struct memcached_udp *head, __u32 reply_sum)
{
	__u64 sum = reply_sum;
	__u16 check;

	sum += iph->saddr;
	sum += iph->daddr;
	sum += bpf_htons(IPPROTO_UDP);
	sum += udp->len;
	sum += udp->len;
	sum += udp->source;
	sum += udp->dest;
	sum += head->request;
	sum += head->datagrams;
	check = fold(sum);
	return check ? check : 0xffff;
}

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
}

SEC("xdp")
int kv_cache(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct parsed *parsed;
	struct vlan_hdr *vlan;
	struct iphdr *iph;
	__be16 proto;
	void *next;
	int i;

	if (!serving)
		return XDP_PASS;
	if ((void *)(eth + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_PASS);
	proto = eth->h_proto;
	next = eth + 1;
#pragma unroll
	for (i = 0; i < MAX_VLANS; i++) {
		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		vlan = next;
		if ((void *)(vlan + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_PASS);
		proto = vlan->proto;
		next = vlan + 1;
	}
	if (proto != bpf_htons(ETH_P_IP))
		return verdict(STAT_OTHER, XDP_PASS);

	iph = next;
	if ((void *)(iph + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_PASS);
	if (iph->version != 4 || iph->ihl != 5 || (iph->frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		return verdict(STAT_OTHER, XDP_PASS);

	parsed = parsed_slot();
	if (!parsed)
		return XDP_PASS;
	parsed->l3 = next - data;
	parsed->l4 = parsed->l3 + sizeof(*iph);
	if (iph->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(iph + 1);

		if ((void *)(udp + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_PASS);
		if (udp->dest != service_port)
			return verdict(STAT_OTHER, XDP_PASS);
		parsed->payload = parsed->l4 + sizeof(*udp);
		bpf_tail_call(ctx, &stages, STAGE_GET);
	} else if (iph->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)(iph + 1);

		if ((void *)(tcp + 1) > data_end || tcp->doff < 5)
			return verdict(STAT_MALFORMED, XDP_PASS);
		if (tcp->dest != service_port)
			return verdict(STAT_OTHER, XDP_PASS);
		parsed->payload = parsed->l4 + tcp->doff * 4;
		bpf_tail_call(ctx, &stages, STAGE_INVALIDATE);
	} else {
		return verdict(STAT_OTHER, XDP_PASS);
	}
	return XDP_PASS; /* the stage is not there */
}

SEC("xdp")
int kv_get(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct parsed *parsed = parsed_slot();
	struct memcached_udp *head;
	struct cache_entry *entry;
	struct cache_key key = {};
	__u32 l3, payload, i, len;
	struct udphdr *udp;
	struct iphdr *iph;
	__be16 port;
	__be32 addr;
	__u8 *byte;

	if (!parsed)
		return XDP_PASS;
	l3 = parsed->l3;
	payload = parsed->payload;
	if (l3 > sizeof(struct ethhdr) + MAX_VLANS * sizeof(struct vlan_hdr) || payload > MAX_PAYLOAD)
		return XDP_PASS;

	head = data + payload;
	byte = (void *)(head + 1);
	if ((void *)(byte + 4) > data_end)
		return verdict(STAT_NOT_A_GET, XDP_PASS);
	if (head->sequence != 0 || head->datagrams != bpf_htons(1))
		return verdict(STAT_NOT_A_GET, XDP_PASS);
	if (byte[0] != 'g' || byte[1] != 'e' || byte[2] != 't' || byte[3] != ' ')
		return verdict(STAT_NOT_A_GET, XDP_PASS);

	/* One key and the end of the line; a request for several keys is the server's. */
	if (read_key(ctx, payload + sizeof(*head) + 4, &key) != '\r')
		return verdict(STAT_BAD_KEY, XDP_PASS);
	entry = bpf_map_lookup_elem(&cache, &key);
	if (!entry)
		return verdict(STAT_MISS, XDP_PASS);
	len = entry->len;
	if (len == 0 || len > MAX_REPLY)
		return verdict(STAT_MISS, XDP_PASS);

	if (bpf_xdp_adjust_tail(ctx, (int)(payload + sizeof(*head) + len) - (int)(data_end - data)))
		return verdict(STAT_NO_ROOM, XDP_PASS);
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	iph = data + l3;
	udp = (void *)(iph + 1);
	head = (void *)(udp + 1);
	byte = (void *)(head + 1);
	if (data + sizeof(struct ethhdr) > data_end || (void *)byte > data_end)
		return XDP_DROP;

	swap_macs(data);
	addr = iph->saddr;
	iph->saddr = iph->daddr;
	iph->daddr = addr;
	iph->tos = 0;
	iph->id = 0;
	iph->frag_off = 0;
	iph->ttl = 64;
	iph->tot_len = bpf_htons(sizeof(*iph) + sizeof(*udp) + sizeof(*head) + len);
	iph->check = 0;
	iph->check = ip_checksum(iph);
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	udp->len = bpf_htons(sizeof(*udp) + sizeof(*head) + len);
	head->reserved = 0;
	udp->check = udp_checksum(iph, udp, head, entry->sum);

	for (i = 0; i < MAX_REPLY; i++) {
		if (i >= len)
			break;
		if ((void *)(byte + 1) > data_end)
			return XDP_DROP;
		*byte++ = entry->reply[i];
	}
	__sync_fetch_and_add(&entry->hits, 1);
	return verdict(STAT_HIT, XDP_TX);
}

/* The length of a command that changes a key, with the blank behind it; 0 for other commands. */
static __always_inline __u32 changing_command(const __u8 *byte, const void *data_end)
{
	if ((void *)(byte + 4) > data_end)
		return 0;
	if ((byte[0] == 's' && byte[1] == 'e' && byte[2] == 't' && byte[3] == ' ') ||
	    (byte[0] == 'c' && byte[1] == 'a' && byte[2] == 's' && byte[3] == ' '))
		return 4;
	if ((void *)(byte + 7) > data_end)
		return 0;
	if (byte[0] == 'd' && byte[1] == 'e' && byte[2] == 'l' && byte[3] == 'e' && byte[4] == 't' &&
	    byte[5] == 'e' && byte[6] == ' ')
		return 7;
	return 0;
}

SEC("xdp")
int kv_invalidate(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct parsed *parsed = parsed_slot();
	struct cache_key key = {};
	__u32 payload, command;

	if (!parsed)
		return XDP_PASS;
	payload = parsed->payload;
	if (payload > MAX_PAYLOAD)
		return XDP_PASS;
	command = changing_command(data + payload, data_end);
	if (!command)
		return verdict(STAT_NOT_A_GET, XDP_PASS);
	if (read_key(ctx, payload + command, &key) < 0)
		return verdict(STAT_BAD_KEY, XDP_PASS);
	if (bpf_map_delete_elem(&cache, &key))
		return verdict(STAT_NOT_CACHED, XDP_PASS);
	return verdict(STAT_INVALIDATED, XDP_PASS);
}

char _license[] SEC("license") = "Apache-2.0";
