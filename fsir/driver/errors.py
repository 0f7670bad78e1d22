"""From an exception to the error line that the user sees."""

from __future__ import annotations

import os
from dataclasses import replace

from xdsl.utils.exceptions import DiagnosticException, ParseError

from fsir.analysis.verify_dominance import InvalidOperation
from fsir.driver.diagnostics import Diagnostic, FailedAt, Place, Severity, place_of
from fsir.driver.semantics import BehaviourChanged
from fsir.object.errors import ObjectError


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do instead."""


class PassFailure(Exception):
    """Something went wrong in or right after the pass `name`; the cause (`__cause__`) says what."""

    def __init__(self, name: str, when: str) -> None:
        super().__init__(f"{when} pass '{name}'")
        self.name = name
        self.when = when


_ADVICE: dict[type[OSError], str] = {
    FileNotFoundError: "; check the path",
    PermissionError: "; check the permissions, or run as another user",
    IsADirectoryError: "; name a file in it",
    NotADirectoryError: "; check the path",
}


EXCERPT = 160
"""Characters of a line that an error message shows at most."""


def describe(error: BaseException, input_name: str) -> Diagnostic:
    """The diagnostic for `error`, raised while working on `input_name`.

    Notes of one line that were added to the exception become notes; longer ones are xDSL's dumps of the IR.
    """
    diagnostic = _describe(error, input_name)
    notes = tuple(note for note in getattr(error, "__notes__", ()) if "\n" not in note.strip())
    return replace(diagnostic, notes=diagnostic.notes + notes)


def _describe(error: BaseException, input_name: str) -> Diagnostic:
    if isinstance(error, PassFailure) and error.__cause__ is not None:
        inner = describe(error.__cause__, input_name)
        return replace(inner, message=f"{error}: {inner.message}")
    if isinstance(error, ParseError):
        location = error.span.get_location()
        context = _clipped(error.span.print_with_context().split("\n", 1)[1].rstrip())
        message = " ".join(error.msg.split())
        return _error(Place(location.file, location.line, location.col), message, excerpt=context)
    if isinstance(error, InvalidOperation):
        return _error(place_of(error.op, input_name), str(error))
    if isinstance(error, FailedAt):
        return _error(place_of(error.at, input_name), str(error))
    if isinstance(error, BehaviourChanged):
        return _error(place_of(error.op, input_name), str(error))
    if isinstance(error, ObjectError):
        detail = (error.section or "") + ("" if error.offset is None else f"+{error.offset:#x}")
        return _error(Place(error.file or input_name, error.line, error.column, detail), error.message)
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, str) else input_name
        advice = _ADVICE.get(type(error), "")
        return _error(Place(name), (error.strerror or str(error)).lower() + advice)
    if isinstance(error, UsageError | DiagnosticException):
        return _error(Place(input_name), str(error) or type(error).__name__)
    if isinstance(error, MemoryError):
        return _error(Place(input_name), "this does not fit into memory; give a smaller input")
    if isinstance(error, RecursionError):
        return _error(Place(input_name), "the input is nested too deeply for this tool")
    return _internal(error, input_name)


def _error(place: Place, message: str, excerpt: str = "") -> Diagnostic:
    return Diagnostic(Severity.ERROR, place, message, (), excerpt)


def _clipped(excerpt: str) -> str:
    """The part of an excerpt with the marker in it, where its lines are too long for any terminal."""
    lines = excerpt.split("\n")
    if max(map(len, lines)) <= EXCERPT:
        return excerpt
    marked = next((line.index("^") for line in lines if line.strip(" ^") == "" and "^" in line), 0)
    start = max(0, marked - EXCERPT // 2)
    return "\n".join(line[start : start + EXCERPT] for line in lines[:2])


def _internal(error: BaseException, input_name: str) -> Diagnostic:
    """A defect of this project: say so, and where, and how to get what a report of it needs."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        where = f" ({os.path.basename(code.co_filename)}:{trace.tb_lineno}, in {code.co_name})"
    text = str(error).split("\n", 1)[0]
    message = f"internal error: {type(error).__name__}{': ' if text else ''}{text}{where}"
    hint = "this is a defect of the tool, not of the input; --debug shows the traceback"
    return Diagnostic(Severity.ERROR, Place(input_name), message, (hint,))
