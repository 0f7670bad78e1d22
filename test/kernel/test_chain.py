"""Chains in the kernel: they load, and do what the program did as one function.

Every example that the kernel takes is cut at several places, one by one and all at once. A generated program, of which
the verifier would have to follow millions of instructions, is cut until it takes it, and loaded by stock bpftool.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import traffic
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.analysis.effects import EffectTable
from fsir.dialects.ebpf import functions
from fsir.driver.clang import compile_c
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.kernel.engine import KernelProgram, on_cpu
from fsir.kernel.errors import KernelError
from fsir.kernel.syscalls import possible_cpus
from fsir.object.encode import instruction_count
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.passes.freeze_environment import freeze_environment
from fsir.placement.access import MapAccesses
from fsir.placement.chain import CannotCut, Chain

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CUTS = {
    "firewall": ("bb9", "bb21", "bb33", "bb9,bb21,bb33"),
    "maglev": ("bb9", "bb17", "bb25", "bb9,bb17,bb25"),
    "vlan-router": ("bb31", "bb6,bb66"),
    "snat": ("bb61", "bb21,bb81"),
    "tc-marker": ("bb21",),
}
START, INTERVAL = 1_700_000_000_000_000_000, 1_000_000  # nanoseconds: when packets come

Behaviour = tuple[list[tuple[int, bytes, bytes]], dict[str, Any]]


@cache
def packets(name: str) -> list[bytes]:
    fuzzed = traffic.fuzz_packets(traffic.generate(name, 60, seed=4), 200, seed=5)
    return traffic.generate(name, 1000, seed=3) + [traffic.runnable(frame) for frame in fuzzed]


@cache
def original(name: str) -> bytes:
    """The object, with clocks and random numbers that the tests set."""
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    freeze_environment(module)
    return export_object(module)


def program_of(name: str) -> str:
    """The symbol of the program that traffic is for."""
    programs = [func.symbol for func in functions(raised(name)) if func.type_name is not None]
    return traffic.program(name) or programs[0]


@cache
def raised(name: str) -> ModuleOp:
    module = import_object(original(name), f"{name}.o")
    run_pipeline(make_context(), module, "raise,optimize")
    return module


def run_all(program: KernelProgram | InterpProgram, frames: list[bytes]) -> Behaviour:
    outcomes = [program.run(frame, clock_ns=START + i * INTERVAL) for i, frame in enumerate(frames)]
    return [(o.verdict, o.data, o.meta) for o in outcomes], program.dump_maps()


def in_kernel(data: bytes, program: str, frames: list[bytes], **kind: Any) -> Behaviour:
    with KernelProgram(data, program, cpu=0, **kind) as loaded, on_cpu(0):
        return run_all(loaded, frames)


def in_interpreter(data: bytes, program: str, frames: list[bytes], **kind: Any) -> Behaviour:
    with InterpProgram(import_object(data, "chain.o"), program, ncpu=possible_cpus(), **kind) as loaded:
        return run_all(loaded, frames)


@cache
def expected(name: str) -> Behaviour:
    return in_interpreter(original(name), program_of(name), packets(name), maps=traffic.maps(name))


def chained(module: ModuleOp, options: str) -> tuple[bytes, dict[str, int]]:
    """The object, and the lengths of its functions."""
    module = module.clone()
    with collecting(Diagnostics()):
        run_pipeline(make_context(), module, f"chain{{{options}}},lower-to-xdp")
    return export_object(module), {func.symbol: instruction_count(func) for func in functions(module)}


@pytest.mark.parametrize("name", CUTS)
def test_a_chained_example_behaves_as_before(name: str) -> None:
    program = program_of(name)
    for places in CUTS[name]:
        data, lengths = chained(raised(name), f"at={places} program={program}")
        assert sum(each.startswith(f"{program}_chain") for each in lengths) == len(places.split(","))
        for run in (in_kernel, in_interpreter)[: 1 + ("," in places)]:
            verdicts, maps = run(data, program, packets(name), maps=traffic.maps(name))
            wrong = [i for i, (a, b) in enumerate(zip(verdicts, expected(name)[0], strict=True)) if a != b]
            assert not wrong, f"cut at {places}, {run.__name__}, packet {wrong[0]}"
            assert maps == expected(name)[1]


def test_functions_become_as_short_as_wanted() -> None:
    name = "firewall"
    data, lengths = chained(raised(name), f"max-instructions=150 program={program_of(name)}")
    links = {each: length for each, length in lengths.items() if each.startswith(program_of(name))}
    assert len(links) > 2 and max(links.values()) <= 150
    run = in_kernel(data, program_of(name), packets(name), maps=traffic.maps(name))
    assert run == expected(name)


# --- what the verifier refuses as one function -----------------------------------------------------------------------

BRANCHES = 22


def many_branches() -> str:
    """A program with a sum on each way through it that is an index then: no two states are alike."""
    steps = "".join(
        f'if (p[{14 + i}] & 1) sum += {3 ** (i % 7) + i * 17};asm volatile("" : "+r"(sum)); v[sum & 4095] += {i + 1};\n'
        for i in range(BRANCHES)
    )
    return f"""
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);
              __type(value, __u8[4096]); }} table SEC(".maps");
    SEC("xdp") int many(struct xdp_md *ctx)
    {{
        unsigned char *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        __u32 zero = 0;
        __u64 sum = 0;
        if (p + 64 > end)
            return XDP_DROP;
        __u8 *v = bpf_map_lookup_elem(&table, &zero);
        if (!v)
            return XDP_ABORTED;
        {steps}
        p[0] = sum;
        return sum & 1 ? XDP_PASS : XDP_TX;
    }}
    char _license[] SEC("license") = "GPL";
    """


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("many")
    (folder / "many.c").write_text(many_branches())
    includes = "-I/usr/include/x86_64-linux-gnu"
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", includes, "-c", "many.c", "-o", "many.o"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "many.o").read_bytes()


def test_what_the_verifier_gives_up_on_loads_as_a_chain(many: bytes, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="too large"):
        KernelProgram(many, short_log=True)
    module = import_object(many, "many.o")
    run_pipeline(make_context(), module, "raise,optimize")
    data, lengths = chained(module, "verify=true")
    assert [name for name in lengths if name.startswith("many_chain")]
    chance = random.Random(1)
    frames = [chance.randbytes(chance.choice([40, 63, 64, 65, 200])) for _ in range(1000)]
    before = in_interpreter(many, "many", frames)
    assert in_kernel(data, "many", frames) == in_interpreter(data, "many", frames) == before
    if bpftool := shutil.which("bpftool"):
        (tmp_path / "many.o").write_bytes(data)
        pin = Path("/sys/fs/bpf/fs_test_chain")
        try:
            command = [bpftool, "prog", "load", str(tmp_path / "many.o"), str(pin)]
            loaded = subprocess.run(command, capture_output=True, text=True, check=False)
            assert loaded.returncode == 0, loaded.stderr[-2000:]
        finally:
            pin.unlink(missing_ok=True)


BOUNDED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct counts { __u64 of[10]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct counts); }
    seen SEC(".maps");
SEC("xdp") int bounded(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 key = 0;
    if (data + 16 > end) return XDP_DROP;
    unsigned int of = data[14];
    if (of < 3 || of > 12) return XDP_PASS;
    struct counts *found = bpf_map_lookup_elem(&seen, &key);
    if (!found) return XDP_DROP;
    found->of[of - 3] += data[15];
    return XDP_TX;
}
char _license[] SEC("license") = "GPL";
"""


def test_what_a_branch_said_of_a_number_is_told_again(tmp_path: Path) -> None:
    """Ten elements: no mask says that the index is below ten."""
    (tmp_path / "bounded.c").write_text(BOUNDED)
    data = compile_c(tmp_path / "bounded.c")
    module = import_object(data, "bounded.o")
    run_pipeline(make_context(), module, "raise,optimize")
    line = next(n for n, text in enumerate(BOUNDED.splitlines(), 1) if "bpf_map_lookup_elem(" in text)
    chain, lengths = chained(module, f"at={line}")
    assert len(lengths) == 2
    frames = [bytes(14) + bytes([first, 7]) + bytes(48) for first in range(16)]
    before = in_interpreter(data, "bounded", frames)
    assert in_kernel(chain, "bounded", frames) == in_interpreter(chain, "bounded", frames) == before


def test_what_no_cut_helps_is_refused() -> None:
    """A packet access without a guard stays one."""
    context = make_context()
    module = Parser(context, UNGUARDED).parse_module()
    with pytest.raises(PassFailure) as caught:
        run_pipeline(context, module, "chain{verify=true}")
    assert "the kernel's verifier refuses 'prog', which no cut changes: invalid access" in str(caught.value.__cause__)


UNGUARDED = """
object.section "xdp" type 1 flags 6 align 8
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
object.symbol "prog" in 1 value 0 size 80 bind 1 type 2 {func = @prog}
ebpf.func @prog section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  cf.br ^access
^access:
  %byte = packet.load %data[14] : !packet.ptr -> i8
  %wide = arith.extui %byte : i8 to i64
  packet.verdict %wide : i64
}
"""


def places_to_cut(name: str, wanted: int) -> list[int]:
    """Blocks that the program of an example can be cut in front of, all at once, spread over it."""
    module = raised(name).clone()
    funcs = {func.symbol: func for func in functions(module)}
    func = funcs[program_of(name)]
    chain = Chain(func, MapAccesses(module, funcs.values()), EffectTable(module), funcs)
    blocks = list(func.body.blocks)
    found: list[int] = []
    for number in range(1, len(blocks), max(1, len(blocks) // (2 * wanted))):
        if len(found) == wanted:
            break
        try:
            chain.plan([blocks[n] for n in (*found, number)])
        except CannotCut:
            continue
        found.append(number)
    return found


@pytest.mark.parametrize("name", ["firewall", "tc-marker"])
def test_more_functions_than_calls_can_nest(name: str) -> None:
    """They are called in turn."""
    program = program_of(name)
    places = places_to_cut(name, 12)
    data, lengths = chained(raised(name), f"at={','.join(f'bb{n}' for n in places)} program={program}")
    assert sum(each.startswith(f"{program}_chain") for each in lengths) == len(places) == 12
    for run in (in_kernel, in_interpreter):
        verdicts, maps = run(data, program, packets(name), maps=traffic.maps(name))
        wrong = [i for i, (a, b) in enumerate(zip(verdicts, expected(name)[0], strict=True)) if a != b]
        assert not wrong, f"{run.__name__}, packet {wrong[0]}"
        assert maps == expected(name)[1]
