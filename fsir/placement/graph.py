"""The flow graph of a function as placement sees it: loops as one piece, and how often each block runs.

Where a profile says how often the sides of a branch were taken (`fsir.placement.profile`), that is how likely they are.
Otherwise frequencies are a static estimate: guards nearly always hold, lookups in arrays nearly always hit, a branch
that ends the program soon is less likely than one that goes on, others go either way alike, loops run ten times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from xdsl.dialects import cf
from xdsl.ir import Block

from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects import map as maps
from fsir.dialects import packet
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp, ValueType
from fsir.placement.profile import taken_of

LOOP_COUNT = 10.0
_MOST = 1e6  # times that a loop runs which the profile never saw end
_LIKELY = 0.98
_GOES_ON = 0.8
_SOON = 3.0  # a way is short when the other is so many times as long
_RARE = 1e-9  # of an exit that the estimate never takes: it can be taken
_ARRAYS = ("array", "percpu_array")


@dataclass(frozen=True)
class Piece:
    """What is placed as a whole: one block, or the blocks of an outermost loop. `entries` are its blocks that control
    comes to from outside; a cut in front of it is in front of these."""

    blocks: tuple[Block, ...]
    entries: tuple[Block, ...]
    is_loop: bool


class FlowGraph:
    """`pieces` in topological order, `piece_of` a block, `frequency` of a block per packet."""

    def __init__(self, func: FuncOp, declarations: Mapping[str, DeclOp]) -> None:
        self.func = func
        self.tree = DominatorTree(func.body)
        self._declarations = declarations
        self.pieces: list[Piece] = []
        self.piece_of: dict[Block, int] = {}
        for members in components(self.tree.rpo, successors):
            inside = set(members)
            entries = [b for b in members if b is func.entry or not inside.issuperset(self._sources(b))]
            is_loop = len(members) > 1 or members[0] in successors(members[0])
            for block in members:
                self.piece_of[block] = len(self.pieces)
            self.pieces.append(Piece(tuple(members), tuple(entries), is_loop))
        self._ahead = self._work_ahead()
        self.frequency: dict[Block, float] = dict.fromkeys(self.tree.rpo, 0.0)
        self.edge_frequency: dict[tuple[Block, Block], float] = {}
        self._flow(self.tree.rpo, {func.entry: 1.0}, frozenset())

    def _sources(self, block: Block) -> Iterable[Block]:
        return [p for p in self.tree.predecessors(block) if self.tree.is_reachable(p)]

    def probabilities(self, block: Block) -> list[tuple[Block, float]]:
        """The successors of a block, each once, with how likely control goes there."""
        targets = successors(block)
        if len(targets) < 2 or targets[0] is targets[1]:
            return [(target, 1.0) for target in targets[:1]]
        taken = taken_of(block.last_op)
        likely = self._likely(block) if taken is None else taken[0] / sum(taken)
        return [(targets[0], likely), (targets[1], 1.0 - likely)]

    def _likely(self, block: Block) -> float:
        """How likely the first successor is taken."""
        last = block.last_op
        condition = last.cond.owner if isinstance(last, cf.ConditionalBranchOp) else None
        if isinstance(condition, packet.GuardOp):
            return _LIKELY
        found = condition.value.type if isinstance(condition, maps.HitOp) else None
        if isinstance(found, ValueType) and all(map(self._is_array, found.names)):
            return _LIKELY
        ahead = [self._ahead[self.piece_of[target]] for target in successors(block)]
        if ahead[0] > ahead[1] * _SOON:
            return _GOES_ON
        return 1.0 - _GOES_ON if ahead[1] > ahead[0] * _SOON else 0.5

    def _work_ahead(self) -> list[int]:
        """For each piece, the operations on the longest way from it to the end."""
        ahead = [0] * len(self.pieces)
        for number in range(len(self.pieces) - 1, -1, -1):
            blocks = self.pieces[number].blocks
            beyond = {self.piece_of[target] for block in blocks for target in successors(block)} - {number}
            own = sum(1 for block in blocks for _ in block.ops)
            ahead[number] = own + max((ahead[n] for n in beyond), default=0)
        return ahead

    def _is_array(self, name: str) -> bool:
        declaration = self._declarations.get(name)
        return declaration is not None and declaration.type.data in _ARRAYS

    def _flow(
        self, blocks: Collection[Block], inflow: dict[Block, float], dropped: frozenset[Block]
    ) -> dict[tuple[Block, Block], float]:
        """Spread what comes in over `blocks`, edges to `dropped` (loop heads) ignored; what leaves, by edge."""
        inside = set(blocks)

        def inner(block: Block) -> list[Block]:
            return [s for s in successors(block) if s in inside and s not in dropped]

        arriving = dict(inflow)
        leaving: dict[tuple[Block, Block], float] = {}
        for members in components(blocks, inner):
            incoming = {b: arriving[b] for b in members if arriving.get(b)}
            total = sum(incoming.values())
            if len(members) == 1 and members[0] not in inner(members[0]):
                self.frequency[members[0]] = total
                out = {(members[0], s): total * p for s, p in self.probabilities(members[0])}
            else:
                heads = frozenset(incoming) or frozenset(members[:1])
                rounds = self._rounds(members, incoming, total, dropped | heads)
                scaled = {block: times * rounds for block, times in incoming.items()}
                out = self._flow(members, scaled, dropped | heads)
                out = {edge: times for edge, times in out.items() if edge[1] not in heads}
                lost = sum(out.values())
                out = {edge: times * total / lost for edge, times in out.items()} if lost else {}
            for (source, target), times in out.items():
                self.edge_frequency[source, target] = times
                if target in inside and target not in dropped:
                    arriving[target] = arriving.get(target, 0.0) + times
                else:
                    leaving[source, target] = leaving.get((source, target), 0.0) + times
        return leaving

    def _rounds(
        self, members: Collection[Block], incoming: dict[Block, float], total: float, dropped: frozenset[Block]
    ) -> float:
        """How often a loop runs for each time that control comes to it."""
        if not total or not any(taken_of(block.last_op) for block in members):
            return LOOP_COUNT
        out = self._flow(members, incoming, dropped)  # one round
        inside = set(members)
        leaving = sum(times for (_, target), times in out.items() if target not in inside)
        return total / max(leaving, total / _MOST)

    def exits(self, number: int) -> list[tuple[int, float]]:
        """The pieces that a piece leads to, with how likely, given that control is in it."""
        piece = self.pieces[number]
        inside = set(piece.blocks)
        weights: dict[int, float] = {}
        for block in piece.blocks:
            for target, p in self.probabilities(block):
                if target not in inside:
                    times = self.edge_frequency.get((block, target), self.frequency[block] * p)
                    at = self.piece_of[target]
                    weights[at] = weights.get(at, 0.0) + times
        total = sum(weights.values())
        if not total:  # not reached by the estimate: all alike
            return [(at, 1.0 / len(weights)) for at in sorted(weights)]
        return [(at, max(weights[at] / total, _RARE)) for at in sorted(weights)]

    def arrivals(self, number: int) -> float:
        """How often control comes to a piece from outside."""
        piece = self.pieces[number]
        inside = set(piece.blocks)
        times = 1.0 if self.func.entry in inside else 0.0
        for block in piece.entries:
            for source in self._sources(block):
                if source not in inside:
                    times += self.edge_frequency.get((source, block), 0.0)
        return times
