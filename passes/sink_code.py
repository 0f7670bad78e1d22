"""`sink-code`: what only one way needs is done on that way."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.accesses import Place, load_place, store_place
from fsir.analysis.calls import is_call
from fsir.analysis.cfg import predecessors
from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.effects import EffectTable
from fsir.analysis.frame import declared_maps
from fsir.analysis.liveness import Liveness
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FramePointerType, FuncOp
from fsir.dialects.map import DeclOp
from fsir.passes._rewrite import raised_functions
from fsir.passes.eliminate_dead_stores import DeadStores


@dataclass(frozen=True)
class SinkCodePass(ModulePass):
    """Move computations, loads, and stores into the frame from before a branch to behind it, where only one of its ways
    needs them and nothing else leads there.

    A computation goes where all its uses are, past what does not change what it reads, and not into a loop. It must not
    keep more registers busy than its result did: what it takes is needed there anyway, or is one value that comes from
    no call. A store goes where its bytes may be read, if on the other way they are written again before that, or the
    function ends.
    """

    name = "sink-code"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects, maps = EffectTable(op), declared_maps(op)
        for func in raised_functions(op):
            sink(func, effects, maps)


def sink(func: FuncOp, effects: EffectTable, maps: dict[str, DeclOp]) -> int:
    """Sink the code of a function. Gives the number of operations that were moved."""
    stores = DeadStores(func, effects, maps)
    stores.run()
    sinking = _Sinking(func, effects, stores)
    return sum(sinking.block(block) for block in sinking.tree.rpo)


class _Sinking:
    def __init__(self, func: FuncOp, effects: EffectTable, stores: DeadStores) -> None:
        self.effects, self.stores = effects, stores
        self.tree = DominatorTree(func.body)
        self.incoming = predecessors(func.body)
        self.live = Liveness(func.body)
        self.loop: dict[Block, int] = {}
        for number, component in enumerate(components(self.tree.rpo, successors)):
            self.loop.update(dict.fromkeys(component, number if len(component) > 1 else -1))
        self.entry = func.entry

    def block(self, block: Block) -> int:
        """Move what can be moved out of a block, the last first."""
        branch = block.last_op
        if not isinstance(branch, cf.ConditionalBranchOp) or branch.then_block is branch.else_block:
            return 0
        later = _Later(self.effects)
        moved = 0
        for op in reversed(list(block.ops)):
            if op is branch:
                continue
            into = self.target(op, block, branch, later)
            if into is None:
                later.add(op)
                continue
            block.detach_op(op)
            first = into.first_op
            assert first is not None
            into.insert_op_before(op, first)
            moved += 1
        return moved

    def target(self, op: Operation, block: Block, branch: cf.ConditionalBranchOp, later: _Later) -> Block | None:
        """The way on which alone an operation is needed, if it may go there."""
        if op.regions or "core" in op.properties or isinstance(op, _KEPT) or _is_step(op) or is_call(op):
            return None
        for into, other in ((branch.then_block, branch.else_block), (branch.else_block, branch.then_block)):
            if len(self.incoming[into]) != 1 or self.loop[into] not in (-1, self.loop[block]):
                continue
            needed = self.is_store_for(op, other) if not op.results else self.is_value_for(op, into)
            if needed and not later.disturbs(op) and self.is_free(op, into, later):
                return into
        return None

    def is_value_for(self, op: Operation, into: Block) -> bool:
        """Whether all uses of the results are in a block or behind it."""
        if self.effects.of(op).writes or not self.effects.of(op).removable:
            return False
        blocks = [use.operation.parent for value in op.results for use in value.uses]
        return bool(blocks) and all(block is not None and self.tree.dominates(into, block) for block in blocks)

    def is_store_for(self, op: Operation, other: Block) -> bool:
        """Whether nobody reads what a store into the frame writes, from a block on."""
        place = store_place(op, self.effects) if isinstance(op, ebpf.StOp | ebpf.StxOp) else None
        return place is not None and isinstance(place.base.owner, ebpf.FpOp) and self.stores.is_dead_from(place, other)

    def is_free(self, op: Operation, into: Block, later: _Later) -> bool:
        """Whether an operation takes no more registers there."""
        more = [value for value in op.operands if not self.is_there(value, into)]
        if len(more) > len(op.results):
            return not op.results and not later.calls and not any(map(self.is_fixed, more))
        return not any(self.is_fixed(value) for value in more)

    def is_there(self, value: SSAValue, block: Block) -> bool:
        """Whether a value is at hand in a block anyway, or can be made there."""
        if isinstance(value.owner, arith.ConstantOp) or isinstance(value.type, FramePointerType):
            return True
        return self.live.is_live_in(value, block)

    def is_fixed(self, value: SSAValue) -> bool:
        """Whether a value comes in a register that it would have to be copied from."""
        owner = value.owner
        return owner is self.entry or (isinstance(owner, Operation) and is_call(owner))


_KEPT = (arith.ConstantOp, arith.CmpiOp, packet.OffsetOp, ebpf.MayGotoOp, ebpf.AllocaOp, ebpf.FpOp, ebpf.UndefOp)
"""What is made where it is used anyway, is what a guard compares, or stands for something."""


def _is_step(op: Operation) -> bool:
    """Whether an operation steps from an address of unknown kind to another: comparisons may be with that."""
    return isinstance(op, ebpf.AluRIOp) and not isinstance(op.res.type, IntegerType | FramePointerType)


class _Later:
    """What stands between an operation and the end of its block."""

    def __init__(self, effects: EffectTable) -> None:
        self.effects = effects
        self.reads: list[tuple[Place | None, int]] = []
        self.writes: list[tuple[Place | None, int]] = []
        self.calls = False

    def add(self, op: Operation) -> None:
        """Note an operation that stays."""
        found = self.effects.of(op)
        self.calls |= is_call(op)
        if found.reads:
            self.reads.append((load_place(op, self.effects), found.reads))
        if found.writes:
            self.writes.append((store_place(op, self.effects), found.writes))

    def disturbs(self, op: Operation) -> bool:
        """Whether an operation cannot go past all of that."""
        found = self.effects.of(op)
        read, written = load_place(op, self.effects), store_place(op, self.effects)
        return any(_overlap(read, found.reads, *other) for other in self.writes) or any(
            _overlap(written, found.writes, *other) for other in (*self.reads, *self.writes)
        )


def _overlap(mine: Place | None, resources: int, other: Place | None, theirs: int) -> bool:
    if mine is not None and other is not None:
        return mine.may_overlap(other)
    return bool(resources & theirs)
