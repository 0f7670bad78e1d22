// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* Too many instructions: a loop of a constant number of rounds, more than the verifier follows. */
#include "refused.h"

#define ROUNDS 60000

__u8 table[1 << 16];

SEC("xdp") int instructions(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 64 > end)
		return XDP_ABORTED;
	if (data[12] != 0x88 || data[14] & 0x1f) {
		count(0);
		return XDP_PASS;
	}
	__u32 hash = data[15];

	for (__u32 i = 0; i < ROUNDS; i++) {
		hash = (hash ^ table[i]) * 0x01000193;
		hash ^= hash >> 15;
		hash += hash << 7;
		hash ^= hash >> 3;
	}
	table[hash & 0xffff] += 1;
	count(1 + (hash & 3));
	data[0] = hash;
	data[1] = hash >> 8;
	return hash % 7 < 3 ? XDP_DROP : XDP_TX;
}
