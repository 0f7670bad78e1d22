"""The real thing: the C file built as a program, and running on an interface."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from fsir.backends.af_xdp.inprocess import compile_c
from fsir.kernel.interfaces import Interface

DEADLINE = 10.0
"""Seconds until a program that does not start or end counts as hung."""


class LiveError(Exception):
    """The program did not start, or did not end well; the message is what it said."""


def build(source: bytes, output: Path, *flags: str) -> Path:
    """Compile and link the C file over libxdp and libbpf. Raises CompilerError."""
    compile_c(source, output, "-O2", "-g", "-pthread", *flags, libraries=("-lxdp", "-lbpf"))
    return output


class Running:
    """`binary` runs on an interface within the block, from when it is attached on.

    `stop` ends it and gives its counters; the block's end does the same. Raises LiveError.
    """

    def __init__(self, binary: Path, end: Interface, *arguments: str | Path) -> None:
        command = [str(binary), "-i", end.name, *map(str, arguments)]
        with end.namespace.entered():
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        self.log: list[str] = []
        self.counters: dict[str, int] = {}
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())
            if line.startswith("af_xdp: ready"):
                return
        self.process.wait(DEADLINE)
        raise LiveError("\n".join(self.log))

    def stop(self, how: signal.Signals = signal.SIGINT) -> dict[str, int]:
        """Ask the program to end, and wait for that: its counters."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            output, errors = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
        self.log += errors.splitlines()
        if self.process.returncode:
            raise LiveError(f"exit status {self.process.returncode}: " + "\n".join(self.log))
        self.counters = json.loads(output)
        return self.counters

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None and kind is None:
            self.stop()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
