"""Loops split by count: so many rounds in the kernel, the others in user space, and the same in the end."""

from __future__ import annotations

import random
from functools import cache

import pytest
from bpf_clang import compile_c
from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object
from fsir.placement.counted import loops_to_count, split_by_count
from fsir.placement.graph import FlowGraph
from fsir.placement.loops import work_of

HEAD = """
struct { __uint(type, 2); __uint(max_entries, 8); __type(key, u32); __type(value, u64); } stats SEC(".maps");
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *at = data + 14;
    u32 sum = 0, rounds = 0, last = 7;
    if (data + 16 > end) return 1;
    %s
    u32 key = rounds & 7; u64 *count = lookup(&stats, &key);
    if (count) *count += sum;
    data[0] = last; data[1] = sum;
    return sum & 1 ? 2 : 3;
}
"""
LOOPS = {
    "state in the head": """while (at + 2 <= end && at[0] != 0xff) {
        sum = sum * 31 + at[1]; at += 1 + (at[0] & 3); rounds++; }""",
    "values used after": """for (;;) {
        if (at + 1 > end) break;
        last = at[0] * 3; if (last > 600) break;
        sum += last; at++; rounds++; }""",
    "two ways out": """for (;;) {
        if (at + 1 > end) return 1;
        if (at[0] > 240) { last = at[0]; break; }
        at++; rounds++; }""",
    "a loop inside": """while (at + 4 <= end && at[0]) {
        for (int i = 0; i < 3; i++) { sum += at[i] << i; __asm__ volatile("" : "+r"(sum)); } at += 3; rounds++; }""",
    "one without a bound inside": """while (at + 4 <= end && at[0] != 5) {
        u32 far = sum; while (at + 4 <= end && at[0] > 150) { at++; last = at[0] + far; }
        at += 3; rounds++; sum += far; }""",
    "three levels": """while (at + 4 <= end && at[0] != 5) {
        u32 far = sum; for (; at + 4 <= end && at[0] > 120; rounds++)
            for (at++; at + 4 <= end && at[0] & 1; at += 2) last = at[0] + far;
        at += 2; sum += far + last; }""",
    "writes": "while (at + 1 <= end && at[0] != 3) { at[0] = ++rounds; at++; }",
}


@cache
def raised(body: str) -> ModuleOp:
    module = import_object(compile_c(HEAD % body, "-g", "-fno-unroll-loops"), "program.o")
    run_pipeline(make_context(), module, "raise,optimize")
    return module


def frames() -> list[bytes]:
    rng = random.Random(3)
    made = [rng.randbytes(rng.choice((15, 16, 17, 20, 30, 60, 120))) for _ in range(60)]
    return made + [frame[:14] + bytes(b % 200 for b in frame[14:]) for frame in made]


def behaviour(module: ModuleOp) -> tuple[object, object, list[int]]:
    with InterpProgram(module) as program:
        outcomes = [program.run(frame) for frame in frames()]
        return [(o.verdict, o.data) for o in outcomes], program.dump_maps(), [len(o.parts) for o in outcomes]


@pytest.mark.parametrize("bound", [1, 2, 9])
@pytest.mark.parametrize("name", LOOPS)
def test_whatever_the_bound_it_does_the_same(name: str, bound: int) -> None:
    before = raised(LOOPS[name])
    module = before.clone()
    run_pipeline(make_context(), module, f"decompose{{loop-bound={bound}}},share-maps")
    verify_module(module)
    results, maps, _ = behaviour(before)
    found, found_maps, parts = behaviour(module)
    assert (found, found_maps) == (results, maps)
    assert 0 < parts.count(2) < len(parts), "some packets need more rounds, others not"


def test_the_kernel_follows_the_copy_of_a_nest() -> None:
    """Its loops have bounds, those of the original are entered at each of their heads."""
    module = raised(LOOPS["three levels"]).clone()
    (func,) = functions(module)
    (piece,) = [piece for piece in FlowGraph(func, {}).pieces if piece.is_loop]
    loops = loops_to_count(func, piece, 8192)
    assert len(loops) == 3
    split_by_count(func, loops, 5)
    copy, original = sorted((p for p in FlowGraph(func, {}).pieces if p.is_loop), key=lambda p: len(p.entries))
    assert work_of(copy.blocks, copy.entries, DominatorTree(func.body), 8192) > 0
    assert set(original.entries) == {loop.head for loop in loops}


def test_bounds_are_checked() -> None:
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), raised(LOOPS["writes"]).clone(), "decompose{loop-bound=100000}")
    assert "loop-bound=100000: from 1 to 8192 rounds, or 0 for none" in str(failure.value.__cause__)
