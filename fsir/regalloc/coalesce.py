"""Classes of nodes that share a register, so that the copies between them vanish.

Aggressive: every copy is tried; first those between nodes that are alike in whether they live across calls, within one
original register before others, then by weight. A class gives up a register of the machine that it is copied from or to
only for a copy worth as much. What turns out to ask too much is taken apart again by the caller, who names the copies
to leave alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fsir.regalloc.interference import Graph
from fsir.regalloc.model import ALLOCATABLE, CALLER_SAVED, FIRST, Kind, MachineCode


@dataclass(slots=True)
class Classes:
    """`leader` maps each node to the node that stands for its class; the lists are by leader."""

    leader: list[int]
    members: dict[int, list[int]]
    adjacent: dict[int, set[int]]
    forbidden: dict[int, int]
    wishes: dict[int, dict[int, float]]
    """What a class saves in each register of the machine: the copies from and to that register."""

    def of(self, node: int) -> int:
        """The leader of a node's class."""
        leader = self.leader
        while leader[node] != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node


def coalesce(
    code: MachineCode, graph: Graph, blocked: Collection[tuple[int, int]], hinted_only: bool = False
) -> Classes:
    """Merge the ends of copies that may share a register. With `hinted_only`, only those that did originally."""
    nodes = [n for n in range(FIRST, len(code.kind)) if code.kind[n] is Kind.REGISTER]
    classes = Classes(
        list(range(len(code.kind))),
        {n: [n] for n in nodes},
        {n: graph.adjacent[n] for n in nodes},
        {n: graph.forbidden[n] for n in nodes},
        {n: {} for n in nodes},
    )
    for weight, d, s in graph.copies:
        if d < FIRST or s < FIRST:
            wishes = classes.wishes[max(d, s)]
            wishes[min(d, s)] = wishes.get(min(d, s), 0.0) + weight
    hint = code.hint
    crosses = [mask & CALLER_SAVED == CALLER_SAVED for mask in graph.forbidden]
    candidates = [
        (hint[d] == hint[s] is not None, weight, d, s)
        for weight, d, s in graph.copies
        if d >= FIRST and s >= FIRST and (d, s) not in blocked
    ]
    candidates.sort(key=lambda item: (crosses[item[2]] != crosses[item[3]], not item[0], -item[1]))
    for same, weight, destination, source in candidates:
        if same or not hinted_only:
            _merge(classes, destination, source, weight)
    return classes


def _saved(wishes: dict[int, float], forbidden: int) -> float:
    """What the best register that is not forbidden saves."""
    return max((weight for register, weight in wishes.items() if not forbidden >> register & 1), default=0.0)


def _merge(classes: Classes, first: int, second: int, weight: float) -> None:
    """Merge two classes if they do not interfere, and if the copy is worth more than the registers that they lose."""
    a, b = classes.of(first), classes.of(second)
    if a == b or b in classes.adjacent[a]:
        return
    forbidden = classes.forbidden[a] | classes.forbidden[b]
    if not ALLOCATABLE & ~forbidden:
        return
    wishes = dict(classes.wishes[a])
    for register, saved in classes.wishes[b].items():
        wishes[register] = wishes.get(register, 0.0) + saved
    apart = sum(_saved(classes.wishes[n], classes.forbidden[n]) for n in (a, b))
    if _saved(wishes, forbidden) + weight < apart:
        return
    if len(classes.adjacent[a]) < len(classes.adjacent[b]):
        a, b = b, a
    around = classes.adjacent.pop(b)
    for other in around:
        neighbours = classes.adjacent[other]
        neighbours.discard(b)
        neighbours.add(a)
    classes.adjacent[a] |= around
    classes.forbidden[a] = forbidden
    del classes.forbidden[b]
    classes.wishes[a] = wishes
    del classes.wishes[b]
    classes.members[a] += classes.members.pop(b)
    classes.leader[b] = a
