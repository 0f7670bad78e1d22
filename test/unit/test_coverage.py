"""Packets that reach branches: found by what a program compares, looks up, and asks the packet's length to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from codegen_helpers import parse
from xdsl.dialects.builtin import ModuleOp

from fsir.interp.branches import Branches
from fsir.interp.engine import Contents, InterpProgram
from fsir.object.importer import import_object
from fsir.run.coverage import Coverage, explore, global_data
from fsir.run.frames import frames, with_checksum

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUNS = 400

HEAD = 'ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {\n^entry(%ctx : !ebpf.reg):\n'
TAIL = "\n^no:\n %two = ebpf.movi 2 -> reg\n ebpf.exit (%two) : reg\n^yes:\n %one = ebpf.movi 1 -> reg\n"
TAIL += " ebpf.exit (%one) : reg\n}"
BYTES = "%d = ebpf.ldx32 %ctx[0] : reg -> reg\n%e = ebpf.ldx32 %ctx[4] : reg -> reg\n"

REACHED = {
    "a number in network order": BYTES
    + "%x = ebpf.ldx32 %d[6] : reg -> reg\n%y = ebpf.be32 %x : reg -> reg\n"
    + "ebpf.jeqi %y, 305419896, ^yes, ^no : reg",
    "a bound": BYTES + "%x = ebpf.ldx16 %d[2] : reg -> reg\nebpf.jgti %x, 60000, ^yes, ^no : reg",
    "half a byte": BYTES
    + "%x = ebpf.ldx8 %d[9] : reg -> reg\n%y = ebpf.andi %x, 15 : reg -> reg\nebpf.jeqi %y, 11, ^yes, ^no : reg",
    "global data": '%v = ebpf.ld_sym @".rodata" {offset = #builtin.int<4>} -> reg\n%x = ebpf.ldx32 %v[4] : reg -> reg\n'
    + "ebpf.jeqi %x, 7, ^yes, ^no : reg",
    "a length": BYTES + "%p = ebpf.addi %d, 700 : reg -> reg\nebpf.jgt %p, %e, ^no, ^yes : reg, reg",
    "a key that is there": "%m = ebpf.ld_sym @m -> reg\n%fp = ebpf.frame -> reg\nebpf.st32 %fp[-4], 77 : reg\n"
    + "%k = ebpf.addi %fp, -4 : reg -> reg\n%v = ebpf.call 1(%m, %k) : reg, reg -> reg\n"
    + "ebpf.jeqi %v, 0, ^no, ^yes : reg",
}
MAP = 'map.decl @m "hash" key 4 value 8 entries 8 flags 0\n'
MAP += 'map.decl @".rodata" "array" key 4 value 16 entries 1 flags 0 {section = ".rodata", internal = unit}\n'


def searched(module: ModuleOp, name: str) -> Coverage:
    def opened(maps: Contents, branches: Branches) -> InterpProgram:
        return InterpProgram(module, name, maps=maps, branches=branches)

    return explore(opened, global_data(module), runs=RUNS)


@pytest.mark.parametrize("body", REACHED.values(), ids=REACHED.keys())
def test_both_sides_are_taken(body: str) -> None:
    found = searched(parse(MAP + HEAD + body + TAIL), "f")
    assert found.sides == 2
    assert found.open == ()


def test_what_is_not_reached_is_told() -> None:
    body = BYTES + "%x = ebpf.ldx8 %d[0] : reg -> reg\nebpf.jgti %x, 255, ^yes, ^no : reg"
    found = searched(parse(HEAD + body + TAIL), "f")
    assert [(op.name, side) for op, side in found.open] == [("ebpf.jgti", 0)]


def test_the_search_is_repeatable() -> None:
    path = EXAMPLES / "router" / "router.o"
    first, second = (searched(import_object(path.read_bytes(), path.name), "xdp_router") for _ in range(2))
    assert first.cases == second.cases
    assert len(first.open) == len(second.open)


def test_frames_are_whole() -> None:
    assert len(set(frames())) == len(frames())
    assert all(14 <= len(frame) <= 1514 for frame in frames())
    assert all(with_checksum(frame) == frame for frame in frames())
    starts = {frame[12:14].hex() for frame in frames()}
    assert {"0800", "86dd", "0806", "8100", "8847"} <= starts
