"""What only some ways of a branch need is executed on these only, written several times if need be."""

from __future__ import annotations

import pytest
from virtual_programs import Program, Run
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, Region
from xdsl.parser import Parser

from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.dialects.ebpf import ExitOp, FuncOp, MovRIOp, MovRROp, StxOp, functions
from fsir.driver.context import make_context
from fsir.regalloc.allocate import Way, allocate
from fsir.regalloc.emit import spills_below
from fsir.regalloc.paths import path_excess
from fsir.regalloc.sink_ways import sink_on_ways

OWN = -8
"""The frame of the function itself ends here: words below are spills."""
STORE = "ebpf.stx64 %fp[-16], %p : r10, r1"
COPY = "%c = ebpf.mov %p : r1 -> r6"
LOAD = "%{0} = ebpf.ldx64 %fp[-16] : r10 -> r3"
USE = "%{0} = ebpf.ldx32 %c[0] : r6 -> r3"
SCRATCH = "%s = ebpf.mov %q : r2 -> r1\n%t = ebpf.addi %s, 8 : r1 -> r1\n"


def _body(text: str) -> Region:
    head = 'ebpf.func @f section "xdp" {\n^bb0(%p : !ebpf.reg<r1>, %q : !ebpf.reg<r2>):\n%fp = ebpf.frame -> r10\n'
    module = Parser(make_context(), f"{head}{text}\n}}").parse_module()
    assert isinstance(module, ModuleOp)
    verify_module(module)
    func = next(iter(functions(module)))
    verify_allocated(func, layout=False)
    return func.body


def _fork(before: str, first: str, second: str, third: str, compared: str = "%q, 0, ^a, ^r : r2") -> Region:
    """Two branches, one behind the other, and what is done on each of the three ways."""
    ends = "".join(
        f"^{name}:\n{text}\n%e{name} = ebpf.movi 0 -> r0\nebpf.exit(%e{name}) : r0\n"
        for name, text in (("a", first), ("b", second), ("c", third))
    )
    return _body(f"{before}\nebpf.jeqi {compared}\n^r:\nebpf.jeqi %q, 1, ^b, ^c : r2\n{ends}")


def _where(body: Region, kind: type[Operation]) -> list[int]:
    return [sum(isinstance(op, kind) for op in block.ops) for block in body.blocks]


def _valid(body: Region) -> None:
    func = FuncOp.build_func("f", "xdp", body.clone())
    verify_module(ModuleOp([func]))
    verify_allocated(func, layout=False)


@pytest.mark.parametrize(
    ("moved", "use", "kind"),
    [(STORE, LOAD, StxOp), (COPY, USE, MovRROp), ("%c = ebpf.movi 7 -> r6", "%{0} = ebpf.mov %c : r6 -> r3", MovRIOp)],
    ids=["spill", "copy", "constant"],
)
def test_two_ways_of_three_need_it(moved: str, use: str, kind: type[Operation]) -> None:
    body = _fork(moved, use.format("x"), use.format("y"), "")
    before = body.clone()
    others = [0, 0, 1, 1, 1] if kind is MovRIOp else [int(kind is MovRROp and use != USE)] * 5
    assert sink_on_ways(body, OWN, 1) == 1
    _valid(body)
    assert _where(body, kind) == [a + b for a, b in zip([0, 0, 1, 1, 0], others, strict=True)]
    assert path_excess(before, body) == 0
    assert path_excess(body, before) == 1


@pytest.mark.parametrize("room", [0, 1])
def test_not_beyond_the_room_there_is(room: int) -> None:
    body = _fork(STORE, LOAD.format("x"), LOAD.format("y"), "")
    assert sink_on_ways(body, OWN, room) == room


@pytest.mark.parametrize(
    ("before", "ways"),
    [
        (STORE, (LOAD.format("x"), LOAD.format("y"), LOAD.format("z"))),
        (STORE + "\n" + LOAD.format("w"), (LOAD.format("x"), LOAD.format("y"), "")),
        (STORE.replace("-16", "-8"), (LOAD.format("x").replace("-16", "-8"), "", "")),
        (COPY + "\n%d = ebpf.addi %c, 1 : r6 -> r6", ("%x = ebpf.ldx32 %d[0] : r6 -> r3", "", "")),
    ],
    ids=["all ways", "loaded before the branch", "the function's own", "changed in place"],
)
def test_what_is_needed_before_or_everywhere_stays(before: str, ways: tuple[str, str, str]) -> None:
    body = _fork(before, *ways)
    text = str(body)
    assert sink_on_ways(body, OWN, 9) == 0
    assert str(body) == text


def test_a_register_used_in_between_gives_way() -> None:
    body = _fork(f"{COPY}\n{SCRATCH}", USE.format("x"), "", "", "%t, 5, ^a, ^r : r1")
    assert sink_on_ways(body, OWN, 0) == 1
    _valid(body)
    assert _where(body, MovRROp) == [1, 0, 1, 0, 0]


def test_a_copy_of_what_a_call_takes_away_stays() -> None:
    body = _body(
        f"{COPY}\n%s = ebpf.call 7() -> r0\nebpf.jeqi %s, 5, ^a, ^b : r0\n"
        f"^a:\n{USE.format('x')}\n%z = ebpf.movi 0 -> r0\nebpf.exit(%z) : r0\n"
        "^b:\n%y = ebpf.movi 0 -> r0\nebpf.exit(%y) : r0"
    )
    assert sink_on_ways(body, OWN, 9) == 0


def test_an_end_that_others_lead_to_is_written_again() -> None:
    body = _body(
        "%z = ebpf.movi 0 -> r0\nebpf.jeqi %q, 0, ^end(%z : r0), ^a : r2\n"
        "^a:\n%x = ebpf.mov %q : r2 -> r0\nebpf.jeqi %q, 1, ^end(%x : r0), ^b : r2\n"
        "^b:\n%y = ebpf.movi 5 -> r0\nebpf.ja ^end(%y : r0)\n"
        "^end(%r : !ebpf.reg<r0>):\nebpf.exit(%r) : r0"
    )
    before = body.clone()
    assert sink_on_ways(body, OWN, 9) == 2
    _valid(body)
    assert _where(body, ExitOp) == [0, 0, 0, 1, 1, 1]
    assert path_excess(before, body) == 0
    assert path_excess(body, before) == 2


TAKEN = "%v = ebpf.call 7() -> r0\n%c = ebpf.mov %v : r0 -> r6\n%z = ebpf.movi 0 -> r0\n"
"""The result of a call gives way to that of the function."""


def test_results_set_at_one_end_free_their_register_before() -> None:
    body = _body(
        f"{TAKEN}%i = ebpf.ldx32 %fp[-4] : r10 -> r2\nebpf.jeqi %i, 0, ^end(%z : r0), ^a : r2\n"
        "^a:\nebpf.jeqi %i, 1, ^end(%z : r0), ^b : r2\n"
        f"^b:\n{USE.format('x')}\nebpf.ja ^end(%z : r0)\n"
        "^end(%r : !ebpf.reg<r0>):\nebpf.exit(%r) : r0"
    )
    before = body.clone()
    assert sink_on_ways(body, OWN, 9) == 0
    assert sink_on_ways(body, OWN, 1, apart=True) == 2
    _valid(body)
    assert _where(body, MovRROp) == [0, 0, 1, 0]
    assert _where(body, MovRIOp) == [0, 0, 0, 1]
    assert path_excess(before, body) == 0
    assert path_excess(body, before) == 1


def test_behind_where_ways_meet_again() -> None:
    body = _body(
        f"{COPY}\nebpf.jeqi %q, 0, ^out, ^a : r2\n"
        "^a:\nebpf.jeqi %q, 1, ^b, ^c : r2\n"
        "^b:\n%s = ebpf.movi 1 -> r3\nebpf.ja ^d\n"
        "^c:\n%t = ebpf.movi 2 -> r3\nebpf.ja ^d\n"
        "^d:\nebpf.jeqi %q, 5, ^e, ^out : r2\n"
        f"^e:\n{USE.format('x')}\n%y = ebpf.movi 5 -> r0\nebpf.exit(%y) : r0\n"
        "^out:\n%z = ebpf.movi 0 -> r0\nebpf.exit(%z) : r0"
    )
    assert sink_on_ways(body, OWN, 0) == 1
    _valid(body)
    assert _where(body, MovRROp) == [0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("way", [Way(), Way(late=True), Way(hinted_only=True, constants_apart=False)], ids=repr)
def test_random_functions_do_the_same_and_no_path_is_longer(way: Way) -> None:
    moved = 0
    for seed in range(40):
        program = Program(seed * 13 + 7, 4 + seed % 16)
        args = (1, 2, 3, 4, 5)
        expected = Run(program.func, args, False).trace
        below = spills_below(program.func)
        found = allocate(program.func, ways=[way])
        before = found.body.clone()
        moved += sink_on_ways(found.body, below, 100, apart=seed % 2 == 0)
        old = program.func.detach_region(program.func.body)
        program.func.add_region(found.body)
        old.drop_all_references()
        verify_module(program.module)
        verify_allocated(program.func, layout=False)
        assert Run(program.func, args, True).trace == expected, f"seed {seed}"
        excess = path_excess(before, program.func.body)
        assert excess is not None and excess <= 0, f"seed {seed}"
    assert moved > 20
