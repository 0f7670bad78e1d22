"""The user part of a deployment: a process that may die, and its counters."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from fsir.kernel.errors import KernelError

DEADLINE = 10.0
"""Seconds until a process that does not start, answer or end counts as hung."""

Counters = dict[str, int]


class UserProcess:
    """`command` (a compiled `af_xdp.c` with its arguments) runs until `stop`. It ends with this process, too.

    What it says besides its counters goes to stderr. Raises KernelError where it does not start.
    """

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._process = subprocess.Popen(
            [*map(str, command), "--with-parent"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # an interrupt from the keyboard is for this process; the other is asked to end
        )
        self._answers: queue.SimpleQueue[Counters | None] = queue.SimpleQueue()
        self._said: deque[str] = deque(maxlen=20)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(DEADLINE) or not self.alive:
            self._process.kill()
            self._reader.join()
            raise KernelError("the user part does not start: " + ("\n".join(self._said) or "it says nothing"))
        self.counters: Counters = self.ask() or {}

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("{"):
                self._answers.put(json.loads(line))
            elif line.startswith("af_xdp: ready"):
                self._ready.set()
            elif self._ready.is_set():
                sys.stderr.write(line)
            else:
                self._said.append(line.rstrip())
        self._process.wait()
        self._answers.put(None)
        self._ready.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def end(self) -> str:
        """How it has ended, in words."""
        status = self._process.wait()
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def ask(self) -> Counters | None:
        """The counters now; None if it has ended."""
        if self.alive:
            self._process.send_signal(signal.SIGUSR1)
        try:
            answer = self._answers.get(timeout=DEADLINE)
        except queue.Empty:
            raise KernelError("the user part does not answer") from None
        if answer is None:
            return None
        self.counters = answer
        return answer

    def stop(self) -> Counters:
        """Have it finish what it has been handed, and end: the counters."""
        assert self._process.stdout is not None
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join()
        last = self._process.stdout.read()
        if last.startswith("{"):
            self.counters = json.loads(last)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return self.counters
