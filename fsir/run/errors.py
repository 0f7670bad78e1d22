"""From what engines raise to the error lines of `fs-run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fsir.driver.diagnostics import Diagnostic, Place, Severity, place_of
from fsir.driver.errors import describe
from fsir.interp.engine import ExecutionError, SelectionError
from fsir.interp.fib_file import RoutesError
from fsir.interp.map_base import MapError
from fsir.interp.mapfile import MapFileError
from fsir.interp.packet_io import PcapError
from fsir.kernel.errors import KernelError, KernelUnavailable


class RunError(Exception):
    """The run failed; `diagnostic` is what to print."""

    def __init__(self, diagnostic: Diagnostic | str) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic


@contextmanager
def explained(input_name: str) -> Iterator[None]:
    """Turn whatever the block raises into a RunError that names `input_name` or a better place."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        raise RunError(explain(error, input_name)) from error


def explain(error: Exception, input_name: str) -> Diagnostic | str:
    """The message for an exception; a string where it is complete already."""
    if isinstance(error, PcapError | MapFileError | RoutesError):
        return str(error)
    notes = getattr(error, "__notes__", [])
    prefix = f"{notes[0]}: " if notes else ""
    if isinstance(error, ExecutionError):
        return Diagnostic(Severity.ERROR, place_of(error.op, input_name), prefix + str(error))
    if isinstance(error, SelectionError | MapError | KernelError | KernelUnavailable):
        return Diagnostic(Severity.ERROR, Place(input_name), prefix + str(error))
    return describe(error, input_name)
