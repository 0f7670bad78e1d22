"""The user part of a bundle on a real interface: `af_xdp.c`, compiled and running."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from fsir.backends.af_xdp.inprocess import CompilerError
from fsir.backends.af_xdp.live import LiveError, Running, build
from fsir.driver.errors import UsageError
from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import Interface
from fsir.kernel.live import DEADLINE

VERDICTS = {"aborted": 0, "dropped": 1, "passed": 2, "transmitted": 3, "redirected": 4, "redirect_errors": 4}
"""Counters that say what became of a packet. Any other one is a failure of the part."""
FAILURES = {
    "violations": "accessed memory that is not the program's",
    "handoff_errors": "came without a handoff header that the user part knows",
    "pass_errors": "could not be given to the network stack",
    "tx_full": "could not be transmitted",
    "map_errors": "changed a map value that the kernel did not take",
    "rx_dropped": "was lost before the socket",
    "rx_ring_full": "was lost before the socket",
    "fill_ring_empty": "was lost before the socket",
}


class UserPart:
    """Runs within the block. `arguments` are those of the program (`docs/af-xdp.md`), `link` those of its compiler."""

    def __init__(
        self,
        source: bytes,
        artifact: str,
        end: Interface,
        arguments: Collection[str | Path],
        link: Collection[str] = (),
    ) -> None:
        with TemporaryDirectory(prefix="fs-run-live-") as folder:
            try:
                binary = build(source, Path(folder) / "af_xdp", *link)
            except CompilerError as error:
                raise UsageError(f"{artifact} cannot be compiled: {error}") from error
            try:
                self._running = Running(binary, end, *arguments)
            except LiveError as error:
                raise KernelError(f"{artifact} does not start: {error}") from error
        self._artifact = artifact
        self._counters: dict[str, int] = self._ask()

    def verdict(self) -> int:
        """What has become of the one packet that the part is given since the last call; waits until that is known."""
        before, end = self._counters, time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self._counters = after = self._ask()
            change = {name: value - before[name] for name, value in after.items() if value != before[name]}
            for name in change.keys() & FAILURES.keys():
                raise KernelError(f"{self._artifact}: the packet {FAILURES[name]} ({name})")
            done = [verdict for name, verdict in VERDICTS.items() if name in change]
            if change.get("received") == 1 and len(done) == 1:
                return done[0]
        raise KernelError(f"{self._artifact}: the packet did not come through the socket")

    def _ask(self) -> dict[str, int]:
        """The counters, by SIGUSR1."""
        process = self._running.process
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        while line := process.stderr.readline():
            if line.startswith("{"):
                counters: dict[str, int] = json.loads(line)
                return counters
            self._running.log.append(line.rstrip())
        raise KernelError(f"{self._artifact} has ended: " + ("\n".join(self._running.log) or "it said nothing"))

    def close(self) -> None:
        """End it, and wait for that."""
        self._running.__exit__(None, None, None)
