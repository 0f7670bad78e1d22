// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* Too many ways: each byte doubles them, and on each the class is another one. */
#include "refused.h"

#define BITS 17

__u8 classes[1 << BITS];

SEC("xdp") int branches(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 64 > end)
		return XDP_ABORTED;
	if (data[12] == 8) {
		count(0);
		return XDP_PASS;
	}
	__u32 class = 0;
#pragma unroll
	for (int i = 0; i < BITS; i++)
		if (data[14 + i] > 3 * i + 40)
			class |= 1 << i;
	__u8 seen = classes[class];

	if (seen < 255)
		classes[class] = seen + 1;
	count(1 + (class & 3));
	data[0] = class;
	data[1] = class >> 8;
	data[2] = class >> 16;
	return seen & 1 ? XDP_DROP : XDP_TX;
}
