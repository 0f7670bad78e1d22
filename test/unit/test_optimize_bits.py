"""Known bits against all the words that have them, at a width small enough to try every one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fsir.analysis import bits
from fsir.analysis.bits import Bits
from fsir.analysis.evaluate import PREDICATES, compare

WIDTH = 6
WORDS = range(1 << WIDTH)
MASK = bits.mask(WIDTH)


def _signed(word: int) -> int:
    return (word ^ 1 << (WIDTH - 1)) - (1 << (WIDTH - 1))


MEANING: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else a,
    "lsh": lambda a, b: a << min(b, WIDTH),
    "rsh": lambda a, b: a >> min(b, WIDTH),
    "arsh": lambda a, b: _signed(a) >> min(b, WIDTH),
}


def words(known: Bits) -> list[int]:
    """All words that have these bits."""
    return [word for word in WORDS if not word & known[0] and word & known[1] == known[1]]


def random_bits(rng: random.Random) -> Bits:
    known, value = rng.choice((0, MASK, rng.getrandbits(WIDTH), rng.getrandbits(WIDTH))), rng.getrandbits(WIDTH)
    return known & ~value & MASK, known & value


@pytest.mark.parametrize("name", sorted(bits.BINARY))
def test_binary(name: str) -> None:
    rng = random.Random(name)
    exact = 0
    for _ in range(150):
        a, b = random_bits(rng), random_bits(rng)
        zeros, ones = bits.BINARY[name](a, b, WIDTH)
        results = [MEANING[name](x, y) & MASK for x in words(a) for y in words(b)]
        assert all(not result & zeros and result & ones == ones for result in results), (a, b)
        exact += bits.value_of((zeros, ones), WIDTH) is not None
    assert exact, "nothing was ever known"


@pytest.mark.parametrize("predicate", PREDICATES)
def test_compare(predicate: str) -> None:
    rng = random.Random(predicate)
    decided = set()
    for _ in range(300):
        a, b = random_bits(rng), random_bits(rng)
        b = a if rng.random() < 0.1 else b
        holds = bits.compare(predicate, a, b, WIDTH)
        outcomes = {compare(predicate, x, y, WIDTH) for x in words(a) for y in words(b)}
        assert holds is None or outcomes == {holds}, (a, b)
        decided.add(holds)
    assert decided == {True, False, None}


def test_every_operation_of_the_table_has_its_meaning_here() -> None:
    assert MEANING.keys() == bits.BINARY.keys()


def test_swap_bytes() -> None:
    assert bits.swap_bytes(bits.constant(0x1234, 64), 16, 64) == bits.constant(0x3412, 64)
    zeros, ones = bits.swap_bytes((0xFF00, 0), 16, 64)
    assert (zeros, ones) == (~0xFF00 & bits.mask(64), 0)


def test_extensions() -> None:
    assert bits.extend((0x80, 0x01), 8, 16, signed=True) == (0xFF80, 0x01)
    assert bits.extend((0x00, 0x80), 8, 16, signed=True) == (0, 0xFF80)
    assert bits.extend((0x00, 0x80), 8, 16) == (0xFF00, 0x80)
    assert bits.extend((0x00, 0x00), 8, 16, signed=True) == (0, 0)
