// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* A loop without a bound: options as long as there are any, each with the distance of the next. */
#include "refused.h"

SEC("xdp") int loop(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *at = data + 14;
	__u32 sum = 0, rounds = 0;

	if (data + 16 > end)
		return XDP_ABORTED;
	if (data[12] == 8) {
		count(0);
		return XDP_PASS;
	}
	while (at + 2 <= end && at[0] != 0xff) {
		sum = sum * 31 + at[1];
		at += 1 + (at[0] & 3);
		rounds++;
	}
	count(1 + (rounds & 3));
	data[0] = sum;
	data[1] = rounds;
	return sum & 1 ? XDP_DROP : XDP_TX;
}
