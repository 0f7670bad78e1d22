"""Python's cyclic garbage collector, kept out of the way while very many objects come to stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 50_000
"""Objects that are made before the collector looks at them; Python's 700 are a few operations of IR, which stay."""


def collect_rarely() -> None:
    """For programs that build IR: fewer collections, which find next to nothing and take an eighth of the time."""
    gc.set_threshold(YOUNG, 20, 20)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collections inside the block; what was made in it is exempt from later ones.

    For loading modules and building IR: everything made there lives on, and each collection would walk all of it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
