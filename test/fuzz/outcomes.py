"""What a command may do with a damaged input: give a result, or an error line and nothing else."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10
"""CPU time that one command may take; far more than any needs."""
MEMORY = 2 << 30
"""How much address space a command may add to what the test process has."""

_ERROR = re.compile(r"^\S.*?: error: .+", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    argv: tuple[str, ...]
    status: int
    stderr: str

    def complaint(self, output: Path | None = None) -> str | None:
        """What is wrong with how it ended; None if nothing is. `output` is the file that it should have written."""
        if "Traceback" in self.stderr or "internal error" in self.stderr:
            return self.stderr
        if self.status not in (0, 1):
            return f"exit status {self.status}: {self.stderr}"
        if self.status == 1 and not _ERROR.search(self.stderr):
            return f"no error line: {self.stderr!r}"
        if output is not None and output.exists() != (self.status == 0):
            return f"exit status {self.status}, and output {'there' if output.exists() else 'missing'}: {self.stderr}"
        return None


def attempt(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> Outcome:
    """Run the command `main` in this process; one that does not end becomes an internal error."""
    err = io.StringIO()
    with _limited(), contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = main(argv)
    return Outcome(tuple(argv), status, err.getvalue())


class _DoesNotEnd(BaseException):
    pass


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """The time and memory of one command."""

    def stop(*_: object) -> None:
        raise _DoesNotEnd(f"still running after {SECONDS} seconds of CPU time")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    old = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, old)
