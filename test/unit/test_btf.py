"""BTF and .BTF.ext: the same bytes out, questions about types answered, extensions that keep every id."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from bpf_clang import EXAMPLES, compile_c

from fsir.object.btf import VAR_GLOBAL, Btf, Kind, Leaf, Type, load_btf, store_btf
from fsir.object.btf_ext import BtfExt, LineInfo, load_btf_ext, store_btf_ext
from fsir.object.elf import ElfObject, read_elf, write_elf
from fsir.object.errors import ObjectError

TYPES = """
typedef u32 be32;
enum color { RED, GREEN = -5 };
enum wide { SMALL, LARGE = 0x1234567890ULL };
struct ahead;
union both { u32 word; u8 bytes[4]; };
struct inner { u8 a; const be32 b; };
struct outer {
    u16 first;
    struct inner pair[2];
    union both u;
    u32 low : 3, high : 7;
    struct { u8 hidden; };
    struct ahead *link;
    int (*call)(int count, void *data);
    enum color color;
    enum wide wide;
    double real;
    char name[16];
};
struct outer thing SEC(".data");
static volatile u64 counter;
volatile const u8 flag = 1;
struct core { int x; } __attribute__((preserve_access_index));
SEC("xdp") int prog(struct xdp_md *ctx) { struct core *c = (void *)ctx; counter += flag; return thing.first + c->x; }
"""


def sample() -> tuple[ElfObject, Btf]:
    obj = read_elf(compile_c(TYPES, "-g"), "in.o")
    btf = load_btf(obj)
    assert btf is not None
    return obj, btf


def section(obj: ElfObject, name: str) -> bytes:
    found = obj.section_by_name(name)
    assert found is not None
    return bytes(found.data)


def struct_id(btf: Btf, name: str) -> int:
    found = btf.find(Kind.STRUCT, name)
    assert found is not None
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_come_out_as_they_went_in(path: Path) -> None:
    obj = read_elf(path.read_bytes(), path.name)
    btf = load_btf(obj)
    ext = load_btf_ext(obj, btf)
    assert btf is not None and ext is not None
    assert ext.to_bytes(btf) == section(obj, ".BTF.ext")
    assert btf.to_bytes() == section(obj, ".BTF")


def test_every_kind_survives() -> None:
    btf = Btf()
    u32 = btf.add_int("u32", 4)
    pointer = btf.add_ptr(u32)
    btf.add_array(u32, 3)
    both = btf.add_struct("pair", 8, [("a", u32, 0), ("b", u32, 4)])
    btf.add(Type(Kind.UNION, btf.add_string("either"), 4, [(btf.add_string("a"), u32, 0)]))
    btf.add(Type(Kind.ENUM, btf.add_string("color"), 4, [(btf.add_string("RED"), -1)], kind_flag=True))
    btf.add(Type(Kind.FWD, btf.add_string("ahead"), kind_flag=True))
    btf.add_typedef("alias", both)
    for kind in (Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG):
        btf.add(Type(kind, 0, pointer))
    proto = btf.add_func_proto(u32, [("x", u32), ("", 0)])
    function = btf.add_func("f", proto)
    var = btf.add_var("v", u32)
    btf.add_datasec_entry(".data", var, 0, 4)
    btf.add(Type(Kind.FLOAT, btf.add_string("double"), 8))
    btf.add(Type(Kind.DECL_TAG, btf.add_string("fsir:place=user"), function, [(-1,)]))
    btf.add_enum64("wide", [("LARGE", 0x1234567890)])
    assert {t.kind for t in btf.types} == set(Kind)
    again = Btf.parse(btf.to_bytes())
    assert again.types == btf.types
    assert again.to_bytes() == btf.to_bytes()
    assert again.params(function) == [("x", u32), ("", 0)]
    assert again.decl_tags(function) == [(-1, "fsir:place=user")]
    assert again.kind(again.target(function)) is Kind.FUNC_PROTO


def test_sizes_and_alignments() -> None:
    _, btf = sample()
    outer, inner = struct_id(btf, "outer"), struct_id(btf, "inner")
    assert (btf.sizeof(inner), btf.alignof(inner)) == (8, 4)
    assert (btf.sizeof(outer), btf.alignof(outer)) == (88, 8)
    members = {m.name: m for m in btf.members(outer)}
    assert btf.array(members["pair"].type_id) == (inner, 2)
    assert btf.sizeof(members["name"].type_id) == 16
    assert btf.sizeof(members["link"].type_id) == 8
    alias = btf.find(Kind.TYPEDEF, "be32")
    assert alias is not None and btf.kind(btf.resolve(alias)) is Kind.INT
    with pytest.raises(ObjectError, match="has no size"):
        btf.sizeof(btf.target(members["link"].type_id))


def test_layout_flattens_to_scalars() -> None:
    _, btf = sample()
    assert btf.layout(struct_id(btf, "outer"))[:14] == [
        Leaf(0, 2, "first"),
        Leaf(4, 1, "pair[0].a"),
        Leaf(8, 4, "pair[0].b"),
        Leaf(12, 1, "pair[1].a"),
        Leaf(16, 4, "pair[1].b"),
        Leaf(20, 4, "u.word"),
        *(Leaf(20 + i, 1, f"u.bytes[{i}]") for i in range(4)),
        Leaf(24, 1, "low"),
        Leaf(24, 2, "high"),
        Leaf(26, 1, "hidden"),
        Leaf(32, 8, "link"),
    ]
    assert btf.layout(btf.find(Kind.INT, "unsigned int") or 0) == [Leaf(0, 4, "")]


def test_layout_of_a_huge_array_is_one_leaf() -> None:
    btf = Btf()
    u32 = btf.add_int("u32", 4)
    big = btf.add_array(u32, 1_000_000)
    assert btf.layout(btf.add_struct("s", 4_000_004, [("n", u32, 0), ("big", big, 4)])) == [
        Leaf(0, 4, "n"),
        Leaf(4, 4_000_000, "big"),
    ]


def test_extension_keeps_what_is_there() -> None:
    _, btf = sample()
    before = list(btf.types)
    data = btf.find(Kind.DATASEC, ".data")
    assert data is not None
    assert btf.add_int("unsigned int", 4) == btf.find(Kind.INT, "unsigned int")
    var = btf.add_var("added", btf.add_array(btf.add_int("u128", 16), 2))
    assert btf.add_datasec_entry(".data", var, 128, 32) == data
    again = Btf.parse(btf.to_bytes())
    assert again.types[: len(before)] == before
    assert again.vars(data)[-1] == ("added", var, 128, 32)


def test_relocations_follow_their_entries() -> None:
    """Each relocation of .BTF patches the offset of the variable whose symbol it names."""
    obj, btf = sample()
    for name in (".bss", ".data", ".rodata"):
        btf.add_datasec_entry(name, btf.add_var(f"new_{name[1:]}", 1, VAR_GLOBAL), 256, 4)
    store_btf(obj, btf)
    again = read_elf(write_elf(obj), "out.o")
    found = load_btf(again)
    assert found is not None
    slots = found.var_slots()
    relocs = again.relocs[again.section_index(".BTF") or 0]
    named = {found.name(slots[r.offset][1]): again.symbols[r.symbol].name for r in relocs}
    assert {k: v for k, v in named.items() if v} == {k: k for k in named if k != "counter"}
    assert set(named) == {"thing", "counter", "flag", "_license"}


def test_instruction_info() -> None:
    obj, btf = sample()
    ext = load_btf_ext(obj, btf)
    assert ext is not None
    [function] = ext.func_info
    assert (function.section, function.insn_off, btf.name(function.type_id)) == ("xdp", 0, "prog")
    assert "thing.first + c->x" in {
        btf.string(x.line_off).partition("return ")[2].partition(";")[0] for x in ext.line_info
    }
    assert all(x.section == "xdp" and btf.string(x.file_name_off).endswith("program.c") for x in ext.line_info)
    [relo] = ext.core_relos
    assert (btf.name(relo.type_id), btf.string(relo.access_str_off)) == ("core", "0:0")


def test_instruction_info_rebuilt() -> None:
    obj, btf = sample()
    ext = load_btf_ext(obj, btf)
    index = obj.section_index(".BTF.ext") or 0
    before = list(obj.relocs[index])
    assert ext is not None
    store_btf_ext(obj, ext, btf)
    assert obj.relocs[index] == before

    ext.func_info[0].insn_off += 8
    ext.core_relos[0].insn_off += 8
    path, text = btf.add_string("new.c"), btf.add_string("return 0;")
    ext.line_info = [LineInfo("xdp", 0, path, text, 3, 5), LineInfo(".text", 16, path, text, 2_000_000, 1023)]
    store_btf_ext(obj, ext, btf)
    store_btf(obj, btf)
    again = read_elf(write_elf(obj), "out.o")
    found = load_btf(again)
    got = load_btf_ext(again, found)
    assert got is not None
    assert (got.func_info, got.line_info, got.core_relos) == (ext.func_info, ext.line_info, ext.core_relos)
    places = [again.symbols[r.symbol].shndx for r in again.relocs[again.section_index(".BTF.ext") or 0]]
    assert sorted(places) == sorted(again.section_index(s) or 0 for s in ("xdp", "xdp", ".text", "xdp"))


def test_records_longer_than_known_are_kept() -> None:
    btf = Btf()
    name = btf.add_string("xdp")
    info = struct.pack("<IIIIII", 12, name, 1, 0, 1, 0xABCD)
    data = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(info), len(info), 0) + info
    ext = BtfExt.parse(data, btf)
    assert ext.func_info[0].tail == b"\xcd\xab\0\0"
    assert ext.to_bytes(btf) == data


def loop(kind: Kind) -> Btf:
    btf = Btf()
    tails: dict[Kind, list[tuple[int, ...]]] = {Kind.ARRAY: [(1, 1, 2)], Kind.STRUCT: [(0, 1, 0)]}
    btf.add(Type(kind, 0, 0 if kind is Kind.ARRAY else 1, tails.get(kind, [])))
    return Btf.parse(btf.to_bytes())


@pytest.mark.parametrize("kind", [Kind.TYPEDEF, Kind.CONST, Kind.ARRAY])
def test_types_of_themselves_have_no_size(kind: Kind) -> None:
    with pytest.raises(ObjectError, match="itself"):
        loop(kind).sizeof(1)


def test_types_of_themselves_have_no_layout() -> None:
    with pytest.raises(ObjectError, match="itself"):
        loop(Kind.STRUCT).layout(1)
    assert loop(Kind.STRUCT).alignof(1) == 1


def test_layout_does_not_explode() -> None:
    """Thirty structs, each twice the one before: a billion fields, refused instead of listed."""
    btf = Btf()
    inner = btf.add_int("u8", 1)
    for level in range(30):
        inner = btf.add_struct("", 2 << level, [("a", inner, 0), ("b", inner, 1 << level)])
    with pytest.raises(ObjectError, match="too many fields"):
        btf.layout(inner)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"\x9f\xeb\x02", "version 2"),
        (0, b"\xeb\x9f", "little-endian"),
        (12, b"\xff\xff", "does not fit the section"),
        (27, b"\xff", "name that is not there"),
        (31, b"\x1d", "of kind 29"),
    ],
)
def test_damaged_btf_says_where(at: int, value: bytes, message: str) -> None:
    _, btf = sample()
    data = bytearray(btf.to_bytes())
    data[at : at + len(value)] = value
    with pytest.raises(ObjectError, match=rf"in\.o:\.BTF.*error: .*{message}"):
        Btf.parse(data, "in.o")


def test_damage_never_gives_another_exception() -> None:
    obj, good = sample()
    info = section(obj, ".BTF.ext")
    rng = random.Random(1)
    refused = 0
    for _ in range(600):
        data, ext = bytearray(good.to_bytes()), bytearray(info)
        for target in (data, ext):
            at = rng.randrange(len(target)) & ~3
            target[at : at + 4] = rng.choice((0, 1, 0xFFFFFFFF, rng.randrange(40), rng.randrange(1 << 32))).to_bytes(
                4, "little"
            )
        try:
            btf = Btf.parse(data)
            assert btf.to_bytes() == data
            for i in range(len(btf.types)):
                for ask in (btf.layout, btf.sizeof, btf.alignof, btf.resolve, btf.name, btf.members, btf.params):
                    try:
                        ask(i)
                    except ObjectError:
                        refused += 1
            BtfExt.parse(ext, btf)
        except ObjectError:
            refused += 1
    assert refused > 300


def test_a_type_that_is_not_there_is_named() -> None:
    """Such as one that the function info of a damaged `.BTF.ext` names."""
    _, btf = sample()
    with pytest.raises(ObjectError, match="there is no type 9999, only"):
        btf.kind(9999)
