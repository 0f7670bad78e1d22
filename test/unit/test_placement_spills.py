"""Addresses of the frame that are kept in the frame: made again, unless what is stored can be read in another way."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram

PROGRAM = """
map.decl @flows "hash" key 8 value 8 entries 4 flags 0
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %ok = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^look, ^out
^look:
  %a = packet.load %data[0] : !packet.ptr -> i64
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx64 %fp[-8], %a : !ebpf.fp, i64
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  ebpf.stx64 %fp[-32], %key : !ebpf.fp, !ebpf.fp
  %found = map.lookup_at @flows[%key] : !ebpf.fp -> !map.value<@flows>
  %hit = map.hit %found : !map.value<@flows> -> i1
  cf.cond_br %hit, ^out, ^new
^new:
  %value = ebpf.addi %fp, VALUE : !ebpf.fp -> !ebpf.fp
  ebpf.stx64 %fp[-24], %a : !ebpf.fp, i64
  %again = ebpf.ldx64 %fp[-32] : !ebpf.fp -> !ebpf.fp
  %zero = arith.constant 0 : i64
  %error = map.update_at @flows[%again], %value flags %zero : !ebpf.fp, !ebpf.fp, i64 -> i64
  packet.verdict %error : i64
^out:
  packet.verdict %drop : i64
}
"""


def program(value: int) -> ModuleOp:
    module = Parser(make_context(), PROGRAM.replace("VALUE", str(value))).parse_module()
    assert isinstance(module, ModuleOp)
    return module


def test_an_address_of_the_frame_is_made_again() -> None:
    module = program(-24)
    run_pipeline(make_context(), module, "decompose{cut-at=bb2},share-maps")
    original, parts = InterpProgram(program(-24), "f"), InterpProgram(module, "f")
    for frame in (bytes([1] * 64), bytes([2] * 64), bytes([1] * 64)):
        wanted, found = original.run(frame), parts.run(frame)
        assert found.verdict == wanted.verdict
        assert len(found.parts) == 2 - wanted.verdict
    assert parts.dump_maps() == original.dump_maps()


def test_not_where_the_stored_word_is_read_as_a_number() -> None:
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), program(-32), "decompose{cut-at=bb2}")
    assert isinstance(failure.value.__cause__, FailedAt)
    assert "goes where it cannot be followed" in str(failure.value.__cause__)
