"""Where to cut a link that is too much for the verifier: so that what is left is small on both sides, and where the
fewest values live among the places that are alike in that.

`followed` is how many instructions a verifier would follow that never recognises a state that it has seen: it doubles
with each branch that both sides go on from. `length` is the operations themselves. Both count pieces, loops as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import successors
from fsir.analysis.liveness import Liveness
from fsir.dialects.ebpf import FuncOp
from fsir.placement.chain import CannotCut, Chain, ChainPlan, Link
from fsir.placement.prepare import split_where

_ROUNDS = 32  # that a loop is taken to run
_TRIED = 8  # possible cuts of which the one with the fewest values is taken
_MOST = 400  # candidates of one link
_STRETCH = 24  # operations without a branch between places where a block may be cut
_LEAST_GAIN = 0.95

Measure = Callable[[int, Set[int]], float]
"""What a link is worth that starts at a piece and ends at some."""


@dataclass(frozen=True)
class Measured:
    """What is to become less; measures within `factor` of the best count as alike."""

    measure: str
    factor: float


LENGTH = Measured("length", 1.25)
FOLLOWED = Measured("followed", 4.0)


class Chooser:
    """Chooses cuts for one chain. `bad` are the blocks that no cut can be made at, or that the kernel did not like."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.graph = chain, chain.graph
        self.bad: set[Block] = set()
        pieces = self.graph.pieces
        self._sizes = [sum(1 for block in piece.blocks for _ in block.ops) for piece in pieces]
        self._exits = [
            [self.graph.piece_of[t] for b in piece.blocks for t in successors(b) if t not in set(piece.blocks)]
            for piece in pieces
        ]

    def next_cut(self, cuts: Set[Block], link: Link, by: Measured) -> tuple[Block, ChainPlan] | None:
        """One more cut, inside of a link, and the plan with it; None where no cut makes it less."""
        start = self.graph.piece_of[link.start]
        leaves = {self.graph.piece_of[block] for block in link.cuts.leaves}
        measure: Measure = getattr(self, f"_{by.measure}")
        limit = _LEAST_GAIN * measure(start, leaves)
        ranked: list[tuple[float, int]] = []
        for number in self._candidates(link, start):
            value = max(measure(start, leaves | {number}), measure(number, leaves))
            if value < limit:
                ranked.append((value, number))
        found: list[tuple[int, float, Block, ChainPlan]] = []
        for value, number in sorted(ranked):
            if found and (value > by.factor * found[0][1] or len(found) == _TRIED):
                break
            (block,) = self.graph.pieces[number].entries
            try:
                plan = self.chain.plan(cuts | {block})
            except CannotCut as error:
                if error.block is block:
                    self.bad.add(block)
                continue
            crossing = plan.links[block].crossing
            assert crossing is not None
            found.append((sum(crossing.widths), value, block, plan))
        if not found:
            return None
        _, _, block, plan = min(found, key=lambda each: each[:2])
        return block, plan

    def followed(self, link: Link) -> float:
        """How much there is to follow in a link."""
        leaves = {self.graph.piece_of[block] for block in link.cuts.leaves}
        return self._followed(self.graph.piece_of[link.start], leaves)

    def _candidates(self, link: Link, start: int) -> Iterable[int]:
        inside = {self.graph.piece_of[block] for block in link.cuts.runs} - {start}
        entries = {n: self.graph.pieces[n].entries for n in inside}
        possible = [n for n in sorted(inside) if len(entries[n]) == 1 and entries[n][0] not in self.bad]
        return possible[:: len(possible) // _MOST + 1]

    def _followed(self, start: int, leaves: Set[int]) -> float:
        worth: dict[int, float] = dict.fromkeys(leaves, 1.0)
        for number in range(len(self.graph.pieces) - 1, start - 1, -1):
            if number not in leaves or number == start:
                ahead = self._sizes[number] + sum(worth[n] for n in self._exits[number])
                worth[number] = ahead * _ROUNDS if self.graph.pieces[number].is_loop else ahead
        return worth[start]

    def _length(self, start: int, leaves: Set[int]) -> float:
        seen, work = {start}, [start]
        while work:
            new = set(self._exits[work.pop()]) - seen - leaves
            seen |= new
            work += new
        return float(sum(self._sizes[n] for n in seen))


def split_stretches(func: FuncOp) -> None:
    """Split long blocks where the fewest values live, so that cuts can be made inside of them."""
    liveness = Liveness(func.body)
    places: dict[Operation, frozenset[str]] = {}
    for block in func.body.blocks:
        ops = list(block.ops)
        live = {op: len(liveness.values_of(after)) for op, after in liveness.backward(block)}
        for at in range(_STRETCH, len(ops) - _STRETCH // 2, _STRETCH):
            window = range(at - _STRETCH // 4, at + _STRETCH // 4)
            best = min(window, key=lambda i: (live[ops[i - 1]], abs(i - at)))
            places[ops[best]] = frozenset({f"{len(places)}"})
    split_where(func, lambda op: places.get(op, frozenset()))


__all__ = ["FOLLOWED", "LENGTH", "Chooser", "Measured", "split_stretches"]
