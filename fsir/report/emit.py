"""The target `report`: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from xdsl.dialects.builtin import ModuleOp

from fsir.driver.errors import UsageError
from fsir.driver.targets import EmitOptions
from fsir.report.access import access_report
from fsir.report.contents import contents_report

_KINDS = {"contents": contents_report, "access": access_report}


def emit(module: ModuleOp, options: EmitOptions) -> str:
    """The report that `-t report{kind=contents|access format=text|json}` asks for."""
    kind = str(options.parameters.get("kind", ("contents",))[0])
    form = str(options.parameters.get("format", ("text",))[0])
    if kind not in _KINDS or form not in ("text", "json"):
        raise UsageError("-t report takes kind=contents or kind=access, and format=text or format=json")
    report = _KINDS[kind](module)
    if form == "json":
        return json.dumps({"input": options.input_name} | report, indent=2) + "\n"
    console = Console(
        file=StringIO(),
        width=int(os.environ.get("COLUMNS", 0)) or (None if sys.stdout.isatty() else 120),
        force_terminal=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
        highlight=False,
    )
    (_contents_tables if kind == "contents" else _access_tables)(console, report)
    file = console.file
    assert isinstance(file, StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column.startswith("#") else "left")
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}" if n == 1 else f"{name} ×{n}" for name, n in counts.items()) or "-"


def _contents_tables(console: Console, report: dict[str, Any]) -> None:
    table = _table("functions", "name", "section", "type", "# insns", "# blocks", "helpers, kfuncs, calls")
    for f in [*report["programs"], *report["subprograms"]]:
        called = _counts(f["helpers"] | dict.fromkeys([*f["kfuncs"], *(f"@{name}" for name in f["calls"])], 1))
        size = "-" if f["instructions"] is None else str(f["instructions"])
        table.add_row(f["name"], f["section"], f["type"] or "subprogram", size, str(f["blocks"]), called)
    console.print(table)
    table = _table("\nmaps", "name", "type", "# key", "# value", "# entries", "# flags")
    for m in report["maps"]:
        kind = f"{m['type']} (global data)" if m["internal"] else m["type"]
        table.add_row(m["name"], kind, *(str(m[key]) for key in ("key", "value", "entries")), hex(m["flags"]))
    console.print(table)
    table = _table("\nneeds of the kernel", "since", "what")
    rows: dict[tuple[str | None, str], list[str]] = {}
    for need in report["needs"]:
        rows.setdefault((need["since"], need["kind"]), []).append(need["name"])
    for (since, kind), names in rows.items():
        table.add_row(since or "?", f"{kind} {', '.join(names)}")
    console.print(table)
    console.print(f"\nlicence {report['license'] or '-'}, kernel {report['kernel']} or newer")


def _access_tables(console: Console, report: dict[str, Any]) -> None:
    for f in report["functions"]:
        table = _table(f"{f['name']} ({f['type'] or 'subprogram'})", "", "")
        table.show_header = False
        table.add_row("packet reads", _counts(f["reads"]))
        table.add_row("packet writes", _counts(f["writes"]))
        table.add_row("context", _counts(f["context"]))
        table.add_row("guards (bytes)", ", ".join(map(str, f["guards"])) or "-")
        table.add_row("resizes", ", ".join(f["resizes"]) or "-")
        for name, use in f["maps"].items():
            added = " (only added to)" if name in f["commutative"] else ""
            table.add_row(f"map {name}", _counts(use) + added)
            keys = f["keys"].get(name, ())
            numbers = sorted(int(key) for key in keys if key.isdigit())
            for key in [", ".join(map(str, numbers))] * bool(numbers) + [key for key in keys if not key.isdigit()]:
                table.add_row("  by", key)
        share = f"{f['blocks'] - f['stateless_blocks']} of {f['blocks']} blocks"
        table.add_row("state", f"changes or depends on it in {share}" if f["stateful"] else "stateless")
        for where, maps in dict.fromkeys(map(_region, f["stateful_regions"])):
            table.add_row(f"  {where}", maps)
        table.add_row("not raised", _counts(f["not_raised"]))
        console.print(table)
        console.print()


def _region(region: dict[str, Any]) -> tuple[str, str]:
    where = region["lines"] or f"blocks {', '.join(map(str, region['blocks']))}"
    return where, ", ".join(region["maps"]) or "-"
