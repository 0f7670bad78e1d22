"""Copies, constants and reloads into a register that holds the value already.

A forward pass over allocated code: what each register holds is followed as a number per value, equal for copies and for
equal constants, through blocks whose predecessors agree. An instruction that would write what is there is dropped, and
its result is the value that is there. Behind `x == 0`, the register of `x` holds a constant (`known_constants`): where
all ways but one to a block have the constant that it begins with, that one makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from fsir.analysis.calls import CALLER_SAVED, CLOBBERING
from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import (
    FpOp,
    LddwOp,
    LdSymOp,
    LdxOp,
    MovRROp,
    StOp,
    StxOp,
    reg,
    reg_index,
)
from fsir.object.encode import size_of
from fsir.regalloc.known_constants import Known, constant_of, known_after

_Key = int | Known | tuple[str, tuple[tuple[str, Attribute], ...]]


@dataclass(slots=True)
class _Meeting:
    """Values that are equal and meet at the start of a block. It gets an argument for them once one is needed."""

    block: Block
    register: int
    argument: SSAValue | None = None


_Held = tuple[SSAValue | _Meeting | None, _Key]
_State = dict[int, _Held]
"""By register, or by frame offset for the slots of spills: the value there and its number."""


def drop_redundant(region: Region, spills_below: int) -> None:
    """Drop what is redundant in an allocated body. Frame offsets below `spills_below` are accessed by spills only."""
    _Tracker(region, spills_below).run()


class _Tracker:
    def __init__(self, region: Region, spills_below: int) -> None:
        self.tree = DominatorTree(region)
        self.incoming = predecessors(region)
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
        state: _State = {}
        if (edges := self.edges_to(block)) is not None:
            first, *others = (self.on_edge(op, index) for op, index in edges)
            for place, held in first.items():
                found = [other.get(place) for other in others]
                if all(each == held for each in found):
                    state[place] = held
                elif isinstance(held[1], Known) and all(each is not None and each[1] == held[1] for each in found):
                    state[place] = (_Meeting(block, place), held[1])
        for arg in block.args:
            self.define(arg, next(self.fresh), state)
        return state

    def edges_to(self, block: Block) -> list[tuple[Operation, int]] | None:
        """The edges to a block, if all of them come from blocks that were visited."""
        edges = [
            (op, i) for op, i in self.incoming[block] if op.parent is not None and self.tree.is_reachable(op.parent)
        ]
        return edges if edges and all(op.parent in self.at_end for op, _ in edges) else None

    def on_edge(self, terminator: Operation, index: int) -> _State:
        """What registers hold at the end of an edge."""
        assert terminator.parent is not None
        state = self.at_end[terminator.parent]
        if (found := known_after(terminator, index)) is not None:
            value, constant = found
            state = state | {reg_index(value.type) or 0: (value, constant)}
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
        register = reg_index(result.type) or 0
        held = state.get(register)
        if isinstance(key, Known) and (held is None or held[1] != key):
            held = self.made_before(op, register, key)
        value = self.value_of(held) if held is not None and held[1] == key else None
        if value is not None:
            assert op.parent is not None
            result.replace_all_uses_with(value)
            op.parent.erase_op(op)
            state[register] = (value, key)
        else:
            self.define(result, key, state)

    def value_of(self, held: _Held) -> SSAValue | None:
        """The value that a register holds; None for a slot."""
        found = held[0]
        if not isinstance(found, _Meeting):
            return found
        if found.argument is None:
            block = found.block
            found.argument = block.insert_arg(reg(found.register), len(block.args))
            for terminator, index in self.incoming[block]:
                assert terminator.parent is not None
                passed = list(successor_operands(terminator, index))
                if self.tree.is_reachable(terminator.parent):
                    there = self.value_of(self.on_edge(terminator, index)[found.register])
                    assert there is not None, "a constant that is known is in a register"
                    passed.append(there)
                set_successor_operands(terminator, index, passed)
        return found.argument

    def made_before(self, op: Operation, register: int, key: Known) -> _Held | None:
        """Make the constant that a block needs in the only block before it that ends without it, if there are others
        that have it already. (That block only leads here, and is not empty: no jump is added.)"""
        block = op.parent
        assert block is not None
        edges = self.edges_to(block)
        if edges is None or len(edges) < 2 or not _is_first_to_touch(op, register):
            return None
        without = [edge for edge in edges if self.on_edge(*edge).get(register, (None, None))[1] != key]
        if len(without) != 1:
            return None
        terminator, _ = without[0]
        before = terminator.parent
        assert before is not None
        if len(terminator.successors) != 1 or not any(
            size_of(other) for other in before.ops if other is not terminator
        ):
            return None
        copy = op.clone()
        before.insert_op_before(copy, terminator)
        self.at_end[before][register] = (copy.results[0], key)
        return _Meeting(block, register), key

    def key(self, op: Operation, state: _State) -> _Key:
        """The number of the value that an operation gives."""
        if "core" in op.properties:
            return next(self.fresh)
        if isinstance(op, MovRROp) and op.row.op == "mov" and op.row.width == 64:
            return self.key_of(op.value, state)
        if (constant := constant_of(op)) is not None:
            return constant
        if isinstance(op, LddwOp | LdSymOp):
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


def _is_first_to_touch(op: Operation, register: int) -> bool:
    """Whether nothing in a block reads or writes a register before an operation."""
    block = op.parent
    assert block is not None
    if any(reg_index(arg.type) == register for arg in block.args):
        return False
    before = op.prev_op
    while before is not None:
        values = (*before.operands, *before.results)
        if isinstance(before, CLOBBERING) or any(reg_index(value.type) == register for value in values):
            return False
        before = before.prev_op
    return True
