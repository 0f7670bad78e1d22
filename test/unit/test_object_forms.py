"""Every form in which real objects come: each is understood, and goes out as it came in."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from bpf_clang import compile_c
from object_identity import check_identity
from xdsl.dialects.builtin import ModuleOp, StringAttr

from fsir import isa
from fsir.dialects.ebpf import CallKfuncOp, CallLocalOp, FuncOp, LdAbsOp, LdIndOp, LdSymOp, functions
from fsir.dialects.map import DeclOp
from fsir.object.code import Code, Ref
from fsir.object.elf import (
    R_BPF_64_32,
    R_BPF_64_64,
    R_BPF_64_ABS32,
    R_BPF_64_ABS64,
    R_BPF_64_NODYLD32,
    SHF_ALLOC,
    STT_FUNC,
    STT_NOTYPE,
    Section,
    read_elf,
    write_elf,
)
from fsir.object.encode import encode
from fsir.object.importer import import_object
from fsir.object.lift import lift

COUNTS = """
struct { __uint(type, 1); __type(key, u32); __type(value, u64); __uint(max_entries, 8); } counts SEC(".maps");
"""
USE = "u32 k = 1; u64 *v = lookup(&counts, &k); if (v) ++*v;"


def program(name: str, section: str = "xdp", body: str = "return 2;") -> str:
    return f'SEC("{section}") int {name}(struct xdp_md *ctx) {{ {body} }}\n'


def func(module: ModuleOp, name: str) -> FuncOp:
    return next(f for f in functions(module) if f.symbol == name)


def declarations(module: ModuleOp) -> dict[str, DeclOp]:
    return {op.sym_name.data: op for op in module.walk() if isinstance(op, DeclOp)}


# --- sections and functions -------------------------------------------------------------------------------------------

ODD = {"2/7": "sched_cls", "from-netdev": "sched_cls", "xdp_fwd": "xdp", "?tc": "sched_cls", "odd name": "unspec"}


def test_the_type_of_a_program_is_in_its_sections_name() -> None:
    module = check_identity(compile_c("".join(program(f"p{i}", section) for i, section in enumerate(ODD))))
    assert {f.section.data: f.type_name for f in functions(module)} == ODD


def test_types_by_option() -> None:
    data = compile_c("".join(program(f"p{i}", section) for i, section in enumerate(ODD)))
    module = import_object(data, "source.o", prog_type="xdp", sections={"from-netdev": "xdp", "xdp_fwd": "sched_cls"})
    found = {f.section.data: f.type_name for f in functions(module)}
    assert found == {"2/7": "xdp", "from-netdev": "xdp", "xdp_fwd": "sched_cls", "?tc": "sched_cls", "odd name": "xdp"}


@pytest.mark.parametrize("flags", [(), ("-g",)], ids=["plain", "debug"])
def test_several_programs_in_one_section(flags: tuple[str, ...]) -> None:
    source = COUNTS + program("first", body=USE + "return 1;") + program("second", body=USE + "return 2;")
    module = check_identity(compile_c(source, *flags))
    assert [(f.symbol, f.section.data, f.type_name) for f in functions(module)] == [
        ("first", "xdp", "xdp"),
        ("second", "xdp", "xdp"),
    ]


CALLS = """
#define __noinline __attribute__((noinline))
static long (*loop)(u32, void *, void *, u64) = (void *)181;
static __noinline int near(struct xdp_md *ctx) { return ctx->ifindex; }
__noinline int far(struct xdp_md *ctx) { return near(ctx) + ctx->queue; }
static long step(u32 i, void *sum) { *(u32 *)sum += i; return 0; }
SEC("xdp") int prog(struct xdp_md *ctx) { u32 sum = near(ctx) + far(ctx); loop(4, step, &sum, 0); return sum; }
"""


def test_calls_of_subprograms_and_callbacks() -> None:
    """Within a section by distance; static ones elsewhere by section symbol and addend; global ones by name."""
    module = check_identity(compile_c(CALLS, "-g"))
    calls = {
        (f.symbol, op.callee.root_reference.data): op.properties.get("via")
        for f in functions(module)
        for op in f.walk()
        if isinstance(op, CallLocalOp)
    }
    by_section, by_name = StringAttr("section"), StringAttr("far")
    assert calls == {("far", "near"): None, ("prog", "near"): by_section, ("prog", "far"): by_name}
    [callback] = [op for op in func(module, "prog").walk() if isinstance(op, LdSymOp)]
    assert callback.sym.root_reference.data == "step"
    assert callback.int_prop("pseudo") == 0  # the loader's part


def test_functions_without_a_type() -> None:
    """Old compilers wrote functions as global symbols that say neither type nor size."""
    obj = read_elf(compile_c(CALLS), "source.o")
    named = {symbol.name for symbol in obj.symbols if symbol.type == STT_FUNC and symbol.bind}
    for symbol in obj.symbols:
        if symbol.name in named:
            symbol.type, symbol.size = STT_NOTYPE, 0
    module = check_identity(write_elf(obj))
    assert {f.symbol for f in functions(module) if f.anonymous is None} == {*named, "near", "step"}


def test_code_that_no_symbol_names() -> None:
    obj = read_elf(compile_c(program("prog")), "source.o")
    section = obj.section_by_name("xdp")
    assert section is not None
    section.data = bytes(section.data) + bytes.fromhex("b7000000000000009500000000000000")
    module = check_identity(write_elf(obj))
    assert [(f.symbol, f.anonymous is None) for f in functions(module)] == [("prog", True), ("xdp.2", False)]


# --- maps and other data ----------------------------------------------------------------------------------------------

LEGACY_SIZES = {
    "16 bytes": ("u32 type, key_size, value_size, max_entries;", "1, 4, 8, 32"),
    "20 bytes": ("u32 type, key_size, value_size, max_entries, map_flags;", "1, 4, 8, 32, 1"),
    "28 bytes": ("u32 type, key_size, value_size, max_entries, map_flags, inner_map_idx, numa_node;", "1, 4, 8, 32, 1"),
    "iproute2": (
        "u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;",
        "1, 4, 8, 32, 1",
    ),
    "unknown": ("u32 type, key_size, value_size, max_entries, map_flags; u64 other[4];", "1, 4, 8, 32, 1"),
}


@pytest.mark.parametrize(("members", "values"), LEGACY_SIZES.values(), ids=LEGACY_SIZES.keys())
@pytest.mark.parametrize("flags", [(), ("-g",)], ids=["plain", "debug"])
def test_legacy_definitions_of_any_size(members: str, values: str, flags: tuple[str, ...]) -> None:
    maps = "".join(f'struct def {name} SEC("maps") = {{ {values} }};' for name in ("counts", "other"))
    use = program("prog", body=USE + "return lookup(&other, &k) != 0;")
    module = check_identity(compile_c(f"struct def {{ {members} }}; {maps} {use}", *flags))
    found = {name: (op.type.data, op.int_prop("max_entries")) for name, op in declarations(module).items()}
    assert found == {"counts": ("hash", 32), "other": ("hash", 32)}


def test_maps_of_maps_and_of_programs() -> None:
    source = """
        struct inner { __uint(type, 2); __type(key, u32); __type(value, u64); __uint(max_entries, 7); };
        struct inner first SEC(".maps");
        struct { __uint(type, 12); __type(key, u32); __uint(max_entries, 4); __array(values, struct inner); } outer
            SEC(".maps") = { .values = { [1] = &first } };
        int target(struct xdp_md *ctx);
        struct { __uint(type, 3); __uint(key_size, 4); __uint(max_entries, 4); __array(values, int(void *)); } jumps
            SEC(".maps") = { .values = { [3] = (void *)&target } };
        SEC("xdp") int target(struct xdp_md *ctx) { return 1; }
        SEC("xdp") int prog(struct xdp_md *ctx) { u32 k = 0; tail_call(ctx, &jumps, 3); return !lookup(&outer, &k); }
        """
    maps = declarations(check_identity(compile_c(source, "-g")))
    assert {name: str(op.initial) for name, op in maps.items() if op.initial is not None} == {
        "outer": '[{index = #builtin.int<1>, symbol = "first"}]',
        "jumps": '[{index = #builtin.int<3>, symbol = "target"}]',
    }


def test_sizes_left_for_the_loader() -> None:
    sized = COUNTS.replace("__uint(max_entries, 8);", "")
    module = check_identity(compile_c(sized + program("prog", body=USE + "return 2;"), "-g"))
    assert declarations(module)["counts"].int_prop("max_entries") == 0


EXTERNS = """
extern int CONFIG_HZ SEC(".kconfig");
extern const int some_variable SEC(".ksyms");
extern const int missing SEC(".ksyms") __attribute__((weak));
extern int some_kfunc(struct xdp_md *ctx) SEC(".ksyms");
SEC("xdp") int prog(struct xdp_md *ctx)
{
    return &missing ? 1 : CONFIG_HZ + *(&some_variable) + some_kfunc(ctx);
}
"""


def test_externs() -> None:
    prog = func(check_identity(compile_c(EXTERNS, "-g")), "prog")
    assert {op.sym.root_reference.data for op in prog.walk() if isinstance(op, LdSymOp)} == {
        "CONFIG_HZ",
        "some_variable",
        "missing",
    }
    [call] = [op for op in prog.walk() if isinstance(op, CallKfuncOp)]
    assert call.symbol_prop("callee") == "some_kfunc"


GLOBALS = """
const volatile int limit = 3; volatile int level = 4; static volatile int total;
volatile int own SEC(".data.own") = 5; struct pair { int a, b; }; volatile struct pair pair;
SEC("xdp") int prog(struct xdp_md *ctx) { return limit + level++ + total++ + own + pair.b; }
"""


@pytest.mark.parametrize("flags", [(), ("-g",)], ids=["plain", "debug"])
def test_global_data(flags: tuple[str, ...]) -> None:
    module = check_identity(compile_c(GLOBALS, *flags))
    loads = [op for op in func(module, "prog").walk() if isinstance(op, LdSymOp)]
    assert {op.sym.root_reference.data for op in loads} == {".rodata", ".data", ".bss", ".data.own"}


def test_sections_that_nothing_here_knows_are_carried_through() -> None:
    obj = read_elf(compile_c(program("prog")), "source.o")
    obj.add_section(Section(".run_config", flags=SHF_ALLOC, align=16, data=b"priority 10"))
    obj.add_section(Section("note", type=0x6FFFFF42, align=4, entsize=4, data=bytes(range(8))))
    data = write_elf(obj)
    check_identity(data)
    assert [s.name for s in read_elf(data, "source.o").sections[-2:]] == [".run_config", "note"]


def test_relocations_of_every_type() -> None:
    source = COUNTS + CALLS.replace("u32 sum =", USE + "u32 sum =")
    source += 'struct { __uint(type, 3); __uint(key_size, 4); __uint(max_entries, 2); __array(values, int(void *)); } \
        jumps SEC(".maps") = { .values = { (void *)&prog } };'
    data = compile_c(source, "-g")
    check_identity(data)
    assert {reloc.type for relocs in read_elf(data, "source.o").relocs.values() for reloc in relocs} == {
        R_BPF_64_64,
        R_BPF_64_ABS64,
        R_BPF_64_ABS32,
        R_BPF_64_NODYLD32,
        R_BPF_64_32,
    }


CORE = """
struct task { int pid; struct { long flags; } in; } __attribute__((preserve_access_index));
SEC("xdp") int prog(struct xdp_md *ctx)
{
    struct task *task = (void *)(long)ctx->queue;
    return task->in.flags + __builtin_preserve_type_info(*task, 0) + task->pid;
}
"""


def test_core_relocations_stay_with_their_instructions() -> None:
    prog = func(check_identity(compile_c(CORE, "-g")), "prog")
    found = {(op.name, str(op.properties["core"])) for op in prog.walk() if "core" in op.properties}
    assert len(found) >= 3
    assert any('access = "0:1:0"' in text for _, text in found)
    assert any("kind = #builtin.int<8>" in text for _, text in found)  # the type exists


def test_linked_objects(tmp_path: Path) -> None:
    tool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("needs bpftool, which is not installed")
    library = "int helper(struct xdp_md *ctx) { return ctx->ifindex; } int shared_data = 3;"
    main = "extern int helper(struct xdp_md *ctx); extern int shared_data;" + COUNTS
    main += program("prog", body=USE + "return helper(ctx) + shared_data;")
    for name, source in (("main", main), ("library", library)):
        (tmp_path / f"{name}.o").write_bytes(compile_c(source, "-g"))
    linked = tmp_path / "linked.o"
    subprocess.run([tool, "gen", "object", linked, tmp_path / "main.o", tmp_path / "library.o"], check=True)
    module = check_identity(linked.read_bytes())
    assert {f.symbol for f in functions(module)} == {"helper", "prog"}


# --- instructions -----------------------------------------------------------------------------------------------------

LEGACY_LOADS = """
unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long off) asm("llvm.bpf.load.half");
SEC("socket") int prog(void *skb)
{
    u64 off = load_byte(skb, 14) & 15;
    return load_half(skb, off * 4) + load_half(skb, 12);
}
"""


def test_legacy_packet_loads() -> None:
    prog = func(check_identity(compile_c(LEGACY_LOADS)), "prog")
    assert [op.name for op in prog.walk() if isinstance(op, (LdAbsOp, LdIndOp))].count("ebpf.ld_abs16") == 1
    assert any(isinstance(op, LdIndOp) for op in prog.walk())


def instance(row: isa.Opcode, **odd: int) -> isa.Insn:
    """An instruction of a row with something in every field that it uses, and what is given in others."""
    jumps = "pc +=" in row.form.value
    fields = {"dst": 3, "src": 4, "off": 1 if jumps else -8, "imm": 1 if row.name == "gotol" else 0x12345678}
    fields |= {name: value for name in ("src", "off", "imm") if (value := getattr(row, name)) is not None}
    fields |= dict.fromkeys(isa.unused_fields(row), 0)
    if row is isa.LDDW:
        fields |= {"src": 0, "imm_hi": -2}
    return isa.Insn(row.code, **(fields | odd))


def through_ssa(row: isa.Opcode, insn: isa.Insn) -> tuple[bytes, bytes]:
    """The code of a function with that instruction, before and after; it becomes the operation of its row."""
    before = b"".join(isa.encode(isa.Insn(isa.BY_NAME["movi"].code, r, 0, 0, r)) for r in range(7) if r != 1)
    after = isa.encode(isa.Insn(isa.BY_NAME["ja"].code, 0, 0, 0, 0)) * 2 + bytes.fromhex("9500000000000000")
    if row.name == "call_local":
        insn = replace(insn, imm=-1)
    code = Code(before + isa.encode(insn) + after)
    if row.name == "call_local":
        code.refs[len(before)] = Ref("callee", "section", R_BPF_64_32)
    region = lift(code, 1, "xdp")
    assert f"ebpf.{row.name}" in [op.name for block in region.blocks for op in block.ops]
    return code.data, encode(FuncOp.build_func("f", "xdp", region, prog_type=StringAttr("xdp"))).data


@pytest.mark.parametrize("row", isa.OPCODES, ids=lambda row: row.name)
def test_every_instruction_through_ssa(row: isa.Opcode) -> None:
    before, after = through_ssa(row, instance(row))
    assert after == before


@pytest.mark.parametrize("row", [row for row in isa.OPCODES if isa.unused_fields(row)], ids=lambda row: row.name)
def test_fields_without_meaning_are_kept(row: isa.Opcode) -> None:
    """A register in an instruction that has no use for it, and the like: seen in objects of old compilers."""
    before, after = through_ssa(row, instance(row, **dict.fromkeys(isa.unused_fields(row), 5)))
    assert after == before


def test_labels_of_inline_assembly_start_no_function() -> None:
    """They are symbols without a type, like the functions of old objects, but inside of a function."""
    body = 'asm volatile("r0 = 1; if r1 == 0 goto skip_%=; r0 = 2; skip_%=: exit;" ::: "r0");'
    data = compile_c(f'SEC("xdp") __attribute__((naked)) int prog(struct xdp_md *ctx) {{ {body} }}')
    assert any(s.name.startswith("skip_") and s.type == STT_NOTYPE for s in read_elf(data, "t.o").symbols)
    check_identity(data)
    prog = func(import_object(data, "t.o"), "prog")
    assert not prog.is_raw() and len(encode(prog).data) == 4 * isa.INSN_SIZE


def test_assembly_in_a_static_function_may_read_more_than_its_prototype_says() -> None:
    source = """
    static __attribute__((naked, noinline, used)) void peek(void) { asm volatile("r0 = r1; exit;" ::: "r0"); }
    SEC("xdp") __attribute__((naked)) int prog(struct xdp_md *ctx) {
        asm volatile("r1 = 7; call %[f]; exit;" :: [f]"i"(peek));
    }
    """
    peek = func(import_object(compile_c(source, "-g"), "t.o"), "peek")
    assert len(peek.entry.args) == 1
