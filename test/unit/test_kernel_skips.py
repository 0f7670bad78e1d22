"""Without the rights to use the kernel, its tests are skipped, and that is said; or they fail, if asked to."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PR_CAPBSET_DROP = 24
ANY_KERNEL_TEST = "test/kernel/test_kernel_syscalls.py::test_facts"


def without_rights() -> None:
    """In the child: also root has no capabilities after the next exec."""
    libc = ctypes.CDLL(None)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def kernel_test(**environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "FRANKENSTACK_REQUIRE_KERNEL"} | environment
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", ANY_KERNEL_TEST],
        cwd=ROOT,
        env=env,
        preexec_fn=without_rights,
        capture_output=True,
        text=True,
        check=False,
    )


def test_skipped_loudly() -> None:
    done = kernel_test()
    assert done.returncode == 0, done.stdout
    assert "1 kernel tests did NOT run" in done.stdout
    assert "1 skipped" in done.stdout


def test_failed_where_the_kernel_is_required() -> None:
    done = kernel_test(FRANKENSTACK_REQUIRE_KERNEL="1")
    assert done.returncode == 1, done.stdout
    assert "needs the kernel" in done.stdout
