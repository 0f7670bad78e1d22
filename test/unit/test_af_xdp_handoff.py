"""Packets that an earlier part hands over: the header's bytes, resume points, and what is no valid header."""

from __future__ import annotations

import pytest
from af_xdp_helpers import FRAME, needs_compiler, parse, process

from fsir.backends.af_xdp.inprocess import Process
from fsir.backends.handoff import MAGIC, HandoffError, Layout, split_metadata
from fsir.driver.diagnostics import FailedAt

FROM_START = Layout(1, ())
MIDDLE = Layout(7, (16, 64, 8, 1))

PLACED = """
placement.part @kernel on "xdp" {
  ebpf.func @main section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    placement.handoff 1 to @user from %ctx carrying () : !packet.ctx
  }
}
placement.part @user on "af-xdp" {
  ebpf.func @main section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    %seven = arith.constant 7 : i32
    %is_seven = arith.cmpi eq, %resume, %seven : i32
    cf.cond_br %is_seven, ^middle, ^start
  ^start:
    placement.accept %ctx at 1 : !packet.ctx
    %drop = arith.constant 1 : i32
    cf.br ^end(%drop : i32)
  ^middle:
    %port = placement.carried %ctx at 7[0] : !packet.ctx -> i16
    %word = placement.carried %ctx at 7[1] : !packet.ctx -> i64
    %byte = placement.carried %ctx at 7[2] : !packet.ctx -> i8
    %flag = placement.carried %ctx at 7[3] : !packet.ctx -> i1
    placement.accept %ctx at 7 : !packet.ctx
    %base = packet.data %ctx : !packet.ctx -> !packet.ptr
    packet.store %base[0], %port : !packet.ptr, i16
    packet.store %base[2], %word : !packet.ptr, i64
    packet.store %base[10], %byte : !packet.ptr, i8
    %flag8 = arith.extui %flag : i1 to i8
    packet.store %base[11], %flag8 : !packet.ptr, i8
    %tx = arith.constant 3 : i32
    cf.br ^end(%tx : i32)
  ^end(%verdict: i32):
    packet.verdict %verdict : i32
  }
}
placement.edge 1 from @kernel to @user
  {fields = [], order = "sequential", transport = "TRANSPORT"}
placement.edge 7 from @kernel to @user
  {fields = [{name = "port", width = 16 : i64, kind = "scalar"}, {name = "word", width = 64 : i64, kind = "scalar"},
             {name = "byte", width = 8 : i64, kind = "scalar"}, {name = "flag", width = 1 : i64, kind = "scalar"}],
   order = "sequential", transport = "TRANSPORT"}
"""
VALUES = (0x1234, 0x1122334455667788, 0xEE, 1)
CHANGED = bytes.fromhex("3412 8877665544332211 ee 01") + FRAME[12:]


def placed(transport: str) -> Process:
    return process(parse(PLACED.replace("TRANSPORT", transport)))


def test_metadata_area_is_own_metadata_header_and_trailer() -> None:
    area = MIDDLE.encode_metadata(VALUES, own=b"mine")
    assert len(area) == 4 + MIDDLE.metadata_size and len(area) % 4 == 0
    own, header = split_metadata(bytes(50) + area)
    assert own == b"mine"
    assert MIDDLE.decode(header) == list(VALUES)


@pytest.mark.parametrize(
    "area",
    [
        b"",
        bytes(64),
        MIDDLE.encode_metadata(VALUES)[4:],
        MIDDLE.encode_metadata(VALUES, own=b"mine")[4:],
        MIDDLE.encode_metadata(VALUES)[:-4] + bytes([16, 0, 0xCA, 0xF5]),
    ],
)
def test_what_is_no_metadata_area(area: bytes) -> None:
    with pytest.raises(HandoffError):
        split_metadata(area)


@needs_compiler
@pytest.mark.parametrize("own", [b"", b"mine", b"mine" * 4])
def test_header_in_metadata(own: bytes) -> None:
    part = placed("metadata")
    outcome = part.run(FRAME, metadata=MIDDLE.encode_metadata(VALUES, own))
    assert (outcome.verdict, outcome.packet, outcome.metadata) == (3, CHANGED, own)
    outcome = part.run(FRAME, metadata=FROM_START.encode_metadata((), own))
    assert (outcome.verdict, outcome.packet, outcome.metadata) == (1, FRAME, own)


@needs_compiler
def test_header_in_front_of_the_frame() -> None:
    part = placed("head")
    outcome = part.run(MIDDLE.encode(VALUES) + FRAME)
    assert (outcome.verdict, outcome.packet, outcome.metadata) == (3, CHANGED, b"")


HEADER = MIDDLE.encode_metadata(VALUES)


@needs_compiler
@pytest.mark.parametrize(
    ("metadata", "frame"),
    [
        (b"", FRAME),
        (b"mine", FRAME),
        (Layout(8, ()).encode_metadata(()), FRAME),
        (Layout(7, (16,)).encode_metadata((1,)), FRAME),
        (HEADER[:-6] + bytes([0, 0]) + HEADER[-4:-2] + bytes(2), FRAME),
        (HEADER[:2] + b"\x02" + HEADER[3:], FRAME),
        (HEADER[:-4] + bytes([252, 0]) + HEADER[-2:], FRAME),
        (HEADER[:-4] + bytes([255, 255]) + HEADER[-2:], FRAME),
        (HEADER[:6] + bytes([2, 0]) + HEADER[8:], FRAME),
        (HEADER[:6] + bytes([252, 0]) + HEADER[8:], FRAME),
        (b"", MIDDLE.encode(VALUES) + FRAME),
    ],
)
def test_frames_without_a_valid_header_are_dropped_and_counted(metadata: bytes, frame: bytes) -> None:
    part = placed("metadata")
    outcome = part.run(frame, metadata=metadata)
    assert (outcome.verdict, outcome.dropped_because) == (1, "no handoff header that this part knows")
    assert part.library.counters["handoff_errors"] == 1


@needs_compiler
def test_values_of_another_resume_point_cannot_be_read() -> None:
    text = PLACED.replace("TRANSPORT", "metadata").replace("cf.cond_br %is_seven, ^middle, ^start", "cf.br ^middle")
    text = text.replace("  ^start:\n    placement.accept %ctx at 1 : !packet.ctx\n", "  ^start:\n")
    part = process(parse(text))
    outcome = part.run(FRAME, metadata=FROM_START.encode_metadata(()))
    assert (outcome.verdict, outcome.dropped_because) == (
        1,
        "a carried value was read at the wrong resume point",
    )


def test_the_magic_number_of_header_and_trailer_is_one() -> None:
    assert HEADER[:2] == HEADER[-2:] == MAGIC.to_bytes(2, "little")


@needs_compiler
def test_packets_cannot_travel_on_from_user_space() -> None:
    text = PLACED.replace("TRANSPORT", "metadata").replace(
        "packet.verdict %verdict : i32", "placement.handoff 9 to @kernel from %ctx carrying () : !packet.ctx"
    )
    with pytest.raises(FailedAt, match="a handoff to 'kernel': packets cannot travel on from user space"):
        process(parse(text))
