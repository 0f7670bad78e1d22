"""The cuts of a decided placement, each with exactly what its receiver needs.

What a part needs on entry to a block follows from what runs in that part: the values used there, and where it hands
over in turn, what that handoff carries. So parts are looked at from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdsl.ir import Block, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.analysis.dominance import successors
from fsir.placement.crossing import Crossing, Impossible
from fsir.placement.decide import Placed, Program

if TYPE_CHECKING:
    from fsir.placement.order import Order


class CutFailed(Exception):
    """A cut that looked possible is not, in front of piece `piece` of `program` on target number `target`."""

    def __init__(self, program: Program, piece: int, target: int, reason: Impossible):
        super().__init__(str(reason))
        self.program, self.piece, self.target = program, piece, target


@dataclass
class PartCuts:
    """One program on one target: `runs` are its blocks, `leaves` the cuts where it hands over, by block; `live_in`
    what is live on entry to each of these blocks, the block's own arguments aside; `order` the order in which its
    packets and those that it hands over have their effects."""

    runs: set[Block]
    leaves: dict[Block, Crossing] = field(default_factory=dict)
    live_in: dict[Block, set[SSAValue]] = field(default_factory=dict)
    order: Order | None = None


def final_cuts(placed: Placed, fits: Callable[[int, Crossing], str | None]) -> list[PartCuts]:
    """The cuts by target. `fits(t, crossing)` says why target number t cannot send one. Raises CutFailed."""
    program, plan = placed.program, placed.plan
    pieces = program.graph.pieces
    parts = [PartCuts({b for n in placed.runs(t) for b in pieces[n].blocks}) for t in range(len(plan.loads))]
    for t in range(len(parts) - 1, -1, -1):
        if t + 1 < len(parts):
            for n in plan.hands[t] & plan.visits[t].keys():
                for block in pieces[n].entries:
                    parts[t].leaves[block] = _crossing(placed, parts[t + 1], block, n, t, fits)
        fill_liveness(program.graph.tree.rpo, parts[t])
    return parts


def _crossing(
    placed: Placed, receiver: PartCuts, block: Block, piece: int, t: int, fits: Callable[[int, Crossing], str | None]
) -> Crossing:
    live = set(receiver.live_in[block])
    live |= needed_args(receiver, block)
    try:
        crossing = placed.program.crossings.plan_for(block, live)
    except Impossible as error:
        raise CutFailed(placed.program, piece, t, error) from error
    reason = fits(t, crossing)
    if reason is not None:
        raise CutFailed(placed.program, piece, t, Impossible(reason))
    return crossing


def needed_args(receiver: PartCuts, block: Block) -> set[SSAValue]:
    """The arguments of a block that a part uses: all, or those that the next handoff carries."""
    if block in receiver.leaves:
        return _carried(receiver.leaves[block]).intersection(block.args)
    return set(block.args)


def _carried(crossing: Crossing) -> set[SSAValue]:
    return {each.value for each in crossing.fields if each.value is not None}


def fill_liveness(rpo: Sequence[Block], part: PartCuts) -> None:
    """Fill `part.live_in`; `rpo` are the blocks of the function."""
    for block in rpo:
        if block in part.runs or block in part.leaves:
            part.live_in[block] = set()
    again = True
    while again:
        again = False
        for block in reversed(rpo):
            if block not in part.live_in:
                continue
            live = _carried(part.leaves[block]) if block in part.leaves else _through(block, part)
            live -= set(block.args)
            if live != part.live_in[block]:
                part.live_in[block] = live
                again = True


def _through(block: Block, part: PartCuts) -> set[SSAValue]:
    live: set[SSAValue] = set()
    for target in successors(block):
        live |= part.live_in[target]
    for op in reversed(list(block.ops)):
        live -= set(op.results)
        passed = sum(len(successor_operands(op, i)) for i in range(len(op.successors)))
        live |= set(op.operands[: len(op.operands) - passed])
        for index, target in enumerate(op.successors):
            needed = needed_args(part, target)
            values = successor_operands(op, index)
            live |= {v for v, arg in zip(values, target.args, strict=True) if arg in needed}
    return live
