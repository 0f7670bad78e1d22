"""`forward-loads`: what a load reads is known when it was just read or written."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.accesses import Place, load_place, store_place
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.effects import EffectTable
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import FuncOp
from fsir.passes._rewrite import extend, integer, raised_functions, replace, truncate

Known = dict[Place, SSAValue]
"""The words in memory, where they are known to be those of a value."""


_ROUNDS = 8
"""After so many rounds nothing more is carried around loops, and one more round is the last but one."""


@dataclass(frozen=True)
class ForwardLoadsPass(ModulePass):
    """Replace a load by the value that an earlier store put there, or an earlier load found there, on every path.

    Follows packet bytes, map values and the stack frame by address and offset: a store elsewhere, at another offset
    from the same address, does not disturb. Anything that may write the bytes otherwise does: a store through another
    address into the packet or into values of the same map, an update, a call.

    Pointers in the frame keep their slots; `value-numbering` is what finds equal addresses.
    """

    name = "forward-loads"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            _Forward(func, effects).run()


class _Forward:
    def __init__(self, func: FuncOp, effects: EffectTable) -> None:
        self.effects = effects
        self.tree = DominatorTree(func.body)
        self.carry_around_loops = True
        self.leaving: dict[Block, Known] = {}
        self.replaced: dict[SSAValue, SSAValue] = {}

    def run(self) -> None:
        rounds = 0
        while self.flow():
            rounds += 1
            self.carry_around_loops = rounds < _ROUNDS
        for block in self.tree.rpo:
            known = self.entering(block)
            for op in list(block.ops):
                if not self.forward(op, known):
                    self.step(op, known)

    def flow(self) -> bool:
        """Bring what is known through all blocks, once. Gives whether anything changed."""
        changed = False
        for block in self.tree.rpo:
            known = self.entering(block)
            for op in block.ops:
                self.step(op, known)
            if self.leaving.get(block) != known:
                self.leaving[block] = known
                changed = True
        return changed

    def entering(self, block: Block) -> Known:
        """What every predecessor knows. One not visited yet, behind a back edge, takes nothing away at first."""
        before = [b for b in self.tree.predecessors(block) if self.tree.is_reachable(b)]
        found = [self.leaving[b] for b in before if b in self.leaving]
        if not found or self.tree.idom(block) is None:
            return {}
        number = self.tree.rpo_number(block)
        if not self.carry_around_loops and any(self.tree.rpo_number(b) >= number for b in before):
            return {}
        smallest = min(found, key=len)
        return {place: value for place, value in smallest.items() if all(other.get(place) is value for other in found)}

    def step(self, op: Operation, known: Known) -> None:
        """Bring what is known past an operation."""
        effects = self.effects.of(op)
        written = store_place(op, self.effects)
        if effects.writes:
            for place in list(known):
                if place.may_overlap(written) if written is not None else effects.writes & place.resource:
                    del known[place]
        if written is not None:
            value = _stored(op)
            if value is not None:
                known[written] = value
        elif (read := load_place(op, self.effects)) is not None and read not in known:
            known[read] = op.results[0]

    def forward(self, op: Operation, known: Known) -> bool:
        """Replace a load whose bytes are known."""
        place = load_place(op, self.effects)
        value = known.get(place) if place is not None else None
        while value in self.replaced:
            value = self.replaced[value]
        if value is None or value is op.results[0]:
            return False
        loaded = op.results[0]
        instead = _replace(op, value)
        if instead is None:
            return False
        self.replaced[loaded] = instead
        return True


def _stored(op: Operation) -> SSAValue | None:
    """The value whose low bytes a store writes; None for that of an instruction's immediate."""
    if isinstance(op, packet.StoreOp | map.StoreOp):
        return op.operands[1]
    return op.value if isinstance(op, ebpf.StxOp) else None


def _replace(op: Operation, value: SSAValue) -> SSAValue | None:
    """Put a word in the place of a load of its low bytes, and give what it became; None where the types do not fit."""
    type_: Attribute = op.results[0].type
    if not isinstance(op, ebpf.LdxOp):
        if value.type != type_:
            return None
    elif value.type != i64 or type_ != i64:
        return None
    elif op.row.width < 64 and not (isinstance(value.owner, ebpf.LdxOp) and value.owner.row is op.row):
        cut = truncate(value, integer(op.row.width))
        extended = extend(cut.results[0], signed=op.row.signed)
        replace(op, [cut, extended])
        return extended.results[0]
    replace(op, [], value)
    return value
