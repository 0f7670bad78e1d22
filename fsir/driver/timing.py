"""Wall-clock time per phase and pass, nested as the calls are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Row:
    """One measured thing; `seconds` includes what is nested in it but not what is measured apart."""

    name: str
    depth: int
    seconds: float = 0.0


@dataclass
class Timer:
    """Collects rows in the order in which things began.

    Things measured `apart` (verification, dumps) are summed up by name and taken out of what they interrupt.
    """

    rows: list[Row] = field(default_factory=list)
    apart: dict[str, float] = field(default_factory=dict)
    _open: list[Row] = field(default_factory=list)

    @contextmanager
    def measure(self, name: str, apart: bool = False) -> Iterator[None]:
        """Measure the block."""
        row = Row(name, len(self._open))
        if not apart:
            self.rows.append(row)
            self._open.append(row)
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            row.seconds += elapsed
            if apart:
                self.apart[name] = self.apart.get(name, 0.0) + elapsed
                for outer in self._open:
                    outer.seconds -= elapsed
            else:
                self._open.pop()

    def table(self) -> str:
        """The rows as text, with each one's share of the total."""
        rows = [*self.rows, *(Row(f"({name})", 0, seconds) for name, seconds in self.apart.items())]
        total = sum(row.seconds for row in rows if row.depth == 0)
        lines = [f"{'seconds':>9}  {'share':>6}  what"]
        for row in [*rows, Row("total", 0, total)]:
            share = row.seconds / total if total else 0.0
            lines.append(f"{row.seconds:9.4f}  {share:6.1%}  {'  ' * row.depth}{row.name}")
        return "\n".join(lines)
