"""What `fs-run` prints: tables on a terminal, plain columns elsewhere, or one JSON document."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fsir.interp.packet_io import Packet
from fsir.interp.results import Difference, PacketResult, redirect_to_json, verdict_name
from fsir.run.session import Run

SHOWN_PACKETS = 20
Row = Sequence[str]


def document(run: Run) -> dict[str, Any]:
    """A run for JSON: `packets` by index, `maps` as in maps.json, `verdicts` counted."""
    return {
        "input": run.input_name,
        "engine": run.engine,
        "program": run.program,
        "packets": [result.to_json() for result in run.results],
        "verdicts": {name: count for name, count, _ in _verdicts(run)},
        "maps": run.maps,
    }


def print_run(run: Run, packets: bool | None) -> None:
    """The report of one run. `packets` asks for a line per packet; None means where there are few."""
    total = len(run.results)
    print(f"{run.program} ({run.engine}): {_counted(total, 'packet')}")
    if packets or (packets is None and total <= SHOWN_PACKETS):
        print_table(("packet", "verdict", "bytes", "instructions", "target"), [_packet_row(r) for r in run.results])
    print_table(("verdict", "packets", "instructions (mean)"), [(n, str(c), m) for n, c, m in _verdicts(run)])
    parts = _parts(run)
    if parts:
        print_table(("part", "packets", "instructions (mean)"), parts)
    helpers: Counter[str] = Counter()
    for result in run.results:
        helpers.update(result.helper_calls)
    if helpers:
        print_table(("helper", "calls"), [(f"bpf_{name}", str(count)) for name, count in helpers.most_common()])
    print_table(("map", "entries"), [(name, str(len(entries))) for name, entries in run.maps.items()])


def print_difference(difference: Difference, left: Run, right: Run, packets: Sequence[Packet]) -> None:
    """Where two runs part, with the packet at which they do."""
    print(f"different: {difference.where}: {difference.what}")
    rows = [(left.title, difference.left), (right.title, difference.right)]
    print_table(("run", difference.what), rows)
    index = difference.where.removeprefix("packet ")
    if index.isdecimal() and int(index) < len(packets):
        print(f"input: {packets[int(index)].data.hex()}")


def agreement(left: Run, right: Run, ignored: frozenset[str]) -> str:
    """One line that says what was compared and found equal."""
    maps = sorted((left.maps.keys() & right.maps.keys()) - ignored)
    named = f" ({', '.join(maps)})" if maps else ""
    return (
        f"equal: {_counted(len(left.results), 'packet')} and {_counted(len(maps), 'map')}{named}: "
        f"{left.title} | {right.title}"
    )


def print_table(header: Row, rows: Sequence[Row]) -> None:
    """Rows under a header; with rules and colours on a terminal."""
    if not rows:
        return
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*header, header_style="bold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        print("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _packet_row(result: PacketResult) -> Row:
    target = redirect_to_json(result.redirect) or {}
    return (
        str(result.index),
        result.verdict_name,
        str(len(result.data)) if result.bytes_known else "",
        "" if result.instructions is None else str(result.instructions),
        " ".join(f"{name}={value}" for name, value in target.items()),
    )


def _verdicts(run: Run) -> list[tuple[str, int, str]]:
    """Name, count and mean instructions of each verdict, by number."""
    found: dict[int, list[PacketResult]] = {}
    for result in run.results:
        found.setdefault(result.verdict, []).append(result)
    return [
        (verdict_name(verdict, run.hook), len(results), _mean([r.instructions for r in results]))
        for verdict, results in sorted(found.items())
    ]


def _parts(run: Run) -> list[Row]:
    found: dict[str, list[int | None]] = {}
    for result in run.results:
        for part, count in result.parts:
            found.setdefault(part, []).append(count)
    return [(part, str(len(counts)), _mean(counts)) for part, counts in found.items()]


def _mean(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known) / len(known):.1f}" if known else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
