"""Addresses of the frame that are kept in the frame: made again, unless what is stored can be read in another way."""

from __future__ import annotations

import pytest
from placement_texts import GUARDED
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram

PROGRAM = f"""
map.decl @flows "hash" key 8 value 8 entries 4 flags 0{GUARDED}  %a = packet.load %data[0] : !packet.ptr -> i64
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
}}
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


KEPT = """
map.decl @hosts "hash" key 8 value 8 entries 4 flags 0
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %zero = arith.constant 0 : i64
  %ok = packet.guard %data[24], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^look, ^out
^look:
  %a = packet.load %data[0] : !packet.ptr -> i64
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx64 %fp[-8], %a : !ebpf.fp, i64
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %found = map.lookup_at @hosts[%key] : !ebpf.fp -> !map.value<@hosts>
  %hit = map.hit %found : !map.value<@hosts> -> i1
  cf.cond_br %hit, ^keep, ^out
^keep:
  ebpf.stx64 %fp[-8], %found : !ebpf.fp, !map.value<@hosts>
  ebpf.stx64 %fp[-16], %data : !ebpf.fp, !packet.ptr
  cf.br ^use
^use:
  %host = ebpf.ldx64 %fp[-8] : !ebpf.fp -> !map.value<@hosts>
  %packet = ebpf.ldx64 %fp[-16] : !ebpf.fp -> !packet.ptr
  %size = arith.constant 8 : i64
  %sum = ebpf.call 28(%packet, %size, %host, %size, %zero) : !packet.ptr, i64, !map.value<@hosts>, i64, i64 -> i64
  packet.store %packet[16], %sum : !packet.ptr, i64
  packet.verdict %drop : i64
^out:
  packet.verdict %zero : i64
}
"""


@pytest.mark.parametrize("options", ["cut-at=bb3", "targets=af-xdp"])
def test_an_address_that_was_kept_is_what_was_stored(options: str) -> None:
    """The slot held a key before, which the lookup reads."""
    module, original = (Parser(make_context(), KEPT).parse_module() for _ in range(2))
    run_pipeline(make_context(), module, f"decompose{{{options}}},share-maps")
    assert "!ebpf.fp, !map.value" not in str(module) and "!ebpf.fp, !packet.ptr" not in str(module)
    contents = {"hosts": [{"key": "0101010101010101", "value": "0102030405060708"}]}
    for frame in (bytes([1] * 64), bytes([2] * 64)):
        wanted = InterpProgram(original, "f", maps=contents).run(frame)
        found = InterpProgram(module, "f", maps=contents).run(frame)
        assert (found.verdict, found.data) == (wanted.verdict, wanted.data)
        assert wanted.verdict == (frame[0] == 1) and (wanted.data != frame) == (frame[0] == 1)


OLDER = """
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %zero = arith.constant 0 : i64
  %four = arith.constant 4 : i64
  %one = arith.constant 1 : i64
  %fp = ebpf.frame -> !ebpf.fp
  %ok = packet.guard %data[24], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^round(%zero : i64), ^out
^round(%i: i64):
  %here = packet.advance %data, %i : !packet.ptr, i64 -> !packet.ptr
  %first = arith.cmpi eq, %i, %zero : i64
  cf.cond_br %first, ^keep, ^next
^keep:
  ebpf.stx64 %fp[-16], %here : !ebpf.fp, !packet.ptr
  cf.br ^next
^next:
  %kept = ebpf.ldx64 %fp[-16] : !ebpf.fp -> !packet.ptr
  %byte = packet.load %kept[0] : !packet.ptr -> i8
  %up = arith.addi %i, %one : i64
  %more = arith.cmpi ult, %up, %four : i64
  cf.cond_br %more, ^round(%up : i64), ^done
^done:
  %verdict = arith.extui %byte : i8 to i64
  packet.verdict %verdict : i64
^out:
  packet.verdict %zero : i64
}
"""


def test_not_where_what_was_stored_was_made_again_since() -> None:
    """The word is that of the first round of the loop."""
    module, original = (Parser(make_context(), OLDER).parse_module() for _ in range(2))
    run_pipeline(make_context(), module, "decompose{targets=af-xdp}")
    frame = bytes([1, 2, 3, 4]) + bytes(60)
    assert InterpProgram(original, "f").run(frame).verdict == InterpProgram(module, "f").run(frame).verdict == 1
