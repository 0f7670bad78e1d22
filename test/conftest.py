"""Puts this folder on the path of every test, so that `import traffic` finds the traffic generator."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Cases are made slowly on a loaded machine; that says nothing of what is tested.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# What runs in the background ignores interrupts, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

KERNEL_TESTS = Path(__file__).parent / "kernel"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Kernel tests share interfaces, pinned maps and CPUs: one worker runs them all, one after the other."""
    for item in items:
        if KERNEL_TESTS in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("kernel"))
