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


KEY = "%fp = ebpf.frame -> reg\n%k = ebpf.addi %fp, -4 : reg -> reg\n"
FOUND = "%m = ebpf.ld_sym @m -> reg\n%v = ebpf.call 1(%m, %k) : reg, reg -> reg\n"
FOUND += "ebpf.jeqi %v, 0, ^no, ^there : reg\n^there:\n"
WORD = "%x = ebpf.ldx32 %d[6] : reg -> reg\n"
"""Parts of programs."""

SOLVED = {
    "arithmetic": BYTES + WORD + "%y = ebpf.muli %x, 40503 : reg -> reg\n%z = ebpf.rshi %y, 13 : reg -> reg\n"
    "%w = ebpf.andi %z, 65535 : reg -> reg\nebpf.jeqi %w, 4660, ^yes, ^no : reg",
    "two numbers of the packet": BYTES
    + WORD
    + "%y = ebpf.ldx16 %d[2] : reg -> reg\n%u = ebpf.muli %x, 40503 : reg -> reg\n"
    "%z = ebpf.xor %u, %y : reg, reg -> reg\n"
    "ebpf.jeqi %z, 1515870811, ^yes, ^no : reg",
    "a number that went through the frame": BYTES + WORD + KEY + "ebpf.stx32 %fp[-4], %x : reg, reg\n"
    "%y = ebpf.ldx16 %fp[-3] : reg -> reg\n%z = ebpf.addi %y, 777 : reg -> reg\nebpf.jeqi %z, 60000, ^yes, ^no : reg",
    "a value under a key of the packet": BYTES
    + WORD
    + KEY
    + "ebpf.stx32 %fp[-4], %x : reg, reg\n"
    + FOUND
    + "%n = ebpf.ldx64 %v[0] : reg -> reg\n%t = ebpf.rshi %n, 7 : reg -> reg\n%s = ebpf.add %t, %x : reg, reg -> reg\n"
    "ebpf.jeqi %s, 123456789, ^yes, ^no : reg",
    "global data in a sum": '%v = ebpf.ld_sym @".rodata" {offset = #builtin.int<4>} -> reg\n'
    "%a = ebpf.ldx32 %v[0] : reg -> reg\n%b = ebpf.ldx32 %v[4] : reg -> reg\n%s = ebpf.muli %a, 40503 : reg -> reg\n"
    "%u = ebpf.xor %s, %b : reg, reg -> reg\n%t = ebpf.rshi %u, 5 : reg -> reg\nebpf.jeqi %t, 987654, ^yes, ^no : reg",
    "what another way decides": BYTES + WORD + "%c1 = ebpf.movi 1 -> reg\n%c2 = ebpf.movi 2 -> reg\n"
    "%y = ebpf.muli %x, 40503 : reg -> reg\nebpf.jeqi %y, 172947810, ^join(%c1 : reg), ^join(%c2 : reg) : reg\n"
    "^join(%k : !ebpf.reg):\nebpf.jeqi %k, 1, ^yes, ^no : reg",
    "bytes that a helper copies": BYTES + KEY + "%o = ebpf.movi 300 -> reg\n%four = ebpf.movi 4 -> reg\n"
    "%r = ebpf.call 189(%ctx, %o, %k, %four) : reg, reg, reg, reg -> reg\nebpf.jnei %r, 0, ^no, ^got : reg\n^got:\n"
    "%x = ebpf.ldx32 %fp[-4] : reg -> reg\n%y = ebpf.muli %x, 3 : reg -> reg\nebpf.jeqi %y, 3000000, ^yes, ^no : reg",
}


def searched(module: ModuleOp, name: str, solve: bool = False) -> Coverage:
    def opened(maps: Contents, branches: Branches) -> InterpProgram:
        return InterpProgram(module, name, maps=maps, branches=branches)

    return explore(opened, global_data(module), runs=RUNS, solve=solve)


@pytest.mark.parametrize("body", SOLVED.values(), ids=SOLVED.keys())
def test_sides_are_solved_for(body: str) -> None:
    module = parse(MAP + HEAD + body + TAIL)
    assert searched(module, "f").open
    found = searched(module, "f", solve=True)
    assert found.open == found.impossible == ()


def test_what_nothing_takes_is_proven() -> None:
    body = BYTES + "%x = ebpf.ldx8 %d[0] : reg -> reg\nebpf.jgti %x, 255, ^yes, ^no : reg"
    found = searched(parse(HEAD + body + TAIL), "f", solve=True)
    assert (found.sides, found.open) == (1, ())
    assert [(op.name, side) for op, side in found.impossible] == [("ebpf.jgti", 0)]


def test_solving_is_repeatable() -> None:
    path = EXAMPLES / "router" / "router.o"
    first, second = (searched(import_object(path.read_bytes(), path.name), "xdp_router", solve=True) for _ in range(2))
    assert first.cases == second.cases
    assert len(first.open) == len(second.open) == 0


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
