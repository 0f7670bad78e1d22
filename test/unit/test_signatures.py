"""Kinds of the arguments of global functions: what BTF promises, and the kernel checks."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from xdsl.dialects.builtin import i64

from fsir.analysis.signatures import Signatures
from fsir.dialects.ebpf import functions
from fsir.dialects.packet import CtxType
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.object.importer import import_object

SOURCE = """
typedef u16 small;
enum color { RED, GREEN = 1ULL << 40 };
%s int look(struct xdp_md *ctx, u64 at, small s, enum color c, u32 *place)
{
    u8 *p = (void *)(long)ctx->data + (at & 31);
    if ((void *)(p + 1) > (void *)(long)ctx->data_end) return -1;
    if (place) *place = c;
    return *p + s;
}
SEC("xdp") int prog(struct xdp_md *ctx)
{
    u32 place = 0;
    return look(ctx, ctx->queue, 3, GREEN, &place) + place;
}
"""


@pytest.mark.parametrize(
    ("attribute", "kinds"),
    [
        ("__attribute__((noinline))", [CtxType(), i64, i64, i64, None]),
        ('__attribute__((noinline, visibility("hidden")))', [None] * 5),
        ("static __attribute__((noinline))", [None] * 5),
    ],
)
def test_arguments(attribute: str, kinds: list[object]) -> None:
    module = import_object(compile_c(SOURCE % attribute, "-g"), "t.o")
    (look,) = [func for func in functions(module) if func.symbol == "look"]
    assert [Signatures(module).parameter(look, index) for index in range(5)] == kinds


def test_packet_accesses_of_global_functions_are_raised() -> None:
    module = import_object(compile_c(SOURCE % "__attribute__((noinline))", "-g"), "t.o")
    run_pipeline(make_context(), module, "raise")
    (look,) = [func for func in functions(module) if func.symbol == "look"]
    names = {op.name for op in look.walk()}
    assert {"packet.data", "packet.guard", "packet.load"} <= names
    assert "ebpf.ldx32" not in names


def test_arguments_that_a_global_function_ignores_are_passed_to_it() -> None:
    """The kernel checks calls against the prototype: r1 must be the context again after the first call."""
    source = """
    __attribute__((noinline)) int first(struct xdp_md *ctx) { return bpf_xdp_adjust_head(ctx, 0); }
    __attribute__((noinline, weak)) int ignores(struct xdp_md *ctx) { return 0; }
    SEC("xdp") int prog(struct xdp_md *ctx) { first(ctx); ignores(ctx); return 0; }
    """
    module = import_object(compile_c(source, "-g"), "t.o")
    run_pipeline(make_context(), module, "raise,optimize")
    (prog,) = [func for func in functions(module) if func.symbol == "prog"]
    calls = [list(op.operands) for op in prog.walk() if op.name == "ebpf.call_local"]
    assert calls == [[prog.entry.args[0]]] * 2
