"""What checks find: one `Finding` for each thing looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

OK, FAIL, SKIP, NOTE = "ok", "fail", "skip", "note"
LOGS = "logs of "
"""Begins the name of a sum of logarithms of ratios; the name without it counts them."""
PARTS = "parts of "
"""Begins the name of a number that is part of the number without it."""


@dataclass(frozen=True)
class Finding:
    """The outcome for one object, function or program.

    status   ok; fail; skip (not applicable, `reason` says why); note (true, and worth listing)
    reason   for grouping, the same for the same cause
    details  more, for this case alone
    """

    status: str
    subject: str
    reason: str = ""
    details: str = ""


@dataclass
class Findings:
    """The findings of one object, numbers to add up, and numbers of which the largest counts."""

    found: list[Finding] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    largest: dict[str, tuple[float, str]] = field(default_factory=dict)

    def add(self, status: str, subject: str, reason: str = "", details: str = "") -> None:
        self.found.append(Finding(status, subject, reason, details))

    def count(self, name: str, by: float = 1) -> None:
        self.numbers[name] = self.numbers.get(name, 0) + by

    def part(self, name: str, some: float, whole: float) -> None:
        """Add to a share: reports show it in percent."""
        self.count(PARTS + name, some)
        self.count(name, whole)

    def ratio(self, name: str, value: float) -> None:
        """Add to the ratios of which reports show the geometric mean."""
        self.count(LOGS + name, math.log(value))
        self.count(name)

    def extreme(self, name: str, value: float, subject: str) -> None:
        self.largest[name] = max(self.largest.get(name, (0.0, "")), (value, subject))
