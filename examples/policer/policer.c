// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * A policer: two token buckets per source and traffic class (two rates, three
 * colours, RFC 2698, colour-blind).
 *
 * The source's prefix says which policy holds for it, the policy has a
 * committed and a peak rate for each class of the DSCP. Traffic within the
 * committed rate is green and passes, within the peak rate it is yellow and
 * passes with a higher drop precedence, beyond it is red and dropped. IPv4
 * sources are addresses, IPv6 sources are /64 networks. Buckets are made when a
 * source is first seen, and are full then; the control plane takes away those
 * that were not updated for long (an LRU map would, but cannot hold locks).
 *
 * Packets of sources without a policy or a bucket, and all that is not IP, pass.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_TAGS     2
#define MAX_PREFIXES 1024
#define MAX_POLICIES 64
#define MAX_SOURCES  512
#define CLASSES      4 /* per policy; they lie one behind the other */

#define NSEC_PER_SEC 1000000000ULL
/* Buckets are full after so long at the latest, so nothing overflows: 2^34 ns times 2^30 bytes per second. */
#define MAX_ELAPSED (1ULL << 34)
#define MAX_RATE    (1ULL << 30)

/* What a frame costs on the wire in addition to what is seen here: preamble, checksum, gap. */
const volatile __u32 frame_overhead = 24;
/* 0: count colours, but change and drop nothing. */
const volatile __u32 enforce = 1;
/* The class of each DSCP, by its upper 3 bits (class selector). */
const volatile __u8 class_of[8] = { 0, 0, 1, 1, 2, 2, 3, 3 };

enum policer_stat {
	STAT_NOT_IP,
	STAT_MALFORMED,
	STAT_NO_POLICY,
	STAT_UNLIMITED,
	STAT_NO_BUCKET,
	STAT_GREEN,
	STAT_YELLOW,
	STAT_RED,
	STAT_MAX,
};

/* IPv4 sources are mapped into IPv6 (::ffff:0:0/96). */
struct prefix_key {
	__u32 prefixlen;
	__be32 addr[4];
};

/* Rates in bytes per second, bursts in bytes; rate and burst 0 pass nothing, a peak burst of 0 means no limit. */
struct policy {
	__u64 committed_rate;
	__u64 committed_burst;
	__u64 peak_rate;
	__u64 peak_burst;
};

struct bucket_key {
	__be32 addr[4];
	__u32 policy;
};

struct buckets {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 updated; /* nanoseconds */
	__u64 committed; /* tokens: bytes */
	__u64 peak;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Prefix to policy number. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_POLICIES *CLASSES);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, struct bucket_key);
	__type(value, struct buckets);
} sources SEC(".maps");

/* By stat and class. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX *CLASSES);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline int verdict(__u32 stat, __u32 class, __u64 bytes, int action)
{
	__u32 index = stat * CLASSES + class;
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
	return action;
}

/* Tokens after some time. A function that the verifier checks by itself. */
__noinline __u64 refill(__u64 tokens, __u64 elapsed, __u64 rate, __u64 burst)
{
	if (elapsed > MAX_ELAPSED)
		elapsed = MAX_ELAPSED;
	if (rate > MAX_RATE)
		rate = MAX_RATE;
	tokens += elapsed * rate / NSEC_PER_SEC;
	return tokens > burst ? burst : tokens;
}

/* Take the packet's bytes out of the buckets; the stat of its colour. */
static __noinline int colour(struct buckets *buckets, const struct policy *policy, __u64 bytes, __u64 now)
{
	__u64 elapsed, committed, peak, step;
	int stat = STAT_RED;

	/* No function may be called with the lock held, so the tokens are computed for a time that may be late. */
	elapsed = now - buckets->updated;
	if (now < buckets->updated)
		elapsed = 0; /* another CPU was here, with a newer time */
	committed = refill(0, elapsed, policy->committed_rate, policy->committed_burst);
	peak = refill(0, elapsed, policy->peak_rate, policy->peak_burst);
	/* The shortest time that is worth a token at both rates: else slow rates never fill. */
	step = NSEC_PER_SEC / (policy->committed_rate ? policy->committed_rate : 1);

	bpf_spin_lock(&buckets->lock);
	if (elapsed >= step && now - elapsed == buckets->updated) {
		buckets->updated = now;
		buckets->committed += committed;
		if (buckets->committed > policy->committed_burst)
			buckets->committed = policy->committed_burst;
		buckets->peak += peak;
		if (buckets->peak > policy->peak_burst)
			buckets->peak = policy->peak_burst;
	}
	if (buckets->peak >= bytes) {
		buckets->peak -= bytes;
		stat = STAT_YELLOW;
		if (buckets->committed >= bytes) {
			buckets->committed -= bytes;
			stat = STAT_GREEN;
		}
	}
	bpf_spin_unlock(&buckets->lock);
	return stat;
}

/* RFC 1624, equation 3. */
static __always_inline void csum_replace2(__u16 *check, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~*check + (__u16)~from + (__u32)to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~sum;
}

/* Assured forwarding (RFC 2597): AFx1 and AFx2 become AFx3. Other code points have no drop precedence. */
static __always_inline __u32 lower_precedence(__u32 dscp)
{
	__u32 af = dscp >> 3, precedence = dscp & 7;

	if (af < 1 || af > 4 || (precedence != 2 && precedence != 4))
		return dscp;
	return af << 3 | 6;
}

/* In IPv4 the traffic class is the second byte, in IPv6 it is bits 4 to 11. */
static __always_inline void remark(void *data, void *data_end, __u32 l3, int v6)
{
	struct iphdr *iph = data + l3;
	__be16 *word = data + l3;
	__u32 before, after, dscp;

	if ((void *)(iph + 1) > data_end)
		return;
	before = bpf_ntohs(*word);
	dscp = v6 ? before >> 6 & 0x3f : before >> 2 & 0x3f;
	if (v6)
		after = (before & ~(0x3f << 6)) | lower_precedence(dscp) << 6;
	else
		after = (before & ~(0x3f << 2)) | lower_precedence(dscp) << 2;
	if (after == before)
		return;
	if (!v6)
		csum_replace2(&iph->check, bpf_htons(before), bpf_htons(after));
	*word = bpf_htons(after);
}

static __always_inline int police(void *data, void *data_end, __u32 l3, int v6, struct prefix_key *source,
				  __u32 class)
{
	__u64 bytes = data_end - data + frame_overhead, now;
	struct bucket_key key = {};
	struct buckets *buckets;
	struct policy *policy;
	__u32 *number;
	int stat;

	number = bpf_map_lookup_elem(&prefixes, source);
	if (!number)
		return verdict(STAT_NO_POLICY, class, bytes, XDP_PASS);
	key.policy = *number * CLASSES + class;
	policy = bpf_map_lookup_elem(&policies, &key.policy);
	if (!policy)
		return verdict(STAT_NO_POLICY, class, bytes, XDP_PASS);
	if (!policy->peak_burst)
		return verdict(STAT_UNLIMITED, class, bytes, XDP_PASS);

	__builtin_memcpy(key.addr, source->addr, sizeof(key.addr));
	if (v6)
		key.addr[2] = key.addr[3] = 0;
	now = bpf_ktime_get_ns();
	buckets = bpf_map_lookup_elem(&sources, &key);
	if (!buckets) {
		struct buckets full = {
			.updated = now,
			.committed = policy->committed_burst,
			.peak = policy->peak_burst,
		};

		bpf_map_update_elem(&sources, &key, &full, BPF_NOEXIST);
		buckets = bpf_map_lookup_elem(&sources, &key);
		if (!buckets)
			return verdict(STAT_NO_BUCKET, class, bytes, XDP_PASS);
	}

	stat = colour(buckets, policy, bytes, now);
	if (stat == STAT_YELLOW && enforce)
		remark(data, data_end, l3, v6);
	return verdict(stat, class, bytes, stat == STAT_RED && enforce ? XDP_DROP : XDP_PASS);
}

SEC("xdp")
int xdp_policer(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct prefix_key source = {};
	__u32 l3 = sizeof(struct ethhdr), dscp;
	__u64 bytes = data_end - data;
	struct ethhdr *eth = data;
	__be16 proto;
	int i;

	if ((void *)(eth + 1) > data_end)
		return verdict(STAT_MALFORMED, 0, bytes, XDP_DROP);
	source.prefixlen = 128;
	proto = eth->h_proto;
	for (i = 0; i < MAX_TAGS; i++) {
		__be16 *tag = data + l3;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 2) > data_end)
			return verdict(STAT_MALFORMED, 0, bytes, XDP_DROP);
		proto = tag[1];
		l3 += 4;
	}

	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *iph = data + l3;

		if ((void *)(iph + 1) > data_end || iph->version != 4 || iph->ihl < 5)
			return verdict(STAT_MALFORMED, 0, bytes, XDP_DROP);
		source.addr[2] = bpf_htonl(0xffff);
		source.addr[3] = iph->saddr;
		dscp = iph->tos >> 2;
		return police(data, data_end, l3, 0, &source, class_of[dscp >> 3 & 7] & (CLASSES - 1));
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *iph = data + l3;

		if ((void *)(iph + 1) > data_end || iph->version != 6)
			return verdict(STAT_MALFORMED, 0, bytes, XDP_DROP);
		__builtin_memcpy(source.addr, &iph->saddr, sizeof(source.addr));
		dscp = (__u32)iph->priority << 2 | iph->flow_lbl[0] >> 6;
		return police(data, data_end, l3, 1, &source, class_of[dscp >> 3 & 7] & (CLASSES - 1));
	}
	return verdict(STAT_NOT_IP, 0, bytes, XDP_PASS);
}

char _license[] SEC("license") = "Apache-2.0";
