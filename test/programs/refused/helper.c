// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* A helper that XDP programs must not call: it reads the ports wherever the options end, without guards. */
#include "refused.h"

SEC("xdp") int helper(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct {
		__u16 from, to;
		__u32 sequence;
	} ports;

	if (data + 34 > end)
		return XDP_ABORTED;
	if (data[12] == 8) {
		count(0);
		return XDP_PASS;
	}
	if (bpf_probe_read(&ports, sizeof(ports), data + 14 + (data[14] & 15) * 4)) {
		count(1);
		return XDP_DROP;
	}
	count(2 + (ports.to & 3));
	data[0] = ports.from;
	data[1] = ports.sequence;
	return ports.from & 1 ? XDP_PASS : XDP_TX;
}
