"""Sides of branches that no input takes: what is proven, and what must not be."""

from __future__ import annotations

import pytest
from codegen_helpers import parse

from fsir.dialects.ebpf import functions
from fsir.smt.infeasible import Infeasible

MAPS = 'map.decl @a "array" key 4 value 8 entries 4 flags 0\nmap.decl @h "hash" key 4 value 8 entries 4 flags 0\n'
HEAD = 'ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {\n^entry(%ctx : !ebpf.reg):\n'
TAIL = "\n^no:\n %two = ebpf.movi 2 -> reg\n ebpf.exit (%two) : reg\n^yes:\n %one = ebpf.movi 1 -> reg\n"
TAIL += " ebpf.exit (%one) : reg\n}\n"
BYTES = "%d = ebpf.ldx32 %ctx[0] : reg -> reg\n%e = ebpf.ldx32 %ctx[4] : reg -> reg\n"
FRAME = "%fp = ebpf.frame -> reg\n%k = ebpf.addi %fp, -4 : reg -> reg\n"


def lookup(name: str, key: int) -> str:
    return f"{FRAME}ebpf.st32 %fp[-4], {key} : reg\n" + found_in(name)


def found_in(name: str) -> str:
    return (
        f"%m = ebpf.ld_sym @{name} -> reg\n%v = ebpf.call 1(%m, %k) : reg, reg -> reg\nebpf.jeqi %v, 0, ^yes, ^no : reg"
    )


GUARDED = f"{BYTES}%p = ebpf.addi %d, 34 : reg -> reg\nebpf.jgt %p, %e, ^no, ^more : reg, reg\n^more:\n"
IS_SEVEN = "%x = ebpf.ldx32 %fp[-4] : reg -> reg\nebpf.jnei %x, 7, ^yes, ^no : reg"

PROVEN = {
    "an element that an array has": lookup("a", 3),
    "fourteen bytes are always there": f"{BYTES}%p = ebpf.addi %d, 14 : reg -> reg\n"
    "ebpf.jgt %p, %e, ^yes, ^no : reg, reg",
    "a guard after a larger one": f"{GUARDED}%q = ebpf.addi %d, 20 : reg -> reg\nebpf.jgt %q, %e, ^yes, ^no : reg, reg",
    "a number that its width does not allow": f"{BYTES}%x = ebpf.ldx8 %d[0] : reg -> reg\n"
    "ebpf.jgti %x, 255, ^yes, ^no : reg",
    "what another branch decided": f"{BYTES}%x = ebpf.ldx8 %d[0] : reg -> reg\nebpf.jgti %x, 9, ^no, ^low : reg\n"
    "^low:\n%y = ebpf.lshi %x, 2 : reg -> reg\nebpf.jgti %y, 36, ^yes, ^no : reg",
    "a number kept in the frame": f"{FRAME}ebpf.st32 %fp[-4], 7 : reg\n{IS_SEVEN}",
    "the same number on two ways": f"{FRAME}%x = ebpf.ldx32 %ctx[12] : reg -> reg\nebpf.jeqi %x, 1, ^one, ^two : reg\n"
    "^one:\nebpf.st32 %fp[-4], 7 : reg\nebpf.ja ^join\n^two:\nebpf.st32 %fp[-4], 7 : reg\nebpf.ja ^join\n"
    f"^join:\n{IS_SEVEN.replace('%x', '%y')}",
    "an index that was checked": f"{BYTES}{FRAME}%x = ebpf.ldx8 %d[0] : reg -> reg\nebpf.jgti %x, 3, ^no, ^fits : reg\n"
    f"^fits:\nebpf.stx32 %fp[-4], %x : reg, reg\n{found_in('a')}",
}

OPEN = {
    "an element that an array does not have": lookup("a", 4),
    "a key of a hash": lookup("h", 3),
    "more bytes than there need to be": f"{BYTES}%p = ebpf.addi %d, 15 : reg -> reg\n"
    "ebpf.jgt %p, %e, ^yes, ^no : reg, reg",
    "a guard of a packet that was changed since": f"{GUARDED}%by = ebpf.movi 1 -> reg\n"
    "%r = ebpf.call 44(%ctx, %by) : reg, reg -> reg\n%d2 = ebpf.ldx32 %ctx[0] : reg -> reg\n"
    "%e2 = ebpf.ldx32 %ctx[4] : reg -> reg\n%q = ebpf.addi %d2, 34 : reg -> reg\n"
    "ebpf.jgt %q, %e2, ^yes, ^no : reg, reg",
    "a number that is written over": f"{FRAME}ebpf.st32 %fp[-4], 7 : reg\nebpf.st8 %fp[-3], 1 : reg\n{IS_SEVEN}",
    "a number in the frame that something unknown is written over": f"{BYTES}{FRAME}ebpf.st32 %fp[-4], 7 : reg\n"
    "%n = ebpf.ldx8 %d[0] : reg -> reg\n%m = ebpf.andi %n, 3 : reg -> reg\n%to = ebpf.sub %fp, %m : reg, reg -> reg\n"
    f"ebpf.st8 %to[-1], 1 : reg\n{IS_SEVEN}",
    "a number that a helper writes over": f"{FRAME}ebpf.st32 %fp[-4], 7 : reg\n%z = ebpf.movi 0 -> reg\n"
    "%four = ebpf.movi 4 -> reg\n%r = ebpf.call 189(%ctx, %z, %k, %four) : reg, reg, reg, reg -> reg\n" + IS_SEVEN,
    "a number that a function writes over": f"{FRAME}ebpf.st32 %fp[-4], 7 : reg\n"
    f"%r = ebpf.call_local @g(%k) : reg -> reg\n{IS_SEVEN}",
    "a number written over by way of memory": f"{FRAME}ebpf.st32 %fp[-4], 7 : reg\nebpf.stx64 %fp[-16], %k : reg, reg\n"
    f"%to = ebpf.ldx64 %fp[-16] : reg -> reg\nebpf.st32 %to[0], 8 : reg\n{IS_SEVEN}",
    "what a loop counts": "%z = ebpf.movi 0 -> reg\nebpf.ja ^loop(%z : reg)\n^loop(%i : !ebpf.reg):\n"
    "ebpf.jgti %i, 5, ^out, ^next : reg\n^next:\n%j = ebpf.addi %i, 1 : reg -> reg\nebpf.ja ^loop(%j : reg)\n"
    "^out:\nebpf.jeqi %i, 6, ^yes, ^no : reg",
    "what a loop leaves in the frame": f"{FRAME}ebpf.st32 %fp[-4], 7 : reg\n%z = ebpf.ldx32 %ctx[12] : reg -> reg\n"
    "ebpf.ja ^loop(%z : reg)\n^loop(%i : !ebpf.reg):\nebpf.jeqi %i, 0, ^out, ^next : reg\n^next:\n"
    "%j = ebpf.subi %i, 1 : reg -> reg\nebpf.st32 %fp[-4], 9 : reg\nebpf.ja ^loop(%j : reg)\n"
    f"^out:\n{IS_SEVEN}",
    "global data, which loaders change": "%g = ebpf.ld_sym @c -> reg\n%x = ebpf.ldx32 %g[0] : reg -> reg\n"
    "ebpf.jeqi %x, 7, ^yes, ^no : reg",
}
CONSTANT = 'map.decl @c "array" key 4 value 4 entries 1 flags 128 {section = ".rodata", internal = unit}\n'
OTHER = 'ebpf.func @g section ".text" attributes {bind = #builtin.int<0>} {\n^entry(%p : !ebpf.reg):\n'
OTHER += "ebpf.st32 %p[0], 8 : reg\n%z = ebpf.movi 0 -> reg\nebpf.exit (%z) : reg\n}\n"


def impossible(body: str) -> list[tuple[str, int]]:
    module = parse(MAPS + CONSTANT + HEAD + body + TAIL + OTHER)
    blocks = [block for func in functions(module) for block in func.body.blocks]
    branches = [block.last_op for block in blocks if block.last_op is not None and len(block.last_op.successors) == 2]
    found = Infeasible(module).among([(branch, side) for branch in branches for side in (0, 1)])
    last = branches[-1]
    return [(branch.name, side) for branch, side in found if branch is last]


def last_alone(body: str) -> list[int]:
    """The sides of the last branch that are impossible, asked one by one: as where the other side was taken."""
    module = parse(MAPS + CONSTANT + HEAD + body + TAIL + OTHER)
    blocks = [block for func in functions(module) for block in func.body.blocks]
    branches = [block.last_op for block in blocks if block.last_op is not None and len(block.last_op.successors) == 2]
    proofs = Infeasible(module)
    return [side for side in (0, 1) if proofs.among([(branches[-1], side)])]


@pytest.mark.parametrize("body", PROVEN.values(), ids=PROVEN.keys())
def test_is_proven(body: str) -> None:
    assert last_alone(body) == [0]


@pytest.mark.parametrize("body", OPEN.values(), ids=OPEN.keys())
def test_is_not_claimed(body: str) -> None:
    assert 0 not in last_alone(body)


def test_what_lies_behind_an_impossible_side_is_impossible() -> None:
    body = f"{lookup('a', 3).replace('^yes', '^gone')}\n^gone:\n%t = ebpf.ldx32 %ctx[12] : reg -> reg\n"
    assert len(impossible(body + "ebpf.jeqi %t, 1, ^yes, ^no : reg")) == 2


def test_arguments_are_what_all_callers_pass() -> None:
    call = "%i = ebpf.movi 2 -> reg\n%r = ebpf.call_local @k(%i) : reg -> reg\nebpf.jeqi %r, 0, ^yes, ^no : reg"
    key = 'ebpf.func @k section ".text" attributes {bind = #builtin.int<0>} {\n^entry(%i : !ebpf.reg):\n'
    key += "ebpf.jgti %i, 2, ^yes, ^no : reg" + TAIL
    module = parse(MAPS + HEAD + call + TAIL + key)
    (inner,) = [op for func in functions(module) if func.symbol == "k" for op in func.walk() if op.name == "ebpf.jgti"]
    assert Infeasible(module).among([(inner, 0), (inner, 1)]) == [(inner, 0)]
    assert Infeasible(parse(MAPS + key)).among([]) == []
