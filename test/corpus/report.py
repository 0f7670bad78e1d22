"""Printing what was found: counts first, then every exception under its reason."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from corpus.findings import FAIL, LOGS, NOTE, OK, PARTS, SKIP, Finding, Findings

HEADINGS = {FAIL: "FAILED", SKIP: "skipped", NOTE: "noted"}
LISTED = 6


class Report:
    """Gathers the findings of a check over all objects."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.found: list[Finding] = []
        self.numbers: dict[str, float] = defaultdict(float)
        self.largest: dict[str, tuple[float, str]] = {}

    def add(self, findings: Findings) -> None:
        self.found += findings.found
        for name, value in findings.numbers.items():
            self.numbers[name] += value
        for name, found in findings.largest.items():
            self.largest[name] = max(self.largest.get(name, found), found)

    def with_status(self, status: str) -> list[Finding]:
        return [finding for finding in self.found if finding.status == status]

    @property
    def failed(self) -> bool:
        return bool(self.with_status(FAIL))

    def print(self, console: Console, everything: bool = False) -> None:
        """Counts, then reasons, the most frequent first, each with some or all of its cases."""
        out = console.print
        out(f"\n[bold]{self.title}[/bold]", highlight=False)
        for status in (NOTE, SKIP, FAIL):
            self._print_reasons(console, status, everything)
        counts = {status: len(self.with_status(status)) for status in (OK, FAIL, SKIP, NOTE)}
        judged = counts[OK] + counts[FAIL]
        share = f" ({100 * counts[OK] / judged:.2f} %)" if judged else ""
        for name, (value, subject) in sorted(self.largest.items()):
            out(f"  {name}: {value:,.2f} ({subject})", highlight=False)
        for name, value in sorted(self.shown_numbers().items()):
            out(f"  {name}: {value:,.0f}" if value == int(value) else f"  {name}: {value:,.3f}", highlight=False)
        out(
            f"  [bold]{counts[OK]:,} of {judged:,} agree{share}[/bold]; failed {counts[FAIL]:,}, "
            f"skipped {counts[SKIP]:,}, noted {counts[NOTE]:,}",
            highlight=False,
        )

    def shown_numbers(self) -> dict[str, float]:
        """Sums; shares in percent, by the names (parts of X, X); and the geometric means of ratios: sums of logarithms
        over counts, by the names (logs of X, X)."""
        shown = dict(self.numbers)
        for name in self.numbers:
            if name.startswith(LOGS):
                what = name.removeprefix(LOGS)
                del shown[name]
                shown[f"geometric mean of the ratio, {what}"] = math.exp(self.numbers[name] / self.numbers[what])
            elif name.startswith(PARTS):
                what = name.removeprefix(PARTS)
                del shown[name]
                shown[f"percent of {shown[what]:,.0f} {what}"] = 100 * self.numbers[name] / (self.numbers[what] or 1)
                del shown[what]
        return shown

    def _print_reasons(self, console: Console, status: str, everything: bool) -> None:
        groups: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.with_status(status):
            groups[finding.reason].append(finding)
        for reason, cases in sorted(groups.items(), key=lambda group: -len(group[1])):
            console.print(f"  {HEADINGS[status]} {len(cases):,}: {reason}", highlight=False, markup=False)
            shown = cases if everything else cases[: LISTED if status == FAIL else 1]
            for case in shown:
                details = f": {case.details}" if case.details else ""
                console.print(f"      {case.subject}{details}", highlight=False, markup=False)
            if len(shown) < len(cases) and status == FAIL:
                console.print(f"      … and {len(cases) - len(shown):,} more (--all lists them)", highlight=False)

    def write(self, path: Path) -> None:
        """All findings as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "title": self.title,
            "numbers": self.shown_numbers(),
            "largest": self.largest,
            "found": [asdict(f) for f in self.found],
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
