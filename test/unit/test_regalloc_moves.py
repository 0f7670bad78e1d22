"""Parallel copies in sequence do what they would do at once."""

from __future__ import annotations

import random

import pytest

from fsir.regalloc.model import AllocationError
from fsir.regalloc.moves import SLOT, sequence

SPARE = SLOT + 50


def run(moves: list[tuple[int, int | None]], before: dict[int, object]) -> dict[int, object]:
    """The contents of places after the copies; a source of None gives the constant of its destination."""
    state = dict(before)
    for destination, source in moves:
        assert destination < SLOT or source is None or source < SLOT, "no instruction copies from slot to slot"
        state[destination] = ("constant", destination) if source is None else state[source]
    return state


def check(wanted: dict[int, int | None], busy: int) -> None:
    before: dict[int, object] = {place: ("old", place) for place in (*range(11), *range(SLOT, SLOT + 60))}
    after = run(sequence(wanted, busy, SPARE), before)
    for destination, source in wanted.items():
        expected = ("constant", destination) if source is None else before[source]
        assert after[destination] == expected
    for register in range(10):
        if busy >> register & 1 and register not in wanted:
            assert after[register] == before[register], f"r{register} must survive"


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {1: 1},
        {1: 2, 2: 1},
        {1: 2, 2: 3, 3: 1, 4: 1},
        {1: 2, 2: 1, 3: 4, 4: 3},
        {1: None, 2: 1},
        {1: SLOT, SLOT: 1},
        {1: 2, 2: SLOT, SLOT + 1: 1},
    ],
)
def test_shapes(wanted: dict[int, int | None]) -> None:
    check(wanted, 0)


def test_random() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        count = rng.randrange(1, 9)
        destinations = rng.sample(range(10), count)
        wanted: dict[int, int | None] = {d: rng.choice([*range(10), None]) for d in destinations}
        check(wanted, rng.getrandbits(10))


def test_cycle_without_free_register_goes_through_the_stack() -> None:
    moves = sequence({1: 2, 2: 1}, 0b11_1111_1111, SPARE)
    assert (SPARE, 1) in moves or (SPARE, 2) in moves
    check({1: 2, 2: 1}, 0b11_1111_1111)


def test_cycle_through_memory_without_free_register_is_refused() -> None:
    with pytest.raises(AllocationError, match="no register is free"):
        sequence({1: SLOT, SLOT: 1}, 0b11_1111_1111, SPARE)
