"""How packets travel between parts, and what it costs: without a header, with one that is wiped, and with distances."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.parser import Parser

from fsir.backends.handoff import Layout
from fsir.bundle.manifest import manifest
from fsir.dialects.placement import EdgeOp, PartOp, ResumeOp
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object
from fsir.placement.lowering import lowered_of, parts_of

SMALL = """
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 20 > end) return 1;
    if (data[14] > 9) data[0] = data[15];
    return data[1] > 3 ? 3 : 2;
}
"""


def placed(options: str) -> ModuleOp:
    module = import_object(compile_c(SMALL, "-g"), "program.o")
    run_pipeline(make_context(), module, f"raise,decompose{{{options}}},share-maps,lower")
    return module


def edges(module: ModuleOp) -> list[EdgeOp]:
    return [op for op in module.body.block.ops if isinstance(op, EdgeOp)]


def test_packets_that_all_leave_at_once_carry_no_header() -> None:
    """The kernel's part redirects; the other begins at the beginning, and asks nobody where to go on."""
    module = placed("cut-at=bb0")
    assert [edge.transport.data for edge in edges(module)] == ["none"]
    assert not [op for op in module.walk() if isinstance(op, ResumeOp)]
    (kernel, _) = parts_of(module)
    lowered = lowered_of(module, kernel)
    assert lowered is not None and "packet." not in str(lowered)
    (handoff,) = manifest(module, {}, {})["handoffs"]
    assert (handoff["transport"], handoff["bytes"]) == ("none", 0)
    before = import_object(compile_c(SMALL, "-g"), "program.o")
    for frame in (bytes(64), bytes([9]) * 64, bytes([12]) * 15):
        assert _seen(InterpProgram(module, "prog"), frame) == _seen(InterpProgram(before, "prog"), frame)


def _seen(program: InterpProgram, frame: bytes) -> tuple[int, bytes]:
    outcome = program.run(frame)
    return outcome.verdict, outcome.data


def test_a_cut_somewhere_else_has_a_header() -> None:
    assert [edge.transport.data for edge in edges(placed("cut-at=bb2"))] == ["metadata"]


@pytest.mark.parametrize("objective", ["throughput", "cpu"])
def test_costs_do_not_tell_which_cuts_were_asked_for(objective: str) -> None:
    """Cuts that nobody asked for are avoided, by a price that is none of the packet's."""
    module = placed(f"cut-at=bb2 objective={objective}")
    decision = manifest(module, {}, {})["decision"]
    assert decision["ns_per_packet"] < 1000 and decision["bound"] <= decision["ns_per_packet"]
    assert all(sum(each["loads"].values()) < 1000 for each in decision["considered"])


FROM_NIC = """
builtin.module {


  placement.edge 1 from @nic to @xdp {fields = [{name = "at", width = #builtin.int<16>, kind = "offset"}],
    order = "commuting", transport = "head"}
  placement.part @nic on "p4-v1model" { ebpf.func @f section "xdp" { ^entry: ebpf.end } }
  placement.part @xdp on "xdp" {
    ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
    ^entry(%ctx: !packet.ctx):
      %r = placement.resume %ctx : !packet.ctx -> i32
      %one = arith.constant 1 : i32
      %mine = arith.cmpi eq, %r, %one : i32
      cf.cond_br %mine, ^resume, ^bad
    ^resume:
      %at = placement.carried %ctx at 1[0] : !packet.ctx -> i16
      placement.accept %ctx at 1 : !packet.ctx
      BODY
    ^bad:
      %zero = arith.constant 0 : i64
      packet.verdict %zero : i64
    }
  }
}
"""
GROWS = """
      %by = arith.constant -16 : i32
      %error = packet.adjust_head %ctx, %by : !packet.ctx, i32 -> i64
      %three = arith.constant 3 : i64
      packet.verdict %three : i64"""
READS = """
      %data = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      %far = arith.extui %at : i16 to i64
      %p = packet.advance %data, %far : !packet.ptr, i64 -> !packet.ptr
      %ok = packet.guard %p[8], %end : !packet.ptr, !packet.end_ptr -> i1
      cf.cond_br %ok, ^good, ^bad
    ^good:
      %byte = packet.load %p[7] : !packet.ptr -> i8
      %verdict = arith.extui %byte : i8 to i64
      packet.verdict %verdict : i64"""
HEADER = Layout(1, (16,))


def from_nic(body: str) -> ModuleOp:
    """The object of an XDP part that takes packets from a NIC over."""
    module = Parser(make_context(), FROM_NIC.replace("BODY", body)).parse_module()
    assert isinstance(module, ModuleOp)
    run_pipeline(make_context(), module, "lower")
    (part,) = [op for op in module.body.block.ops if isinstance(op, PartOp) and op.sym_name.data == "xdp"]
    lowered = lowered_of(module, part)
    assert lowered is not None
    lowered.properties["sym_name"] = StringAttr("object")
    return lowered


def test_a_packet_that_grows_finds_nothing_of_the_header() -> None:
    frame = bytes(range(64))
    outcome = InterpProgram(from_nic(GROWS), "f").run(HEADER.encode([0x1234]) + frame)
    assert (outcome.verdict, outcome.data) == (3, bytes(16) + frame)


@pytest.mark.parametrize(("distance", "verdict"), [(13, 20), (0x8000, 0)])
def test_a_distance_from_a_nic_is_one_that_the_verifier_follows(distance: int, verdict: int) -> None:
    frame = bytes(range(64)) + bytes([7]) * 0x8000
    assert InterpProgram(from_nic(READS), "f").run(HEADER.encode([distance]) + frame).verdict == verdict
