"""Constants that a register holds already, and ends that are shared."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Region
from xdsl.parser import Parser

from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import FuncOp, MovRIOp, functions
from fsir.driver.context import make_context
from fsir.object.encode import instruction_count
from fsir.passes._exits import share_exits
from fsir.passes.allocate_registers import allocate_function
from fsir.passes.layout_blocks import lay_out
from fsir.regalloc.redundant import drop_redundant


def _function(text: str) -> FuncOp:
    module = Parser(make_context(), f'ebpf.func @f section "xdp" {{\n{text}\n}}').parse_module()
    assert isinstance(module, ModuleOp)
    return next(iter(functions(module)))


def _constants(body: Region) -> list[int]:
    """How many constants each block makes."""
    return [sum(isinstance(op, MovRIOp) for op in block.ops) for block in body.blocks]


_ASKED = """^bb0(%p : !ebpf.reg<r1>, %q : !ebpf.reg<r2>):
  {made}
  ebpf.{branch} : r0
^a:
  %v = ebpf.{again} -> r0
  ebpf.exit(%v) : r0
^b:
  %w = ebpf.movi 2 -> r0
  ebpf.exit(%w) : r0"""


@pytest.mark.parametrize(
    ("made", "branch", "again", "left"),
    [
        ("%x = ebpf.call 7() -> r0", "jeqi %x, 0, ^a, ^b", "movi 0", 0),
        ("%x = ebpf.call 7() -> r0", "jnei %x, 0, ^b, ^a", "movi32 0", 0),
        ("%x = ebpf.call 7() -> r0", "jeqi %x, 0, ^b, ^a", "movi 0", 1),
        ("%x = ebpf.call 7() -> r0", "jeqi %x, 1, ^a, ^b", "movi 0", 1),
        ("%x = ebpf.call 7() -> r0", "jeqi32 %x, 0, ^a, ^b", "movi 0", 1),
        ("%x = ebpf.ldx32 %p[0] : r1 -> r0", "jeqi32 %x, 0, ^a, ^b", "movi 0", 0),
        ("%x = ebpf.ldx32 %p[0] : r1 -> r0", "jeqi32 %x, -1, ^a, ^b", "movi -1", 1),
        ("%x = ebpf.ldx32 %p[0] : r1 -> r0", "jeqi32 %x, -1, ^a, ^b", "movi32 -1", 0),
        ("%x = ebpf.ldxs16 %p[0] : r1 -> r0", "jeqi32 %x, -1, ^a, ^b", "movi32 -1", 1),
        ("%x = ebpf.ldx64 %p[0] : r1 -> r0", "jeqi %x, 0, ^a, ^b", "movi 0", 1),
    ],
    ids=[
        "a helper's 0",
        "not other than 0",
        "the other way",
        "another number",
        "half of a word",
        "a word in half a register",
        "with ones above",
        "with zeros above",
        "a signed load",
        "perhaps an address",
    ],
)
def test_what_a_branch_found_is_not_made_again(made: str, branch: str, again: str, left: int) -> None:
    func = _function(_ASKED.format(made=made, branch=branch, again=again))
    drop_redundant(func.body, -8)
    verify_module(func.get_toplevel_object())
    assert _constants(func.body)[1] == left


def test_the_way_without_the_constant_makes_it() -> None:
    func = _function(
        """^bb0(%p : !ebpf.reg<r1>):
  %x = ebpf.call 7() -> r0
  ebpf.jeqi %x, 0, ^out, ^more : r0
^more:
  %y = ebpf.call 7() -> r0
  ebpf.jeqi %y, 0, ^out, ^last : r0
^last:
  %z = ebpf.ldx64 %y[0] : r0 -> r1
  ebpf.stx64 %y[8], %z : r0, r1
  ebpf.fallthrough ^out
^out:
  %v = ebpf.movi 0 -> r0
  ebpf.exit(%v) : r0"""
    )
    drop_redundant(func.body, -8)
    verify_module(func.get_toplevel_object())
    assert _constants(func.body) == [0, 0, 1, 0]


def test_the_end_set_early_is_the_one_that_saves_an_instruction() -> None:
    """The first end is fallen through to: it would take an exit of its own in the place of the constant."""
    func = _function(
        """^bb0(%p : !ebpf.reg<r1>, %n : !ebpf.reg<r2>):
  ebpf.jeqi %n, 0, ^minus, ^bb1 : r2
^bb1:
  ebpf.jnei %n, 1, ^two, ^bb2 : r2
^bb2:
  ebpf.stx64 %p[0], %n : r1, r2
  ebpf.fallthrough ^minus
^minus:
  %v = ebpf.movi -1 -> r0
  ebpf.exit(%v) : r0
^two:
  %w = ebpf.movi 2 -> r0
  ebpf.exit(%w) : r0"""
    )
    before = instruction_count(func)

    def size(body: Region) -> tuple[float, ...]:
        lay_out(body)
        return (sum(_size(body)),)

    shared = share_exits(func.body, size)
    assert shared is not func.body
    assert (before, sum(_size(shared))) == (7, 6)


def _size(body: Region) -> list[int]:
    silent = ("ebpf.fallthrough", "ebpf.frame")
    return [sum(op.name not in silent for op in block.ops) for block in body.blocks]


def test_the_result_of_a_failed_lookup_is_returned_from_where_it_is() -> None:
    """The block argument shares the register of the lookups: nothing is made for it on the ways that find nothing."""
    func = _function(
        """^bb0(%p : !ebpf.reg):
  %x = ebpf.call 7() -> i64
  %none = ebpf.movi 0 -> i64
  ebpf.jeqi %x, 0, ^out(%none : i64), ^more : i64
^more:
  %y = ebpf.call 7() -> i64
  ebpf.jeqi %y, 0, ^out(%none : i64), ^last : i64
^last:
  %z = ebpf.call 8() -> i64
  ebpf.ja ^out(%z : i64)
^out(%v : i64):
  ebpf.exit(%v) : i64"""
    )
    allocate_function(func)
    verify_module(func.get_toplevel_object())
    assert _constants(func.body) == [0] * len(func.body.blocks)
    lay_out(func.body)
    assert sum(_size(func.body)) == 6
