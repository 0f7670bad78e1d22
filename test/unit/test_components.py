"""Strongly connected components, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsir.analysis.components import components

CASES = [
    ({}, []),
    ({0: [1], 1: [2], 2: []}, [[0], [1], [2]]),
    ({0: [1, 2], 1: [3], 2: [3], 3: []}, None),
    ({0: [1], 1: [2], 2: [1, 3], 3: []}, [[0], [1, 2], [3]]),
    ({0: [0]}, [[0]]),
    ({0: [1, 2], 1: [2, 3], 2: [1], 3: []}, [[0], [1, 2], [3]]),
]


@pytest.mark.parametrize(("graph", "expected"), CASES)
def test_components(graph: dict[int, list[int]], expected: list[list[int]] | None) -> None:
    found = components(graph, graph.__getitem__)
    if expected is not None:
        assert found == expected
    assert sorted(n for c in found for n in c) == sorted(graph)


@given(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=8, max_size=8))
def test_components_are_mutual_reachability_in_topological_order(edges: list[list[int]]) -> None:
    reach = [{n} for n in range(8)]
    for _ in range(8):
        for n in range(8):
            for m in edges[n]:
                reach[n] |= reach[m]
    found = components(range(8), edges.__getitem__)
    number = {n: i for i, c in enumerate(found) for n in c}
    for n in range(8):
        for m in range(8):
            assert (number[n] == number[m]) == (m in reach[n] and n in reach[m])
            if m in reach[n]:
                assert number[n] <= number[m]


def test_edges_out_of_the_nodes_do_not_count() -> None:
    graph = {0: [1], 1: [2], 2: [0]}
    assert components([0, 1], graph.__getitem__) == [[0], [1]]
