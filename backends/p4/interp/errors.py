"""Where and why a P4 text was refused, and what went wrong while a switch ran."""

from __future__ import annotations

from typing import NamedTuple


class Loc(NamedTuple):
    """A place in a P4 text; line and column count from 1."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


class P4Error(Exception):
    """The text is not a program this interpreter accepts; prints as `file:line:col: error: what`."""

    def __init__(self, loc: Loc, message: str) -> None:
        super().__init__(f"{loc}: error: {message}")
        self.loc = loc
        self.message = message


class ControlPlaneError(Exception):
    """A table, action, counter or register operation that the program's declarations do not allow."""


class P4RuntimeError(Exception):
    """A packet reached something without a meaning (division by zero, a payload off a byte boundary …)."""
