"""Map definitions in every form that objects carry them, and written so that they read the same."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from bpf_clang import EXAMPLES, compile_c

from fsir.object.btf import Btf, Kind, load_btf
from fsir.object.btf_ext import load_btf_ext, store_btf_ext
from fsir.object.elf import (
    SHF_ALLOC,
    SHF_WRITE,
    STB_GLOBAL,
    STT_OBJECT,
    ElfObject,
    Section,
    Symbol,
    read_elf,
    write_elf,
)
from fsir.object.errors import ObjectError
from fsir.object.mapdefs import (
    BPF_F_MMAPABLE,
    BPF_F_RDONLY_PROG,
    MapDef,
    add_btf_map,
    kconfig_layout,
    lacks_description,
    modernise_maps,
    read_map_defs,
)

BTF_MAPS = """
struct key { u32 bits; u8 addr[4]; };
struct { __uint(type, 11); __type(key, struct key); __type(value, u64); __uint(max_entries, 0);
         __uint(map_flags, 1); __uint(pinning, 1); } routes SEC(".maps");
struct { __uint(type, 17); __uint(key_size, 4); __uint(value_size, 4); __uint(max_entries, 64); } socks SEC(".maps");
struct { __uint(type, 9); __uint(key_size, 4); __uint(value_size, 8); __uint(max_entries, 5);
         __uint(map_flags, 4); __uint(numa_node, 0); __uint(map_extra, 3); } flows SEC(".maps");
struct slot { __uint(type, 2); __type(key, u32); __type(value, u64); __uint(max_entries, 7); };
struct slot here SEC(".maps"), there SEC(".maps");
struct { __uint(type, 12); __type(key, u32); __uint(max_entries, 4); __array(values, struct slot); } nested
    SEC(".maps") = { .values = { [1] = &there, [3] = &here } };
SEC("xdp/leaf") int leaf(struct xdp_md *ctx) { return 2; }
struct { __uint(type, 3); __uint(key_size, 4); __uint(max_entries, 3); __array(values, int(struct xdp_md *)); } jumps
    SEC(".maps") = { .values = { [2] = &leaf } };
int changed = 1; int zero; const volatile u64 fixed = 5; static volatile int internal SEC(".data.private") = 3;
SEC("xdp") int prog(struct xdp_md *ctx) {
    struct key k = {}; u32 i = fixed; lookup(&routes, &k); lookup(&socks, &i); lookup(&flows, &i);
    lookup(&nested, &i); tail_call(ctx, &jumps, changed + zero + internal); return 2;
}
"""

LEGACY_WORDS = """
struct bpf_map_def { u32 type, key_size, value_size, max_entries, map_flags; };
struct bpf_map_def SEC("maps") first = { 2, 4, 8, 16 };
struct bpf_map_def SEC("maps") second = { 1, 4, 16, 32, 1 };
struct ____btf_map_second { u32 key; struct { u64 a, b; } value; } annotation SEC(".maps.second");
SEC("xdp") int prog(struct xdp_md *ctx) { u32 k = 0; return lookup(&second, &k) || lookup(&first, &k); }
"""

LEGACY_IPROUTE2 = """
struct bpf_elf_map { u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
struct bpf_elf_map SEC("maps") counts = { .type = 2, .size_key = 4, .size_value = 8, .max_elem = 4, .pinning = 2 };
struct bpf_elf_map SEC("maps") jumps = { .type = 3, .size_key = 4, .size_value = 4, .max_elem = 8, .id = 2 };
struct bpf_elf_map SEC("maps") inner =
    { .type = 2, .size_key = 4, .size_value = 4, .max_elem = 1, .id = 7, .inner_idx = 3 };
struct bpf_elf_map SEC("maps") outer =
    { .type = 12, .size_key = 4, .size_value = 4, .max_elem = 4, .inner_id = 7, .inner_idx = -1 };
SEC("2/5") int five(struct xdp_md *ctx) { return 1; }
SEC("2/7") int seven(struct xdp_md *ctx) { return 1; }
SEC("xdp") int prog(struct xdp_md *ctx) {
    u32 k = 0; u64 *v = lookup(&counts, &k); if (v) ++*v;
    void *held = lookup(&outer, &k); if (held && lookup(held, &k)) return 1;
    tail_call(ctx, &jumps, 7); return 2;
}
"""

LEGACY_SAMPLES = """
struct bpf_load_map_def { u32 type, key_size, value_size, max_entries, map_flags, inner_map_idx, numa_node; };
struct bpf_load_map_def SEC("maps") inner = { 1, 4, 4, 8 };
struct bpf_load_map_def SEC("maps") outer = { 13, 4, 4, 2, 4, 0, 1 };
SEC("xdp") int prog(struct xdp_md *ctx) { u32 k = 0; return lookup(&outer, &k) || lookup(&inner, &k); }
"""


def opened(body: str, *flags: str) -> tuple[ElfObject, Btf | None, dict[str, MapDef]]:
    return again(compile_c(body, *flags))


def again(data: bytes) -> tuple[ElfObject, Btf | None, dict[str, MapDef]]:
    obj = read_elf(data, "in.o")
    btf = load_btf(obj)
    return obj, btf, {m.name: m for m in read_map_defs(obj, btf)}


def shape(m: MapDef | None) -> tuple[object, ...] | None:
    """All that a loader makes of a map."""
    if m is None:
        return None
    inner = shape(m.inner)
    return (
        m.type_name,
        m.key_size,
        m.value_size,
        m.max_entries,
        m.flags,
        m.pinning,
        m.numa_node,
        m.map_extra,
        m.values,
        inner[:-1] if inner else None,
    )


def test_btf_maps() -> None:
    obj, btf, maps = opened(BTF_MAPS, "-g")
    assert btf is not None
    slot: tuple[object, ...] = ("array", 4, 8, 7, 0, 0, None, 0, [], None)
    assert {name: shape(m) for name, m in maps.items() if not m.internal} == {
        "routes": ("lpm_trie", 8, 8, 0, 1, 1, None, 0, [], None),
        "socks": ("xskmap", 4, 4, 64, 0, 0, None, 0, [], None),
        "flows": ("lru_hash", 4, 8, 5, 4, 0, 0, 3, [], None),
        "here": slot,
        "there": slot,
        "nested": ("array_of_maps", 4, 4, 4, 0, 0, None, 0, [(1, "there"), (3, "here")], slot[:-1]),
        "jumps": ("prog_array", 4, 4, 3, 0, 0, None, 0, [(2, "leaf")], None),
    }
    assert btf.name(maps["routes"].key_btf_id) == "key"
    assert (maps["socks"].key_btf_id, maps["socks"].value_btf_id) == (0, 0)
    for name, m in maps.items():
        symbol = obj.symbol_by_name(name)
        assert m.internal or symbol is not None
        assert m.internal or (symbol and (symbol.value, symbol.size) == (m.offset, m.size))


ODD = """
struct { u32 type, map_flags; u32 *key; u64 *value; } plain SEC(".maps") = { .type = 24, .map_flags = 1 };
extern struct { __uint(type, 1); __type(key, u32); __type(value, u64); __uint(max_entries, 4); } far SEC(".maps");
SEC("xdp") int prog(struct xdp_md *ctx) { u32 k = 0; return lookup(&plain, &k) || lookup(&far, &k); }
"""


def test_numbers_as_plain_integers_and_maps_of_other_objects() -> None:
    _, _, maps = opened(ODD, "-g")
    assert {name: shape(m) for name, m in maps.items()} == {
        "plain": ("sk_storage", 4, 8, 0, 1, 0, None, 0, [], None),
    }


def test_maps_without_btf_are_none() -> None:
    obj, btf, maps = opened(BTF_MAPS)
    assert lacks_description(obj, btf)
    assert all(m.internal for m in maps.values())
    assert not lacks_description(*opened(BTF_MAPS, "-g")[:2])


def test_internal_maps() -> None:
    _, btf, maps = opened(BTF_MAPS, "-g")
    assert btf is not None
    internal = {
        name: (m.type_name, m.key_size, m.value_size, m.max_entries, m.flags) for name, m in maps.items() if m.internal
    }
    assert internal == {
        ".data": ("array", 4, 4, 1, BPF_F_MMAPABLE),
        ".bss": ("array", 4, 4, 1, BPF_F_MMAPABLE),
        ".rodata": ("array", 4, 8, 1, BPF_F_RDONLY_PROG | BPF_F_MMAPABLE),
        ".data.private": ("array", 4, 4, 1, 0),
    }
    assert maps[".data"].value_btf_id == btf.find(Kind.DATASEC, ".data")


def test_internal_maps_need_no_btf() -> None:
    _, _, maps = again(compile_c('const volatile int fixed = 4; SEC("xdp") int prog(void *ctx) { return fixed; }'))
    assert [(m.name, m.flags) for m in maps.values()] == [(".rodata", BPF_F_RDONLY_PROG)]


def test_kconfig_is_laid_out_as_libbpf_does() -> None:
    body = (
        'extern u8 CONFIG_B SEC(".kconfig"); extern u64 CONFIG_HZ SEC(".kconfig"); extern u8 CONFIG_A SEC(".kconfig");'
    )
    _, btf, maps = opened(body + 'SEC("xdp") int prog(void *ctx) { return CONFIG_A + CONFIG_B + CONFIG_HZ; }', "-g")
    assert btf is not None
    assert kconfig_layout(btf) == {"CONFIG_HZ": (0, 8), "CONFIG_A": (8, 1), "CONFIG_B": (9, 1)}
    assert maps[".kconfig"].value_size == 10


@pytest.mark.parametrize("flags", [("-g",), ()])
def test_legacy_maps(flags: tuple[str, ...]) -> None:
    _, btf, maps = opened(LEGACY_WORDS, *flags)
    assert shape(maps["first"]) == ("array", 4, 8, 16, 0, 0, None, 0, [], None)
    assert shape(maps["second"]) == ("hash", 4, 16, 32, 1, 0, None, 0, [], None)
    assert [(m.section, m.offset, m.size, m.legacy) for m in maps.values()] == [
        ("maps", 0, 20, True),
        ("maps", 20, 20, True),
    ]
    if btf:
        assert btf.sizeof(maps["second"].value_btf_id) == 16


@pytest.mark.parametrize("flags", [("-g",), ()])
def test_legacy_maps_of_iproute2(flags: tuple[str, ...]) -> None:
    _, _, maps = opened(LEGACY_IPROUTE2, *flags)
    inner: tuple[object, ...] = ("array", 4, 4, 1, 0, 0, None, 0, [], None)
    assert {name: shape(m) for name, m in maps.items()} == {
        "counts": ("array", 4, 8, 4, 0, 1, None, 0, [], None),
        "jumps": ("prog_array", 4, 4, 8, 0, 0, None, 0, [(5, "five"), (7, "seven")], None),
        "inner": inner,
        "outer": ("array_of_maps", 4, 4, 4, 0, 0, None, 0, [(3, "inner")], inner[:-1]),
    }


def test_legacy_words_that_nothing_explains_are_not_guessed() -> None:
    """28 bytes are two layouts: with BTF the members' names decide, without it only the common words count."""
    _, _, named = opened(LEGACY_SAMPLES, "-g")
    _, _, unnamed = opened(LEGACY_SAMPLES)
    assert (named["outer"].inner, named["outer"].numa_node) == (named["inner"], 1)
    assert (unnamed["outer"].inner, unnamed["outer"].numa_node) == (None, None)
    assert unnamed["outer"].flags == 4


def legacy_object(*sizes: int) -> ElfObject:
    """Definitions of any length, whose symbols may not say it."""
    obj = ElfObject("in.o")
    data = b"".join(struct.pack("<IIII", 1, 4, 8, 10 + i)[:size].ljust(size, b"\0") for i, size in enumerate(sizes))
    index = obj.add_section(Section("maps", flags=SHF_WRITE | SHF_ALLOC, align=4, data=data))
    for i in range(len(sizes)):
        obj.add_symbol(Symbol(f"m{i}", index, sum(sizes[:i]), 0, STB_GLOBAL, STT_OBJECT))
    return obj


def test_length_of_legacy_definitions_is_their_distance() -> None:
    maps = read_map_defs(legacy_object(20, 24, 16, 48), None)
    assert [(m.offset, m.size, m.max_entries) for m in maps] == [(0, 20, 10), (20, 24, 11), (44, 16, 12), (60, 48, 13)]


def test_too_short_a_definition_is_an_error() -> None:
    with pytest.raises(ObjectError, match=r"in\.o:maps\+0x14: error: the definition of map 'm1' has 12 bytes"):
        read_map_defs(legacy_object(20, 12), None)


def test_unknown_members_are_named() -> None:
    body = """
    struct { __uint(type, 2); __uint(max_entires, 2); } wrong SEC(".maps");
    SEC("xdp") int prog(void *ctx) { return lookup(&wrong, ctx) != 0; }
    """
    with pytest.raises(ObjectError, match="map 'wrong': unknown member 'max_entires'"):
        opened(body, "-g")


NEW_MAPS = [
    MapDef("fs_xsks", type=17, key_size=4, value_size=4, max_entries=64),
    MapDef("fs_flows", type=9, key_size=16, value_size=24, max_entries=1 << 20, flags=4, numa_node=0, pinning=1),
    MapDef("fs_bloom", type=30, value_size=8, max_entries=64, map_extra=0x500000003),
    MapDef("fs_inner", type=2, key_size=4, value_size=4, max_entries=2),
    MapDef(
        "fs_outer", type=12, key_size=4, value_size=4, max_entries=4, values=[(0, "fs_inner"), (2, "fs_inner")],
        inner=MapDef("fs_outer.inner", type=2, key_size=4, value_size=4, max_entries=2),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        (BTF_MAPS, ("-g",)),
        ('SEC("xdp") int prog(void *ctx) { return 2; }', ("-g",)),
        ('SEC("xdp") int prog(void *ctx) { return 2; }', ()),
    ],
)
def test_new_maps_read_as_written(body: str, flags: tuple[str, ...]) -> None:
    obj, found, before = opened(body, *flags)
    btf = found or Btf()
    for new in NEW_MAPS:
        add_btf_map(obj, btf, new)
    add_btf_map(
        obj,
        btf,
        MapDef("fs_typed", type=1, key_btf_id=btf.add_int("u32", 4), value_btf_id=btf.add_int("u64", 8), max_entries=3),
    )
    _, _, after = again(write_elf(obj))
    assert {n: shape(m) for n, m in after.items() if n in before} == {n: shape(m) for n, m in before.items()}
    assert {n: shape(after[n]) for n in (m.name for m in NEW_MAPS)} == {m.name: shape(m) for m in NEW_MAPS}
    assert shape(after["fs_typed"]) == ("hash", 4, 8, 3, 0, 0, None, 0, [], None)


def test_names_are_not_taken_twice() -> None:
    obj, btf, _ = opened(BTF_MAPS, "-g")
    assert btf is not None
    with pytest.raises(ObjectError, match="cannot be named 'prog'"):
        add_btf_map(obj, btf, MapDef("prog", type=2, key_size=4, value_size=4, max_entries=1))


def test_values_lie_within_the_map() -> None:
    obj, btf, _ = opened(BTF_MAPS, "-g")
    assert btf is not None
    with pytest.raises(ObjectError, match="map 'far' of 2 entries is to hold a value at 2"):
        add_btf_map(obj, btf, MapDef("far", type=3, key_size=4, value_size=4, max_entries=2, values=[(2, "leaf")]))


@pytest.mark.parametrize("body", [LEGACY_WORDS, LEGACY_IPROUTE2, LEGACY_SAMPLES])
@pytest.mark.parametrize("flags", [("-g",), ()])
def test_legacy_maps_modernised(body: str, flags: tuple[str, ...]) -> None:
    """The same maps, the same uses by the program, and no trace of the legacy section."""
    obj, found, before = opened(body, *flags)
    btf = found or Btf()

    def uses(o: ElfObject) -> list[tuple[int, str]]:
        return [(r.offset, o.symbols[r.symbol].name) for r in o.relocs[o.section_index("xdp") or 0]]

    used = uses(obj)
    modernise_maps(obj, btf)
    new, _, after = again(write_elf(obj))
    assert {n: shape(m) for n, m in after.items()} == {n: shape(m) for n, m in before.items()}
    assert all(m.section == ".maps" and not m.legacy for m in after.values())
    assert uses(new) == used
    assert new.section_by_name("maps") is None
    assert btf.find(Kind.DATASEC, "maps") is None


def test_modernised_static_maps_are_used_by_name() -> None:
    body = LEGACY_WORDS.replace("struct bpf_map_def SEC", "static struct bpf_map_def SEC")
    obj, btf, _ = opened(body, "-g")
    assert btf is not None
    modernise_maps(obj, btf)
    new, _, _ = again(write_elf(obj))
    xdp = new.section_index("xdp") or 0
    assert {new.symbols[r.symbol].name for r in new.relocs[xdp]} == {"first", "second"}
    code = new.sections[xdp].data
    assert all(code[r.offset + 4 : r.offset + 8] == bytes(4) for r in new.relocs[xdp])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_extended(path: Path) -> None:
    """BTF changed and stored again: what was there reads the same."""
    obj, btf, before = again(path.read_bytes())
    ext = load_btf_ext(obj, btf)
    assert btf is not None and ext is not None
    add_btf_map(obj, btf, MapDef("fs_xsks", type=17, key_size=4, value_size=4, max_entries=4))
    store_btf_ext(obj, ext, btf)
    new, found, after = again(write_elf(obj))
    assert {n: shape(after[n]) for n in before} == {n: shape(m) for n, m in before.items()}
    got = load_btf_ext(new, found)
    assert got is not None and got.line_info == ext.line_info
