"""`fs-run --calibrate`: measure this machine, and write what `decompose{targets=FILE}` then takes as its targets.

The file extends the shipped targets by what was measured; what cannot be measured here (a NIC) keeps its shipped costs.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fsir.driver.errors import UsageError
from fsir.driver.output import check_place, write_artifact
from fsir.kernel import availability
from fsir.run import calibrate_live as live
from fsir.run.calibrate_measure import ROUNDS, cost, in_kernel, in_user
from fsir.run.calibrate_programs import PROGRAMS, Program
from fsir.run.throughput import cpus

Costs = dict[str, float]
Told = Callable[[str], None]

_LEAST = 0.05
"""Nanoseconds that everything costs at least: what hides behind other work still takes room in the pipeline."""


def calibrate(output: str) -> None:
    """Measure, and write the file. Raises KernelUnavailable, KernelError, CompilerError."""
    if not output.endswith(".toml"):
        raise UsageError(f"-o {output}: decompose knows a file of targets by its name; let it end with .toml")
    check_place(output)
    if len(set(cpus())) < 2:
        raise UsageError("--calibrate needs two CPUs: one makes packets, the other has the user part")
    availability.require()
    folder = tempfile.TemporaryDirectory(prefix="fs-run-calibrate-")
    with _progress(2 * len(PROGRAMS) + len(live.VERDICTS) + 3) as told, folder as name:
        kernel, user = _instructions(Path(name), told)
        handoff = _packets(Path(name), told, kernel, user)
    write_artifact(_text(kernel, user, handoff), output)
    _show(kernel, user, handoff)


@contextmanager
def _progress(steps: int) -> Iterator[Told]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("calibrating", total=steps)

        def told(what: str) -> None:
            bar.update(task, description=f"{what:40}", advance=1)

        yield told


def _instructions(folder: Path, told: Told) -> tuple[Costs, Costs]:
    """Nanoseconds of what programs do, by class, in the kernel and in user space."""
    kernel: Costs = {}
    user: Costs = {}
    bases: Costs = {}

    def at_user(program: Program, times: int) -> float:
        text = program.text(times, ROUNDS)
        if times:
            return in_user(text, folder)
        if text not in bases:
            bases[text] = in_user(text, folder)
        return bases[text]

    def at_kernel(program: Program, times: int) -> float:
        return in_kernel(program, times, cpus()[0])

    for program in PROGRAMS:
        told(f"kernel: {program.name}")
        kernel[program.name] = max(_LEAST, cost(program, at_kernel, program.times, kernel))
        told(f"user space: {program.name}")
        times = program.times if program.user_times is None else program.user_times
        if times:
            user[program.name] = max(_LEAST, cost(program, at_user, times, user))
    for costs in (kernel, user):
        costs["helper"] = costs["helpers.get_prandom_u32"]
        costs["ctx"] = costs["memory"]
        costs["maps.default"] = costs["maps.hash"]
    return kernel, user


def _packets(folder: Path, told: Told, kernel: Costs, user: Costs) -> Costs:
    """What packets cost on their way: completes both, and gives the costs of the handoff."""
    verdicts: Costs = {}
    for name, number in live.VERDICTS.items():
        told(f"XDP: {name}")
        verdicts[name] = live.in_xdp(number)
    kernel["arrival"] = verdicts["drop"] - 1.0
    kernel["verdict"] = 1.0
    for name in ("pass", "tx"):
        kernel[f"verdicts.{name}"] = max(1.0, verdicts[name] - kernel["arrival"])
    kernel["verdicts.redirect"] = kernel["verdicts.tx"]
    told("handing over")
    send = live.handing_over(folder) - kernel["arrival"]
    told("receiving in user space")
    work = live.work(folder)
    told("leaving user space")
    leaving = live.leaving_user(folder)
    user["arrival"], user["verdict"] = 0.0, 1.0
    for name in ("pass", "tx"):
        user[f"verdicts.{name}"] = max(1.0, leaving[name] - leaving["drop"])
    user["verdicts.redirect"] = user["verdicts.pass"]
    return {"send": max(1.0, send), "receive": max(1.0, leaving["drop"] - work - 1.0)}


def _text(kernel: Costs, user: Costs, handoff: Costs) -> str:
    """The file."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    machine = f"{platform.machine()}, kernel {platform.release()}"
    lines = [
        f"# Measured by fs-run --calibrate on {day}: {machine}.",
        "# Nanoseconds. The arrival at XDP includes making the frames, which the kernel's CPU did, too.",
        "# Where both parts run on the same cores, give both tables one core_set: then their loads add up.",
    ]
    described = (
        ("xdp", kernel, {"send": handoff["send"]}, "kernel"),
        ("af-xdp", user, {"receive": handoff["receive"]}, "user"),
    )
    for name, costs, moved, cores in described:
        lines += ["", f"[{name}]", f'summary = "{_SUMMARY[name]}, measured on {day}"']
        lines += ["cores = 1", f'core_set = "{cores}"']
        lines += ["", f"[{name}.costs]", *_table({k: v for k, v in costs.items() if "." not in k})]
        for section in ("helpers", "maps", "verdicts"):
            part = {k.partition(".")[2]: v for k, v in costs.items() if k.startswith(f"{section}.")}
            lines += ["", f"[{name}.costs.{section}]", *_table(part)]
        lines += ["", f"[{name}.handoff]", *_table(moved)]
    return "\n".join(lines) + "\n"


_SUMMARY = {"xdp": "XDP", "af-xdp": "user space over AF_XDP"}


def _table(costs: Costs) -> list[str]:
    return [f"{name} = {value:.2f}" for name, value in costs.items()]


def _show(kernel: Costs, user: Costs, handoff: Costs) -> None:
    from rich.table import Table

    table = Table(title="nanoseconds")
    for title in ("", "XDP", "AF_XDP"):
        table.add_column(title, justify="left" if not title else "right")
    for name in kernel:
        table.add_row(name, f"{kernel[name]:.2f}", f"{user[name]:.2f}" if name in user else "")
    table.add_row("handoff", f"{handoff['send']:.2f}", f"{handoff['receive']:.2f}")
    Console().print(table)


__all__ = ["calibrate"]
