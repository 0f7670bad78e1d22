"""Elements of maps that are held over a cut, whose key lies in memory: what it was made of travels, where that is
known, or the bytes of it, as long as they are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.backends.af_xdp.inprocess import compiler
from fsir.dialects.placement import EdgeOp
from fsir.driver.clang import compile_c
from fsir.driver.cli import main as fs_opt
from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.interp.mapfile import Contents
from fsir.interp.packet_io import Packet
from fsir.object.importer import import_object
from fsir.run.bundle import BundleEngine
from fsir.run.engines import Settings, Subject

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


def compare(text: str, frames: list[bytes], maps: Contents, widths: tuple[int, ...], cut: str = "bb3") -> None:
    original, module = parse(text), parse(text)
    run_pipeline(make_context(), module, f"decompose{{cut-at={cut}}},share-maps")
    edge, *_ = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
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


FOUND_OR_MADE = """
map.decl @flows "hash" key 4 value 8 entries 4 flags 0
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %zero = arith.constant 0 : i64
  %ok = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^look, ^out
^look:
  %a = packet.load %data[0] : !packet.ptr -> i32
  %other = packet.load %data[4] : !packet.ptr -> i32
  %begin = packet.load %data[8] : !packet.ptr -> i64
  %word = arith.extui %a : i32 to i64
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx32 %fp[-4], %word : !ebpf.fp, i64
  %key = ebpf.addi %fp, -4 : !ebpf.fp -> !ebpf.fp
  %first = LOOKUP
  %known = map.hit %first : !map.value<@flows> -> i1
  cf.cond_br %known, ^have(%first : !map.value<@flows>), ^new
^new:
  %full = map.update @flows key (%a) value (%begin) flags %zero : i32, i64, i64 -> i64
  %second = AGAIN
  %made = map.hit %second : !map.value<@flows> -> i1
  cf.cond_br %made, ^have(%second : !map.value<@flows>), ^out
^have(%found: !map.value<@flows>):
  BETWEEN
  cf.br ^held
^held:
  %value = map.load %found[0] : !map.value<@flows> -> i64
  packet.verdict %value : i64
^out:
  packet.verdict %zero : i64
}
"""
FLOW = {"flows": [{"key": "01020304", "value": "0300000000000000"}]}
FLOWS = [bytes([key, 2, 3, 4, 0, 0, 0, 0, seen]) + bytes(55) for key, seen in ((1, 1), (2, 2), (3, 4), (1, 2), (2, 1))]
BY_VALUE = "map.lookup @flows(%a) : i32 -> !map.value<@flows>"
BY_OTHER = "map.lookup @flows(%other) : i32 -> !map.value<@flows>"
ON_FRAME = "map.lookup_at @flows[%key] : !ebpf.fp -> !map.value<@flows>"
OF_PACKET = "map.lookup_at @flows[%data] : !packet.ptr -> !map.value<@flows>"


def found_or_made(first: str, second: str, between: str = "") -> str:
    return FOUND_OR_MADE.replace("LOOKUP", first).replace("AGAIN", second).replace("BETWEEN", between)


@pytest.mark.parametrize(
    ("first", "second"),
    [(BY_VALUE, BY_VALUE), (ON_FRAME, ON_FRAME), (OF_PACKET, OF_PACKET)],
)
def test_an_element_that_was_found_or_made(first: str, second: str) -> None:
    """Both lookups have used one key, and the update in between is on the way of the second alone."""
    compare(found_or_made(first, second), FLOWS, FLOW, (32, 32, 8), "bb4")  # and a ticket


SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 2); } flows
    SEC(".maps");
SEC("xdp") int f(struct xdp_md *ctx) {
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 16 > end) return XDP_DROP;
    __u32 key = *(__u32 *)data;
    __u64 begin = data[4], *seen = bpf_map_lookup_elem(&flows, &key);
    if (!seen) {
        bpf_map_update_elem(&flows, &key, &begin, 0);
        seen = bpf_map_lookup_elem(&flows, &key);
        if (!seen) return XDP_ABORTED;
    }
    if (data[12] == 8)
        return *seen & 1 ? XDP_PASS : XDP_TX;
    return XDP_DROP;
}
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_an_element_that_was_found_or_made_in_a_bundle(tmp_path: Path) -> None:
    source, bundle = tmp_path / "f.c", tmp_path / "bundle"
    source.write_text(SOURCE)
    line = SOURCE[: SOURCE.index("return *seen")].count("\n") + 1
    passes = f"raise,optimize,decompose{{cut-at={line}}},share-maps,lower"
    assert fs_opt([str(source), "-p", passes, "-t", "bundle", "-o", str(bundle), "--quiet"]) == 0
    original = InterpProgram(import_object(compile_c(source), "f"))
    engine = BundleEngine(Subject(str(bundle)), Settings())
    verdicts, crossed = set(), 0
    for index, key in enumerate((1, 2, 1, 3, 2, 1)):  # one more than there is room for
        frame = bytes([key, 0, 0, 0, index]) + bytes(7) + bytes([8]) + bytes(51)
        expected, found = original.run(frame), engine.run(index, Packet(frame, 0), 0)
        assert found.verdict == expected.verdict
        verdicts.add(found.verdict)
        crossed += len(found.parts) == 2
    assert len(verdicts) == 3 and crossed == 5
    assert engine.dump_maps()["flows"] == original.dump_maps()["flows"]
    engine.close()


@pytest.mark.parametrize(
    ("first", "second", "between", "why"),
    [
        (BY_VALUE, BY_OTHER, "", "depends on the path taken"),
        (BY_VALUE, OF_PACKET, "", "depends on the path taken"),
        (
            BY_VALUE,
            BY_VALUE,
            "%e = map.delete @flows(%other) : i32 -> i64",
            "may be replaced or deleted meanwhile",
        ),
        (OF_PACKET, OF_PACKET, "packet.store %data[1], %zero : !packet.ptr, i64", "may have been changed"),
    ],
)
def test_an_element_of_two_keys_or_that_may_be_gone_is_not(first: str, second: str, between: str, why: str) -> None:
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), parse(found_or_made(first, second, between)), "decompose{cut-at=bb4}")
    assert isinstance(failure.value.__cause__, FailedAt)
    assert why in str(failure.value.__cause__)
