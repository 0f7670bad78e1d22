"""Copies, constants and reloads into a register that holds the value already.

A forward pass over allocated code: what each register holds is followed as a number per value, equal for copies and for
equal constants, through blocks whose predecessors agree. An instruction that would write what is there is dropped, and
its result is the value that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from fsir.analysis.calls import CALLER_SAVED, CLOBBERING
from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import (
    FpOp,
    LddwOp,
    LdSymOp,
    LdxOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
    reg_index,
)

_Key = int | tuple[str, tuple[tuple[str, Attribute], ...]]
_State = dict[int, tuple[SSAValue | None, _Key]]
"""By register, or by frame offset for the slots of spills: the value there and its number."""


def drop_redundant(region: Region, spills_below: int) -> None:
    """Drop what is redundant in an allocated body. Frame offsets below `spills_below` are accessed by spills only."""
    _Tracker(region, spills_below).run()


class _Tracker:
    def __init__(self, region: Region, spills_below: int) -> None:
        self.tree = DominatorTree(region)
        self.spills_below = spills_below
        self.fresh: Iterator[int] = count()
        self.at_end: dict[Block, _State] = {}

    def run(self) -> None:
        for block in self.tree.rpo:
            state = self.entering(block)
            for op in list(block.ops):
                self.visit(op, state)
            self.at_end[block] = state

    def entering(self, block: Block) -> _State:
        """What all predecessors agree on; nothing at the head of a loop."""
        before = self.tree.predecessors(block)
        state: _State = {}
        if before and all(predecessor in self.at_end for predecessor in before):
            first, *others = (self.at_end[predecessor] for predecessor in before)
            state = {place: held for place, held in first.items() if all(o.get(place) == held for o in others)}
        for arg in block.args:
            self.define(arg, next(self.fresh), state)
        return state

    def define(self, value: SSAValue, key: _Key, state: _State) -> None:
        register = reg_index(value.type)
        assert register is not None
        state[register] = (value, key)

    def visit(self, op: Operation, state: _State) -> None:
        if isinstance(op, CLOBBERING):
            for register in CALLER_SAVED:
                state.pop(register, None)
        if isinstance(op, StxOp | StOp) and self.is_spill(op):
            key = self.key_of(op.value, state) if isinstance(op, StxOp) else next(self.fresh)
            held = state.get(op.off.data)
            if held is not None and held[1] == key:
                assert op.parent is not None
                op.parent.erase_op(op)
            else:
                state[op.off.data] = (None, key)
            return
        if not op.results or isinstance(op, FpOp):
            return
        result = op.results[0]
        key = self.key(op, state)
        held = state.get(reg_index(result.type) or 0)
        if held is not None and held[1] == key and held[0] is not None:
            assert op.parent is not None
            result.replace_all_uses_with(held[0])
            op.parent.erase_op(op)
        else:
            self.define(result, key, state)

    def key(self, op: Operation, state: _State) -> _Key:
        """The number of the value that an operation gives."""
        if "core" in op.properties:
            return next(self.fresh)
        if isinstance(op, MovRROp) and op.row.op == "mov" and op.row.width == 64:
            return self.key_of(op.value, state)
        if isinstance(op, MovRIOp | LddwOp | LdSymOp):
            return op.name, tuple(sorted(op.properties.items(), key=lambda item: item[0]))
        if isinstance(op, LdxOp) and self.is_spill(op):
            held = state.get(op.off.data)
            if held is None:
                held = state[op.off.data] = (None, next(self.fresh))
            return held[1]
        return next(self.fresh)

    def key_of(self, value: SSAValue, state: _State) -> _Key:
        """The number of an operand: what its register holds."""
        held = state.get(reg_index(value.type) or 0)
        if held is None or held[0] is not value:
            held = (value, next(self.fresh))
            if not isinstance(value.owner, FpOp):
                self.define(value, held[1], state)
        return held[1]

    def is_spill(self, op: LdxOp | StxOp | StOp) -> bool:
        return isinstance(op.base.owner, FpOp) and op.row.width == 64 and op.off.data < self.spills_below
