"""What is proven of addresses when control comes to a block, on every way there: bytes that guards have shown to lie in
the packet, and lookups that have found their key."""

from __future__ import annotations

from xdsl.dialects import cf
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.dialects import map as maps
from fsir.dialects import packet
from fsir.dialects.map import ValueType
from fsir.dialects.packet import EndType, PtrType

Proven = dict[SSAValue, int]
"""Bytes of the packet from an address on; for the address of a map value, 1: it is not null."""


class Facts:
    """Must-facts at the start of each reachable block."""

    def __init__(self, tree: DominatorTree) -> None:
        self._at: dict[Block, Proven | None] = dict.fromkeys(tree.rpo)
        entry = tree.rpo[0]
        self._at[entry] = {}
        again = True
        while again:
            again = False
            for block in tree.rpo:
                at_start = self._at[block]
                if at_start is None:
                    continue
                made = {result for op in block.ops for result in op.results}  # again, where this is a loop
                known = {value: size for value, size in at_start.items() if value not in made}
                for index, (target, values) in enumerate(edges(block)):
                    holding = dict(known)
                    for value, size in _learned(block.last_op, index).items():
                        holding[value] = max(size, holding.get(value, 0))
                    arriving = {value: size for value, size in holding.items() if value not in target.args}
                    arriving |= _passed(holding, target, list(values))
                    old = self._at[target]
                    new = arriving if old is None else _meet(old, arriving)
                    if target is not entry and new != old:
                        self._at[target] = new
                        again = True

    def guarded(self, block: Block) -> Proven:
        """The sizes proven, by packet address."""
        return {v: size for v, size in (self._at[block] or {}).items() if isinstance(v.type, PtrType)}

    def found(self, block: Block) -> set[SSAValue]:
        """The map addresses that are not null."""
        return {v for v in self._at[block] or {} if isinstance(v.type, ValueType)}


def _meet(a: Proven, b: Proven) -> Proven:
    return {value: min(size, b[value]) for value, size in a.items() if value in b}


def _learned(terminator: Operation | None, index: int) -> Proven:
    """What going to successor number `index` proves."""
    if not isinstance(terminator, cf.ConditionalBranchOp) or terminator.successors[0] is terminator.successors[1]:
        return {}
    condition = terminator.cond.owner
    if index == 0 and isinstance(condition, packet.GuardOp) and isinstance(condition.end.type, EndType):
        return {condition.ptr: condition.int_prop("size")}
    if index == 0 and isinstance(condition, maps.HitOp):
        return {condition.value: 1}
    return {}


def _passed(known: Proven, target: Block, values: list[SSAValue]) -> Proven:
    """What is known of a value is known of the block argument that it is passed to."""
    found: Proven = {}
    for arg, value in zip(target.args, values, strict=True):
        off = 0
        while value not in known and isinstance(op := value.owner, packet.OffsetOp):
            off += op.int_prop("off")
            value = op.ptr
        if value in known and known[value] - off > 0:
            found[arg] = known[value] - off
    return found
