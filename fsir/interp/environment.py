"""Time and chance as a program sees them: clocks that stand still for a packet, and seeded random numbers.

The helpers of the interpreter take them from here, and so does a program that `freeze-environment` has changed, by way
of the map FROZEN, which whoever runs it fills before each packet. So interpreter and kernel give the same numbers.

FROZEN holds little-endian 64-bit words: a clock each, in the order of CLOCKS, then the state of the random numbers.
"""

from __future__ import annotations

from struct import Struct

FROZEN = ".data.frozen"
"""The section, and map, that a frozen program reads."""

BOOT_OFFSET_NS = 0
TAI_OFFSET_NS = 37_000_000_000
JIFFIES_HZ = 250

M64 = (1 << 64) - 1
_JIFFIES_START = -300 * JIFFIES_HZ & 0xFFFFFFFF
"""The kernel's starting value, which wraps 32 bits after five minutes."""

CLOCKS = ("monotonic", "boot", "tai", "jiffies")
_WORDS = Struct(f"<{len(CLOCKS)}Q")
STATE = _WORDS.size
"""Where in FROZEN the state of the random numbers is."""
FROZEN_SIZE = STATE + 8

CLOCK_OF = {
    "ktime_get_ns": "monotonic",
    "ktime_get_coarse_ns": "monotonic",
    "ktime_get_boot_ns": "boot",
    "ktime_get_tai_ns": "tai",
    "jiffies64": "jiffies",
}
"""The clock that a helper reads, by the kernel's names without `bpf_`."""
RANDOM = "get_prandom_u32"

MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407
"""Knuth's linear congruential generator (MMIX): short enough to stand in a program wherever it draws a number."""


def clock_words(clock_ns: int) -> tuple[int, int, int, int]:
    """All clocks, at a time in nanoseconds."""
    jiffies = _JIFFIES_START + clock_ns * JIFFIES_HZ // 1_000_000_000
    return clock_ns, clock_ns + BOOT_OFFSET_NS, clock_ns + TAI_OFFSET_NS, jiffies & M64


class Prandom:
    """The numbers of bpf_get_prandom_u32: the upper halves of the states that follow the seed."""

    def __init__(self, seed: int = 0) -> None:
        self.state = seed & M64

    def next(self) -> int:
        """The next number, of 32 bits."""
        self.state = (self.state * MULTIPLIER + INCREMENT) & M64
        return self.state >> 32


class Frozen:
    """The map FROZEN as memory that one can write to."""

    def __init__(self, memory: bytearray | memoryview, seed: int) -> None:
        self._memory = memory
        memory[STATE:FROZEN_SIZE] = (seed & M64).to_bytes(8, "little")

    def set_clock(self, clock_ns: int) -> None:
        """Set all clocks to the time of a packet."""
        _WORDS.pack_into(self._memory, 0, *clock_words(clock_ns))


__all__ = ["CLOCK_OF", "FROZEN", "FROZEN_SIZE", "INCREMENT", "MULTIPLIER", "RANDOM", "STATE", "Frozen", "Prandom"]
