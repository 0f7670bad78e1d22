"""The best cut, against trying every cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsir.placement.stopping import INF, Graph, Node, Plan, Stages, solve, spread


@st.composite
def graphs(draw: st.DrawFn, targets: int) -> Graph:
    count = draw(st.integers(1, 5))
    cost = st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0, 20.0])
    nodes = []
    for n in range(count):
        later = list(range(n + 1, count))
        chosen = draw(st.lists(st.sampled_from(later), max_size=2, unique=True)) if later else []
        split = draw(st.sampled_from([0.1, 0.5, 0.75]))
        probabilities = [1.0] if len(chosen) == 1 else [split, 1 - split]
        # The last target can run everything, or there might be no plan at all.
        run = [draw(st.one_of(cost, st.just(INF))) for _ in range(targets - 1)] + [draw(cost)]
        hand = [(draw(st.one_of(cost, cost, st.just(INF))), draw(cost)) for _ in range(targets - 1)]
        nodes.append(Node(run, hand, list(zip(chosen, probabilities, strict=False))))
    return Graph(nodes, targets)


def loads_of(graph: Graph, hands: tuple[frozenset[int], ...]) -> list[float]:
    """The loads of a plan, found by walking every path."""
    loads = [0.0] * graph.targets

    def walk(n: int, t: int, times: float) -> None:
        node = graph.nodes[n]
        if t + 1 < graph.targets and n in hands[t]:
            loads[t] += times * node.hand[t][0]
            loads[t + 1] += times * node.hand[t][1]
            walk(n, t + 1, times)
            return
        loads[t] += times * node.run[t]
        for successor, p in node.successors:
            walk(successor, t, times * p)

    walk(0, 0, 1.0)
    return loads


def every_plan(graph: Graph) -> list[tuple[frozenset[int], ...]]:
    nodes = range(len(graph.nodes))
    subsets = [frozenset(s) for size in range(len(graph.nodes) + 1) for s in itertools.combinations(nodes, size)]
    return [(*choice, frozenset()) for choice in itertools.product(subsets, repeat=graph.targets - 1)]


@pytest.mark.parametrize("targets", [2, 3])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_solve_is_the_best_of_all_plans(targets: int, data: st.DataObject) -> None:
    graph = data.draw(graphs(targets))
    plan = solve(graph)
    best = min(sum(loads_of(graph, hands)) for hands in every_plan(graph))
    assert plan.cost == pytest.approx(best)
    if plan.feasible:
        assert list(plan.loads) == pytest.approx(loads_of(graph, plan.hands))


STAGES = {
    2: [Stages.apart([1, 1]), Stages.apart([1, 3]), Stages([1, 1], [0, 0]), Stages([2, 2], [0, 0])],
    3: [Stages.apart([1, 1, 1]), Stages([1, 1, 1], [0, 1, 1]), Stages([1, 2, 1], [0, 1, 0]), Stages([1] * 3, [0] * 3)],
}


@pytest.mark.parametrize("targets", [2, 3])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_spread_is_between_its_bound_and_what_it_says(targets: int, data: st.DataObject) -> None:
    """Against every plan; targets have cores of their own, or share them."""
    graph = data.draw(graphs(targets))
    stages = data.draw(st.sampled_from(STAGES[targets]))
    plan = spread(graph, stages)
    best = min(busiest(loads_of(graph, hands), stages) for hands in every_plan(graph))
    if not plan.feasible:
        assert best == INF
        return
    assert plan.bound <= best + 1e-9
    assert best <= plan.cost + 1e-9
    assert busiest(loads_of(graph, plan.hands), stages) == pytest.approx(plan.cost)
    for other in plan.others:
        assert busiest(loads_of(graph, other.hands), stages) == pytest.approx(other.cost)
        assert other.cost >= plan.cost * (1 - 1e-9)
    if len(set(stages.of)) == 1 and len(set(stages.cores)) == 1:
        assert plan.cost == pytest.approx(best)  # a sum


def busiest(loads: list[float], stages: Stages) -> float:
    """By the definition."""
    return max(
        sum(load / c for load, c, s in zip(loads, stages.cores, stages.of, strict=True) if s == stage)
        for stage in stages.of
    )


def chain(*costs: float, hand: float = 1.0) -> Graph:
    last = len(costs) - 1
    return Graph([Node([c, c], [(hand, hand)], [(n + 1, 1.0)] if n < last else []) for n, c in enumerate(costs)], 2)


def test_a_pipeline_is_cut_in_half_when_halves_are_large() -> None:
    plan = spread(chain(250.0, 250.0, 250.0, 250.0), Stages.apart([1, 1]))
    assert plan.cost == pytest.approx(501.0)
    assert plan.hands[0] == {2}


def test_a_pipeline_is_not_cut_when_handing_over_costs_more() -> None:
    plan = spread(chain(25.0, 25.0, hand=60.0), Stages.apart([1, 1]))
    assert plan.hands[0] == frozenset()


def test_a_block_runs_on_both_sides() -> None:
    """A slow path must not drag the shared exit, and with it every fast packet, to the slow side."""
    entry, slow, exit_ = 0, 1, 2
    graph = Graph(
        [
            Node([1.0, 5.0], [(50.0, 50.0)], [(slow, 0.01), (exit_, 0.99)]),
            Node([INF, 5.0], [(50.0, 50.0)], [(exit_, 1.0)]),
            Node([1.0, 5.0], [(50.0, 50.0)]),
        ],
        2,
    )
    plan = solve(graph)
    assert plan.hands[0] == {slow}
    assert plan.visits[0] == pytest.approx({entry: 1.0, slow: 0.01, exit_: 0.99})
    assert plan.visits[1] == pytest.approx({slow: 0.01, exit_: 0.01})


def test_parts_on_one_core_are_not_cut_apart() -> None:
    """Where the loads add up, handing over only costs."""
    assert spread(chain(250.0, 250.0), Stages([1, 1], [0, 0])).cost == pytest.approx(500.0)
    assert spread(chain(250.0, 250.0), Stages.apart([1, 1])).cost == pytest.approx(251.0)


def test_no_plan() -> None:
    graph = Graph([Node([INF, INF], [(1.0, 1.0)])], 2)
    plan: Plan = solve(graph)
    assert not plan.feasible
    assert not spread(graph, Stages.apart([1, 1])).feasible
