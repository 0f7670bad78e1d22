"""The `placement` dialect inside one part: how the part ends early, and how it takes over.

The values in flight are integers held by the engine (`codegen_link.Link.handoff`, `.arrival`); the header's bytes are
the business of the bundle engine.
"""

from __future__ import annotations

from xdsl.ir import Operation

from fsir.dialects import placement
from fsir.interp.emit_base import FREE, Emitter, rule, width_of

FREE |= {"placement.part", "placement.edge", "placement.share"}


@rule("placement.handoff")
def _handoff(op: Operation, e: Emitter) -> None:
    assert isinstance(op, placement.HandoffOp)
    values = "".join(f"int({e.use(value)}), " for value in op.values)
    e.leave(f"{e.need('handoff')}({op.symbol_prop('to')!r}, {op.int_prop('resume')}, ({values}))")


@rule("placement.overtakes")
def _overtakes(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], "0", 1)  # a packet is done with before the next one comes


@rule("placement.resume")
def _resume(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], f"{e.need('resume')}()", 32)


@rule("placement.carried")
def _carried(op: Operation, e: Emitter) -> None:
    assert isinstance(op, placement.CarriedOp)
    carried = f"{e.need('carried')}({op.int_prop('resume')}, {op.int_prop('index')})"
    e.set(op.res, f"{carried} & {hex((1 << width_of(op.res.type)) - 1)}", width_of(op.res.type))


@rule("placement.accept")
def _accept(op: Operation, e: Emitter) -> None:
    assert isinstance(op, placement.AcceptOp)
    e.line(f"{e.need('accept')}({op.int_prop('resume')})")
