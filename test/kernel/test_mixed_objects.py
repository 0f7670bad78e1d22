"""Objects with XDP and TC programs: each subprogram has the context of the programs that call it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.kernel.engine import KernelProgram
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

SOURCE = """
#include <linux/pkt_cls.h>
#define BYTES(n) \\
    __u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end; \\
    if (p + n > end) return 0;

__attribute__((noinline)) int look_xdp(struct xdp_md *ctx)
{
    BYTES(20)
    return p[13] + p[19];
}
__attribute__((noinline)) int called_by_none(struct __sk_buff *ctx)
{
    BYTES(15)
    return p[14];
}
__attribute__((noinline)) int look_tc(struct __sk_buff *ctx)
{
    BYTES(20)
    return p[13] * p[18];
}
static __attribute__((noinline)) int own_tc(struct __sk_buff *ctx)
{
    BYTES(16)
    return p[15] + (ctx->mark & 7);
}
SEC("xdp") int x(struct xdp_md *ctx) { return look_xdp(ctx) > 255 ? XDP_PASS : XDP_DROP; }
SEC("tc") int t(struct __sk_buff *ctx) { return look_tc(ctx) + own_tc(ctx) > 12000 ? TC_ACT_OK : TC_ACT_SHOT; }
SEC("action") int a(struct __sk_buff *ctx) { return look_tc(ctx) > 12000 ? TC_ACT_OK : TC_ACT_SHOT; }
"""


@pytest.mark.parametrize("pipeline", ["raise,lower-to-xdp", "raise,optimize,lower-to-xdp"])
def test_xdp_and_tc_programs_in_one_object(compile_c: Callable[..., bytes], pipeline: str) -> None:
    data = compile_c(SOURCE)
    module = import_object(data, "in.o")
    run_pipeline(make_context(), module, pipeline)
    assert [(func.symbol, func.keep) for func in functions(module) if func.keep is not None] == []
    packets = [random.Random(n).randbytes(64) for n in range(40)]
    for name in ("x", "t", "a"):
        with KernelProgram(data, name) as before, KernelProgram(export_object(module), name) as after:
            verdicts = [program.verdict for program in before.run_all(packets)]
            assert [program.verdict for program in after.run_all(packets)] == verdicts
            assert len(set(verdicts)) == 2
