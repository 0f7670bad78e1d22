// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A payload scanner.
 *
 * TCP and UDP packets to a scanned port are searched for the signature that
 * belongs to the port, at every offset of the payload; packets that contain it
 * are counted and dropped. Packets to other ports pass without a look at their
 * payload.
 *
 * The search has no bound but the end of the packet. The kernel's verifier
 * follows it to the limit of its budget and refuses the program.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_PORTS      64
#define MAX_SIGNATURES 16
#define SIGNATURE_LEN  16

#define IP_OFFSET 0x1fff

enum scanner_stat {
	STAT_NOT_SCANNED, /* not TCP or UDP over IPv4, or a later fragment */
	STAT_MALFORMED,
	STAT_OTHER_PORT,
	STAT_CLEAN,
	STAT_MATCHED,
	STAT_MAX,
};

struct port_key {
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct signature {
	__u32 len; /* 1 .. SIGNATURE_LEN; 0 is an unused slot */
	__u8 bytes[SIGNATURE_LEN];
};

/* Destination port to index of its signature. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, struct port_key);
	__type(value, __u32);
} scanned_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SIGNATURES);
	__type(key, __u32);
	__type(value, struct signature);
} signatures SEC(".maps");

/* Packets dropped, by signature. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SIGNATURES);
	__type(key, __u32);
	__type(value, __u64);
} matches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline int verdict(__u32 stat, int action)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	return action;
}

static __always_inline void count_match(__u32 index)
{
	__u64 *packets = bpf_map_lookup_elem(&matches, &index);

	if (packets)
		__sync_fetch_and_add(packets, 1);
}

/* Does the signature start at p? */
static __always_inline int starts_with(const __u8 *p, const void *data_end, const struct signature *sig)
{
	__u32 i;

	for (i = 0; i < SIGNATURE_LEN; i++) {
		if (i >= sig->len)
			break;
		if ((void *)(p + i + 1) > data_end)
			return 0;
		if (p[i] != sig->bytes[i])
			return 0;
	}
	return 1;
}

static __always_inline int contains(const __u8 *p, const void *data_end, const struct signature *sig)
{
	while ((void *)(p + 1) <= data_end) {
		if (starts_with(p, data_end, sig))
			return 1;
		p++;
	}
	return 0;
}

SEC("xdp")
int xdp_scanner(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct port_key key = {};
	struct signature *sig;
	struct ethhdr *eth = data;
	struct iphdr *iph;
	__u32 *index;
	void *l4, *payload;

	if ((void *)(eth + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return verdict(STAT_NOT_SCANNED, XDP_PASS);

	iph = (void *)(eth + 1);
	if ((void *)(iph + 1) > data_end)
		return verdict(STAT_MALFORMED, XDP_DROP);
	if (iph->version != 4 || iph->ihl < 5)
		return verdict(STAT_MALFORMED, XDP_DROP);
	if (iph->frag_off & bpf_htons(IP_OFFSET))
		return verdict(STAT_NOT_SCANNED, XDP_PASS);

	l4 = (void *)iph + iph->ihl * 4;
	key.proto = iph->protocol;
	if (iph->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > data_end || tcp->doff < 5)
			return verdict(STAT_MALFORMED, XDP_DROP);
		key.port = tcp->dest;
		payload = l4 + tcp->doff * 4;
	} else if (iph->protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > data_end)
			return verdict(STAT_MALFORMED, XDP_DROP);
		key.port = udp->dest;
		payload = udp + 1;
	} else {
		return verdict(STAT_NOT_SCANNED, XDP_PASS);
	}

	index = bpf_map_lookup_elem(&scanned_ports, &key);
	if (!index)
		return verdict(STAT_OTHER_PORT, XDP_PASS);
	sig = bpf_map_lookup_elem(&signatures, index);
	if (!sig || sig->len == 0)
		return verdict(STAT_CLEAN, XDP_PASS);

	if (contains(payload, data_end, sig)) {
		count_match(*index);
		return verdict(STAT_MATCHED, XDP_DROP);
	}
	return verdict(STAT_CLEAN, XDP_PASS);
}

char _license[] SEC("license") = "Apache-2.0";
