"""Accesses follow an address that moves on; part of `lower-packet`.

Raising puts every access on the nearest base whose distance is constant. Where a program steps through the packet
(`p += 12` in a loop, the next header's address that several paths agree on), what comes after the step would so keep
the old address in a register beside the new one.
"""

from __future__ import annotations

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects import packet
from fsir.dialects.ebpf import FuncOp, int_attr
from fsir.dialects.ebpf.base import EbpfOp

_BASED = {packet.LoadOp: "off", packet.StoreOp: "off", packet.OffsetOp: "off", packet.GuardOp: "size"}
"""The operations with an address as first operand, and the property that is a distance from it."""


def rebase(func: FuncOp) -> None:
    """Where an address a constant distance from another is passed on to other blocks, let accesses that come after it
    use it, if nothing else needs the other any more."""
    tree = DominatorTree(func.body)
    for block in tree.rpo:
        for op in list(block.ops):
            if isinstance(op, packet.OffsetOp) and _is_passed_on(op):
                _take_over(tree, op)


def _is_passed_on(op: packet.OffsetOp) -> bool:
    return any(use.operation.successors for use in op.res.uses)


def _take_over(tree: DominatorTree, step: packet.OffsetOp) -> None:
    """Give `step` all later uses of its base; none if there is one that cannot be given."""
    distance = step.off.data
    later, others = [], set[Block]()
    for use in step.ptr.uses:
        op = use.operation
        if op is not step and _comes_after(tree, op, step):
            if not _is_guard_at(op, distance):
                later.append(use)
        elif op.parent is not None and op.parent is not step.parent:
            others.add(op.parent)
    if _goes_on(tree, step, others):
        return
    for use in later:
        name = _BASED.get(type(use.operation))
        if name is None or use.index != 0 or "core" in use.operation.properties:
            return
        if not _fits(use.operation, name, distance):
            return
    for use in later:
        op = use.operation
        assert isinstance(op, EbpfOp)
        name = _BASED[type(op)]
        op.properties[name] = int_attr(op.int_prop(name) - distance)
        op.operands[0] = step.res


def _is_guard_at(op: Operation, distance: int) -> bool:
    """Whether a guard ends at an address so far from its base, or at the byte there: it is lowered to a comparison of
    that address whatever its base is, and from `base < end` alone the verifier would conclude nothing."""
    return isinstance(op, packet.GuardOp) and op.size.data - distance in (0, 1)


def _fits(op: Operation, name: str, distance: int) -> bool:
    assert isinstance(op, EbpfOp)
    moved = op.int_prop(name) - distance
    return moved >= 0 if isinstance(op, packet.GuardOp) else -0x8000 <= moved < 0x8000


def _comes_after(tree: DominatorTree, op: Operation, step: Operation) -> bool:
    """Whether `op` may run after `step`, in the same round of all loops that both are in or in none."""
    here, there = step.parent, op.parent
    assert here is not None and there is not None
    return step.is_before_in_block(op) if here is there else tree.dominates(here, there)


def _goes_on(tree: DominatorTree, step: packet.OffsetOp, others: set[Block]) -> bool:
    """Whether one of the blocks `others` can come after `step` before the base is made anew."""
    home = step.ptr.owner if isinstance(step.ptr.owner, Block) else step.ptr.owner.parent
    assert step.parent is not None
    work, seen = list(successors(step.parent)), {home}
    while work:
        block = work.pop()
        if block not in seen:
            if block in others:
                return True
            seen.add(block)
            work.extend(successors(block))
    return False
