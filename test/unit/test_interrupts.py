"""Signals that end a run: raised at first, waited for from `hold` on."""

from __future__ import annotations

import os
import signal

import pytest

from fsir.run.interrupts import SIGNALS, Interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_raised_then_held(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)
    with Interrupts() as interrupts:
        interrupts.hold()
        assert not interrupts.wait(0)
        for _ in range(3):  # of those that are impatient
            os.kill(os.getpid(), number)
        assert interrupts.wait(60)
    assert signal.getsignal(number) is before
