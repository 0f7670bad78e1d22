"""`--verify-diagnostics`: the messages that the input says are to come.

    // expected-error {{text}}             on the line of the comment
    // expected-remark@+2 {{text}}         two lines further on; also @-1, @above, @below, @unknown
    // expected-warning@below 2 {{text}}   twice

`text` is part of the message. Several expectations for one line stand in several comments. A message
that nothing expects, and an expectation that nothing meets, are errors; notes need not be expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fsir.driver.diagnostics import Diagnostic, Place, Severity

_EXPECTATION = re.compile(
    r"expected-(?P<severity>error|warning|remark|note)"
    r"(?P<at>@(?:[+-]\d+|above|below|unknown))?"
    r"(?:\s+(?P<count>\d+))?"
    r"\s*\{\{(?P<text>.*?)\}\}"
)
_MENTION = re.compile(r"expected-(?:error|warning|remark|note)")


@dataclass
class Expectation:
    """`line` is that of the message awaited, 0 for one without a line; `comment` where it was asked for."""

    severity: Severity
    line: int
    text: str
    comment: int

    def is_met_by(self, diagnostic: Diagnostic, file: str) -> bool:
        """Whether this is the message awaited."""
        line = diagnostic.place.line if diagnostic.place.file == file else 0
        return diagnostic.severity is self.severity and line == self.line and self.text in diagnostic.message


def mismatches(text: str, file: str, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """What is wrong with `diagnostics` according to the comments in `text`; empty when all is as expected."""
    expected, problems = _expectations(text, file)
    for diagnostic in diagnostics:
        met = next((e for e in expected if e.is_met_by(diagnostic, file)), None)
        if met is not None:
            expected.remove(met)
        elif diagnostic.severity is not Severity.NOTE:
            problems.append(
                Diagnostic(
                    Severity.ERROR,
                    diagnostic.place,
                    f"unexpected {diagnostic.severity}: {diagnostic.message}",
                    diagnostic.notes,
                    diagnostic.excerpt,
                )
            )
    problems += [
        Diagnostic(
            Severity.ERROR, Place(file, e.comment), f'expected {e.severity} "{e.text}" was not produced{_where(e)}'
        )
        for e in expected
    ]
    return problems


def _where(expectation: Expectation) -> str:
    if expectation.line == expectation.comment:
        return ""
    return f" on line {expectation.line}" if expectation.line else " without a line"


def _expectations(text: str, file: str) -> tuple[list[Expectation], list[Diagnostic]]:
    """The expectations in the comments of `text`, and complaints about comments that only look like one."""
    found: list[Expectation] = []
    problems: list[Diagnostic] = []
    for number, line in enumerate(text.splitlines(), 1):
        comment = line.partition("//")[2]
        matches = list(_EXPECTATION.finditer(comment))
        if len(matches) != len(_MENTION.findall(_EXPECTATION.sub(_keep_head, comment))):
            message = "malformed expectation; write // expected-error@+1 {{part of the message}}"
            problems.append(Diagnostic(Severity.ERROR, Place(file, number), message))
        for match in matches:
            severity = Severity(match["severity"])
            at = _line(number, match["at"] or "")
            found += [Expectation(severity, at, match["text"], number)] * int(match["count"] or 1)
    return found, problems


def _keep_head(match: re.Match[str]) -> str:
    """The expectation without its text, which may hold anything."""
    return match.group().partition("{{")[0]


def _line(comment: int, at: str) -> int:
    named = {"": comment, "@above": comment - 1, "@below": comment + 1, "@unknown": 0}
    return named[at] if at in named else comment + int(at[1:])
