"""Facts from branches against evaluation: a decided condition has the value that it is said to have."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Block, SSAValue

from fsir.analysis.evaluate import PREDICATES, compare
from fsir.analysis.facts import BranchFacts
from fsir.passes import _rewrite

WIDTH = 4
WORDS = range(1 << WIDTH)


def random_comparison(rng: random.Random, x: SSAValue, y: SSAValue) -> tuple[arith.CmpiOp, Callable[[int, int], bool]]:
    """A comparison of x with a constant, or of x and y, and its meaning."""
    predicate = rng.choice(PREDICATES)
    if rng.random() < 0.8:
        limit = rng.choice(WORDS)
        op = _rewrite.compare(predicate, x, _rewrite.constant(limit, IntegerType(WIDTH)).result)
        return op, lambda a, b: compare(predicate, a, limit, WIDTH)
    if rng.random() < 0.5:
        return _rewrite.compare(predicate, x, y), lambda a, b: compare(predicate, a, b, WIDTH)
    return _rewrite.compare(predicate, y, x), lambda a, b: compare(predicate, b, a, WIDTH)


@pytest.mark.parametrize("seed", range(40))
def test_decided_comparisons_are_right(seed: int) -> None:
    rng = random.Random(seed)
    decided = 0
    for _ in range(60):
        block = Block(arg_types=[IntegerType(WIDTH), IntegerType(WIDTH)])
        x, y = block.args
        facts = BranchFacts()
        facts.enter()
        possible = [(a, b) for a in WORDS for b in WORDS]

        for _ in range(rng.randrange(1, 4)):
            op, meaning = random_comparison(rng, x, y)
            holds = rng.random() < 0.5
            facts.learn(op.result, holds)
            possible = [pair for pair in possible if meaning(*pair) == holds]
        for _ in range(10):
            op, meaning = random_comparison(rng, x, y)
            answer = facts.decide(op)
            if answer is not None:
                decided += 1
                assert all(meaning(*pair) == answer for pair in possible)
    assert decided > 10


def test_facts_end_with_their_block() -> None:
    block = Block(arg_types=[IntegerType(WIDTH)])
    op = _rewrite.compare("eq", block.args[0], _rewrite.constant(3, IntegerType(WIDTH)).result)
    facts = BranchFacts()
    facts.enter()
    facts.enter()
    facts.learn(op.result, True)
    assert facts.decide(op) is True
    facts.leave()
    assert facts.decide(op) is None
