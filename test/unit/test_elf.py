"""Objects read and written: what comes out is what went in, edits hold together, bad input is an error line."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from bpf_clang import EXAMPLES, compile_c
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from fsir.object.btf import load_btf
from fsir.object.btf_ext import load_btf_ext
from fsir.object.elf import (
    R_BPF_64_64,
    SHF_ALLOC,
    SHT_NOBITS,
    STB_GLOBAL,
    STB_LOCAL,
    STT_OBJECT,
    STT_SECTION,
    ElfObject,
    Reloc,
    Section,
    Symbol,
    read_elf,
    write_elf,
)
from fsir.object.errors import ObjectError
from fsir.object.mapdefs import read_map_defs

TWO_PROGRAMS = """
struct { __uint(type, 2); __type(key, u32); __type(value, u64); __uint(max_entries, 4); } counts SEC(".maps");
static __attribute__((noinline)) int helper(struct xdp_md *ctx) { return ctx->ifindex ? 1 : 2; }
int seen; int limit = 7; const volatile int mode = 3;
SEC("xdp") int first(struct xdp_md *ctx) { u32 k = 0; u64 *v = lookup(&counts, &k); if (v) ++*v; return helper(ctx); }
SEC("xdp") int second(struct xdp_md *ctx) { return seen++ > limit + mode ? 1 : helper(ctx); }
"""


def contents(obj: ElfObject) -> tuple[object, ...]:
    return obj.sections, obj.symbols, obj.relocs, obj.rela, obj.reloc_headers, obj.flags, obj.machine


def by_another_reader(data: bytes) -> tuple[object, ...]:
    """Sections, symbols and relocations by name, as pyelftools reads them."""
    elf = ELFFile(io.BytesIO(data))
    sections, symbols, relocs = [], [], []
    names = [s.name for s in elf.iter_sections()]
    for s in elf.iter_sections():
        if isinstance(s, SymbolTableSection):
            symbols = [
                (
                    x.name,
                    names[x["st_shndx"]] if isinstance(x["st_shndx"], int) else x["st_shndx"],
                    x["st_value"],
                    x["st_size"],
                    tuple(x["st_info"].items()),
                    x["st_other"]["visibility"],
                )
                for x in s.iter_symbols()
            ]
            assert all(
                (x["st_info"]["bind"] == "STB_LOCAL") == (i < s["sh_info"]) for i, x in enumerate(s.iter_symbols())
            )
        elif isinstance(s, RelocationSection):
            table = elf.get_section(s["sh_link"])
            assert isinstance(table, SymbolTableSection)
            entries = [
                (r["r_offset"], r["r_info_type"], table.get_symbol(r["r_info_sym"]).entry) for r in s.iter_relocations()
            ]
            relocs.append((s.name, names[s["sh_info"]], s["sh_flags"], [str(e) for e in entries]))
        elif s["sh_type"] not in ("SHT_STRTAB", "SHT_LLVM_ADDRSIG", "SHT_NULL") and s.name != ".llvm_addrsig":
            sections.append(
                (s.name, s["sh_type"], s["sh_flags"], s["sh_addralign"], s["sh_entsize"], s["sh_size"], s.data())
            )
    # Section numbers and name offsets may differ, names may not.
    return sections, symbols, [(a, b, c, len(d)) for a, b, c, d in relocs]


@pytest.mark.parametrize("flags", [("-g",), (), ("-g", "-mcpu=v3"), ("-g", "-O0"), ("-g", "-fdata-sections")])
def test_written_as_read(flags: tuple[str, ...]) -> None:
    data = compile_c(TWO_PROGRAMS, *flags)
    obj = read_elf(data, "in.o")
    written = write_elf(obj)
    assert contents(read_elf(written, "in.o")) == contents(obj)
    assert by_another_reader(written) == by_another_reader(data)
    assert write_elf(read_elf(written, "in.o")) == written


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_written_as_read(path: Path) -> None:
    data = path.read_bytes()
    assert by_another_reader(write_elf(read_elf(data, path.name))) == by_another_reader(data)


def test_what_is_in_an_object() -> None:
    obj = read_elf(compile_c(TWO_PROGRAMS, "-g"), "in.o")
    xdp = obj.section_index("xdp")
    assert xdp is not None and obj.sections[xdp].is_code
    assert {s.name for _, s in obj.symbols_in(xdp)} >= {"first", "second"}
    bss = obj.section_by_name(".bss")
    assert bss is not None and (bss.type, len(bss), bss.data) == (SHT_NOBITS, 4, b"")
    assert {obj.symbols[r.symbol].name for r in obj.relocs[xdp] if r.type == R_BPF_64_64} >= {"counts", "seen", "limit"}
    assert all(r.symbol < len(obj.symbols) for relocs in obj.relocs.values() for r in relocs)


def test_indices_of_symbols_are_dropped_not_left_stale() -> None:
    obj = read_elf(compile_c(TWO_PROGRAMS, "-g", "-faddrsig"), "in.o")
    assert obj.dropped == [".llvm_addrsig"]
    assert b".llvm_addrsig" not in write_elf(obj)


def test_new_sections_symbols_and_relocations() -> None:
    obj = read_elf(compile_c(TWO_PROGRAMS, "-g"), "in.o")
    xdp = obj.section_index("xdp")
    assert xdp is not None
    extra = obj.add_section(Section("extra", flags=SHF_ALLOC, align=8, data=b"12345678"))
    symbol = obj.add_symbol(Symbol("thing", extra, 0, 8, STB_GLOBAL, STT_OBJECT))
    local = obj.add_symbol(Symbol("mine", extra, 4, 4, STB_LOCAL, STT_OBJECT))
    obj.add_reloc(xdp, Reloc(0, R_BPF_64_64, symbol))
    obj.add_reloc(extra, Reloc(0, 2, local))
    obj.sections[xdp].data = bytes(16) + bytes(obj.sections[xdp].data)
    again = read_elf(write_elf(obj), "out.o")
    new = again.section_by_name("extra")
    assert new is not None and new.data == b"12345678"
    section = again.section_index("xdp")
    assert section is not None and again.sections[section].data == obj.sections[xdp].data
    first = again.relocs[section][0]
    assert (first.offset, again.symbols[first.symbol].name) == (0, "thing")
    [only] = again.relocs[again.section_index("extra") or 0]
    assert again.symbols[only.symbol].name == "mine"
    assert again.reloc_headers[again.section_index("extra") or 0][0] == ".relextra"
    binds = [s.bind for s in again.symbols]
    assert binds == sorted(binds, key=lambda b: b != STB_LOCAL)
    by_another_reader(write_elf(obj))


def test_removing_a_section_renumbers_the_rest() -> None:
    obj = read_elf(compile_c(TWO_PROGRAMS, "-g"), "in.o")

    def named(o: ElfObject) -> dict[str, tuple[list[str], list[str]]]:
        return {
            s.name: (
                [x.name for _, x in o.symbols_in(i) if x.type != STT_SECTION],
                [o.symbols[r.symbol].name for r in o.relocs.get(i, [])],
            )
            for i, s in enumerate(o.sections)
            if i and s.name != "license" and not s.name.startswith((".BTF", ".debug"))
        }

    before = named(obj)
    for name in (".BTF.ext", ".BTF", *(s.name for s in obj.sections if s.name.startswith(".debug"))):
        obj.relocs.pop(obj.section_index(name) or 0, None)
    obj.remove_section(obj.section_index("license") or 0)
    assert named(obj) == before
    assert named(read_elf(write_elf(obj), "out.o")) == before


def test_what_is_used_cannot_be_removed() -> None:
    obj = read_elf(compile_c(TWO_PROGRAMS), "in.o")
    before = write_elf(obj)
    with pytest.raises(ObjectError, match=r"in\.o:xdp\+0x.*: error: symbol 'counts' cannot be removed"):
        obj.remove_section(obj.section_index(".maps") or 0)
    assert write_elf(obj) == before


def damaged(at: int, value: bytes) -> bytes:
    data = bytearray(EXAMPLES[0].read_bytes())
    data[at : at + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "in.o: error: not an ELF file"),
        (b"#include <linux/bpf.h>", "in.o: error: not an ELF file"),
        (EXAMPLES[0].read_bytes()[:40], "in.o: error: the file ends after 40 bytes"),
        (EXAMPLES[0].read_bytes()[:1000], "in.o.*: error: the file ends after 1000 bytes"),
        (damaged(18, b"\x3e\0"), "error: an object for ELF machine 62, not BPF"),
        (damaged(5, b"\x02"), "error: a big-endian object; rebuild it with '-target bpfel'"),
        (damaged(4, b"\x01"), "error: not a 64-bit little-endian ELF file"),
        (damaged(16, b"\x02\0"), "error: an ELF file of type 2"),
        (damaged(60, b"\0\0"), "error: no usable section header table"),
    ],
)
def test_bad_input_is_an_error_that_helps(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read_elf(data, "in.o")


@pytest.mark.parametrize("size", [1 << 31, 1 << 63, (1 << 64) - 1])
def test_zeros_that_no_map_can_hold_are_refused(size: int) -> None:
    data = bytearray(compile_c(TWO_PROGRAMS, "-g"))
    first, count = int.from_bytes(data[40:48], "little"), int.from_bytes(data[60:62], "little")
    (bss,) = (at for at in range(first, first + 64 * count, 64) if data[at + 4] == SHT_NOBITS)
    data[bss + 32 : bss + 40] = size.to_bytes(8, "little")
    with pytest.raises(ObjectError, match=r"in\.o:\.bss: error: 0x.* bytes of zeros are more than a map can hold"):
        read_elf(bytes(data), "in.o")


def test_very_old_objects_name_no_machine() -> None:
    obj = read_elf(damaged(18, b"\0\0"), "in.o")
    assert read_elf(write_elf(obj), "out.o").machine == 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_damage_never_gives_another_exception(path: Path) -> None:
    """Bytes changed at random, headers more often than content."""
    good, rng = path.read_bytes(), random.Random(path.stem)
    headers = int.from_bytes(good[40:48], "little")
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.choice((rng.randrange(64), rng.randrange(headers, len(data)), rng.randrange(len(data))))
            data[at] = rng.choice((0, 0xFF, 0x80, rng.randrange(256)))
        try:
            obj = read_elf(bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))]), "in.o")
            btf = load_btf(obj)
            load_btf_ext(obj, btf)
            read_map_defs(obj, btf)
            read_elf(write_elf(obj), "out.o")
        except ObjectError as error:
            assert "error: " in str(error)
            refused += 1
    assert refused > 100
