"""How many low bits of each scalar anything depends on: machine words are 64 bits wide, what is meant seldom is."""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.ir import Operation, SSAValue

from fsir.analysis.dominance import DominatorTree
from fsir.backends.p4.facts import constant_of, width_of
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp

_CARRYING = (arith.AddiOp, arith.SubiOp, arith.MuliOp, arith.OrIOp, arith.XOrIOp)
"""Operations whose low bits depend on the operands' low bits only."""


class Demand:
    """The demanded widths of an acyclic function's scalars."""

    def __init__(self, func: FuncOp) -> None:
        self._widths: dict[SSAValue, int] = {}
        for block in reversed(DominatorTree(func.body).rpo):
            for op in reversed(list(block.ops)):
                for result in op.results:
                    uses = (self._by(use.operation, result) for use in result.uses)
                    self._widths[result] = min(max(uses, default=0), width_of(result))

    def of(self, value: SSAValue) -> int:
        """The number of low bits; what the others are makes no difference."""
        return self._widths.get(value, width_of(value))

    def _by(self, user: Operation, value: SSAValue) -> int:
        if isinstance(user, (*_CARRYING, arith.TruncIOp, arith.ExtUIOp)):
            return self.of(user.results[0])
        if isinstance(user, arith.AndIOp):
            masks = [constant_of(operand) for operand in user.operands if operand is not value]
            mask = masks[0] if masks else None
            return min(self.of(user.result), width_of(value) if mask is None else mask.bit_length())
        if isinstance(user, arith.ShLIOp) and user.lhs is value and user.rhs is not value:
            by = constant_of(user.rhs)
            return width_of(value) if by is None else max(self.of(user.result) - by, 0)
        if isinstance(user, ebpf.UnaryOp) and user.row.op in ("be", "le", "bswap"):
            return user.row.width
        return width_of(value)
