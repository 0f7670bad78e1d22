"""Several inputs in one call: each by itself in a process, the outputs in one directory."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

from xdsl.universe import Universe

from fsir.driver import workers
from fsir.driver.context import own_dialects
from fsir.driver.diagnostics import Diagnostic, Place, Severity
from fsir.driver.errors import UsageError
from fsir.driver.inputs import STDIN
from fsir.driver.optimizer import Optimizer
from fsir.driver.output import STDOUT
from fsir.driver.shell import guard
from fsir.driver.targets import suffix_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """An input and where its output goes."""

    input: str
    output: str


@dataclass(frozen=True)
class Done:
    """What became of a job: the exit status, and what it wrote to stderr and stdout."""

    status: int
    messages: str
    text: str


def run_batch(args: argparse.Namespace, universes: Sequence[tuple[str, Universe]]) -> int:
    """Carry out `args` for each of `args.inputs`, `args.jobs` at a time. An input that fails costs only its own output.

    The exit status is 1 when one failed. Reports without `-o` come on stdout in the order of the inputs, as JSON in one
    list.
    """
    _check(args)
    Optimizer(args, universes).prepare()
    for name in own_dialects():
        importlib.import_module(f"fsir.dialects.{name}")
    jobs = plan(args.inputs, args.output, _suffix(args))
    _make_folders(args.output, jobs)
    work = partial(_work, args, universes)
    done: dict[Job, Done] = {}
    with _progress(len(jobs)) as (tell, advance):
        for job, found in workers.run(work, jobs, jobs=args.jobs or len(os.sched_getaffinity(0))):
            if isinstance(found, workers.Failure):
                what = f"{found.what}; the others are not concerned"
                found = Done(1, f"{Diagnostic(Severity.ERROR, Place(job.input), what)}\n{found.details}", "")
            done[job] = found
            if found.messages:
                tell(found.messages.rstrip("\n"))
            advance(job.input)
    if args.output == STDOUT:
        texts = {job.input: done[job].text for job in jobs if not done[job].status}
        headed = "\n".join(f"== {name}\n{text}" for name, text in texts.items())
        sys.stdout.write(_listed(texts.values()) if args.json else headed)
    failed = [job.input for job in jobs if done[job].status]
    if failed:
        print(f"fs-opt: {len(failed)} of {len(jobs)} inputs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def plan(inputs: Sequence[str], folder: str, suffix: str) -> list[Job]:
    """Where each output goes: below `folder` as the inputs lie below the folder that they have in common, with another
    suffix. Raises `UsageError` where two would be one file, or an output is an input."""
    if folder == STDOUT:
        return [Job(name, STDOUT) for name in dict.fromkeys(inputs)]
    absolute = {name: Path(os.path.abspath(name)) for name in dict.fromkeys(inputs)}
    common = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    jobs, owners = [], dict[Path, str]()
    real = {Path(os.path.realpath(path)): name for name, path in absolute.items()}
    for name, path in absolute.items():
        output = Path(folder) / path.relative_to(common).with_suffix(suffix)
        if output in owners:
            raise UsageError(f"{owners[output]} and {name} would both become {output}; give them in two calls")
        if (over := real.get(Path(os.path.realpath(output)))) is not None:
            raise UsageError(f"{output} would replace the input {over}; name another directory with -o")
        owners[output] = name
        jobs.append(Job(name, str(output)))
    return jobs


def _check(args: argparse.Namespace) -> None:
    if STDIN in args.inputs:
        raise UsageError("- (stdin) is an input by itself, not one of several")
    if args.output == STDOUT and not args.report:
        raise UsageError(f"{len(args.inputs)} inputs need -o DIR; their outputs go there under their own names")
    for option in ("crash_reproducer", "run_reproducer"):
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} is for one input; run the one that fails by itself")


def _suffix(args: argparse.Namespace) -> str:
    return (".json" if args.json else ".txt") if args.report else suffix_of(args.target)


def _make_folders(output: str, jobs: Sequence[Job]) -> None:
    if output == STDOUT:
        return
    if os.path.exists(output) and not os.path.isdir(output):
        raise UsageError(f"{output} is no directory; with several inputs -o takes one")
    for folder in {Path(job.output).parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)


def _work(args: argparse.Namespace, universes: Sequence[tuple[str, Universe]], job: Job) -> Done:
    """One input, in a process of its own."""
    own = argparse.Namespace(**{**vars(args), "input": job.input, "output": job.output})
    with redirect_stderr(StringIO()) as messages, redirect_stdout(StringIO()) as text:
        status = guard(lambda: Optimizer(own, universes).run(), job.input, args.debug)
    return Done(status, messages.getvalue(), text.getvalue())


@contextmanager
def _progress(total: int) -> Iterator[tuple[Tell, Tell]]:
    """A way to say something and one to go on to the next; a bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield (lambda text: print(text, file=sys.stderr, flush=True)), (lambda _: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield (
            lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True),
            lambda name: progress.update(task, advance=1, description=name),
        )


def _listed(texts: Iterable[str]) -> str:
    """JSON documents as one list."""
    return json.dumps([json.loads(text) for text in texts], indent=2) + "\n"
