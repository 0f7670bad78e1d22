"""Classes of nodes that share a register, so that the copies between them vanish.

Aggressive: every copy is tried, those within one original register first, then by weight. What turns out to ask too
much is taken apart again by the caller, who names the copies to leave alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fsir.regalloc.interference import Graph
from fsir.regalloc.model import ALLOCATABLE, FIRST, Kind, MachineCode


@dataclass(slots=True)
class Classes:
    """`leader` maps each node to the node that stands for its class; the lists are by leader."""

    leader: list[int]
    members: dict[int, list[int]]
    adjacent: dict[int, set[int]]
    forbidden: dict[int, int]

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
    )
    hint = code.hint
    candidates = [
        (hint[d] == hint[s] is not None, weight, d, s)
        for weight, d, s in graph.copies
        if d >= FIRST and s >= FIRST and (d, s) not in blocked
    ]
    candidates.sort(key=lambda item: (not item[0], -item[1]))
    for same, _, destination, source in candidates:
        if same or not hinted_only:
            _merge(classes, destination, source)
    return classes


def _merge(classes: Classes, first: int, second: int) -> None:
    a, b = classes.of(first), classes.of(second)
    if a == b or b in classes.adjacent[a]:
        return
    forbidden = classes.forbidden[a] | classes.forbidden[b]
    if not ALLOCATABLE & ~forbidden:
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
    classes.members[a] += classes.members.pop(b)
    classes.leader[b] = a
