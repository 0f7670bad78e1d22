"""Ends that are asked for by a signal: an interrupt from the keyboard, SIGTERM, SIGHUP.

with Interrupts() as interrupts:     # raised as KeyboardInterrupt, wherever that is
    start()
    interrupts.hold()                # from here on they wait until they are looked at
    while not interrupts.wait(0.2):
        work()
    stop()
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The three signals mean the same within the block. For the main thread.

    An exception out of a signal can come in the middle of anything, an import or a clean-up. What must not be left half
    done is done behind `hold`.
    """

    def __init__(self) -> None:
        self._held = False

    def __enter__(self) -> Self:
        self._seen, self._came = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._seen)
        os.close(self._came)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            raise KeyboardInterrupt
        if not self.wait(0):  # one is enough, and fits
            os.write(self._came, b"!")

    def hold(self) -> None:
        """Raise nothing any more."""
        self._held = True

    def wait(self, seconds: float) -> bool:
        """Whether an end has been asked for since `hold`, at the latest after some time."""
        return bool(select.select([self._seen], [], [], seconds)[0])
