"""`make demo`: one network function from object to a three-way split, told with the commands that a user would type."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

EXAMPLE = "firewall"
PLACE = "raise,decompose{targets=p4-v1model,xdp,af-xdp},share-maps"
_MODULES = {"fs-opt": "fsir.tools.fs_opt", "fs-run": "fsir.tools.fs_run"}


class DemoError(Exception):
    """A step of the demo did not do what it shows."""


@dataclass(frozen=True)
class Step:
    """A command, why it is run, and how its output is shown."""

    title: str
    why: str
    command: Sequence[str]
    show: Callable[[Console, str], None]


def run(command: Sequence[str]) -> str:
    """The output of a command of the project."""
    argv = [sys.executable, "-m", _MODULES[command[0]], *command[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def excerpt(first: str, lines: int) -> Callable[[Console, str], None]:
    """Show some lines of IR, from the one that contains `first` on."""

    def show(console: Console, text: str) -> None:
        rows = [row for row in text.splitlines() if "object." not in row]
        start = next(i for i, row in enumerate(rows) if first in row)
        cut = [row if len(row) < 118 else row[:115] + "…" for row in rows[start : start + lines]]
        console.print(Syntax("\n".join(cut), "llvm", background_color="default", word_wrap=False))
        console.print(f"  … {len(rows) - start - lines} more lines", style="dim")

    return show


def plain(console: Console, text: str) -> None:
    """Show the whole output."""
    console.print(text.rstrip(), highlight=False, markup=False)


def bundle(folder: Path) -> Callable[[Console, str], None]:
    """Show what the bundle holds, and from its manifest what was placed where, and why."""

    def show(console: Console, text: str) -> None:
        files = Table(box=None, pad_edge=False)
        files.add_column("file")
        files.add_column("bytes", justify="right")
        for file in sorted(folder.iterdir()):
            files.add_row(file.name, str(file.stat().st_size))
        console.print(files)
        manifest = json.loads((folder / "manifest.json").read_text())
        console.print(placement_table(manifest))
        console.print(sharing_table(manifest))

    return show


def placement_table(manifest: dict[str, Any]) -> Table:
    """Parts, targets, costs, and the reasons for the cuts."""
    table = Table(title="who runs what, and why", title_justify="left", show_lines=True)
    for column in ("part", "target", "why"):
        table.add_column(column, overflow="fold")
    for part in manifest["parts"]:
        reasons = list(dict.fromkeys(part.get("reasons", [])))
        table.add_row(part["name"], part["target"], "\n".join(reasons[:4]))
    return table


def sharing_table(manifest: dict[str, Any]) -> Table:
    """Maps, how they are shared, and the reason."""
    table = Table(title="maps", title_justify="left", show_lines=False)
    for column in ("map", "shared by", "parts", "why"):
        table.add_column(column, overflow="fold")
    for used in manifest["maps"]:
        for sharing in used["sharing"]:
            table.add_row(used["name"], sharing["mechanism"], ", ".join(sharing["parts"]), sharing["reason"])
    return table


def steps(root: Path, folder: Path) -> list[Step]:
    """The demo, in order."""
    example = root / EXAMPLE
    object_, pcap, maps = (str(example / name) for name in (f"{EXAMPLE}.o", f"{EXAMPLE}.pcap", "maps.json"))
    engine = ["bundle"] if shutil.which("cc") else ["placed"]
    return [
        Step(
            "An object, as clang made it",
            "A stateful firewall in C, compiled by clang: nothing in it knows of this project.",
            ["fs-opt", object_, "--report"],
            plain,
        ),
        Step(
            "Machine level",
            "Every instruction is an operation, every register content a value; exported, these are the same bytes.",
            ["fs-opt", object_],
            excerpt("ebpf.func", 14),
        ),
        Step(
            "Raised",
            "The same function as what it does: guards, header fields by name, map operations with keys as values.",
            ["fs-opt", object_, "-p", "raise,optimize"],
            excerpt("^bb0", 16),
        ),
        Step(
            "What it touches",
            "Readable off the IR: fields, maps, and where state is involved.",
            ["fs-opt", object_, "--report", "access"],
            plain,
        ),
        Step(
            "Split over NIC, kernel and user space, and written as a bundle",
            "Each path stays on the cheapest target that can run it; a packet moves on where it cannot.",
            ["fs-opt", object_, "-p", f"{PLACE},lower", "-t", "bundle", "-o", str(folder)],
            bundle(folder),
        ),
        Step(
            "Original against split",
            "The artifacts, run together, against the original: every verdict, every byte, every map."
            if engine == ["bundle"]
            else "No C compiler here: the placed IR instead of the artifacts, against the original.",
            [
                *("fs-run", object_, "--pcap", pcap, "--maps", maps),
                *("--compare", str(folder), "--compare-engine", *engine),
            ],
            plain,
        ),
    ]


def main() -> int:
    """Run the demo; 0 when original and split agree."""
    console = Console()
    root = Path(__file__).resolve().parents[1]
    folder = root / "build" / "demo" / EXAMPLE
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    for number, step in enumerate(steps(root / "examples", folder), 1):
        console.print(Panel(f"[bold]{number}. {step.title}[/bold]\n{step.why}", expand=False))
        shown = " ".join(f"'{word}'" if "{" in word else word for word in step.command)
        console.print(f"$ {shown.replace(str(root) + '/', '')}", style="bold green", highlight=False, markup=False)
        try:
            step.show(console, run(step.command))
        except DemoError as error:
            console.print(str(error), style="red", markup=False)
            return 1
        console.print()
    console.print(f"Done in {time.monotonic() - started:.1f} s; the bundle is in {folder.relative_to(root)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
