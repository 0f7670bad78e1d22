"""Damaged bytes."""

from __future__ import annotations

import random
from collections.abc import Callable

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
"""Numbers at the edges of what fields hold."""


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """`data` with a few bytes changed, numbers made extreme, or pieces removed, repeated or moved."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_BYTE_MUTATIONS)(rng, out)
    return bytes(out)


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """`data` with a few bytes changed and its length kept."""
    window = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice((_flip, _set_byte, _set_number, _near_number, _overwrite))(rng, window)
    return bytes(window[: len(data)])


def _flip(rng: random.Random, out: bytearray) -> None:
    at = rng.randrange(len(out))
    out[at] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, out: bytearray) -> None:
    out[rng.randrange(len(out))] = rng.randrange(256)


def _set_number(rng: random.Random, out: bytearray) -> None:
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(0, max(len(out) - size, 1)) // size * size
    value = rng.choice(EXTREMES) & ((1 << 8 * size) - 1)
    out[at : at + size] = value.to_bytes(size, "little")


def _near_number(rng: random.Random, out: bytearray) -> None:
    size = rng.choice((2, 4, 8))
    at = rng.randrange(0, max(len(out) - size, 1)) // size * size
    value = int.from_bytes(out[at : at + size], "little") + rng.choice((-8, -4, -1, 1, 4, 8, 64))
    out[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _piece(rng: random.Random, out: bytearray) -> slice:
    size = rng.choice((1, 4, 8, 16, 24, 64, 200))
    at = rng.randrange(len(out))
    return slice(at, min(at + size, len(out)))


def _cut(rng: random.Random, out: bytearray) -> None:
    piece = _piece(rng, out)
    if len(out) > piece.stop - piece.start:
        del out[piece]


def _repeat(rng: random.Random, out: bytearray) -> None:
    piece = _piece(rng, out)
    out[piece.stop : piece.stop] = out[piece]


def _overwrite(rng: random.Random, out: bytearray) -> None:
    source = out[_piece(rng, out)]
    at = rng.randrange(len(out))
    out[at : at + len(source)] = source


def _truncate(rng: random.Random, out: bytearray) -> None:
    if rng.randrange(4) == 0:
        del out[rng.randrange(1, len(out)) if len(out) > 1 else 1 :]


_BYTE_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _set_byte, _set_byte, _set_number, _set_number, _near_number, _near_number),
    *(_cut, _repeat, _overwrite, _truncate),
)
