"""Elements of maps that are held over a cut, whose key lies on the stack in several pieces: the key travels, as long as
it is what it was."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.dialects.placement import EdgeOp
from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram

PROGRAM = """
map.decl @routes "hash" key 12 value 8 entries 4 flags 0
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %aborted = arith.constant 0 : i64
  %ok = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^look, ^out
^look:
  %a = packet.load %data[0] : !packet.ptr -> i32
  %b = arith.extui %a : i32 to i64
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx32 %fp[-12], %b : !ebpf.fp, i64
  ebpf.stx32 %fp[-8], %b : !ebpf.fp, i64
  ebpf.stx32 %fp[-4], %aborted : !ebpf.fp, i64
  %key = ebpf.addi %fp, -12 : !ebpf.fp -> !ebpf.fp
  %found = map.lookup_at @routes[%key] : !ebpf.fp -> !map.value<@routes>
  %hit = map.hit %found : !map.value<@routes> -> i1
  cf.cond_br %hit, ^between, ^out
^between:
  BETWEEN
  cf.br ^held
^held:
  %value = map.load %found[0] : !map.value<@routes> -> i64
  packet.verdict %value : i64
^out:
  packet.verdict %aborted : i64
}
"""
CHANGED = "ebpf.stx32 %fp[-8], %aborted : !ebpf.fp, i64"
ELSEWHERE = "ebpf.stx32 %fp[-16], %aborted : !ebpf.fp, i64"
MAPS = {"routes": [{"key": "010203040102030400000000", "value": "0300000000000000"}]}


def program(between: str) -> ModuleOp:
    module = Parser(make_context(), PROGRAM.replace("BETWEEN", between)).parse_module()
    assert isinstance(module, ModuleOp)
    return module


@pytest.mark.parametrize("between", ["", ELSEWHERE])
def test_a_key_on_the_stack_travels(between: str) -> None:
    module = program(between)
    run_pipeline(make_context(), module, "decompose{cut-at=bb3},share-maps")
    (edge,) = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    assert edge.widths == (32, 64)
    for frame, verdict in ((bytes([1, 2, 3, 4]) + bytes(60), 3), (bytes(64), 0)):
        assert InterpProgram(module, "f", maps=MAPS).run(frame).verdict == verdict
        assert InterpProgram(program(between), "f", maps=MAPS).run(frame).verdict == verdict


def test_a_key_that_was_changed_meanwhile_does_not() -> None:
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), program(CHANGED), "decompose{cut-at=bb3}")
    assert isinstance(failure.value.__cause__, FailedAt)
    assert "whose key is in memory that does not travel" in str(failure.value.__cause__)
