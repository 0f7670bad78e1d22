"""What a traffic module is made of: weighted cases, each a function from a random source to a frame."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SWEEP_FROM = 1000  # traffic of at least so many packets includes the exhaustive part


@dataclass(frozen=True)
class Case:
    """One kind of packet, drawn `weight` times as often as a case of weight 1."""

    weight: int
    make: Callable[[random.Random], bytes]


def mix(
    cases: Sequence[Case],
    sweep: Callable[[random.Random], list[bytes]],
    count: int,
    rng: random.Random,
) -> list[bytes]:
    """`count` frames: one of every case first, then (if there is room) the sweep, then cases by weight."""
    frames = [case.make(rng) for case in cases]
    if count >= SWEEP_FROM:
        frames += sweep(rng)
    makers = [case.make for case in cases]
    weights = [case.weight for case in cases]
    missing = max(0, count - len(frames))
    frames += [make(rng) for make in rng.choices(makers, weights, k=missing)]
    return frames[:count]
