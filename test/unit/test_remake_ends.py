"""The packet's end is loaded again where it is asked for, but never behind what may have moved it."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.interp.engine import InterpProgram
from fsir.regalloc.remake_ends import remake_ends

PROGRAM = """
ebpf.func @other section ".text" attributes {{bind = #builtin.int<1>}} {{
^entry(%ctx: !packet.ctx):
  %r = ebpf.movi 0 -> i64
  ebpf.exit(%r) : i64
}}
ebpf.func @still section ".text" attributes {{bind = #builtin.int<0>}} {{
^entry(%ctx: !packet.ctx):
  %r = ebpf.call 5() -> i64
  ebpf.exit(%r) : i64
}}
ebpf.func @resizes section ".text" attributes {{bind = #builtin.int<0>}} {{
^entry(%ctx: !packet.ctx):
  %by = ebpf.movi -4 -> i64
  %r = ebpf.call 44(%ctx, %by) : !packet.ctx, i64 -> i64
  ebpf.exit(%r) : i64
}}
ebpf.func @f section "xdp" attributes {{prog_type = "xdp"}} {{
^entry(%ctx: !packet.ctx):
  %data = ebpf.ldx32 %ctx[0] : !packet.ctx -> !packet.ptr
  %end = ebpf.ldx32 %ctx[4] : !packet.ctx -> !packet.end_ptr
  %by = ebpf.movi -4 -> i64{at_home}
  %a = ebpf.addi %data, 14 : !packet.ptr -> !packet.ptr
  ebpf.jgt %a, %end, ^short, ^first : !packet.ptr, !packet.end_ptr
^first:
  {between}
  ebpf.ja ^second
^second:
  %b = ebpf.addi %data, 60 : !packet.ptr -> !packet.ptr
  ebpf.jgt %b, %end, ^short, ^long : !packet.ptr, !packet.end_ptr
^short:
  %drop = ebpf.movi 1 -> i64
  ebpf.exit(%drop) : i64
^long:
  %pass = ebpf.movi 2 -> i64
  ebpf.exit(%pass) : i64
}}
"""
CASES = {
    "nothing between": ("", "", 1),
    "a call that leaves the packet": ("%t = ebpf.call 5() -> i64", "", 1),
    "a call that resizes it": ("%t = ebpf.call 44(%ctx, %by) : !packet.ctx, i64 -> i64", "", 0),
    "a function that does not": ("%t = ebpf.call_local @still(%ctx) : !packet.ctx -> i64", "", 1),
    "a function that does": ("%t = ebpf.call_local @resizes(%ctx) : !packet.ctx -> i64", "", 0),
    "a function that others may replace": ("%t = ebpf.call_local @other(%ctx) : !packet.ctx -> i64", "", 0),
    "in the block of the load": ("", "\n  %t = ebpf.call 44(%ctx, %by) : !packet.ctx, i64 -> i64", 0),
}


@pytest.mark.parametrize(("between", "at_home", "made"), CASES.values(), ids=CASES.keys())
def test_where(between: str, at_home: str, made: int) -> None:
    text = PROGRAM.format(between=between, at_home=at_home)
    before, after = (Parser(make_context(), text).parse_module() for _ in range(2))
    assert isinstance(before, ModuleOp) and isinstance(after, ModuleOp)
    assert remake_ends(functions(after)[-1]) == made
    verify_module(after)
    for size in (14, 15, 59, 60, 61, 63, 64, 65):
        ran = [InterpProgram(module, "f").run(bytes(size)).verdict for module in (before, after)]
        assert ran[0] == ran[1]
