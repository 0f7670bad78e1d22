"""Objects in and out: the same bytes, through memory and text; damaged code is kept, damaged files are refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from bpf_clang import compile_c
from object_identity import check_identity, code_of

from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import LdSymOp, functions
from fsir.dialects.map import DeclOp
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.object.elf import read_elf, write_elf
from fsir.object.errors import ObjectError
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.object.lift import why_raw

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.o"))

SOURCE = """
static long (*loop)(u32, void *, void *, u64) = (void *)181;
struct { __uint(type, 1); __type(key, u32); __type(value, u64); __uint(max_entries, 8); } counts SEC(".maps");
const volatile int limit = 3;
static int total;
#define __noinline __attribute__((noinline))
__noinline int global_sub(int x) { return x * limit; }
static __noinline int local_sub(struct xdp_md *ctx, int y) { return ctx->queue + y; }
static long callback(u32 i, void *ctx) { total += i; return 0; }
SEC("xdp") int first(struct xdp_md *ctx)
{
    u32 key = ctx->ifindex;
    u64 *n = lookup(&counts, &key);
    if (n) __sync_fetch_and_add(n, 1);
    loop(4, callback, &key, 0);
    return global_sub(key) > local_sub(ctx, key) ? 2 : 1;
}
SEC("xdp/second") int second(struct xdp_md *ctx)
{
    for (int i = 0; i < limit; i++) total += local_sub(ctx, i);
    return total > 7 ? 2 : 1;
}
"""
"""Two programs, subprograms of both kinds, a callback, globals, a map, a loop."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_come_out_as_they_went_in(path: Path) -> None:
    check_identity(path.read_bytes(), path.name)


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os"])
@pytest.mark.parametrize("debug", [[], ["-g"]], ids=["plain", "debug"])
def test_compiled_objects_come_out_as_they_went_in(cpu: str, level: str, debug: list[str]) -> None:
    check_identity(compile_c(SOURCE, level, f"-mcpu={cpu}", *debug), "source.o")


def test_maps_that_nothing_describes_are_warned_of() -> None:
    with collecting(Diagnostics()) as messages:
        import_object(compile_c(SOURCE, "-O2"), "source.o")
    assert [str(message) for message in messages.emitted] == [
        "source.o:.maps+0x0: warning: the maps here are described by BTF, which is missing; rebuild with 'clang -g'"
    ]


def test_functions_of_every_kind_are_found() -> None:
    module = import_object(compile_c(SOURCE, "-O2", "-g"), "source.o")
    found = {func.symbol: (func.section.data, func.type_name) for func in functions(module)}
    assert found == {
        "global_sub": (".text", None),
        "local_sub": (".text", None),
        "callback": (".text", None),
        "first": ("xdp", "xdp"),
        "second": ("xdp/second", "xdp"),
    }


NESTED = {
    "by type": """
        struct slot { __uint(type, 2); __type(key, u32); __type(value, u64); __uint(max_entries, 7); };
        struct slot first SEC(".maps");
        struct { __uint(type, 12); __type(key, u32); __uint(max_entries, 4); __array(values, struct slot); } outer
            SEC(".maps") = { .values = { [1] = &first } };
        """,
    "legacy": """
        struct bpf_load_map_def { u32 type, key_size, value_size, max_entries, map_flags, inner_map_idx, numa_node; };
        struct bpf_load_map_def SEC("maps") first = { 2, 4, 8, 7 };
        struct bpf_load_map_def SEC("maps") outer = { 12, 4, 4, 4 };
        """,
}


@pytest.mark.parametrize("definitions", NESTED.values(), ids=NESTED.keys())
def test_maps_in_maps_have_their_own_names(definitions: str) -> None:
    use = 'SEC("xdp") int prog(struct xdp_md *c) { u32 k = 0; return lookup(&first, &k) || lookup(&outer, &k); }'
    module = import_object(compile_c(definitions + use, "-O2", "-g"), "source.o")
    decls = {op.sym_name.data: op for op in module.walk() if isinstance(op, DeclOp)}
    assert {op.sym.root_reference.data for op in module.walk() if isinstance(op, LdSymOp)} == {"first", "outer"}
    inner = decls["outer"].inner
    assert inner is not None
    template = decls[inner.root_reference.data]
    assert (template.type.data, template.int_prop("value_size")) == ("array", 8)
    assert (template.template is None) == (inner.root_reference.data == "first")
    assert decls.keys() == {"first", "outer", inner.root_reference.data}


SMALL = sorted(EXAMPLES, key=lambda path: path.stat().st_size)[:3]


def damaged_code(rng: random.Random, data: bytes) -> bytes:
    """The object with a few bytes of one code section changed."""
    obj = read_elf(data, "damaged.o")
    section = rng.choice([s for s in obj.sections if s.is_code and len(s)])
    code = bytearray(section.data)
    for _ in range(rng.choice([1, 2, 5, 30])):
        code[rng.randrange(len(code))] = rng.randrange(256)
    section.data = bytes(code)
    return write_elf(obj)


def damaged_relocations(rng: random.Random, data: bytes) -> bytes:
    """The object with relocations of code changed, and the instructions that they are for."""
    obj = read_elf(data, "damaged.o")
    for index in [i for i in obj.relocs if obj.sections[i].is_code]:
        code = bytearray(obj.sections[index].data)
        for reloc in obj.relocs[index]:
            at = reloc.offset
            match rng.randrange(12):
                case 0 | 1 | 2:
                    code[at + 4 : at + 8] = rng.choice((-1, 0, 1, 2, 5, 8, 40)).to_bytes(4, "little", signed=True)
                case 3:
                    reloc.type = rng.choice((1, 2, 3, 4, 7, 10))
                case 4:
                    code[at] = rng.choice((0x18, 0x85, 0xB7, 0xFF))
                case 5:
                    reloc.symbol = rng.randrange(1, len(obj.symbols))
                case 6:
                    code[at + 1] = rng.randrange(256)
                case 7 if rng.random() < 0.2:
                    reloc.offset = rng.randrange(len(code))
                case 8 if rng.random() < 0.2:
                    obj.symbols[reloc.symbol].value = rng.choice((0, 8, 16))
        obj.sections[index].data = bytes(code)
    return write_elf(obj)


@pytest.mark.parametrize("damage", [damaged_code, damaged_relocations])
def test_damaged_code_is_kept_byte_for_byte(damage: Callable[[random.Random, bytes], bytes]) -> None:
    rng = random.Random(7)
    objects = [path.read_bytes() for path in SMALL] + [compile_c(SOURCE, "-O2", *flags) for flags in ((), ("-g",))]
    raw = refused = 0
    for _ in range(150):
        data = damage(rng, rng.choice(objects))
        try:
            module = import_object(data, "damaged.o")
        except ObjectError as error:
            assert "damaged" in error.message
            refused += 1
            continue
        verify_module(module)
        assert code_of(read_elf(export_object(module), "damaged.o")) == code_of(read_elf(data, "damaged.o"))
        raw += any(func.is_raw() for func in functions(module))
    assert 0 < raw < 150 - refused  # both kinds were among them
    assert refused < 40


def test_damaged_files_are_refused_or_work() -> None:
    rng = random.Random(11)
    objects = [path.read_bytes() for path in SMALL]
    for _ in range(200):
        data = bytearray(rng.choice(objects))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.choice([1, 3, 10])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            export_object(import_object(bytes(data), "damaged.o"))
        except ObjectError as error:
            assert str(error).startswith("damaged.o")


def test_the_reason_for_raw_code_is_told() -> None:
    from fsir.object.code import Code

    jump_out = bytes.fromhex("0500ff7f000000009500000000000000")
    assert "leaves the function" in (why_raw(Code(jump_out)) or "")
    unknown = bytes.fromhex("ff00000000000000")
    assert "no instruction at offset 0x0" in (why_raw(Code(unknown)) or "")
    assert why_raw(Code(bytes.fromhex("b7000000000000009500000000000000"))) is None
