"""One program as a chain of functions: which blocks begin a function of their own, and what is passed to each.

A *link* is what runs from the program's entry, or from a cut, up to the next cuts, where it ends with a call of the
link that begins there. So no link is entered but at its start, and the calls follow the flow graph: never recursive.
Blocks that several links come to are in each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.effects import EffectTable
from fsir.analysis.ranges import LayoutEffects, Ranges
from fsir.backends.handoff import FARTHEST
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp
from fsir.placement.access import MapAccesses
from fsir.placement.crossing import Crossing, Crossings, Impossible
from fsir.placement.cuts import PartCuts, fill_liveness, needed_args
from fsir.placement.graph import FlowGraph
from fsir.placement.held import LOCK, REFERENCE, SECTION, Held

ARGUMENTS = 4
"""What a function takes besides the context."""
WORD = 64
_TAIL_CALL = 12
FRAMES = 8
"""Functions that may be under way at a time, the program included."""


class _HeldOverCall(Held):
    """What forbids a call of a global function. What forbids other handoffs (a redirect, metadata of its own) is as
    before when the call returns: nothing runs in between."""

    def reasons(self, block: Block) -> list[str]:
        return [reason for reason in super().reasons(block) if reason in (LOCK, SECTION, REFERENCE)]

    def redirect(self, block: Block) -> Operation | None:
        """None: what was chosen stays so."""
        return None


@dataclass
class Link:
    """What runs from `start` on. `crossing` is how control comes there, None for the program's entry."""

    start: Block
    cuts: PartCuts
    crossing: Crossing | None = None


@dataclass
class ChainPlan:
    """The links by their first block: the program's entry, then the cuts in the order of the flow graph."""

    links: dict[Block, Link] = field(default_factory=dict)

    def depth(self, start: Block) -> int:
        """The longest sequence of calls from a link on, itself included."""
        return 1 + max((self.depth(block) for block in self.links[start].cuts.leaves), default=0)


class Chain:
    """A program to be cut into a chain. Raises Impossible where no cut can be made at all."""

    def __init__(
        self, func: FuncOp, accesses: MapAccesses, effects: EffectTable, functions: Mapping[str, FuncOp]
    ) -> None:
        self.func = func
        self.graph = FlowGraph(func, accesses.declarations)
        ranges = Ranges(func.body, LayoutEffects(effects, functions))
        self.crossings = Crossings(self.graph, accesses, effects, in_order=False, ranges=ranges)
        self.crossings.held = _HeldOverCall(self.graph.tree, accesses)
        for op in func.walk():
            if isinstance(op, ebpf.CallOp) and op.helper.data == _TAIL_CALL:
                raise Impossible("it makes tail calls, which from inside of a function need a just-in-time compiler")

    def plan(self, cuts: Iterable[Block]) -> ChainPlan:
        """The links for these cuts, with the least that each must be passed. Raises CannotCut."""
        tree = self.graph.tree
        chosen = set(cuts)
        order = [block for block in tree.rpo if block in chosen]
        found: dict[Block, Link] = {}
        for start in reversed(order):
            found[start] = self._link(start, found)
            live = found[start].cuts.live_in[start] | needed_args(found[start].cuts, start)
            try:
                self._check_place(start)
                found[start].crossing = self._checked(self.crossings.plan_for(start, live))
            except Impossible as error:
                raise CannotCut(start, str(error)) from error
        entry = self.func.entry
        return ChainPlan({entry: self._link(entry, found)} | {start: found[start] for start in order})

    def _link(self, start: Block, later: dict[Block, Link]) -> Link:
        runs, leaves, work = {start}, dict[Block, Crossing](), [start]
        while work:
            for target in successors(work.pop()):
                if target in later:
                    crossing = later[target].crossing
                    assert crossing is not None
                    leaves[target] = crossing
                elif target not in runs:
                    runs.add(target)
                    work.append(target)
        part = PartCuts(runs, leaves)
        fill_liveness(self.graph.tree.rpo, part)
        return Link(start, part)

    def _check_place(self, block: Block) -> None:
        piece = self.graph.pieces[self.graph.piece_of[block]]
        if block is self.func.entry:
            raise Impossible("nothing comes before the program's entry")
        if list(piece.entries) != [block]:
            raise Impossible("this is inside of a loop, which can only be cut at its one entry")

    def _checked(self, crossing: Crossing) -> Crossing:
        for number, each in enumerate(crossing.fields):
            if each.kind == "offset" and (bits := self.bits(crossing, number)) > FARTHEST:
                raise Impossible(f"an address of the packet ({each.name}) may be {(1 << bits) - 1} bytes into it")
        if sum(crossing.widths) > ARGUMENTS * WORD:
            size = sum(crossing.widths) // 8
            raise Impossible(f"{size} bytes would have to be passed; a call takes {ARGUMENTS * WORD // 8}")
        return crossing

    def bits(self, crossing: Crossing, number: int) -> int:
        """How many of the low bits of a field can be set: the verifier knows of the receiver's arguments only what it
        is told again."""
        each = crossing.fields[number]
        if each.kind in ("scalar", "offset") and each.value is not None:
            return min(each.width, self.crossings.scalars.bits(each.value))
        return each.width

    @property
    def tree(self) -> DominatorTree:
        """The dominator tree of the program."""
        return self.graph.tree


class CannotCut(Exception):
    """The program cannot be cut in front of `block`; the message says why."""

    def __init__(self, block: Block, reason: str) -> None:
        super().__init__(reason)
        self.block = block


def call_depth(functions: Mapping[str, FuncOp], name: str, above: frozenset[str] = frozenset()) -> int:
    """The longest sequence of calls from a function on, itself and callbacks included."""
    if name not in functions or name in above:
        return 0
    called: set[str] = set()
    for op in functions[name].walk():
        if isinstance(op, ebpf.CallLocalOp):
            called.add(op.callee.root_reference.data)
        elif isinstance(op, ebpf.LdSymOp):
            called.add(op.sym.root_reference.data)
    below = above | {name}
    return 1 + max((call_depth(functions, each, below) for each in called), default=0)


def packed(widths: Iterable[int]) -> list[tuple[int, int]]:
    """A place for fields of these widths (8 to 64 bits): (argument, shift) of each, in as few words as they fill."""
    numbered = sorted(enumerate(widths), key=lambda each: -each[1])
    places: dict[int, tuple[int, int]] = {}
    taken = 0
    for number, width in numbered:  # powers of two, the widest first: no gaps
        places[number] = (taken // WORD, taken % WORD)
        taken += width
    return [places[number] for number in range(len(places))]


__all__ = ["ARGUMENTS", "FRAMES", "WORD", "CannotCut", "Chain", "ChainPlan", "Link", "call_depth", "packed"]
