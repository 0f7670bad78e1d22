"""The dominator tree against the definition: b is dominated by a when removing a cuts b off."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import test
from xdsl.ir import Block, Region

from fsir.analysis.dominance import DominatorTree

Edges = dict[int, list[int]]


def region_of(count: int, edges: Edges) -> tuple[Region, list[Block]]:
    blocks = [Block() for _ in range(count)]
    for i, block in enumerate(blocks):
        block.add_op(test.TestTermOp(successors=[blocks[j] for j in edges.get(i, [])]))
    return Region(blocks), blocks


def reachable(edges: Edges, without: int | None = None) -> set[int]:
    seen, work = set[int](), [0]
    while work:
        at = work.pop()
        if at in seen or at == without:
            continue
        seen.add(at)
        work.extend(edges.get(at, []))
    return seen


def check(count: int, edges: Edges) -> None:
    region, blocks = region_of(count, edges)
    tree = DominatorTree(region)
    live = reachable(edges)
    assert {blocks.index(b) for b in tree.rpo} == live
    dominators = {b: {a for a in live if b not in reachable(edges, without=a)} for b in live}
    for b in range(count):
        assert tree.is_reachable(blocks[b]) == (b in live)
        assert tree.predecessors(blocks[b]) == [blocks[p] for p in range(count) if b in edges.get(p, [])], (
            f"predecessors of {b}"
        )
        for a in range(count):
            expected = b not in live or (a in live and a in dominators[b])
            assert tree.dominates(blocks[a], blocks[b]) == expected or a == b, (a, b)
        if b not in live:
            assert tree.idom(blocks[b]) is None
            continue
        strict = dominators[b] - {b}
        nearest = max(strict, key=lambda a: len(dominators[a]), default=None)
        assert tree.idom(blocks[b]) is (None if nearest is None else blocks[nearest])
        frontier = {
            j
            for j in live
            if any(j in edges.get(p, []) and b in dominators[p] for p in live) and (b == j or b not in dominators[j])
        }
        got = [blocks.index(j) for j in tree.dominance_frontier(blocks[b])]
        assert set(got) == frontier and len(got) == len(frontier)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.randoms(use_true_random=False))))
def test_random_graphs_agree_with_the_definition(case: tuple[int, random.Random]) -> None:
    count, rng = case
    edges = {i: [rng.randrange(count) for _ in range(rng.choice([0, 1, 1, 2, 2, 3]))] for i in range(count)}
    check(count, edges)


def test_reverse_postorder_puts_blocks_before_their_successors() -> None:
    # The diamond with a shortcut that a marking-when-pushed search gets wrong.
    edges = {0: [3, 1], 1: [2], 2: [3], 3: []}
    region, blocks = region_of(4, edges)
    assert [blocks.index(b) for b in DominatorTree(region).rpo] == [0, 1, 2, 3]


def test_both_edges_of_a_branch_to_one_block_count_as_one_predecessor() -> None:
    region, blocks = region_of(2, {0: [1, 1]})
    assert DominatorTree(region).predecessors(blocks[1]) == [blocks[0]]


def test_empty_region_and_block_without_terminator() -> None:
    assert DominatorTree(Region()).rpo == []
    block = Block([test.TestOp()])
    tree = DominatorTree(Region([block]))
    assert tree.rpo == [block] and tree.idom(block) is None


def test_iterated_frontier_is_where_block_arguments_go() -> None:
    # 0 -> 1|2 -> 3 -> 4 -> 1: an assignment in 2 reaches 3, and through the loop 1.
    region, blocks = region_of(5, {0: [1, 2], 1: [3], 2: [3], 3: [4], 4: [1]})
    tree = DominatorTree(region)
    assert [blocks.index(b) for b in tree.iterated_frontier([blocks[2]])] == [1, 3]


def test_common_dominator_ignores_unreachable_blocks() -> None:
    region, blocks = region_of(5, {0: [1], 1: [2, 3], 4: [2]})
    tree = DominatorTree(region)
    assert tree.common_dominator([blocks[2], blocks[3], blocks[4]]) is blocks[1]
    assert tree.common_dominator([blocks[4]]) is None


@pytest.mark.parametrize("shape", ["chain-with-shared-exit", "ladder-of-exits", "nested-loops"])
def test_large_graphs_of_awkward_shape(shape: str) -> None:
    """Shapes on which the iterative algorithm walks the whole chain for every join."""
    n = 5000
    if shape == "chain-with-shared-exit":
        edges = {i: [i + 1, n] for i in range(n)}
        expected = {n: 0}
    elif shape == "ladder-of-exits":
        edges = {i: [i + 1, n + i] for i in range(n - 1)}
        edges |= {n + i: [n + i + 1] for i in range(n - 2)}
        expected = {n: 0, n + 5: 0, n - 1: n - 2}
    else:
        edges = {i: [i + 1, n - i] for i in range(n)}
        expected = {n: 0, n // 2: n // 2 - 1}
    region, blocks = region_of(2 * n, edges)
    tree = DominatorTree(region)
    for block, dominator in expected.items():
        assert tree.idom(blocks[block]) is blocks[dominator]
    for block in tree.rpo[1:]:
        above = tree.idom(block)
        assert above is not None and tree.strictly_dominates(above, block)
        for p in tree.predecessors(block):
            assert not tree.is_reachable(p) or tree.dominates(above, p)
