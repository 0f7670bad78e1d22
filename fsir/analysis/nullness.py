"""Whether an address of packet data may be null: a program may set a pointer to 0 to say that there is none."""

from __future__ import annotations

from xdsl.ir import BlockArgument, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.dialects import packet
from fsir.dialects.ebpf import FuncOp


def may_be_null(value: SSAValue) -> bool:
    """Whether an address, followed back over joins and offsets, comes from anything but the context: from a word that
    is no address by its type, from memory or from outside of the function."""
    seen, work = {value}, [value]
    while work:
        current = work.pop()
        sources = _sources(current)
        if sources is None:
            return True
        new = [source for source in sources if source not in seen]
        seen.update(new)
        work += new
    return False


def _sources(value: SSAValue) -> list[SSAValue] | None:
    """What an address is made of; None where it may be null."""
    if isinstance(value, BlockArgument):
        func = value.owner.parent_op()
        region = value.owner.parent
        if region is None or not isinstance(func, FuncOp) or func.entry is value.owner:
            return None
        return [successor_operands(op, i)[value.index] for op, i in predecessors(region)[value.owner]]
    op = value.owner
    if isinstance(op, packet.OffsetOp | packet.AdvanceOp):
        return [op.ptr]
    return [] if isinstance(op, packet.DataOp | packet.MetaOp | packet.EndOp) else None
