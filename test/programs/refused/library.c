// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* A function that only user space has. */
#include "refused.h"

extern int regex_match(const void *text, __u32 size, __u32 flags);
extern void mask(void *text, __u32 size);

SEC("xdp") int library(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 54 > end)
		return XDP_ABORTED;
	if (data[12] == 8) {
		count(0);
		return XDP_PASS;
	}
	int found = regex_match(data + 14, 40, data[13]);

	count(1 + (found & 3));
	if (found > 0)
		return XDP_DROP;
	mask(data + 14, 16);
	return found < 0 ? XDP_PASS : XDP_TX;
}
