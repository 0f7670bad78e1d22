"""A layered drawing of a directed graph (Sugiyama's method): from sizes and edges to coordinates.

Control flows downwards.  Edges that close a cycle are laid out the other way round; an edge over several layers bends
at a point in each.  Orders within layers come from barycentres, coordinates from an isotonic regression: each node as
near to the middle of its neighbours as order and distances allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GAP_X, GAP_Y = 22.0, 34.0
_BEND = 12.0  # the width that an edge takes where it passes a layer
_SWEEPS = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node's place: the middle of its upper edge, and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Route:
    """An edge's way: from its source's rim to its target's. `back` edges close a cycle and run upwards."""

    points: tuple[Point, ...]
    back: bool


@dataclass
class Drawing:
    """Coordinates of all nodes, in their order, and of all edges, in theirs; x and y start at 0."""

    boxes: list[Box]
    routes: list[Route]
    width: float
    height: float


@dataclass
class _Vertex:
    """A node, or a bend of an edge."""

    width: float
    height: float
    rank: int
    x: float = 0.0
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)


def draw(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Drawing:
    """Lay out a graph of nodes with `sizes` (width, height). Self-loops and edges that occur twice are fine."""
    back = _back_edges(len(sizes), edges)
    ranks = _ranks(len(sizes), edges, back)
    vertices = [_Vertex(width, height, rank) for (width, height), rank in zip(sizes, ranks, strict=True)]
    chains = [_chain(vertices, edge, number in back) for number, edge in enumerate(edges)]
    layers = _ordered(vertices)
    _place(vertices, layers)
    tops = _tops(vertices, layers)
    left = min((v.x - v.width / 2 for v in vertices), default=0.0)
    boxes = [Box(v.x - left, tops[v.rank], v.width, v.height) for v in vertices[: len(sizes)]]
    heights = [max((vertices[n].height for n in layer), default=0.0) for layer in layers]
    routes = []
    for (source, target), chain, number in zip(edges, chains, range(len(edges)), strict=True):
        upper, lower = (target, source) if number in back else (source, target)
        if source == target:
            routes.append(Route(_loop(boxes[source]), True))
            continue
        points = [(boxes[upper].x, boxes[upper].y + boxes[upper].height)]
        for bend in chain:
            rank = vertices[bend].rank
            x = vertices[bend].x - left
            points += [(x, tops[rank]), (x, tops[rank] + heights[rank])]
        points.append((boxes[lower].x, boxes[lower].y))
        routes.append(Route(tuple(reversed(points) if number in back else points), number in back))
    width = max((v.x + v.width / 2 for v in vertices), default=0.0) - left
    return Drawing(boxes, routes, width, max((b.y + b.height for b in boxes), default=0.0))


def _loop(box: Box) -> tuple[Point, ...]:
    """From a node's side back to it."""
    side, low, high = box.x + box.width / 2, box.y + box.height * 0.75, box.y + box.height * 0.25
    return (side, low), (side + GAP_X / 2, low), (side + GAP_X / 2, high), (side, high)


def _back_edges(count: int, edges: Sequence[tuple[int, int]]) -> set[int]:
    """The numbers of the edges that a depth-first search finds to lead to a node it is still in."""
    leaving: list[list[int]] = [[] for _ in range(count)]
    for number, (source, _) in enumerate(edges):
        leaving[source].append(number)
    state = [0] * count  # 1: being visited, 2: done
    found: set[int] = set()
    for root in range(count):
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, iter(leaving[root]))]
        while stack:
            node, rest = stack[-1]
            for number in rest:
                target = edges[number][1]
                if state[target] == 1:
                    found.add(number)
                elif state[target] == 0:
                    state[target] = 1
                    stack.append((target, iter(leaving[target])))
                    break
            else:
                state[node] = 2
                stack.pop()
    return found


def _ranks(count: int, edges: Sequence[tuple[int, int]], back: set[int]) -> list[int]:
    """For each node the length of the longest way to it."""
    below: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for number, (source, target) in enumerate(edges):
        if source == target:
            continue
        upper, lower = (target, source) if number in back else (source, target)
        below[upper].append(lower)
        waiting[lower] += 1
    ranks = [0] * count
    ready = [n for n in range(count) if not waiting[n]]
    for node in ready:
        for lower in below[node]:
            ranks[lower] = max(ranks[lower], ranks[node] + 1)
            waiting[lower] -= 1
            if not waiting[lower]:
                ready.append(lower)
    return ranks


def _chain(vertices: list[_Vertex], edge: tuple[int, int], is_back: bool) -> list[int]:
    """Link the ends of an edge, by a bend in each layer between; the numbers of the bends, from above."""
    upper, lower = reversed(edge) if is_back else edge
    chain: list[int] = []
    if upper == lower:
        return chain
    for rank in range(vertices[upper].rank + 1, vertices[lower].rank):
        chain.append(len(vertices))
        vertices.append(_Vertex(_BEND, 0.0, rank))
    way = [upper, *chain, lower]
    for above, below in pairwise(way):
        vertices[above].below.append(below)
        vertices[below].above.append(above)
    return chain


def _ordered(vertices: Sequence[_Vertex]) -> list[list[int]]:
    """The layers, each in an order that has few crossings."""
    layers: list[list[int]] = [[] for _ in range(max((v.rank for v in vertices), default=-1) + 1)]
    for number, vertex in enumerate(vertices):
        layers[vertex.rank].append(number)
    best, fewest = [list(layer) for layer in layers], _crossings(vertices, layers)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        at = {n: i for layer in layers for i, n in enumerate(layer)}
        for layer in layers if down else reversed(layers):
            near = {n: vertices[n].above if down else vertices[n].below for n in layer}
            centre = {n: _mean([at[m] for m in near[n]], at[n]) for n in layer}
            layer.sort(key=centre.__getitem__)
            at |= {n: i for i, n in enumerate(layer)}
        if (crossings := _crossings(vertices, layers)) < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _crossings(vertices: Sequence[_Vertex], layers: Sequence[Sequence[int]]) -> int:
    """How many pairs of edges between neighbouring layers cross: inversions, counted by a Fenwick tree."""
    total = 0
    for layer, lower in pairwise(layers):
        at = {n: i for i, n in enumerate(lower)}
        tree = [0] * (len(lower) + 1)
        seen = 0
        for node in layer:
            ends = sorted(at[m] for m in vertices[node].below)
            for end in ends:
                index, up_to = end + 1, 0
                while index:
                    up_to += tree[index]
                    index &= index - 1
                total += seen - up_to
            for end in ends:
                index = end + 1
                while index <= len(lower):
                    tree[index] += 1
                    index += index & -index
            seen += len(ends)
    return total


def _place(vertices: Sequence[_Vertex], layers: Sequence[Sequence[int]]) -> None:
    """The x of each vertex."""
    for layer in layers:
        x = 0.0
        for node in layer:
            vertices[node].x = x + vertices[node].width / 2
            x += vertices[node].width + GAP_X
    for sweep in range(_SWEEPS * 2):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wished = []
            for node in layer:
                vertex = vertices[node]
                near = vertex.above if down else vertex.below
                wished.append(_mean([vertices[m].x for m in near], vertex.x))
            for node, x in zip(layer, _spaced([vertices[n].width for n in layer], wished), strict=True):
                vertices[node].x = x


def _spaced(widths: Sequence[float], wished: Sequence[float]) -> list[float]:
    """Middles next to those wished for (least squares), in order and without overlap."""
    starts = []
    x = 0.0
    for width in widths:
        starts.append(x + width / 2)
        x += width + GAP_X
    groups: list[tuple[float, int]] = []  # mean shift, members
    for wish, start in zip(wished, starts, strict=True):
        groups.append((wish - start, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (a, n), (b, m) = groups[-2:]
            groups[-2:] = [((a * n + b * m) / (n + m), n + m)]
    shifts = [shift for shift, members in groups for _ in range(members)]
    return [start + shift for start, shift in zip(starts, shifts, strict=True)]


def _tops(vertices: Sequence[_Vertex], layers: Sequence[Sequence[int]]) -> list[float]:
    """The y of each layer."""
    tops, y = [], 0.0
    for layer in layers:
        tops.append(y)
        y += max((vertices[n].height for n in layer), default=0.0) + GAP_Y
    return tops
