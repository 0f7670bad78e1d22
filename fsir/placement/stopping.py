"""The best cut of a flow graph over targets, as an optimal stopping problem.

A packet walks through the nodes of an acyclic graph (loops are single nodes) by given probabilities, starting on target
0. At each node it either runs the node where it is, or is first handed to the next target; it never goes back. A node
may run on different targets for different ways of reaching it, so the best plan is, exactly,

    V[t](n) = min( run[n][t] + Σ p · V[t](successor) ,  send + receive + V[t+1](n) )

which one pass over the graph in reverse topological order gives (`solve`).

`throughput` minimises instead the largest load of any stage (a pipeline is as fast as its slowest stage). A stage is a
set of cores: targets that share their cores are one stage, and their loads add up. The largest load is no sum; its
Lagrangian is: for weights w ≥ 0 with Σ w = 1 the best weighted sum is a lower bound of the best maximum.
`spread` sweeps weights, improves the plan with the smallest maximum by moving single cuts, and reports the best bound.

Nothing here knows of IR.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

INF = float("inf")
_EFFORT = 3_000_000  # nodes looked at while improving a plan
_ROUND = 300  # cuts tried before the best of them is made


@dataclass
class Node:
    """`run[t]` is the cost of running it on target t, `hand[t]` what handing over from t to t + 1 in front of it costs
    the sender and the receiver (INF: impossible), `successors` pairs of node number and probability."""

    run: list[float]
    hand: list[tuple[float, float]]
    successors: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Graph:
    """`nodes` in topological order, all successors after; node 0 is where packets start, on target 0."""

    nodes: Sequence[Node]
    targets: int


@dataclass(frozen=True)
class Plan:
    """`hands[t]` holds the nodes in front of which a packet on target t is handed over; `visits[t][n]` how often node n
    is reached on t, per packet; `loads[t]` the cost per packet that target t bears; `cost` their sum (weighted in
    `solve`, that of the busiest stage per core in `spread`), `bound` a lower bound of the best `cost`. INF: there is no
    plan. `others` are plans that `spread` came by, the best first."""

    hands: tuple[frozenset[int], ...]
    visits: tuple[dict[int, float], ...]
    loads: tuple[float, ...]
    cost: float
    bound: float
    others: tuple[Plan, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether the whole graph can run somewhere."""
        return self.cost < INF


def solve(graph: Graph, weights: Sequence[float] | None = None) -> Plan:
    """The plan with the least sum of loads, each load times its target's weight. Exact."""
    weight = list(weights) if weights is not None else [1.0] * graph.targets
    count = len(graph.nodes)
    value = [[INF] * count for _ in range(graph.targets)]
    hands: list[set[int]] = [set() for _ in range(graph.targets)]
    for t in range(graph.targets - 1, -1, -1):
        for n in range(count - 1, -1, -1):
            node = graph.nodes[n]
            run = node.run[t] * weight[t] if node.run[t] < INF else INF
            run += sum(p * value[t][s] for s, p in node.successors if p > 0.0)
            hand = INF
            if t + 1 < graph.targets and node.hand[t][0] < INF and node.hand[t][1] < INF:
                send, receive = node.hand[t]
                hand = send * weight[t] + receive * weight[t + 1] + value[t + 1][n]
            if hand < run * (1 - 1e-12):
                hands[t].add(n)
            value[t][n] = min(run, hand)
    cost = value[0][0] if count else 0.0
    visits, loads = _follow(graph, hands)
    return Plan(tuple(map(frozenset, hands)), visits, loads, cost, cost)


def _follow(graph: Graph, hands: Sequence[Collection[int]]) -> tuple[tuple[dict[int, float], ...], tuple[float, ...]]:
    """How often each node is reached on each target, and the loads."""
    visits: list[dict[int, float]] = [{} for _ in range(graph.targets)]
    loads = [0.0] * graph.targets
    if graph.nodes:
        visits[0][0] = 1.0
    for t in range(graph.targets):
        for n in range(len(graph.nodes)):
            times = visits[t].get(n)
            if times is None:
                continue
            node = graph.nodes[n]
            if n in hands[t]:
                loads[t] += times * node.hand[t][0]
                loads[t + 1] += times * node.hand[t][1]
                visits[t + 1][n] = visits[t + 1].get(n, 0.0) + times
                continue
            loads[t] += times * node.run[t]
            for successor, p in node.successors:
                if p <= 0.0:
                    continue
                visits[t][successor] = visits[t].get(successor, 0.0) + times * p
    return tuple(visits), tuple(loads)


@dataclass(frozen=True)
class Stages:
    """What bounds a pipeline: `cores` by target, and by target the number of its stage (`of`). Targets of one stage
    share its cores."""

    cores: Sequence[int]
    of: Sequence[int]

    @classmethod
    def apart(cls, cores: Sequence[int]) -> Stages:
        """Every target has cores of its own."""
        return cls(cores, range(len(cores)))

    def busiest(self, loads: Sequence[float]) -> float:
        """The load of the busiest stage, per core."""
        total = [0.0] * (max(self.of) + 1)
        for load, cores, stage in zip(loads, self.cores, self.of, strict=True):
            total[stage] += load / cores
        return max(total)

    def weights(self) -> Iterable[list[float]]:
        """Weights by target for which the weighted sum of loads is never above the busiest stage."""
        for by_stage in _weights(max(self.of) + 1):
            yield [by_stage[stage] / cores for stage, cores in zip(self.of, self.cores, strict=True)]


def spread(graph: Graph, stages: Stages) -> Plan:
    """A plan with a small load of the busiest stage: the best that weights find, improved by moving single cuts as long
    as that helps. `bound` says how much better any plan could be."""
    found: dict[tuple[frozenset[int], ...], Plan] = {}
    bound = 0.0
    for weights in stages.weights():
        plan = solve(graph, weights)
        if not plan.feasible:
            return plan
        bound = max(bound, plan.cost)
        found.setdefault(plan.hands, _planned(graph, plan.hands, stages))
    best = min(found.values(), key=lambda plan: plan.cost)
    if best.cost > bound * (1 + 1e-6):
        best = _improved(graph, best, stages)
    others = [plan for plan in found.values() if plan.visits != best.visits]
    others.sort(key=lambda plan: plan.cost)
    return Plan(best.hands, best.visits, best.loads, best.cost, min(bound, best.cost), tuple(others))


def priced(graph: Graph, plan: Plan, stages: Stages | None) -> Plan:
    """A plan of a graph with other costs, at the costs of this one. Without `stages`, its cost is the sum of the loads.
    The bound is not known again: it is that cost."""

    def at(other: Plan) -> Plan:
        visits, loads = _follow(graph, other.hands)
        cost = sum(loads) if stages is None else stages.busiest(loads)
        return Plan(other.hands, visits, loads, cost, cost)

    found = at(plan)
    return Plan(found.hands, found.visits, found.loads, found.cost, found.bound, tuple(at(p) for p in plan.others))


def _planned(graph: Graph, hands: Sequence[frozenset[int]], stages: Stages) -> Plan:
    """The plan with these cuts, its cost that of the busiest stage."""
    visits, loads = _follow(graph, hands)
    return Plan(tuple(hands), visits, loads, stages.busiest(loads), 0.0)


def _improved(graph: Graph, plan: Plan, stages: Stages) -> Plan:
    """Add or remove one cut at a time, the best first, until none helps; on large graphs only so many are tried."""
    tries = max(_ROUND, _EFFORT // (len(graph.nodes) * graph.targets))
    while tries > 0:
        moves = [(t, n) for t, visited in enumerate(plan.visits[:-1]) for n in visited]
        stride = len(moves) // _ROUND + 1
        best = plan
        for t, n in moves[tries % stride :: stride]:
            hands = list(plan.hands)
            hands[t] = hands[t] ^ {n}
            other = _planned(graph, hands, stages)
            if other.cost < best.cost * (1 - 1e-9):
                best = other
        if best is plan and stride == 1:
            break
        plan = best
        tries -= len(moves) // stride + 1
    return plan


def _weights(count: int) -> Iterable[list[float]]:
    """Weights of sum 1: equal ones first, then a grid, ratios from 1 to 2^±10."""
    if count == 1:
        return [[1.0]]
    steps = [2.0 ** (e / 2) for e in range(-20, 21)] if count == 2 else [2.0**e for e in range(-10, 11, 2)]
    grid: list[list[float]] = [[1.0] * count]
    for first in steps:
        for second in steps if count > 2 else [1.0]:
            grid.append([1.0, first, second][:count] + [1.0] * max(0, count - 3))
    return [[w / sum(weights) for w in weights] for weights in grid]
