"""How packets travel between parts, and what it costs: without a header, with one that is wiped, and with distances."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from nic_handoff import HEADER, READS, lowered_from_nic
from xdsl.dialects.builtin import ModuleOp, StringAttr

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


GROWS = """
      %by = arith.constant -16 : i32
      %error = packet.adjust_head %ctx, %by : !packet.ctx, i32 -> i64
      %three = arith.constant 3 : i64
      packet.verdict %three : i64"""


def from_nic(body: str) -> ModuleOp:
    """The object of an XDP part that takes packets from a NIC over."""
    module = lowered_from_nic(body)
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
