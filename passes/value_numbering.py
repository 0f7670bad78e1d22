"""`value-numbering`: compute nothing twice, and test nothing that is known."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp, i1
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.address_inputs import address_inputs, compared_values
from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.calls import is_call
from fsir.analysis.cfg import erase_unreachable, set_successor_operands, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.effects import Effects, EffectTable
from fsir.analysis.evaluate import width_of
from fsir.analysis.facts import BranchFacts
from fsir.analysis.frame_addresses import called_frame_addresses
from fsir.analysis.memory_versions import MemoryVersions
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import FuncOp
from fsir.passes._rewrite import constant, constant_of, raised_functions, replace


@dataclass(frozen=True)
class ValueNumberingPass(ModulePass):
    """Use the first of several equal computations, and decide conditions that an earlier branch has decided.

    Works over the dominator tree. Loads are equal when nothing between them, on any path, may write what they read;
    `packet.data` and its like when nothing between them may resize the packet; lookups of a key when nothing may change
    the map's entries in between, and looking up leaves no trace, as it does in an LRU. A condition is decided when the
    same, its opposite, or a stronger one (a guard of more bytes of the same address, a narrower range) was branched on.

    What the verifier needs stays apart: comparisons are not kept in registers, and arithmetic
    on which an address depends is not replaced by a result from before a comparison that may bound it. And so does what
    is as cheap to make as to copy: constants, and for another call the addresses of maps and of the frame.
    """

    name = "value-numbering"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            if _Numbering(func, effects).run():
                erase_unreachable(func.body)
                simplify_block_args(func.body)


_LOADS = (
    packet.DataOp,
    packet.EndOp,
    packet.MetaOp,
    packet.CtxLoadOp,
    packet.LoadOp,
    map.LoadOp,
    ebpf.LdxOp,
    map.LookupOp,
    map.LookupAtOp,
)
_CONDITIONS = (arith.CmpiOp, packet.GuardOp, map.HitOp)
_KEPT_APART = (arith.ConstantOp, ebpf.MovRIOp, ebpf.UndefOp)
"""Where a program writes a constant is where it needs it in a register; each is best made there."""
_COMMUTATIVE = frozenset(
    {f"arith.{name}" for name in ("addi", "muli", "andi", "ori", "xori")}
    | {f"ebpf.{name}{width}" for name in ("add", "mul", "and", "or", "xor") for width in ("", "32")}
)
_SUMS = frozenset({"arith.addi", "ebpf.add"})
_NAMES = frozenset({"field", "unused"})
"""Properties without meaning."""


def _known(value: SSAValue) -> tuple[int, int] | None:
    """Width and value of a constant."""
    known = constant_of(value)
    return None if known is None else (width_of(value.type), known)


class _Calls:
    """Calls as if they wrote something, and all else read it."""

    def of(self, op: Operation) -> Effects:
        return Effects(writes=1) if is_call(op) else Effects(reads=1)


def _is_cheap(op: Operation) -> bool:
    """Whether an address is as cheap to make again, where it is an argument, as to keep over a call and to copy."""
    if isinstance(op, ebpf.AluRIOp):
        return isinstance(op.lhs.type, ebpf.FramePointerType)
    return isinstance(op, ebpf.LdSymOp)


def _is_argument(address: SSAValue) -> bool:
    """Whether an address serves for nothing but calls."""
    return all(is_call(use.operation) for use in address.uses)


class _Numbering:
    def __init__(self, func: FuncOp, effects: EffectTable) -> None:
        self.func, self.effects = func, effects
        self.tree = DominatorTree(func.body)
        self.versions = MemoryVersions(self.tree, effects)
        self.calls = MemoryVersions(self.tree, _Calls())
        self.addresses = address_inputs(func.body)
        self.compared = compared_values(func.body)
        self.frame_addresses = called_frame_addresses(func)
        self.facts = BranchFacts()
        self.leaders: dict[object, SSAValue] = {}
        self.decided = False

    def run(self) -> bool:
        """Number all values. Gives whether a branch was decided."""
        work: list[tuple[Block, list[tuple[object, SSAValue | None]] | None]] = [(self.func.entry, None)]
        while work:
            block, added = work.pop()
            if added is None:
                added = []
                work.append((block, added))
                self.facts.enter()
                self.learn(block)
                self.number(block, added)
                work += [(child, None) for child in reversed(self.tree.children(block))]
                continue
            self.facts.leave()
            for key, old in reversed(added):
                if old is None:
                    del self.leaders[key]
                else:
                    self.leaders[key] = old
        return self.decided

    def learn(self, block: Block) -> None:
        """Take note of the branch by which alone control comes to a block."""
        before = self.tree.predecessors(block)
        if len(before) != 1 or block is self.func.entry:
            return
        branch = before[0].last_op
        if isinstance(branch, cf.ConditionalBranchOp) and branch.then_block is not branch.else_block:
            self.facts.learn(branch.cond, branch.then_block is block)

    def number(self, block: Block, added: list[tuple[object, SSAValue | None]]) -> None:
        for op in list(block.ops):
            if isinstance(op, cf.ConditionalBranchOp):
                self.branch(op)
                continue
            if isinstance(op, _CONDITIONS):
                holds = self.facts.decide(op)
                if holds is not None:
                    replace(op, [constant(int(holds), i1)])
                continue
            key = self.key(op)
            if key is None:
                continue
            leader = self.leaders.get(key)
            if leader is not None and self.may_stand_for(leader, op):
                replace(op, [], leader)
            else:
                added.append((key, leader))
                self.leaders[key] = op.results[0]

    def branch(self, op: cf.ConditionalBranchOp) -> None:
        """Make a branch whose condition is known a jump; else what it passes may be known by which way it goes."""
        holds = self.facts.known(op.cond)
        if holds is None:
            self.passed(op)
            return
        index = 0 if holds else 1
        values = list(successor_operands(op, index))
        replace(op, [cf.BranchOp.create(operands=values, successors=[op.successors[index]])])
        self.decided = True

    def passed(self, op: cf.ConditionalBranchOp) -> None:
        """Pass constants instead of truth values that the way taken decides."""
        for index in (0, 1):
            self.facts.enter()
            self.facts.learn(op.cond, index == 0)
            values = list(successor_operands(op, index))
            for at, value in enumerate(values):
                ext = value.owner
                truth = self.truth(ext.input) if isinstance(ext, arith.ExtUIOp) and ext.input.type == i1 else None
                if truth is not None and op.parent is not None and isinstance(value.type, IntegerType):
                    made = constant(int(truth), value.type)
                    made.location = op.location
                    op.parent.insert_op_before(made, op)
                    values[at] = made.result
            set_successor_operands(op, index, values)
            self.facts.leave()

    def truth(self, condition: SSAValue) -> bool | None:
        """The value of a condition, as far as is known."""
        known = self.facts.known(condition)
        op = condition.owner
        return self.facts.decide(op) if known is None and isinstance(op, _CONDITIONS) else known

    def key(self, op: Operation) -> object:
        """What the values of equal computations have in common; None for an operation that is left alone."""
        if len(op.results) != 1 or isinstance(op, _KEPT_APART) or "core" in op.properties:
            return None
        effects = self.effects.of(op)
        memory = None
        if isinstance(op, _LOADS):
            memory = self.versions.of(op)
            if memory is None or not effects.removable:
                return None
        elif not effects.pure:
            return None
        ordered = (_known(value) or value for value in op.operands)
        operands: object = frozenset(ordered) if op.name in _COMMUTATIVE else tuple(ordered)
        properties = tuple((name, value) for name, value in sorted(op.properties.items()) if name not in _NAMES)
        return op.name, op.results[0].type, operands, properties, memory

    def may_stand_for(self, leader: SSAValue, op: Operation) -> bool:
        """Whether the verifier knows as much of the leader as of the value it replaces, and that saves something."""
        if _is_cheap(op) and _is_argument(leader):
            assert isinstance(leader.owner, Operation)
            return self.calls.of(leader.owner) == self.calls.of(op)
        if op.name in _SUMS and op.operands[0] in self.frame_addresses:
            assert isinstance(leader.owner, Operation)
            if leader.owner.operands[0] is not op.operands[0]:
                return False
        if leader.owner.parent is op.parent or isinstance(op, _LOADS):
            return True
        variable = isinstance(op, packet.AdvanceOp | ebpf.AluRROp) and not isinstance(op.results[0].type, IntegerType)
        if not variable and op.results[0] not in self.addresses:
            return True
        return not any(value in self.compared for value in op.operands)
