"""What lowering must keep for the kernel's verifier, rule by rule (docs/kernel-notes.md lists them).

For each rule: what the compiler makes of a program that depends on it is accepted, and the same with the rule broken
on purpose, written as machine code or done to the lowered code, is refused. A broken form that a newer kernel accepts
makes its test fail: then the rule may go.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.backends.xdp.lower_to_xdp import LowerToXdp
from fsir.dialects.ebpf import FuncOp, LdxOp, functions, int_attr
from fsir.dialects.object import SectionOp
from fsir.driver.context import make_context
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

CompileC = Callable[..., bytes]
XDP_DROP, XDP_PASS = 1, 2
FRAME = bytes.fromhex("0200000000010200000000020800") + b"\x45" + bytes(85)
PIPELINE = f"raise,optimize,{LowerToXdp().pipeline()}"
"""All parts of `lower-to-xdp`: what they emit counts here, also where it is longer than the original."""

MAPS = """
struct locked { struct bpf_spin_lock lock; int number; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); }
	m SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct locked); __uint(max_entries, 4); }
	locks SEC(".maps");
"""
STUB = MAPS + 'SEC("xdp") int p(struct xdp_md *ctx) { return 2; }'
PACKET = "void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end; struct ethhdr *eth = data;"
PACKET += "(void)end; (void)eth;"


def program(body: str, before: str = "") -> str:
    """A program in C with `data`, `end` and `eth`."""
    return MAPS + before + 'SEC("xdp") int p(struct xdp_md *ctx) {' + PACKET + body + "}"


@dataclass(frozen=True)
class Rule:
    """`source` is a program in C that the compiler must keep acceptable; `broken` machine code that does not keep the
    rule, and `says` what the verifier answers to it."""

    source: str
    broken: str
    says: str


BOUNDS = """
  %d = ebpf.ldx32 %ctx[0] : r1 -> r2
  %e = ebpf.ldx32 %ctx[4] : r1 -> r3
"""
GUARD = """
  %g0 = ebpf.mov %d : r2 -> r4
  %g = ebpf.addi %g0, 14 : r4 -> r4
  ebpf.jgt %g, %e, ^no, ^yes : r4, r3
^yes:
"""
LOOKUP = """
  %fp = ebpf.frame -> r10
  ebpf.st32 %fp[-4], 0 : r10
  %m = ebpf.ld_sym @m -> r1
  %k0 = ebpf.mov %fp : r10 -> r2
  %k = ebpf.addi %k0, -4 : r2 -> r2
  %v = ebpf.call 1(%m, %k) : r1, r2 -> r0
"""
ENDS = """
  ebpf.exit (%x) : r0
^no:
  %n = ebpf.movi 2 -> r0
  ebpf.exit (%n) : r0
"""
VARIABLE = """
  %i0 = ebpf.ldx8 %d[0] : r2 -> r6
  %i = ebpf.andi %i0, 60 : r6 -> r6
"""

RULES: dict[str, Rule] = {
    "1. a guard holds for the pointer that was compared, not for one that is loaded again": Rule(
        program("if (data + 14 > end) return 2; return bpf_ntohs(eth->h_proto) & 1;"),
        BOUNDS + GUARD + "%again = ebpf.ldx32 %ctx[0] : r1 -> r5\n%x = ebpf.ldx8 %again[0] : r5 -> r0" + ENDS,
        "invalid access to packet",
    ),
    "1. a guard holds for the sum that was compared, not for one that is computed again": Rule(
        program(
            "if (data + 15 > end) return 2; void *l4 = data + 14 + ((*(__u8 *)(data + 14) & 15) << 2);"
            "if (l4 + 4 > end) return 2; return *(__u8 *)(l4 + 3) & 1;"
        ),
        BOUNDS + GUARD + VARIABLE + "%b0 = ebpf.mov %d : r2 -> r7\n%b = ebpf.add %b0, %i : r7, r6 -> r7\n"
        "%h0 = ebpf.mov %b : r7 -> r8\n%h = ebpf.addi %h0, 20 : r8 -> r8\nebpf.jgt %h, %e, ^no, ^in : r8, r3\n^in:\n"
        "%c0 = ebpf.mov %d : r2 -> r7\n%j0 = ebpf.ldx8 %d[0] : r2 -> r6\n%j = ebpf.andi %j0, 60 : r6 -> r6\n"
        "%c = ebpf.add %c0, %j : r7, r6 -> r7\n%x = ebpf.ldx8 %c[0] : r7 -> r0" + ENDS,
        "invalid access to packet",
    ),
    "2. a guard is a comparison of pointers, not of a length": Rule(
        program("if (data + 14 > end) return 2; return eth->h_source[0] & 1;"),
        BOUNDS + "%l0 = ebpf.mov %e : r3 -> r4\n%l = ebpf.sub %l0, %d : r4, r2 -> r4\n"
        "ebpf.jlti %l, 14, ^no, ^yes : r4\n^yes:\n%x = ebpf.ldx8 %d[13] : r2 -> r0" + ENDS,
        "invalid access to packet",
    ),
    "2. an offset has at most 16 bits": Rule(
        program(
            "if (data + 14 > end) return 2; void *at = data + (bpf_ntohs(eth->h_proto) & 0x7fff);"
            "if (at + 1 > end) return 2; return *(__u8 *)at & 1;"
        ),
        BOUNDS + GUARD + "%i = ebpf.ldx32 %d[0] : r2 -> r6\n%b0 = ebpf.mov %d : r2 -> r7\n"
        "%b = ebpf.add %b0, %i : r7, r6 -> r7\n%h0 = ebpf.mov %b : r7 -> r8\n%h = ebpf.addi %h0, 1 : r8 -> r8\n"
        "ebpf.jgt %h, %e, ^no, ^in : r8, r3\n^in:\n%x = ebpf.ldx8 %b[0] : r7 -> r0" + ENDS,
        "invalid access to packet",
    ),
    "3. no arithmetic on a pointer that may be null": Rule(
        program("__u32 k = 0; __u64 *v = bpf_map_lookup_elem(&m, &k); return v ? ((char *)v)[4] & 1 : 2;"),
        LOOKUP + "%w = ebpf.addi %v, 4 : r0 -> r0\nebpf.jeqi %w, 0, ^no, ^yes : r0\n^yes:\n"
        "%x = ebpf.ldx8 %w[0] : r0 -> r0" + ENDS,
        "pointer arithmetic on map_value_or_null prohibited",
    ),
    "4. a bound stays with the value that is added: what is computed from it before the branch has none": Rule(
        program(
            "if (data + 14 > end) return 2; __u32 i = *(__u32 *)data; if (i > 10) return 2; void *at = data + (i << 2);"
            "if (at + 1 > end) return 2; return *(__u8 *)at & 1;"
        ),
        BOUNDS + GUARD + "%i = ebpf.ldx32 %d[0] : r2 -> r6\n%s0 = ebpf.mov %i : r6 -> r7\n"
        "%s = ebpf.lshi %s0, 2 : r7 -> r7\nebpf.jgti %i, 10, ^no, ^small : r6\n^small:\n"
        "%b0 = ebpf.mov %d : r2 -> r8\n%b = ebpf.add %b0, %s : r8, r7 -> r8\n"
        "%h0 = ebpf.mov %b : r8 -> r9\n%h = ebpf.addi %h0, 1 : r9 -> r9\n"
        "ebpf.jgt %h, %e, ^no, ^in : r9, r3\n^in:\n%x = ebpf.ldx8 %b[0] : r8 -> r0" + ENDS,
        "invalid access to packet",
    ),
    "5. the context is read in words of 4 bytes, not wider": Rule(
        program("return ctx->ingress_ifindex + ctx->rx_queue_index > 7 ? 1 : 2;"),
        "%x = ebpf.ldx64 %ctx[0] : r1 -> r0\nebpf.exit (%x) : r0",
        "invalid bpf_context access",
    ),
    "5. the context is read in words of 4 bytes, not narrower": Rule(
        program("return (__u8)ctx->ingress_ifindex > 7 ? 1 : 2;"),
        "%x = ebpf.ldx8 %ctx[0] : r1 -> r0\nebpf.exit (%x) : r0",
        "invalid bpf_context access",
    ),
    "6. a pointer keeps its width": Rule(
        program("if (data + 14 > end) return 2; return eth->h_dest[5] & 1;"),
        BOUNDS + GUARD + "%p = ebpf.mov32 %d : r2 -> r5\n%x = ebpf.ldx8 %p[0] : r5 -> r0" + ENDS,
        "invalid mem access 'scalar'",
    ),
    "6. the context merges with no other pointer": Rule(
        program(
            'short word[4] = {5, 6, 7, 8}; asm volatile("" : : "r"(word) : "memory"); int from;'
            "if (ctx->rx_queue_index) from = ctx->ingress_ifindex; else from = word[3];"
            "return from > 4 ? 1 : 2;"
        ),
        "%fp = ebpf.frame -> r10\nebpf.st64 %fp[-8], 0 : r10\n%q = ebpf.ldx32 %ctx[16] : r1 -> r2\n"
        "%f0 = ebpf.mov %fp : r10 -> r3\n%f = ebpf.addi %f0, -20 : r3 -> r3\n"
        "ebpf.jeqi %q, 0, ^load(%f : r3), ^other : r2\n^other:\n%c = ebpf.mov %ctx : r1 -> r3\n"
        "ebpf.fallthrough ^load(%c : r3)\n^load(%from : !ebpf.reg<r3>):\n%x = ebpf.ldx32 %from[12] : r3 -> r0\n"
        "ebpf.exit (%x) : r0",
        "same insn cannot be used with different pointers",
    ),
    "7. lock and unlock take one pointer": Rule(
        program(
            "__u32 k = 0; struct locked *v = bpf_map_lookup_elem(&locks, &k); if (!v) return 2;"
            "bpf_spin_lock(&v->lock); v->number++; bpf_spin_unlock(&v->lock); return 1;"
        ),
        LOOKUP.replace("@m", "@locks") + "ebpf.jeqi %v, 0, ^no, ^first : r0\n^first:\n%v1 = ebpf.mov %v : r0 -> r6\n"
        "%m2 = ebpf.ld_sym @locks -> r1\n%k1 = ebpf.mov %fp : r10 -> r2\n%k2 = ebpf.addi %k1, -4 : r2 -> r2\n"
        "%v2 = ebpf.call 1(%m2, %k2) : r1, r2 -> r0\nebpf.jeqi %v2, 0, ^no, ^both : r0\n^both:\n"
        "%v3 = ebpf.mov %v2 : r0 -> r7\n%a1 = ebpf.mov %v1 : r6 -> r1\n%l = ebpf.call 93(%a1) : r1 -> r0\n"
        "%a2 = ebpf.mov %v3 : r7 -> r1\n%u = ebpf.call 94(%a2) : r1 -> r0\n%x = ebpf.movi 1 -> r0" + ENDS,
        "bpf_spin_unlock of different lock",
    ),
    "8. a packet pointer does not outlive a change of the packet": Rule(
        program(
            "if (data + 14 > end) return 2; int before = *(__u8 *)data; if (bpf_xdp_adjust_head(ctx, 4)) return 2;"
            "data = (void *)(long)ctx->data;"
            "end = (void *)(long)ctx->data_end; if (data + 14 > end) return 2; return (*(__u8 *)data + before) & 1;"
        ),
        "%c = ebpf.mov %ctx : r1 -> r6\n%d = ebpf.ldx32 %ctx[0] : r1 -> r7\n%e = ebpf.ldx32 %ctx[4] : r1 -> r8\n"
        "%g0 = ebpf.mov %d : r7 -> r4\n%g = ebpf.addi %g0, 14 : r4 -> r4\nebpf.jgt %g, %e, ^no, ^yes : r4, r8\n^yes:\n"
        "%four = ebpf.movi 4 -> r2\n%a = ebpf.call 44(%ctx, %four) : r1, r2 -> r0\n"
        "%x = ebpf.ldx8 %d[0] : r7 -> r0" + ENDS,
        "invalid mem access 'scalar'",
    ),
    "9. no block is unreachable": Rule(
        program(
            "__u32 k = 0; __u64 *v = bpf_map_lookup_elem(&m, &k); if (v) *v += 1; if (data + 14 > end) return 1;"
            "return eth->h_proto == 8 ? 2 : 1;"
        ),
        "%n = ebpf.movi 2 -> r0\nebpf.exit (%n) : r0\n^nowhere:\n%o = ebpf.movi 1 -> r0\nebpf.exit (%o) : r0",
        "unreachable insn",
    ),
    "10. a frame has at most 512 bytes": Rule(
        program('char text[400]; __builtin_memset(text, 0, 400);asm volatile("" : : "r"(text) : "memory"); return 2;'),
        "%fp = ebpf.frame -> r10\nebpf.st64 %fp[-520], 0 : r10\n%n = ebpf.movi 2 -> r0\nebpf.exit (%n) : r0",
        "invalid write to stack",
    ),
}


@pytest.fixture
def stub(compile_c: CompileC) -> Callable[..., ModuleOp]:
    """`stub(body)`: a module with the maps, whose program has this machine code."""

    def build(body: str, context: str = "!ebpf.reg<r1>") -> ModuleOp:
        module = import_object(compile_c(STUB), "stub.o")
        head = f'ebpf.func @p section "xdp" attributes {{prog_type = "xdp"}} {{\n^entry(%ctx : {context}):\n'
        text = head + body + "\n}"
        written = next(op for op in Parser(make_context(), text).parse_module().walk() if isinstance(op, FuncOp))
        func = one_program(module)
        func.detach_region(0)
        func.add_region(written.detach_region(0))
        return module

    return build


def one_program(module: ModuleOp) -> FuncOp:
    return next(func for func in functions(module) if func.symbol == "p")


def lowered(elf: bytes, pipeline: str = PIPELINE) -> ModuleOp:
    module = import_object(elf, "program.o")
    run_pipeline(make_context(), module, pipeline)
    assert all(func.keep is None for func in functions(module))
    return module


def refusal(module: ModuleOp) -> str:
    """What the verifier says to a module; empty when it accepts it."""
    try:
        KernelProgram(export_object(module), "p").close()
    except KernelError as refused:
        return refused.log or refused.what
    return ""


def verdict(module: ModuleOp, rodata: dict[str, bytes] | None = None) -> int:
    with KernelProgram(export_object(module), "p", rodata=rodata or {}) as loaded:
        return loaded.run(FRAME)[0]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_what_is_emitted_is_accepted(rule: Rule, compile_c: CompileC) -> None:
    elf = compile_c(rule.source)
    assert refusal(import_object(elf, "original.o")) == ""
    assert refusal(lowered(elf)) == ""


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_broken_form_is_refused(rule: Rule, stub: Callable[[str], ModuleOp]) -> None:
    assert rule.says in refusal(stub(rule.broken))


def test_1_a_spilled_pointer_keeps_its_range(stub: Callable[[str], ModuleOp]) -> None:
    body = BOUNDS + "%fp = ebpf.frame -> r10\nebpf.stx64 %fp[-8], %d : r10, r2" + GUARD
    body += "%again = ebpf.ldx64 %fp[-8] : r10 -> r5\n%x = ebpf.ldx8 %again[13] : r5 -> r0" + ENDS
    assert refusal(stub(body)) == ""


LOOKED_UP_TWICE = program("""
__u32 k = 3; __u64 one = 1, *v = bpf_map_lookup_elem(&m, &k); if (v) return 0;
if (bpf_map_update_elem(&m, &k, &one, 0)) return 0;
v = bpf_map_lookup_elem(&m, &k); return v ? *v : 2;
""")


def test_7_lookups_are_not_merged_across_an_update(compile_c: CompileC) -> None:
    assert verdict(lowered(compile_c(LOOKED_UP_TWICE))) == XDP_DROP


CALLBACK = """
static int body(__u32 i, __u64 *sum) { *sum += i; return 0; }
SEC("xdp") int p(struct xdp_md *ctx) { __u64 sum = 0; bpf_loop(4, body, &sum, 0); return sum == 6 ? 1 : 2; }
"""


def test_10_callbacks_keep_their_btf(compile_c: CompileC) -> None:
    module = lowered(compile_c(CALLBACK))
    assert verdict(module) == XDP_DROP
    for op in list(module.body.block.ops):
        if isinstance(op, SectionOp) and op.section.data == ".BTF.ext":
            op.properties["section"] = type(op.section)(".lost")
    assert "func_info" in refusal(module)


def test_10_callbacks_keep_their_results(compile_c: CompileC) -> None:
    module = lowered(compile_c(CALLBACK))
    callback = next(func for func in functions(module) if func.symbol == "body")
    for op in callback.walk():
        if op.name in ("ebpf.movi", "ebpf.movi32"):
            op.properties["imm"] = int_attr(7)
    assert "R0" in refusal(module)


@pytest.mark.parametrize(("used", "fits"), [(440, True), (496, False)])
def test_10_spills_are_within_the_frame(used: int, fits: bool, stub: Callable[..., ModuleOp]) -> None:
    """Eight values live across calls, three more than there are registers for. What does not fit is refused here."""
    numbers = "".join(f"%v{n} = ebpf.call 7() -> reg\n" for n in range(8))
    sums = "".join(f"%s{n + 1} = ebpf.add %s{n}, %v{n} : reg, reg -> reg\n" for n in range(8))
    body = f"%fp = ebpf.frame -> reg\nebpf.st64 %fp[-{used}], 0 : reg\n{numbers}%s0 = ebpf.movi 0 -> reg\n{sums}"
    module = stub(body + "%x = ebpf.andi %s8, 1 : reg -> reg\nebpf.exit (%x) : reg", "!ebpf.reg")
    if fits:
        run_pipeline(make_context(), module, "allocate-registers,layout-blocks")
        assert refusal(module) == ""
    else:
        with pytest.raises(PassFailure):
            run_pipeline(make_context(), module, "allocate-registers,layout-blocks")


CALLS = """
static __attribute__((noinline)) int deep(int x) {
	char text[SIZE]; __builtin_memset(text, x, SIZE); asm volatile("" : : "r"(text) : "memory"); return text[3]; }
SEC("xdp") int p(struct xdp_md *ctx) {
	char text[SIZE]; __builtin_memset(text, 1, SIZE); asm volatile("" : : "r"(text) : "memory");
	return deep(text[2]) & 1; }
"""


@pytest.mark.parametrize(("size", "accepted"), [(200, True), (320, False)])
def test_10_a_chain_of_calls_has_512_bytes(size: int, accepted: bool, compile_c: CompileC) -> None:
    elf = compile_c(CALLS, f"-DSIZE={size}", "-Wno-unused-value")
    module = import_object(elf, "calls.o")
    assert ("combined stack size" in refusal(module)) != accepted
    if accepted:
        assert refusal(lowered(elf)) == ""


WIDE_KEY = """
struct wide { __u8 a; __u32 b; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct wide); __type(value, __u64); __uint(max_entries, 4); }
	wides SEC(".maps");
SEC("xdp") int p(struct xdp_md *ctx) {
	struct wide key; __builtin_memset(&key, 0, sizeof key); key.a = 1; key.b = ctx->rx_queue_index; __u64 one = 1;
	bpf_map_update_elem(&wides, &key, &one, 0);
	return bpf_map_lookup_elem(&wides, &key) ? 1 : 2; }
"""


def test_11_a_key_is_written_in_full(compile_c: CompileC, tmp_path: Path) -> None:
    """Padding is part of a hash's key. Newer kernels let who may see all memory pass bytes that were never written; so
    the program is loaded by a process that may not."""
    module = lowered(compile_c(WIDE_KEY))
    program = tmp_path / "program.o"
    program.write_bytes(export_object(module))
    load = "import pathlib, sys, fsir.kernel.engine as e; e.KernelProgram(pathlib.Path(sys.argv[1]).read_bytes(), 'p')"
    command = ["setpriv", "--bounding-set=-sys_admin,-perfmon", sys.executable, "-c", load, str(program)]
    subprocess.run(command, check=True)
    with KernelProgram(export_object(module), "p") as loaded:
        assert loaded.run(FRAME)[0] == XDP_DROP
        assert [entry["key"] for entry in loaded.dump_maps()["wides"]] == ["0100000000000000"]


RODATA = """
const volatile __u32 wanted = 0;
SEC("xdp") int p(struct xdp_md *ctx) { return wanted == 7 ? 1 : 2; }
"""


def test_12_read_only_data_is_the_loaders(compile_c: CompileC) -> None:
    module = lowered(compile_c(RODATA))
    assert verdict(module) == XDP_PASS
    assert verdict(module, {"wanted": (7).to_bytes(4, "little")}) == XDP_DROP
    for op in list(one_program(module).walk()):
        if isinstance(op, LdxOp):  # taken for a constant
            block = op.parent
            assert block is not None
            zero = next(iter(Parser(make_context(), "%x = ebpf.movi 0 -> r0").parse_module().body.block.ops))
            assert zero.results
            zero.detach()
            zero.results[0]._type = op.res.type
            block.insert_op_before(zero, op)
            op.res.replace_all_uses_with(zero.results[0])
            block.erase_op(op)
    assert verdict(module, {"wanted": (7).to_bytes(4, "little")}) == XDP_PASS


CORE = """
#include <bpf/bpf_core_read.h>
struct task_struct { int surely_not_a_field; } __attribute__((preserve_access_index));
SEC("xdp") int p(struct xdp_md *ctx) {
	return bpf_core_field_exists(struct task_struct, surely_not_a_field) ? 1 : 2; }
"""


def test_12_relocations_stay_with_what_they_patch(compile_c: CompileC) -> None:
    elf = compile_c(CORE)
    module = lowered(elf)
    assert verdict(module) == XDP_PASS  # the kernel has no such field; the code says that it has
    for op in one_program(module).walk():
        op.properties.pop("core", None)
    assert verdict(module) == XDP_DROP


CALLED = """
object.section ".text" type 1 flags 6 align 8
object.section "xdp" type 1 flags 6 align 8
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
object.symbol "called" in 1 value 0 size 8 bind 0 type 2 {func = @called}
object.symbol "p" in 2 value 0 size 8 bind 1 type 2 {func = @p}
ebpf.func @called section ".text" attributes {bind = #builtin.int<0>} {
^entry(%n : !ebpf.reg):
  %fp = ebpf.frame -> reg
  %own = ebpf.addi %fp, -24 : reg -> reg
  %at = ebpf.add SUM : reg, reg -> reg
  ebpf.st64 %at[0], 7 : reg
  %r = ebpf.ldx64 %own[16] : reg -> reg
  ebpf.exit (%r) : reg
}
ebpf.func @p section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %fp = ebpf.frame -> reg
  ebpf.stx64 %fp[-8], %ctx : reg, reg
  %n = ebpf.movi 16 -> reg
  %r = ebpf.call_local @called(%n) {via = "called"} : reg -> reg
  %again = ebpf.ldx64 %fp[-8] : reg -> reg
  %queue = ebpf.ldx32 %again[16] : reg -> reg
  %x = ebpf.add %queue, %r : reg, reg -> reg
  ebpf.exit (%x) : reg
}
"""
"""A program that keeps its context where, in the frame of what it calls, a variable offset leads to."""


@pytest.mark.parametrize(("operands", "says"), [("%own, %n", ""), ("%n, %own", "invalid mem access 'scalar'")])
def test_13_a_frame_address_comes_first_in_a_sum(operands: str, says: str) -> None:
    context = make_context()
    module = Parser(context, CALLED.replace("SUM", operands)).parse_module()
    run_pipeline(context, module, "allocate-registers,layout-blocks")
    answer = refusal(module)
    assert says in answer and bool(says) == bool(answer)


def test_every_rule_has_a_test() -> None:
    alone = {name.split("_")[1] for name in globals() if name.startswith("test_")}
    assert {str(number) for number in range(1, 14)} <= {name.split(".")[0] for name in RULES} | alone
