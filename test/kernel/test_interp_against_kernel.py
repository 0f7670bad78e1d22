"""Whole programs in the interpreter and in the kernel: verdicts, frames and maps must be equal.

Helpers and maps have tests of their own; here it is what the code generator does between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from corpus.running import is_cut_short
from traffic import NAMES, fuzz_packets, generate, maps, program, settings

from fsir.dialects.ebpf import functions
from fsir.interp.engine import InterpProgram, version_code
from fsir.kernel.engine import KernelProgram, current_cpu, on_cpu
from fsir.kernel.interfaces import private_interfaces
from fsir.kernel.syscalls import possible_cpus
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.passes.freeze_environment import freeze_environment
from fsir.run.kernel import running_kernel

START, INTERVAL = 1_700_000_000_000_000_000, 1_000_000  # nanoseconds: when packets come
EXTERNS = {"LINUX_KERNEL_VERSION": version_code(running_kernel())}
CompileC = Callable[..., bytes]
Maps = dict[str, list[dict[str, Any]]]


def check(elf: bytes, packets: list[bytes], contents: Maps | None = None, program: str | None = None) -> set[int]:
    """Run both; gives the verdicts seen."""
    contents = contents or {}
    interfaces = {e["ifindex"]: 1 for entries in contents.values() for e in entries if "ifindex" in e}
    cpu = current_cpu()
    with ExitStack() as stack:
        stack.enter_context(private_interfaces(interfaces))
        stack.enter_context(on_cpu(cpu))
        kernel = stack.enter_context(KernelProgram(elf, program, maps=contents))
        interpreted = InterpProgram(
            import_object(elf, "t.o"), program, maps=contents, cpu=cpu, ncpu=possible_cpus(), externs=EXTERNS
        )
        seen = set()
        for index, packet in enumerate(packets):
            clock_ns = START + index * INTERVAL
            expected, found = kernel.run(packet, clock_ns=clock_ns), interpreted.run(packet, clock_ns=clock_ns)
            assert (found.verdict, found.data, found.meta) == tuple(expected), f"packet {index}: {packet.hex()}"
            seen.add(found.verdict)
        assert interpreted.dump_maps() == kernel.dump_maps()
    return seen


def frozen(elf: bytes) -> bytes:
    """The object with clocks and random numbers that both set."""
    module = import_object(elf, "t.o")
    freeze_environment(module)
    return export_object(module)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "scanner"])
def test_examples(example: Callable[[str], bytes], name: str) -> None:
    packets = generate(name, 2000, seed=3)
    elf = frozen(example(name))
    seen = [check(elf, packets, maps(name) | override, program(name)) for override in [{}, *settings(name)]]
    assert len(seen[0]) > 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "scanner"])
def test_examples_with_fuzzed_packets(example: Callable[[str], bytes], name: str) -> None:
    packets = [p for p in fuzz_packets(generate(name, 300, seed=4), 1000, seed=5) if not is_cut_short(p)]
    check(frozen(example(name)), packets, maps(name), program(name))


FRAME = bytes(range(64))
GLOBALS = "int calls; __u64 sum = 7; const volatile __u32 step = 3; static __u64 hidden;"
SUBPROGRAM = """
static __noinline __u64 mix(__u64 a, __u32 b, __u16 c) { hidden += a; return a * 31 + (b ^ c); }
__noinline int global_one(int x) { volatile int pad[4] = {x, 2, 3, 4}; return pad[0] * pad[x & 3] + mix(x, x, x); }
"""
PROGRAMS: Mapping[str, str] = {
    "globals and subprograms": f"""
        {GLOBALS} {SUBPROGRAM}
        SEC("xdp") int prog(struct xdp_md *ctx) {{
            calls++; sum += step * mix(sum, calls, 77);
            return global_one(calls & 3) & 1 ? XDP_PASS : XDP_DROP; }}""",
    "loop with a callback": """
        struct state { __u64 sum; __u32 stop; };
        __u64 total;
        static long body(__u32 i, struct state *s) { s->sum += i * 3; return i == s->stop; }
        SEC("xdp") int prog(struct xdp_md *ctx) {
            struct state s = { .stop = total % 40 };
            total += bpf_loop(33, body, &s, 0) + s.sum;
            return XDP_PASS; }""",
    "callback on the elements of a map": """
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64);
                 __uint(max_entries, 9); } t SEC(".maps");
        __u64 total;
        static long body(void *map, __u32 *key, __u64 *value, __u64 *out) { *value += *key; *out += *value; return 0; }
        SEC("xdp") int prog(struct xdp_md *ctx) {
            __u64 out = 0; bpf_for_each_map_elem(&t, body, &out, 0); total = out; return XDP_TX; }""",
    "tail calls": """
        int second(struct xdp_md *ctx); int third(struct xdp_md *ctx);
        struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(key_size, 4); __uint(max_entries, 4);
                 __array(values, int(struct xdp_md *)); } next SEC(".maps") =
                 { .values = { [1] = (void *)&second, [2] = (void *)&third } };
        unsigned depth;
        SEC("xdp") int second(struct xdp_md *ctx) { depth++; bpf_tail_call(ctx, &next, 1); return XDP_TX; }
        SEC("xdp") int third(struct xdp_md *ctx) { depth += 100; return XDP_DROP; }
        SEC("xdp") int prog(struct xdp_md *ctx) {
            bpf_tail_call(ctx, &next, depth == 0 ? 1 : depth % 4);
            return XDP_PASS; }""",
    "a tail call out of a subprogram": """
        int second(struct xdp_md *ctx);
        struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(key_size, 4); __uint(max_entries, 4);
                 __array(values, int(struct xdp_md *)); } next SEC(".maps") = { .values = { [1] = (void *)&second } };
        int after;
        SEC("xdp") int second(struct xdp_md *ctx) { after += 5; return 3; }
        static __noinline int leave(struct xdp_md *ctx, int at) {
            bpf_tail_call(ctx, &next, at); after += 1000; return 2; }
        SEC("xdp") int prog(struct xdp_md *ctx) {
            int r = leave(ctx, after & 1); after += 2 * r + 1; return r; }""",
    "a program that tail-calls itself out of a subprogram": """
        int prog(struct xdp_md *ctx);
        struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(key_size, 4); __uint(max_entries, 1);
                 __array(values, int(struct xdp_md *)); } next SEC(".maps") = { .values = { [0] = (void *)&prog } };
        int entered, after, back;
        static __noinline int leave(struct xdp_md *ctx) { bpf_tail_call(ctx, &next, 0); after++; return entered; }
        SEC("xdp") int prog(struct xdp_md *ctx) { entered++; int r = leave(ctx); back += r; return r & 3; }""",
    "configuration": """
        extern int LINUX_KERNEL_VERSION __kconfig;
        extern int CONFIG_NO_SUCH_THING __kconfig __weak;
        extern void bpf_no_such_kfunc(void) __ksym __weak;
        __u64 seen;
        SEC("xdp") int prog(struct xdp_md *ctx) {
            seen = LINUX_KERNEL_VERSION >= 0x050000;
            return CONFIG_NO_SUCH_THING || bpf_no_such_kfunc ? XDP_DROP : XDP_PASS; }""",
    "a spin lock": """
        struct guarded { __u32 before; struct bpf_spin_lock lock; __u64 count; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct guarded);
                 __uint(max_entries, 4); } t SEC(".maps");
        SEC("xdp") int prog(struct xdp_md *ctx) {
            __u32 key = 1; struct guarded new = { .before = 3 };
            struct guarded *v = bpf_map_lookup_elem(&t, &key);
            if (!v) { bpf_map_update_elem(&t, &key, &new, 0); return XDP_DROP; }
            bpf_spin_lock(&v->lock); v->count += v->before; bpf_spin_unlock(&v->lock);
            return XDP_PASS; }""",
    "atomics": """
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64);
                 __uint(max_entries, 4); } t SEC(".maps");
        __u64 last; __u32 small = 0xfffffff0;
        SEC("xdp") int prog(struct xdp_md *ctx) {
            __u32 key = 1; __u64 *v = bpf_map_lookup_elem(&t, &key);
            if (!v) return XDP_ABORTED;
            last += __sync_fetch_and_add(v, 0x123456789abcdefULL);
            last ^= __sync_fetch_and_or(v, 0xf0); last -= __sync_fetch_and_xor(v, last);
            last += __sync_val_compare_and_swap(v, last, 12345) + __sync_lock_test_and_set(&small, 9);
            return __sync_fetch_and_and(&small, 6) & 1 ? XDP_PASS : XDP_DROP; }""",
    "switches and loops": """
        __u64 histogram[8];
        SEC("xdp") int prog(struct xdp_md *ctx) {
            void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
            __u64 acc = 1;
            for (int i = 0; i < 60; i++) {
                __u8 *p = data + i;
                if ((void *)(p + 1) > end) break;
                switch (*p & 15) {
                    case 0: acc += i; continue; case 1: case 7: acc ^= *p; break; case 2: acc *= 33; break;
                    case 3: if (acc & 8) goto out; acc <<= 1; break; default: acc -= *p; }
                histogram[acc & 7]++;
            }
        out:
            return acc % 5; }""",
    "a packet that grows and shrinks": """
        SEC("xdp") int prog(struct xdp_md *ctx) {
            if (bpf_xdp_adjust_head(ctx, -8)) return XDP_ABORTED;
            if (bpf_xdp_adjust_meta(ctx, -8)) return XDP_ABORTED;
            void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
            void *meta = (void *)(long)ctx->data_meta;
            if (data + 16 > end || meta + 8 > data) return XDP_DROP;
            *(__u64 *)data = 0x1122334455667788ULL; *(__u32 *)meta = ctx->ingress_ifindex; *(__u32 *)(meta + 4) = 7;
            if (bpf_xdp_adjust_tail(ctx, -3)) return XDP_ABORTED;
            return XDP_PASS; }""",
}


FLAGS = ("-mcpu=v3", "-mcpu=v2", "-O1 -mcpu=v1")
VARIANTS = [(name, flags) for name in PROGRAMS for flags in FLAGS if name != "atomics" or "v3" in flags]


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
def test_programs(compile_c: CompileC, name: str, flags: str) -> None:
    elf = compile_c(PROGRAMS[name], "-Wno-everything", *flags.split())
    packets = [bytes((FRAME[i] + 7 * n * i) & 0xFF for i in range(64 - n % 9)) for n in range(40)]
    check(elf, packets, program="prog")


@pytest.mark.parametrize("path", sorted(Path("/usr/lib").glob("*/bpf/xdp*.o")), ids=lambda path: path.name)
def test_objects_of_libxdp(path: Path) -> None:
    packets = fuzz_packets(generate("firewall", 200, seed=8), 300, seed=9)
    elf = path.read_bytes()
    programs = [func.symbol for func in functions(import_object(elf, path.name)) if func.type_name == "xdp"]
    for name in programs:
        check(elf, packets, program=name)
