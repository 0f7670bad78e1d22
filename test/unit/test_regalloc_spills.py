"""Stores of spilled values: made on the way that loads them, in places shared by what is never needed together."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Region
from xdsl.parser import Parser

from fsir.dialects.ebpf import FuncOp, StxOp, functions
from fsir.driver.context import make_context
from fsir.regalloc.model import CodeBlock, Copies, Kind, MachineCode
from fsir.regalloc.sink_stores import sink_stores
from fsir.regalloc.slots import share_slots
from fsir.regalloc.spill import with_joins

OWN = -8
"""The frame of the function itself ends here: words below are spills."""
STORE = "ebpf.stx64 %fp[-16], %p : r10, r1\n"
LOAD = "%{0} = ebpf.ldx64 %fp[-16] : r10 -> r2\n"


def _fork(before: str, then: str = "", other: str = "") -> Region:
    text = (
        'ebpf.func @f section "xdp" {\n^bb0(%p : !ebpf.reg<r1>):\n%fp = ebpf.frame -> r10\n'
        f"{before}\nebpf.jeqi %p, 0, ^a, ^b : r1\n"
        f"^a:\n{then}\n%v = ebpf.movi 0 -> r0\nebpf.exit(%v) : r0\n"
        f"^b:\n{other}\n%w = ebpf.movi 0 -> r0\nebpf.exit(%w) : r0\n}}"
    )
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    return next(iter(functions(module))).body


def _stores(body: Region) -> list[int]:
    return [sum(isinstance(op, StxOp) for op in block.ops) for block in body.blocks]


def test_a_store_goes_to_the_only_way_that_loads_it() -> None:
    body = _fork(STORE, then=LOAD.format("x"))
    assert sink_stores(body, OWN) == 1
    assert _stores(body) == [0, 1, 0]


@pytest.mark.parametrize(
    ("before", "then", "other"),
    [
        (STORE, LOAD.format("x"), LOAD.format("y")),
        (STORE + LOAD.format("z"), LOAD.format("x"), ""),
        (STORE.replace("-16", "-8"), LOAD.format("x").replace("-16", "-8"), ""),
        ("%q = ebpf.movi 5 -> r3\nebpf.stx64 %fp[-16], %q : r10, r3\n%o = ebpf.movi 6 -> r3\n", LOAD.format("x"), ""),
    ],
    ids=["both load it", "loaded before the branch", "the function's own", "the register is given away"],
)
def test_other_stores_stay(before: str, then: str, other: str) -> None:
    body = _fork(before, then, other)
    assert sink_stores(body, OWN) == 0
    assert _stores(body) == [1, 0, 0]


_CHAIN = """ebpf.func @f section "xdp" {{
^bb0(%p : !ebpf.reg<r1>, %q : !ebpf.reg<r6>):
  %fp = ebpf.frame -> r10
  ebpf.stx64 %fp[-16], %q : r10, r6
  ebpf.jeqi %p, 1, ^join, ^other : r1
^other:
  {other}
  ebpf.jeqi %p, 2, ^join, ^out : r1
^out:
  %v = ebpf.movi 0 -> r0
  ebpf.exit(%v) : r0
^join:
  %x = ebpf.ldx64 %fp[-16] : r10 -> r2
  %w = ebpf.movi 0 -> r0
  ebpf.{end} : r1
^end:
  %u = ebpf.movi 0 -> r0
  ebpf.exit(%u) : r0
}}"""


@pytest.mark.parametrize(
    ("other", "end", "stores"),
    [
        ("", "jeqi %p, 3, ^end, ^out2", [0, 0, 0, 1]),
        ("%z = ebpf.movi 1 -> r6", "jeqi %p, 3, ^end, ^out2", [1, 0, 0, 0]),
        ("ebpf.stx64 %fp[-16], %p : r10, r1", "jeqi %p, 3, ^end, ^out2", [1, 1, 0, 0]),
        ("", "jeqi %p, 3, ^join, ^end", [1, 0, 0, 0]),
    ],
    ids=["none of three ways out stores", "the register is given away", "stored anew on a way", "loaded in a loop"],
)
def test_a_store_goes_to_where_all_ways_to_the_loads_meet(other: str, end: str, stores: list[int]) -> None:
    text = _CHAIN.format(other=other, end=end.replace("^out2", "^out"))
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    body = next(iter(functions(module))).body
    sink_stores(body, OWN)
    assert _stores(body)[:4] == stores


def _slots(*pairs: tuple[int, int], count: int) -> MachineCode:
    """A block with these copies, one after the other: nodes 11 and on are in registers, 20 and on in slots."""
    func = _fork("").parent_op()
    assert isinstance(func, FuncOp)
    code = MachineCode(func, [1])
    while len(code.kind) < 20 + count:
        code.node()
    for slot in range(count):
        code.kind[20 + slot] = Kind.SLOT
        code.slot[20 + slot] = slot
    code.slots = count
    code.blocks = [CodeBlock(0, None, 1.0, [Copies([pair], None) for pair in pairs])]
    code.order = [0]
    return code


def test_slots_needed_at_once_are_apart() -> None:
    code = _slots((20, 11), (21, 12), (13, 20), (14, 21), count=2)
    assert share_slots(code) == {0: 0, 1: 1}


def test_slots_needed_one_after_the_other_are_one() -> None:
    code = _slots((20, 11), (13, 20), (21, 12), (14, 21), count=2)
    assert share_slots(code) == {0: 0, 1: 0}


def test_a_store_that_nothing_loads_is_dropped() -> None:
    code = _slots((20, 11), (20, 12), (13, 20), count=1)
    share_slots(code)
    assert [step.pairs for step in code.blocks[0].steps if isinstance(step, Copies)] == [[], [(20, 12)], [(13, 20)]]


def test_slots_that_are_copied_to_each_other_are_one_and_the_copy_is_dropped() -> None:
    code = _slots((20, 11), (21, 12), (14, 21), (13, 20), (22, 13), (15, 22), count=3)
    numbers = share_slots(code)
    assert numbers[0] == numbers[2] != numbers[1]
    pairs = [step.pairs for step in code.blocks[0].steps if isinstance(step, Copies)]
    assert pairs == [[(20, 11)], [(21, 12)], [(14, 21)], [], [], [(15, 22)]]


def test_slots_that_are_copied_to_each_other_and_needed_still_are_two() -> None:
    code = _slots((20, 11), (13, 20), (22, 13), (20, 12), (15, 22), (16, 20), count=3)
    numbers = share_slots(code)
    assert numbers[0] != numbers[2]


def test_block_arguments_for_a_spilled_value_are_spilled_with_it() -> None:
    code = _slots((14, 13), (15, 12), count=0)
    code.joins = {12, 13}
    apart: list[set[int]] = [set() for _ in code.kind]
    assert with_joins(code, [[14]], apart) == [[14, 13]]
    apart[13] = {14}
    assert with_joins(code, [[14]], apart) == [[14]]


def test_block_arguments_that_more_edges_would_store_stay_in_registers() -> None:
    code = _slots((13, 12), (13, 12), (14, 13), count=0)
    code.joins = {13}
    apart: list[set[int]] = [set() for _ in code.kind]
    assert with_joins(code, [[14]], apart) == [[14]]
    assert with_joins(code, [[14], [12]], apart) == [[14, 13], [12]]
