"""How much `raise,optimize,lower-to-xdp` saves: instructions in the object and instructions executed, as ratios.

    PYTHONPATH=test .venv/bin/python bench/bench_optimize.py [--every N] [PART...]

Takes the examples and what clang made of the kernel's samples with -O2 (`python -m corpus collect`), or the objects of
the corpus with a PART in their names. Executed instructions are the interpreter's, over the packets and the states of
maps that the corpus is checked with, and only of programs that it can run. The second table has the programs for which
the superoptimiser K2 ("Synthesizing Safe and Efficient Kernel Extensions for Packet Processing", SIGCOMM 2021) has
published lengths; its programs are those of Linux 5.4 compiled with clang 9, so that only ratios compare.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import defaultdict
from dataclasses import dataclass

from corpus.collection import Item, code_digest, items
from corpus.interpretation import STATES, states
from corpus.running import PACKET_TYPES, incomparable, run_interpreted, targets
from corpus.states import sizes
from corpus.traffic_seeds import packets
from rich.console import Console
from rich.table import Table

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import ExecutionError, SelectionError
from fsir.interp.map_base import MapError
from fsir.object.encode import instruction_count
from fsir.object.importer import import_object

PIPELINE = "raise,optimize,lower-to-xdp"
PACKETS = 60
DEFAULT = (
    "examples/",
    *(f"samples/{clang}-O2-{cpu}" for clang in ("clang14", "clang19") for cpu in ("v1", "v2", "v3", "v4")),
)

K2 = {
    "tp_xdp_exception": (18, 16),
    "tp_xdp_redirect_err": (18, 16),
    "tp_xdp_devmap_xmit": (36, 29),
    "tp_xdp_cpumap_kthread": (24, 18),
    "tp_xdp_cpumap_enqueue": (26, 21),
    "trace_enter_open": (24, 20),
    "xdp_router_ipv4_prog": (111, 99),
    "xdp_redirect_prog": (43, 35),
    "xdp1_kern.o xdp_prog1": (61, 56),
    "xdp2_kern.o xdp_prog1": (78, 71),
    "xdp_fwd_prog": (155, 128),
}
"""Instructions before and after K2, by the function's name in today's samples."""


@dataclass
class Row:
    """One function: its length before and after, and instructions executed where it ran, 0 where not."""

    name: str
    before: int
    after: int
    executed_before: int = 0
    executed_after: int = 0
    slower: bool = False


def measure(item: Item) -> list[Row]:
    """All functions of an object."""
    original, module = (import_object(item.data, item.name) for _ in range(2))
    with collecting(Diagnostics()):
        run_pipeline(make_context(), module, PIPELINE)
    before = {func.symbol: instruction_count(func) for func in functions(original)}
    rows = {
        func.symbol: Row(f"{item.name} {func.symbol}", before[func.symbol], instruction_count(func))
        for func in functions(module)
        if func.symbol in before and not func.is_raw()
    }
    for target in targets(original):
        type_ = target.types[0]
        if type_ not in PACKET_TYPES or incomparable(original, target.name) or target.name not in rows:
            continue
        row = rows[target.name]
        for number, maps in enumerate(states(original, [target.name], STATES)):
            frames = packets(PACKETS, seed=number)
            try:
                expected = run_interpreted(original, target, type_, maps, frames)
                found = run_interpreted(module, target, type_, maps, frames, map_sizes=sizes(original))
            except (ExecutionError, MapError, SelectionError):
                break  # not a program that can be counted; `python -m corpus pipeline` says why
            for a, b in zip(expected.results, found.results, strict=True):
                row.executed_before += a.instructions or 0
                row.executed_after += b.instructions or 0
                row.slower |= (b.instructions or 0) > (a.instructions or 0)
    return list(rows.values())


def mean(ratios: list[float]) -> str:
    """The geometric mean."""
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}" if ratios else "-"


def kind(row: Row) -> str:
    """What made an object: its compiler, optimisation and CPU level, or its collection."""
    found = re.match(r"[^/]+/(clang\d+)-(O.)-(v\d)", row.name)
    return " ".join(found.groups()) if found else row.name.split("/")[0]


def by_kind(rows: list[Row]) -> Table:
    """Geometric means of the ratios."""
    table = Table(title=f"{PIPELINE}: after / before, geometric means")
    for column in ("compiler", "functions", "length", "programs run", "executed", "with a slower packet"):
        table.add_column(column, justify="left" if column == "compiler" else "right")
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[kind(row)].append(row)
        groups["all"].append(row)
    for name in sorted(groups, key=lambda name: (name == "all", name)):
        run = [row for row in groups[name] if row.executed_before]
        lengths = mean([row.after / row.before for row in groups[name]])
        executed = mean([row.executed_after / row.executed_before for row in run])
        slower = str(sum(row.slower for row in run))
        table.add_row(name, str(len(groups[name])), lengths, str(len(run)), executed, slower)
    return table


def beside_k2(rows: list[Row]) -> Table:
    """The programs that K2 has published, as clang 14 makes them for the lowest CPU level that they compile for."""
    table = Table(title="length after / before, beside K2")
    for column in ("program", "K2", "here", "instructions here"):
        table.add_column(column, justify="left" if column == "program" else "right")
    theirs, ours = [], []
    for name, (before, after) in K2.items():
        here = [row for row in rows if row.name.endswith(name) and "clang14-O2" in row.name]
        if not here:
            continue
        theirs.append(after / before)
        ours.append(here[0].after / here[0].before)
        cells = (f"{theirs[-1]:.3f}", f"{ours[-1]:.3f}", f"{here[0].before} -> {here[0].after}")
        table.add_row(name, *cells)
    table.add_row("geometric mean", mean(theirs), mean(ours), "")
    return table


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="*", default=list(DEFAULT), help="objects with this in their names")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth object only")
    options = parser.parse_args()
    seen: set[str] = set()
    rows: list[Row] = []
    for item in items(options.part)[:: options.every]:
        digest = code_digest(item)
        if digest not in seen:
            rows += measure(item)
        seen.add(digest)
    console = Console(width=120)
    console.print(by_kind(rows))
    console.print(beside_k2(rows))
    if not any(row.name.startswith("samples/") for row in rows):
        console.print("The samples are not there: PYTHONPATH=test .venv/bin/python -m corpus collect")
    return 0


if __name__ == "__main__":
    sys.exit(main())
