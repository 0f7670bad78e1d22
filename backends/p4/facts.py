"""What the P4 target must know of a function: constant packet offsets, bytes that are surely there, loops.

The facts of a whole function hold in every part cut out of it: cutting only takes paths away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.dialects import packet
from fsir.dialects.ebpf import FuncOp


def constant_of(value: SSAValue) -> int | None:
    """The unsigned value of an `arith.constant`, seen through changes of width, else None."""
    op = value.owner
    mask = (1 << width_of(value)) - 1
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return int(op.value.value.data) & mask
    if isinstance(op, arith.TruncIOp | arith.ExtUIOp):
        inner = constant_of(op.input)
        return None if inner is None else inner & mask
    return None


def width_of(value: SSAValue) -> int:
    """The width in bits of a scalar; 64 for any other word."""
    width = getattr(value.type, "width", None)
    return int(width.data) if width is not None else 64


class FuncFacts:
    """Facts of one function, computed on demand; valid until it is rewritten."""

    def __init__(self, func: FuncOp) -> None:
        self.func = func
        self.tree = DominatorTree(func.body)

    @cached_property
    def cyclic(self) -> frozenset[Block]:
        """The blocks that control can come back to."""
        return frozenset(_cyclic_blocks(self.tree.rpo))

    @cached_property
    def incoming(self) -> dict[Block, list[Sequence[SSAValue]]]:
        """For every reachable block, the values that each edge passes to its arguments."""
        result: dict[Block, list[Sequence[SSAValue]]] = {block: [] for block in self.tree.rpo}
        for block in self.tree.rpo:
            for successor, values in edges(block):
                result[successor].append(values)
        return result

    def offset(self, address: SSAValue) -> int | None:
        """The constant distance of a packet address from the start of the packet; None where there is none."""
        return self._offsets.get(address)

    @cached_property
    def _offsets(self) -> dict[SSAValue, int]:
        found: dict[SSAValue, int] = {}
        for block in self.tree.rpo:
            for arg in block.args:
                # What a loop passes back is not known yet, and so no constant.
                passed = {found.get(values[arg.index]) for values in self.incoming[block]}
                offset = passed.pop() if len(passed) == 1 else None
                if offset is not None:
                    found[arg] = offset
            for op in block.ops:
                if isinstance(op, packet.DataOp):
                    found[op.res] = 0
                elif isinstance(op, packet.OffsetOp) and op.ptr in found:
                    found[op.res] = found[op.ptr] + op.off.data
        return found

    def from_constants(self, address: SSAValue) -> bool:
        """Whether a packet address has a constant offset on every path, and is passed on at most once from there."""
        while isinstance(address.owner, packet.OffsetOp):
            address = address.owner.ptr
        if isinstance(address, BlockArgument) and isinstance(address.type, packet.PtrType):
            passed = self.incoming.get(address.block, [])
            return all(self.offset(values[address.index]) is not None for values in passed)
        return self.offset(address) is not None

    def guard_size(self, op: packet.GuardOp) -> int | None:
        """How long the packet is, at least, where a guard holds; None where that is no constant."""
        if not isinstance(op.end.type, packet.EndType):
            return None
        base = self.offset(op.ptr)
        return None if base is None else base + op.size.data

    def present(self, block: Block) -> int:
        """How many bytes the packet surely has when control reaches a block."""
        return self._present.get(block, 0)

    @cached_property
    def _present(self) -> dict[Block, int]:
        # A loop's back edge adds no path on which less is known: the packet's length does not change on its way.
        known: dict[Block, int] = {}
        for block in self.tree.rpo:
            at_entry = known.setdefault(block, 0)
            for index, (successor, _) in enumerate(edges(block)):
                length = max(at_entry, self._learnt(block, index))
                known[successor] = min(known.get(successor, length), length)
        return known

    def _learnt(self, block: Block, index: int) -> int:
        terminator = block.last_op
        return self.implied(terminator.cond, index == 0) if isinstance(terminator, cf.ConditionalBranchOp) else 0

    def implied(self, condition: SSAValue, holds: bool) -> int:
        """The packet length that follows from a condition that holds, or does not."""
        op = condition.owner
        if isinstance(op, packet.GuardOp):
            return (self.guard_size(op) or 0) if holds else 0
        if isinstance(op, arith.AndIOp if holds else arith.OrIOp):
            return max(self.implied(op.lhs, holds), self.implied(op.rhs, holds))
        if isinstance(op, arith.XOrIOp) and constant_of(op.rhs) == 1:
            return self.implied(op.lhs, not holds)
        return 0


def _cyclic_blocks(blocks: Sequence[Block]) -> Iterable[Block]:
    """The blocks of strongly connected components with an edge inside (Tarjan, iterative)."""
    number: dict[Block, int] = {}
    low: dict[Block, int] = {}
    stack: list[Block] = []
    on_stack: set[Block] = set()
    for root in blocks:
        if root in number:
            continue
        work = [(root, iter([successor for successor, _ in edges(root)]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            block, remaining = work[-1]
            for successor in remaining:
                if successor not in number:
                    number[successor] = low[successor] = len(number)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter([after for after, _ in edges(successor)])))
                    break
                if successor in on_stack:
                    low[block] = min(low[block], number[successor])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[block])
                if low[block] == number[block]:
                    yield from _component(block, stack, on_stack)


def _component(head: Block, stack: list[Block], on_stack: set[Block]) -> list[Block]:
    component = []
    while True:
        block = stack.pop()
        on_stack.discard(block)
        component.append(block)
        if block is head:
            break
    if len(component) > 1 or any(successor is head for successor, _ in edges(head)):
        return component
    return []


def users(value: SSAValue) -> list[Operation]:
    """The operations that use a value, each use once."""
    return [use.operation for use in value.uses]
