"""`eliminate-dead-stores`: remove stores of bytes that nothing reads before they are written again."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation
from xdsl.passes import ModulePass

from fsir.analysis.accesses import Place, load_place, store_place
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.effects import FRAME, EffectTable
from fsir.analysis.frame import Frame, How, declared_maps
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.passes._rewrite import raised_functions

_FOLLOWED = 64
"""Places followed at a time, at most."""
_ENDS = (packet.VerdictOp, ebpf.ExitOp)
"""The ends of functions, after which the frame is gone."""


@dataclass(frozen=True)
class EliminateDeadStoresPass(ModulePass):
    """Remove a store when, on every path, other stores write all of its bytes before anything may read them; and one
    into the function's own stack frame when nothing reads its bytes any more.

    Packet, map values and frame are told apart, and places by address and offset. Whatever may read a byte keeps it:
    a load through another address into the same memory, a call that takes such an address, the end of the function
    (but not for the frame). Of the own frame, an operation reads what is behind the addresses that it takes (a key,
    what a helper is told the size of), unless one goes where it cannot be followed. Atomic operations and stores
    through addresses of unknown kind stay.
    """

    name = "eliminate-dead-stores"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        maps = declared_maps(op)
        for func in raised_functions(op):
            DeadStores(func, effects, maps).run()


@dataclass
class _State:
    """What happens to memory from a place in the program on. `overwritten` bytes are written before they are read;
    of the frame, only `frame` bytes are read (None: any may be)."""

    overwritten: set[Place]
    frame: set[Place] | None

    def copy(self) -> _State:
        return _State(set(self.overwritten), None if self.frame is None else set(self.frame))

    def meet(self, other: _State) -> None:
        """What holds on both of two ways."""
        self.overwritten &= other.overwritten
        self.frame = None if self.frame is None or other.frame is None else self.frame | other.frame


class DeadStores:
    """The stores of a function that nobody needs, and afterwards what happens to memory from each block on."""

    def __init__(self, func: FuncOp, effects: EffectTable, maps: dict[str, DeclOp]) -> None:
        self.effects = effects
        self.frame_reads = _frame_reads(func, maps)
        self.tree = DominatorTree(func.body)
        self.entering: dict[Block, _State] = {}

    def run(self) -> None:
        """Remove the stores."""
        for block in reversed(self.tree.rpo):
            state = self.leaving(block)
            for op in reversed(list(block.ops)):
                self.step(op, state)
            for arg in block.args:
                state.overwritten = {place for place in state.overwritten if place.base is not arg}
            self.entering[block] = state

    def is_dead_from(self, place: Place, block: Block) -> bool:
        """Whether nobody reads the bytes that are at a place when control comes to a block."""
        return block in self.entering and self.is_dead(place, self.entering[block])

    def leaving(self, block: Block) -> _State:
        """What happens after a block; behind an edge that goes back, anything."""
        following = successors(block)
        if not following or any(after not in self.entering for after in following):
            return _State(set(), set() if isinstance(block.last_op, _ENDS) else None)
        state = self.entering[following[0]].copy()
        for after in following[1:]:
            state.meet(self.entering[after])
        return state

    def step(self, op: Operation, state: _State) -> None:
        """Go back over an operation; it goes if it is a store that is not needed."""
        written = store_place(op, self.effects)
        if written is not None:
            if self.is_dead(written, state):
                assert op.parent is not None
                op.parent.erase_op(op)
            elif len(state.overwritten) < _FOLLOWED:
                state.overwritten.add(written)
            return
        for result in op.results:
            state.overwritten = {place for place in state.overwritten if place.base is not result}
        if isinstance(op, _ENDS):
            return  # what is known from there on is nothing yet, and nobody sees the frame
        reads = self.effects.of(op).reads
        read = load_place(op, self.effects)
        own = self.frame_reads.get(op, []) if self.frame_reads is not None else None
        if own is None and read is not None and isinstance(read.base.owner, ebpf.FpOp):
            own = [read]
        state.overwritten = {
            place
            for place in state.overwritten
            if (not place.may_overlap(read) if read is not None else not _reads(place, reads, own))
        }
        if reads & FRAME:
            self.note(state, own)

    def note(self, state: _State, read: list[Place] | None) -> None:
        """These bytes of the frame are read (None: any may be)."""
        if read is None or state.frame is None or len(state.frame) + len(read) > _FOLLOWED:
            state.frame = None
        else:
            state.frame = state.frame.union(read)

    def is_dead(self, place: Place, state: _State) -> bool:
        """Whether nobody reads the bytes that a store writes."""
        if any(later.covers(place) for later in state.overwritten):
            return True
        if state.frame is None or not isinstance(place.base.owner, ebpf.FpOp):
            return False
        return not any(read.may_overlap(place) for read in state.frame)


def _frame_reads(func: FuncOp, maps: dict[str, DeclOp]) -> dict[Operation, list[Place]] | None:
    """What operations read of the function's own frame; None when an address goes where it cannot be followed."""
    frame = Frame(func, maps)
    if frame.escaped is not None:
        return None
    found: dict[Operation, list[Place]] = {}
    for access in frame.accesses:
        if access.how is not How.STORE:
            places = found.setdefault(access.op, [])
            places += (Place(root, access.start, access.end, FRAME) for root in frame.roots)
    return found


def _reads(place: Place, reads: int, own: list[Place] | None) -> bool:
    """Whether an operation that reads such memory, and `own` of the frame (None: any of it), may read a place."""
    if own is None or not isinstance(place.base.owner, ebpf.FpOp):
        return bool(place.resource & reads)
    return bool(reads & FRAME) and any(read.may_overlap(place) for read in own)
