"""The `placement` dialect in C: taking over a packet. Handing it on further is not possible here."""

from __future__ import annotations

from xdsl.ir import Operation

from fsir.backends.af_xdp.writer import Emitter, rule
from fsir.dialects import placement
from fsir.driver.diagnostics import fail


@rule("placement.resume")
def _resume(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], "run->resume", 32)


@rule("placement.carried")
def _carried(op: Operation, e: Emitter) -> None:
    assert isinstance(op, placement.CarriedOp)
    resume = op.int_prop("resume")
    offset, width = e.carried(op, resume, op.int_prop("index"))
    e.set(op.res, f"fs_carried(run, {resume}, {offset}, {(width + 7) // 8})")


@rule("placement.accept")
def _accept(op: Operation, e: Emitter) -> None:
    assert isinstance(op, placement.AcceptOp)
    e.line(f"fs_accept(run, {op.int_prop('resume')});")


@rule("placement.handoff")
def _handoff(op: Operation, e: Emitter) -> None:
    assert isinstance(op, placement.HandoffOp)
    fail(
        op,
        f"a handoff to '{op.symbol_prop('to')}': packets cannot travel on from user space; finish them here",
    )
