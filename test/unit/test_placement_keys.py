"""Elements of maps that are held over a cut, whose key lies in memory: what it was made of travels, where that is
known, or the bytes of it, as long as they are what they were."""

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
from fsir.interp.mapfile import Contents

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
MAPS = {"routes": [{"key": "010203040102030400000000", "value": "0300000000000000"}]}


def parse(text: str) -> ModuleOp:
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    return module


def compare(text: str, frames: list[bytes], maps: Contents, widths: tuple[int, ...]) -> None:
    original, module = parse(text), parse(text)
    run_pipeline(make_context(), module, "decompose{cut-at=bb3},share-maps")
    (edge,) = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    assert edge.widths == widths
    found = set()
    for frame in frames:
        verdict = InterpProgram(module, "f", maps=maps).run(frame).verdict
        assert InterpProgram(original, "f", maps=maps).run(frame).verdict == verdict
        found.add(verdict)
    assert len(found) > 1


@pytest.mark.parametrize("between", ["", CHANGED])
def test_what_a_key_was_made_of_travels(between: str) -> None:
    compare(PROGRAM.replace("BETWEEN", between), [bytes([1, 2, 3, 4]) + bytes(60), bytes(64)], MAPS, (32,))


LOADED = PROGRAM.replace(
    "  %key =",
    """  %off = arith.constant 4 : i64
  %size = arith.constant 2 : i64
  %to = ebpf.addi %fp, -12 : !ebpf.fp -> !ebpf.fp
  %error = ebpf.call 189(%ctx, %off, %to, %size) : !packet.ctx, i64, !ebpf.fp, i64 -> i64
  %key =""",
)


def test_the_bytes_of_a_key_travel() -> None:
    """Two of them a helper has written."""
    frames = [bytes([3, 4, 3, 4, 1, 2]) + bytes(58), bytes(64)]
    maps = {"routes": [{"key": "010203040304030400000000", "value": "0300000000000000"}]}
    compare(LOADED.replace("BETWEEN", ""), frames, maps, (32, 64))


def test_bytes_that_were_changed_meanwhile_do_not() -> None:
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), parse(LOADED.replace("BETWEEN", CHANGED)), "decompose{cut-at=bb3}")
    assert isinstance(failure.value.__cause__, FailedAt)
    assert "whose key is in memory that does not travel" in str(failure.value.__cause__)


IN_PACKET = """
map.decl @routes "hash" key 4 value 8 entries 4 flags 0
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %aborted = arith.constant 0 : i64
  %ok = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^look, ^out
^look:
  %key = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %found = map.lookup_at @routes[%key] : !packet.ptr -> !map.value<@routes>
  %hit = map.hit %found : !map.value<@routes> -> i1
  BETWEEN
  cf.cond_br %hit, ^more, ^out
^more:
  cf.br ^held
^held:
  %value = map.load %found[0] : !map.value<@routes> -> i64
  packet.verdict %value : i64
^out:
  packet.verdict %aborted : i64
}
"""


def test_a_key_in_the_packet_travels() -> None:
    maps = {"routes": [{"key": "01020304", "value": "0300000000000000"}]}
    frames = [bytes(14) + bytes([1, 2, 3, 4]) + bytes(46), bytes(64)]
    compare(IN_PACKET.replace("BETWEEN", ""), frames, maps, (32,))


def test_a_key_in_the_packet_that_may_have_been_changed_does_not() -> None:
    text = IN_PACKET.replace("BETWEEN", "packet.store %data[15], %aborted : !packet.ptr, i64")
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), parse(text), "decompose{cut-at=bb3}")
    assert isinstance(failure.value.__cause__, FailedAt)
    assert "whose key lies in the packet, which may have been changed" in str(failure.value.__cause__)
