"""Where the addresses that a function takes of the packet's start are, from where the packet started for it."""

from __future__ import annotations

from xdsl.ir import Block, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.header_lengths import number_of
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp


def packet_starts(func: FuncOp) -> dict[SSAValue, int]:
    """The `packet.data` values with a known distance from the packet's first byte when the function began: the start
    moves by what `packet.adjust_head` is given (where that fails the packet stays as it was, and the program ends)."""
    found: dict[SSAValue, int] = {}
    moved: dict[Block, int | None] = {func.entry: 0}
    for block in DominatorTree(func.body).rpo:
        distance = moved.get(block)
        for op in block.ops:
            if isinstance(op, packet.DataOp) and distance is not None:
                found[op.res] = distance
            elif isinstance(op, packet.AdjustHeadOp):
                by = number_of(op.operands[1])
                distance = None if by is None or distance is None else distance + _signed(by)
            elif isinstance(op, ebpf.CallLocalOp) and any(isinstance(v.type, packet.CtxType) for v in op.operands):
                distance = None  # it may do as much
        for successor, _ in edges(block):
            moved[successor] = distance if moved.get(successor, distance) == distance else None
    return found


def _signed(word: int) -> int:
    """The lower half of a word, as the helper takes it."""
    low = word & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
