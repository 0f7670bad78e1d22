"""Packets for arbitrary programs: mutations of given ones."""

import random
from collections.abc import Callable, Sequence

from traffic.frames import MIN_FRAME

HEADERS = 96  # mutations are drawn to where headers are
LARGEST = 1514

# Values at which programs branch: extremes, ethertypes, protocols, version and header lengths.
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x45, 0x46, 0x4F, 0x44, 0x60, 0x50, 0xF0, 1, 4, 6, 17, 41, 58)
WORDS = (
    0x0000,
    0x0001,
    0x0800,
    0x0806,
    0x8100,
    0x86DD,
    0x88A8,
    0x2000,
    0x4000,
    0x1FFF,
    0x7FFF,
    0x8000,
    0xFFFF,
)
PORTS = (22, 53, 67, 80, 123, 443, 4789, 8080)

Mutation = Callable[[random.Random, bytearray], bytearray]


def position(rng: random.Random, frame: bytearray, width: int = 1) -> int:
    """Where to mutate: mostly in the headers, and there mostly in front."""
    end = len(frame) - width + 1
    limit = end if rng.random() < 0.1 else min(end, rng.choice((MIN_FRAME, 34, 54, HEADERS)))
    return rng.randrange(limit)


def cut(rng: random.Random, frame: bytearray) -> bytearray:
    return frame[: rng.randint(MIN_FRAME, min(len(frame), HEADERS) if rng.random() < 0.8 else len(frame))]


def extend(rng: random.Random, frame: bytearray) -> bytearray:
    room = LARGEST - len(frame)
    return frame + rng.randbytes(rng.choice((1, 4, rng.randint(1, 64), room)) if room > 0 else 0)


def flip_bit(rng: random.Random, frame: bytearray) -> bytearray:
    frame[position(rng, frame)] ^= 1 << rng.randrange(8)
    return frame


def set_byte(rng: random.Random, frame: bytearray) -> bytearray:
    frame[position(rng, frame)] = rng.choice((*BYTES, rng.randrange(256)))
    return frame


def set_word(rng: random.Random, frame: bytearray) -> bytearray:
    at = position(rng, frame, 2) & ~1
    frame[at : at + 2] = rng.choice((*WORDS, *PORTS)).to_bytes(2, "big")
    return frame


def add(rng: random.Random, frame: bytearray) -> bytearray:
    """A number one or two away from what it was."""
    at = position(rng, frame)
    frame[at] = (frame[at] + rng.choice((-2, -1, 1, 2))) % 256
    return frame


def set_ethertype(rng: random.Random, frame: bytearray) -> bytearray:
    frame[12:14] = rng.choice(WORDS).to_bytes(2, "big")
    return frame


def insert_tag(rng: random.Random, frame: bytearray) -> bytearray:
    tag = rng.choice((b"\x81\x00", b"\x88\xa8")) + rng.randrange(4096).to_bytes(2, "big")
    return frame[:12] + tag + frame[12 : LARGEST - 4]


def insert_options(rng: random.Random, frame: bytearray) -> bytearray:
    """IPv4 options, if it is IPv4 and has none; else four bytes behind the Ethernet header."""
    if len(frame) < 34 or frame[14] != 0x45:
        return frame[:14] + rng.randbytes(4) + frame[14 : LARGEST - 4]
    words = rng.randint(1, 10)
    frame[14] += words
    return frame[:34] + b"\1" * 4 * words + frame[34 : LARGEST - 4 * words]


# The most productive ones twice.
MUTATIONS: Sequence[Mutation] = (
    cut, extend, flip_bit, flip_bit, set_byte, set_byte, set_word, set_word, add, set_ethertype, insert_tag,
    insert_options,
)  # fmt: skip


def fuzz_packets(seed_packets: list[bytes], count: int, seed: int) -> list[bytes]:
    """`count` frames, each a seed packet with up to four mutations; equal for equal arguments.

    They are 14 to 1514 bytes long. One in eight stays as it is, so that state which only good packets build up
    is there. Raises ValueError without seed packets, or for one under 14 bytes.
    """
    if not seed_packets or min(map(len, seed_packets)) < MIN_FRAME:
        raise ValueError(f"fuzz_packets needs seed packets, each of at least {MIN_FRAME} bytes")
    rng = random.Random(seed)
    frames = []
    for _ in range(count):
        frame = bytearray(rng.choice(seed_packets))
        if rng.randrange(8):
            for mutation in rng.choices(MUTATIONS, k=rng.choice((1, 1, 1, 2, 3, 4))):
                frame = mutation(rng, frame)
        frames.append(bytes(frame[:LARGEST]))
    return frames
