"""`fs-run IN --live IFACE…`: the counters of a deployment, on a terminal as they change."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from fsir.run.deploy import Deployment, Options, State
from fsir.run.engines import Settings, Subject
from fsir.run.interrupts import Interrupts
from fsir.run.report import print_table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

Row = tuple[str, ...]
PARTS_HEADER = ("part", "runs on", "packets", "per second", "ns each")
PATHS_HEADER = ("path", "packets", "per second", "share")
VERDICTS = {
    "passed": "passed to the network stack",
    "transmitted": "sent back",
    "redirected": "redirected",
    "dropped": "dropped",
    "aborted": "aborted",
}
FAILURES = {
    "violations": "dropped: memory that is not the program's",
    "handoff_errors": "dropped: no handoff header that the part knows",
    "pass_errors": "dropped: could not be passed",
    "redirect_errors": "dropped: could not be redirected",
    "tx_full": "dropped: no room to send it back",
    "map_errors": "changes of a map that the kernel did not take",
    "rx_dropped": "lost before the socket",
    "rx_ring_full": "lost before the socket: the part is too slow",
    "fill_ring_empty": "found no buffer for the socket",
}


class Rates:
    """Counts, and what they grew by each second between the last two looks."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self._at = time.monotonic()

    def look(self, counts: dict[str, int]) -> None:
        now = time.monotonic()
        if elapsed := now - self._at:
            self.rates = {name: (n - self._before.get(name, 0)) / elapsed for name, n in counts.items()}
        self._before, self._at = dict(counts), now


def counts_of(state: State, deployment: Deployment) -> dict[str, int]:
    """Packets by part (`part NAME`) and by path; every path starts with the part in which it ends."""
    bundle = deployment.bundle
    kernel = bundle.part("kernel") if bundle is not None else None
    user = bundle.part("user") if bundle is not None else None
    found: dict[str, int] = {}
    counted = state.user or {}
    received = counted.get("received", 0)
    lost = sum(counted.get(name, 0) for name in ("rx_dropped", "rx_ring_full"))
    if state.runs is not None:
        name = kernel["name"] if kernel is not None else deployment.kernel[0].name
        found[f"part {name}"] = state.runs
        found[f"{name}: ended there"] = max(0, state.runs - received - lost)
    if user is None or bundle is None:
        return found
    name = user["name"]
    found[f"part {name}"] = received
    for handoff in bundle.manifest["handoffs"]:
        if handoff["to"] == name:
            where = next(iter(handoff["reasons"]), "")
            label = f"{handoff['from']} → {name}, resume point {handoff['resume']}" + (f" ({where})" if where else "")
            bare = handoff["transport"] == "none"
            found[label] = received if bare else counted.get(f"resume_{handoff['resume']}", 0)
    for counter, words in (VERDICTS | FAILURES).items():
        if counter in VERDICTS or counted.get(counter):
            found[f"{name}: {words}"] = counted.get(counter, 0)
    return found


class View:
    """Rows of the two tables, from one look to the next."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._rates = Rates()
        self._state = State()
        self._counts: dict[str, int] = {}

    def look(self, state: State) -> None:
        self._state, self._counts = state, counts_of(state, self._deployment)
        self._rates.look(self._counts)

    def parts(self) -> list[Row]:
        bundle = self._deployment.bundle
        where = {part["name"]: part["target"] for part in bundle.manifest["parts"]} if bundle is not None else {}
        rows: list[Row] = []
        for label, count in self._counts.items():
            if label.startswith("part "):
                name = label.removeprefix("part ")
                in_kernel = where.get(name, "xdp") != "af-xdp" and self._state.runs
                each = f"{self._state.run_ns / self._state.runs:.0f}" if in_kernel and self._state.runs else ""
                rows.append((name, where.get(name, "xdp"), f"{count:,}", self._rate(label), each))
        return rows

    def paths(self) -> list[Row]:
        total = max((n for label, n in self._counts.items() if label.startswith("part ")), default=0)
        return [
            (label, f"{count:,}", self._rate(label), f"{100 * count / total:.1f} %" if total else "")
            for label, count in self._counts.items()
            if not label.startswith("part ")
        ]

    def _rate(self, label: str) -> str:
        return f"{self._rates.rates.get(label, 0):,.0f}"

    def rich(self, title: str) -> Group:
        from rich.console import Group
        from rich.table import Table

        tables = []
        for header, rows, heading in ((PARTS_HEADER, self.parts(), title), (PATHS_HEADER, self.paths(), None)):
            table = Table(*header, title=heading, header_style="bold")
            for column in table.columns[1:]:
                column.justify = "right"
            for row in rows:
                table.add_row(*row)
            tables.append(table)
        return Group(*tables)


def deploy(
    subject: Subject, settings: Settings, options: Options, *, seconds: float | None, json_output: bool, quiet: bool
) -> dict[str, Any]:
    """Run until interrupted, or for so many seconds; the final counters as printed with `--json`."""
    with Interrupts() as interrupts, closing(Deployment(subject, settings, options)) as deployment:
        interrupts.hold()
        title = f"{subject.shown} on {', '.join(options.interfaces)}"
        view = View(deployment)
        print(f"live: {title}; an interrupt ends it", file=sys.stderr, flush=True)
        drawn = sys.stdout.isatty() and not json_output and not quiet
        _watch(deployment, view, title, seconds, interrupts, drawn)
        state = deployment.stop()
        maps = deployment.maps()
        view.look(state)
        paths = counts_of(state, deployment)
        document = {
            "interfaces": list(options.interfaces),
            "kernel": None if state.runs is None else {"packets": state.runs, "nanoseconds": state.run_ns},
            "user": state.user,
            "restarts": state.restarts,
            "paths": {label: count for label, count in paths.items() if not label.startswith("part ")},
            "maps": maps,
        }
        if json_output:
            json.dump(document, sys.stdout, indent=1)
            print()
        elif not quiet:
            _print_final(view)
        return document


def _watch(
    deployment: Deployment, view: View, title: str, seconds: float | None, interrupts: Interrupts, drawn: bool
) -> None:
    end = math.inf if seconds is None else time.monotonic() + seconds
    pause = 1.0 if drawn else 0.2
    with _screen() if drawn else nullcontext() as screen:
        ended = False
        while not ended:
            state = deployment.watch()
            for event in state.events:
                print(f"live: {event}", file=sys.stderr, flush=True)
            view.look(state)
            if screen is not None:
                screen.update(view.rich(title), refresh=True)
            left = max(0.0, end - time.monotonic())
            ended = interrupts.wait(min(pause, left)) or left <= pause


def _screen() -> Live:
    from rich.live import Live

    return Live(auto_refresh=False, screen=False, transient=True)


def _print_final(view: View) -> None:
    def without_rate(header: Sequence[str], rows: Sequence[Row]) -> tuple[Row, list[Row]]:
        keep = [i for i, name in enumerate(header) if name != "per second"]
        return tuple(header[i] for i in keep), [tuple(row[i] for i in keep) for row in rows]

    print_table(*without_rate(PARTS_HEADER, view.parts()))
    print_table(*without_rate(PATHS_HEADER, view.paths()))
