"""`thread-jumps`: a condition that is known where control comes from is not asked again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue, Use
from xdsl.passes import ModulePass

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import erase_unreachable, predecessors, successor_operands
from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.effects import EffectTable
from fsir.analysis.facts import BranchFacts
from fsir.analysis.ssa_repair import repair
from fsir.dialects import ebpf
from fsir.passes._outcomes import Outcomes
from fsir.passes._rewrite import raised_functions, replace

Edge = tuple[Operation, int]

_ROUNDS = 16
"""Conditions asked one after the other are threaded in one round each, at most so many."""


@dataclass(frozen=True)
class ThreadJumpsPass(ModulePass):
    """Lead the ways on which a block's condition is known past it, to where it would branch.

    What is known of a way into a block: the values that it passes, and the branches that it has taken. Where all ways
    agree, the condition becomes a constant. Where they differ, the block is split, one for each outcome and the
    rest, which costs what it computes besides the condition: nothing, or one instruction where its branch goes.

    Each path does what it did but for the question, so that the verifier, which follows paths, knows as much as before.
    Blocks in loops are left alone, and what stands in one is never moved out of it.
    """

    name = "thread-jumps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            thread_jumps(func.body, effects)


def thread_jumps(region: Region, effects: EffectTable) -> int:
    """Thread the jumps of a region. Gives the number of rounds that found some."""
    rounds = 0
    while rounds < _ROUNDS and _Round(region, effects).run():
        erase_unreachable(region)
        simplify_block_args(region)
        rounds += 1
    return rounds


class _Round:
    """One look at all conditions. What was known before a change need not hold behind it, so that blocks next to each
    other are not changed in the same round."""

    def __init__(self, region: Region, effects: EffectTable) -> None:
        self.region, self.effects = region, effects
        self.tree = DominatorTree(region)
        self.incoming = predecessors(region)
        loops = [c for c in components(self.tree.rpo, successors) if len(c) > 1 or c[0] in successors(c[0])]
        self.in_loops = {block for component in loops for block in component}
        self.known: defaultdict[Block, dict[Edge, bool]] = defaultdict(dict)
        self.definitions: dict[SSAValue, dict[Block, SSAValue]] = {}
        self.touched: set[Block] = set()

    def run(self) -> bool:
        """Give whether anything was changed."""
        self.ask()
        changed = [self.thread(block, known) for block, known in self.known.items()]
        if self.definitions:
            incoming = predecessors(self.region)
            needing = {value: _needing(value, set(made), incoming) for value, made in self.definitions.items()}
            repair(self.region, self.definitions, lambda value, block: block in needing[value])
        return any(changed)

    # --- what is known -----------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Find the outcomes of conditions, going down the dominator tree with the branches taken."""
        facts = BranchFacts()
        work: list[tuple[Block, bool]] = [(self.tree.rpo[0], False)] if self.tree.rpo else []
        while work:
            block, done = work.pop()
            if done:
                facts.leave()
                continue
            facts.enter()
            self.learn(block, facts)
            self.ask_behind(block, facts)
            work.append((block, True))
            work += [(child, False) for child in reversed(self.tree.children(block))]

    def learn(self, block: Block, facts: BranchFacts) -> None:
        """Take note of the edge by which alone control comes to a block."""
        edges = self.incoming[block]
        if len(edges) == 1 and block is not self.region.blocks.first:
            _take(edges[0], facts)

    def ask_behind(self, block: Block, facts: BranchFacts) -> None:
        """Ask the conditions of the blocks that a block leads to, where others lead there, too."""
        last = block.last_op
        for index, target in enumerate(last.successors if last is not None else ()):
            branch = target.last_op
            if last is None or not isinstance(branch, cf.ConditionalBranchOp) or len(self.incoming[target]) < 2:
                continue
            if target in self.in_loops or target is self.region.blocks.first:
                continue
            facts.enter()
            _take((last, index), facts)
            passed = successor_operands(last, index)
            outcome = Outcomes(target, block, passed, self.tree, facts).of(branch.cond)
            facts.leave()
            if outcome is not None:
                self.known[target][last, index] = outcome

    # --- what is made of it ------------------------------------------------------------------------------------------

    def thread(self, block: Block, known: dict[Edge, bool]) -> bool:
        """Lead the edges of known outcome past the condition of a block."""
        branch = block.last_op
        assert isinstance(branch, cf.ConditionalBranchOp)
        edges = self.incoming[block]
        around = {block, *branch.successors, *(op.parent for op, _ in edges if op.parent is not None)}
        outcomes = set(known.values())
        complete = len(known) == len(edges)
        if around & self.touched or (not (complete and len(outcomes) == 1) and not self.pays(block, complete)):
            return False
        self.touched |= around
        staying = known[edges[0]] if complete else None
        if outcomes - {staying}:
            _make_where_used(block)
        for outcome in outcomes - {staying}:
            own = self.copy(block, branch, outcome)
            for (terminator, index), found in known.items():
                if found == outcome:
                    terminator.successors[index] = own
        if staying is not None:
            replace(branch, [_jump(branch, staying, {})])
        return True

    def pays(self, block: Block, complete: bool) -> bool:
        """Whether a copy of the block without its condition is no longer than what goes: the branch, where no way is
        left on which it is needed."""
        asking = self.asking(block)
        copied = [op for op in block.ops if op is not block.last_op and op not in asking]
        if any(op.regions or "core" in op.properties or isinstance(op, _SINGLE) for op in copied):
            return False
        return sum(not isinstance(op, _FREE) for op in copied) <= int(complete)

    def asking(self, block: Block) -> set[Operation]:
        """The operations of a block that serve for nothing but its condition."""
        found: set[Operation] = set()
        for op in reversed(list(block.ops)):
            uses = [use for value in op.results for use in value.uses]
            if op is not block.last_op and self.effects.of(op).removable and all(_asks(use, found) for use in uses):
                found.add(op)
        return found

    def copy(self, block: Block, branch: cf.ConditionalBranchOp, outcome: bool) -> Block:
        """A block that does the same and goes on as if the condition were known."""
        own = Block(arg_types=[arg.type for arg in block.args])
        values: dict[SSAValue, SSAValue] = dict(zip(block.args, own.args, strict=True))
        asking = self.asking(block)
        for op in block.ops:
            if op is not branch and op not in asking:
                own.add_op(op.clone(values))
        own.add_op(_jump(branch, outcome, values))
        self.region.insert_block_after(own, block)
        for value, copied in values.items():
            copied.name_hint = value.name_hint
            if any(use.operation.parent is not block for use in value.uses):
                self.definitions.setdefault(value, {})[own] = copied
        return own


_FREE = (arith.ConstantOp, arith.TruncIOp, ebpf.CastOp)
"""What costs nothing, or no more there than here."""
_SINGLE = (ebpf.MayGotoOp, ebpf.AllocaOp)


def _needing(value: SSAValue, copies: set[Block], incoming: dict[Block, list[Edge]]) -> set[Block]:
    """The blocks that need a value on entry, where copies of its block define it, too."""
    home = value.owner if isinstance(value.owner, Block) else value.owner.parent
    found: set[Block] = set()
    work = [use.operation.parent for use in value.uses]
    while work:
        block = work.pop()
        if block is None or block is home or block in copies or block in found:
            continue
        found.add(block)
        work += [op.parent for op, _ in incoming[block]]
    return found


def _make_where_used(block: Block) -> None:
    """Make what costs nothing again for each use elsewhere, so that it need not be passed on."""
    for op in reversed(list(block.ops)):
        for use in list(op.results[0].uses) if isinstance(op, _FREE) else ():
            user = use.operation
            if user.parent is not None and user.parent is not block:
                own = op.clone()
                own.location, own.results[0].name_hint = op.location, op.results[0].name_hint
                user.parent.insert_op_before(own, user)
                user.operands[use.index] = own.results[0]


def _asks(use: Use, asking: set[Operation]) -> bool:
    """Whether a value is used for nothing but the condition of a branch."""
    return use.operation in asking or (isinstance(use.operation, cf.ConditionalBranchOp) and use.index == 0)


def _take(edge: Edge, facts: BranchFacts) -> None:
    """Learn what taking an edge says."""
    branch, index = edge
    if isinstance(branch, cf.ConditionalBranchOp) and branch.then_block is not branch.else_block:
        facts.learn(branch.cond, index == 0)


def _jump(branch: cf.ConditionalBranchOp, outcome: bool, values: dict[SSAValue, SSAValue]) -> Operation:
    """The jump that a branch is where its condition is known."""
    index = 0 if outcome else 1
    passed = [values.get(value, value) for value in successor_operands(branch, index)]
    return cf.BranchOp.create(operands=passed, successors=[branch.successors[index]], location=branch.location)
