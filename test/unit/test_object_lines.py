"""Source lines of instructions: where operations say they are, and the line records that are written."""

from __future__ import annotations

import re

import pytest
from bpf_clang import compile_c
from object_identity import reread
from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.ebpf import OPS, UNALLOCATED, InsnOp, functions, int_attr, reg, set_type
from fsir.driver.diagnostics import place_of
from fsir.object.btf import Btf, load_btf, store_btf
from fsir.object.btf_ext import BtfExt, LineInfo, load_btf_ext, store_btf_ext
from fsir.object.elf import read_elf, write_elf
from fsir.object.encode import encode
from fsir.object.errors import ObjectError
from fsir.object.exporter import export_object
from fsir.object.extension import spread
from fsir.object.importer import import_object
from fsir.object.original import restore_original

SOURCE = """
SEC("xdp") int first(struct xdp_md *ctx)
{
    if (ctx->queue > 3)
        return 2;
    return ctx->ifindex;
}
SEC("xdp") int second(struct xdp_md *ctx)
{
    return ctx->ifindex +
        ctx->queue;
}
"""


def with_lines(lines: list[tuple[int, int]]) -> bytes:
    """The object with the line records (offset, line) for `xdp`."""
    obj = read_elf(compile_c(SOURCE, "-g"), "in.o")
    btf, ext = info(write_elf(obj))
    sample = ext.line_info[0]
    ext.line_info = [LineInfo("xdp", at, sample.file_name_off, 0, line, 1) for at, line in lines]
    store_btf_ext(obj, ext, btf)
    store_btf(obj, btf)
    return write_elf(obj)


def info(data: bytes) -> tuple[Btf, BtfExt]:
    obj = read_elf(data, "in.o")
    btf = load_btf(obj)
    ext = load_btf_ext(obj, btf)
    assert btf is not None and ext is not None
    return btf, ext


def lines(data: bytes) -> list[tuple[int, int]]:
    return [(record.insn_off, record.line) for record in info(data)[1].line_info]


def insert_first(module: ModuleOp, name: str) -> None:
    """Put an instruction in front of a function."""
    func = next(f for f in functions(module) if f.symbol == name)
    first = func.entry.first_op
    assert first is not None
    func.entry.insert_op_before(OPS["movi"].create(result_types=[reg(0)], properties={"imm": int_attr(0)}), first)


REPEATED = [(0, 7), (8, 7), (16, 0), (24, 7)]
"""As clang writes them: again the same line, and line 0 where no one line is meant."""


def second_starts(data: bytes) -> int:
    symbol = read_elf(data, "in.o").symbol_by_name("second")
    assert symbol is not None
    return symbol.value


def test_records_are_kept_as_they_are() -> None:
    start = second_starts(compile_c(SOURCE, "-g"))
    data = with_lines([*REPEATED, (start, 9), (start + 8, 9)])
    module = import_object(data, "in.o")
    assert export_object(module) == data
    assert export_object(reread(module, "in.o", True)) == data


def test_a_changed_function_gets_a_record_for_each_change_of_line() -> None:
    """Line 0 where an instruction has none."""
    start = second_starts(compile_c(SOURCE, "-g"))
    module = import_object(with_lines([*REPEATED, (start, 9), (start + 8, 9)]), "in.o")
    insert_first(module, "first")
    moved = [(start + 8, 9), (start + 16, 9)]  # the other function's are what they were
    assert lines(export_object(module)) == [(0, 0), (8, 7), (24, 0), (32, 7), *moved]


def test_places_name_the_line_or_else_the_instruction() -> None:
    start = second_starts(compile_c(SOURCE, "-g"))
    module = import_object(with_lines([*REPEATED, (start + 8, 9)]), "in.o")
    places = [str(place_of(op, "in.o")) for op in module.walk() if isinstance(op, InsnOp)]
    source = info(compile_c(SOURCE, "-g"))
    file = source[0].string(source[1].line_info[0].file_name_off)
    assert places[:4] == [f"{file}:7:1", f"{file}:7:1", "in.o:xdp+0x10", f"{file}:7:1"]
    second = [str(place_of(op, "in.o")) for op in list(functions(module))[1].walk() if isinstance(op, InsnOp)]
    assert second[:2] == [f"in.o:xdp+{start:#x}", f"{file}:9:1"]


def test_without_debug_information_places_name_section_and_offset() -> None:
    module = import_object(compile_c(SOURCE), "in.o")
    places = [str(place_of(op, "in.o")) for op in module.walk() if isinstance(op, InsnOp)]
    start = second_starts(compile_c(SOURCE))
    assert places[:2] == ["in.o:xdp+0x0", "in.o:xdp+0x8"]
    assert f"in.o:xdp+{start:#x}" in places
    for func in functions(module):  # also when it comes back out of its original code
        func.properties["original"] = encode(func).to_attribute()
        restore_original(func, "for a test")
    assert [str(place_of(op, "in.o")) for op in module.walk() if isinstance(op, InsnOp)] == places


def test_lines_reach_to_the_next_record() -> None:
    a, b = ("x.c", 1, 1), ("x.c", 2, 1)
    assert spread([(16, b), (0, a)], 0, 32) == {0: a, 8: a, 16: b, 24: b}
    assert spread([(0, a), (24, b)], 8, 32) == {16: b}
    assert spread([], 0, 8) == {}


@pytest.mark.parametrize(
    ("flags", "place"), [((), r"in\.o:xdp\+0x{:x}"), (("-g",), r"\S*program\.c:20:\d+")], ids=["plain", "debug"]
)
def test_what_cannot_be_written_says_where(flags: tuple[str, ...], place: str) -> None:
    data = compile_c(SOURCE, *flags)
    module = import_object(data, "in.o")
    second = next(f for f in functions(module) if f.symbol == "second")
    load = next(op for op in second.walk() if op.results and op.name == "ebpf.ldx32")
    set_type(load.results[0], UNALLOCATED)
    with pytest.raises(ObjectError) as caught:
        export_object(module)
    at = place.format(second_starts(data))
    assert re.match(
        rf"{at}: error: function 'second' cannot be written: .* allocate registers first", str(caught.value)
    )
