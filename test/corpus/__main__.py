"""The command line: `python -m corpus --help`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from corpus import identity, interpretation, loaders, loading, raised, split
from corpus.collection import CACHE, Item, collect, items, with_twins
from corpus.findings import FAIL, Finding, Findings
from corpus.pipelines import PipelineCheck
from corpus.report import Report
from fsir.driver import workers
from fsir.kernel.availability import unavailable

Check = Callable[[Item], Findings]
JOBS = 2
LOGGED_EVERY = 100
"""Objects between two lines of progress, where the output is no terminal and has no bar."""


def main() -> int:
    options = _arguments()
    console = Console(soft_wrap=True)
    os.nice(options.nice)
    if options.check == "collect":
        return _collect(console, options)
    check: Check
    if options.check == "pipeline":
        check, title = (
            PipelineCheck(options.passes, not options.packets_only, options.packets),
            f"pipeline {options.passes}",
        )
    else:
        check, title = CHECKS[options.check], options.check
    if options.check not in WITHOUT_KERNEL and (reason := unavailable()):
        console.print(f"[bold red]SKIPPED[/bold red]: {title} needs the kernel: {reason}")
        return 0
    found = items(options.only)
    if not found:
        console.print("error: there are no such objects; run 'python -m corpus collect' first")
        return 1
    if not options.same:
        found = [item for item in with_twins(found) if not item.twin or options.check in WITH_TWINS]
    if options.every > 1:
        found = found[:: options.every]
    began = time.monotonic()
    report = run_check(check, title, found, console, options)
    report.print(console, options.all)
    console.print(f"  {time.monotonic() - began:,.0f} s; {cpu_seconds():,.0f} s of CPU time", highlight=False)
    name = title.replace(" ", "-").replace(",", "+")
    report.write(CACHE / "results" / f"{name}.json")
    return 1 if report.failed else 0


def cpu_seconds() -> float:
    """CPU time of this process and of the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def run_check(check: Check, title: str, found: list[Item], console: Console, options: argparse.Namespace) -> Report:
    """Apply a check to all items, showing progress. An interrupt ends it early; what was found until then counts."""
    report = Report(f"{title}: {len(found):,} objects")
    with _progress(console) as progress:
        bar = progress.add_task(title, total=len(found), last="")
        done = workers.run(check, found, jobs=options.jobs, timeout=options.timeout)
        number = 0
        try:
            for number, (item, result) in enumerate(done, 1):
                if not console.is_terminal and number % LOGGED_EVERY == 0:
                    console.print(f"  {number:,} of {len(found):,} objects", highlight=False)
                _record(report, item, result, console, options)
                progress.update(bar, advance=1, last=item.name[-60:])
        except KeyboardInterrupt:
            report.title = f"{title}: {number:,} of {len(found):,} objects, INTERRUPTED"
    return report


def _record(
    report: Report, item: Item, result: Findings | workers.Failure, console: Console, options: argparse.Namespace
) -> None:
    """Add what was found in an object, and show failures at once."""
    if isinstance(result, workers.Failure):
        reason, details = result.what.splitlines()[0][:240], result.details if options.traceback else ""
        result = Findings([Finding(FAIL, item.name, reason, details)])
    report.add(result)
    for finding in result.found:
        if finding.status == FAIL:
            text = f"{finding.subject}: {finding.reason} {finding.details}"
            console.print(f"  FAILED {text[:400]}", highlight=False, markup=False)


def _collect(console: Console, options: argparse.Namespace) -> int:
    with _progress(console) as progress:
        bar = progress.add_task("compile", total=None, last="")

        def advance(done: int, total: int, last: str) -> None:
            progress.update(bar, completed=done, total=total, last=last)

        report = collect(advance, options.jobs, options.clang_19, options.only[0] if options.only else "")
    for kind, count in sorted(report.objects.items()):
        failed = report.failed.get(kind, [])
        console.print(f"  {count:5,} {kind}" + (f"  ({len(failed)} do not compile here)" if failed else ""))
        for source, reason in failed if options.all else []:
            console.print(f"        {source}: {reason}", highlight=False, markup=False)
    console.print(f"  {sum(report.objects.values()):5,} objects in {CACHE / 'obj'}")
    for reason in report.missing:
        console.print(f"[bold red]MISSING[/bold red]: {reason}", highlight=False)
    return 0


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[last]}"), console=console, transient=True)


CHECKS: dict[str, Check] = {
    "identity": identity.check,
    "load": loading.check,
    "loaders": loaders.check,
    "interp": interpretation.check,
    "raised": raised.check,
    "split": split.check,
}

WITH_TWINS = ("identity",)
"""Checks that look at all objects, if only shortly at those with the same code as another."""
WITHOUT_KERNEL = ("identity", "raised")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="corpus", description="Real objects against the compiler and the kernel.")
    subparsers = parser.add_subparsers(dest="check", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--only", action="append", default=[], metavar="PART", help="objects with PART in their name")
    common.add_argument("--jobs", type=int, default=JOBS, help="processes at a time")
    common.add_argument("--nice", type=int, default=10, help="how much to let other processes go first")
    common.add_argument("--all", action="store_true", help="list every case, not some of each reason")
    checks = argparse.ArgumentParser(add_help=False, parents=[common])
    checks.add_argument("--same", action="store_true", help="also objects with the same code as another")
    checks.add_argument("--every", type=int, default=1, metavar="N", help="every Nth object only")
    checks.add_argument("--timeout", type=float, default=300, help="seconds for an object")
    checks.add_argument("--traceback", action="store_true", help="show where a check itself failed")
    build = subparsers.add_parser("collect", parents=[common], help="get and build the objects")
    build.add_argument("--clang-19", action="store_true", help="also with clang-19, and -mcpu=v4")
    for name, check in CHECKS.items():
        subparsers.add_parser(name, parents=[checks], help=(sys.modules[check.__module__].__doc__ or "").split("\n")[0])
    pipeline = subparsers.add_parser("pipeline", parents=[checks], help="Check what a pipeline makes of programs.")
    pipeline.add_argument("passes", help="the pipeline, as fs-opt takes it")
    pipeline.add_argument("--packets", type=int, default=0, metavar="N", help="packets for each program, at least")
    pipeline.add_argument("--packets-only", action="store_true", help="only XDP and TC programs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
