"""Messages to the user that say where: errors, warnings, remarks, notes.

Passes report with `remark`, `warning` and `fallback`, and give up with `fail`; `at` is the operation (or
location, or block's parent) concerned. Messages go to the `Diagnostics` of the run, which keeps and prints
them as `file:line:column: remark: message`. Outside a run they are printed to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn, TextIO

from xdsl.dialects.builtin import CallSiteLoc, FileLineColLoc, FusedLoc, NameLoc
from xdsl.ir import Attribute, Operation
from xdsl.utils.exceptions import PassFailedException


class Severity(StrEnum):
    """What a message means; an error ends the run with exit status 1."""

    ERROR = "error"
    WARNING = "warning"
    REMARK = "remark"
    NOTE = "note"


@dataclass(frozen=True)
class Place:
    """Where in the input, as far as known. `line` and `column` count from 1; 0 is unknown."""

    file: str = ""
    line: int = 0
    column: int = 0
    detail: str = ""
    """A place with a name of its own: a section and offset, a function."""

    def __str__(self) -> str:
        parts = [self.file] if self.file else []
        if self.line:
            parts += [str(self.line)] + ([str(self.column)] if self.column else [])
        if self.detail:
            parts.append(self.detail)
        return ":".join(parts)


@dataclass(frozen=True)
class Diagnostic:
    """One message. `excerpt` is the offending text with a marker below, printed after the message."""

    severity: Severity
    place: Place
    message: str
    notes: tuple[str, ...] = ()
    excerpt: str = ""

    def __str__(self) -> str:
        where = f"{self.place}: " if str(self.place) else ""
        lines = [f"{where}{self.severity}: {self.message}"]
        lines += [self.excerpt] if self.excerpt else []
        lines += [f"{where}note: {note}" for note in self.notes]
        # Names come from the input; what is no UTF-8 in it must not stop the message.
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass
class Diagnostics:
    """The messages of one run. `stream` None keeps them without printing."""

    input_name: str = ""
    stream: TextIO | None = None
    fallback_is_error: bool = False
    emitted: list[Diagnostic] = field(default_factory=list)
    fallbacks: int = 0

    def emit(self, diagnostic: Diagnostic) -> None:
        """Keep `diagnostic`, and print it."""
        self.emitted.append(diagnostic)
        if self.stream is not None:
            print(diagnostic, file=self.stream, flush=True)

    def has_errors(self) -> bool:
        """Whether an error was among the messages."""
        return any(diagnostic.severity is Severity.ERROR for diagnostic in self.emitted)


_current: ContextVar[Diagnostics | None] = ContextVar("diagnostics", default=None)

At = Operation | Attribute | Place | None


class FailedAt(PassFailedException):
    """A pass gives up, and knows where. Raise it through `fail`."""

    def __init__(self, at: At, message: str) -> None:
        super().__init__(message)
        self.at = at


def current() -> Diagnostics:
    """The messages of the run at hand; outside a run, fresh ones that print to stderr."""
    return _current.get() or Diagnostics(stream=sys.stderr)


@contextmanager
def collecting(diagnostics: Diagnostics) -> Iterator[Diagnostics]:
    """Send the messages of the block to `diagnostics`."""
    token = _current.set(diagnostics)
    try:
        yield diagnostics
    finally:
        _current.reset(token)


def remark(at: At, message: str) -> None:
    """Tell what was done or not done, and why; nothing is wrong."""
    _report(Severity.REMARK, at, message)


def warning(at: At, message: str) -> None:
    """Tell of something that is probably not what the user wants."""
    _report(Severity.WARNING, at, message)


def fallback(at: At, message: str) -> None:
    """Tell that something keeps its original form: a remark, under `--no-fallback` a failure (`FailedAt`)."""
    diagnostics = current()
    diagnostics.fallbacks += 1
    if diagnostics.fallback_is_error:
        fail(at, f"{message} (--no-fallback forbids keeping the original)")
    _report(Severity.REMARK, at, message)


def fail(at: At, message: str) -> NoReturn:
    """End the pass: `message` says what is wrong with the input and what to do about it."""
    raise FailedAt(at, message)


def _report(severity: Severity, at: At, message: str) -> None:
    diagnostics = current()
    diagnostics.emit(Diagnostic(severity, place_of(at, diagnostics.input_name), message))


def place_of(at: At, input_name: str = "") -> Place:
    """The place of an operation (or of the closest operation around it that has one) or of a location."""
    if isinstance(at, Place):
        return at
    op = at if isinstance(at, Operation) else None
    location: Attribute | None = at.location if isinstance(at, Operation) else at
    while True:
        place = _resolve(location, input_name)
        if place is not None or op is None:
            return place or Place(input_name)
        op = op.parent_op()
        location = None if op is None else op.location


def _resolve(location: Attribute | None, input_name: str) -> Place | None:
    """The file position that `location` holds, or its name; None for an unknown one."""
    if isinstance(location, FileLineColLoc):
        line = location.line.data  # 0: the compiler knows none
        return Place(location.filename.data, line, location.column.data) if line else None
    if isinstance(location, NameLoc):
        inner = _resolve(location.location, input_name)
        return inner or Place(input_name, detail=location.desc.data)
    if isinstance(location, CallSiteLoc):
        return _resolve(location.callee, input_name)
    if isinstance(location, FusedLoc):
        places = [_resolve(part, input_name) for part in getattr(location.locations, "data", ())]
        known = [place for place in places if place is not None]
        return next((place for place in known if place.line), known[0] if known else None)
    return None
