// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* A packet that is made longer before a loop without a bound, by as much as it says itself. */
#include "refused.h"

SEC("xdp") int grows(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 sum = 0;

	if (data + 20 > end)
		return XDP_ABORTED;
	if (data[12] == 8) {
		count(0);
		return XDP_PASS;
	}
	__u32 mark = data[15];

	if (bpf_xdp_adjust_head(ctx, -(int)(mark & 3) * 8))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 24 > end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < 24; i++)
		data[i] = mark + i;
	for (__u8 *at = data + 24; at + 1 <= end && at[0] != 0xff; at++)
		sum += at[0];
	count(1 + (sum & 3));
	data[0] = sum;
	return sum & 2 ? XDP_TX : XDP_DROP;
}
