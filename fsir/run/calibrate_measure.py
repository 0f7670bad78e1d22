"""Running calibration's programs: in the kernel by test runs, in user space behind a socket that gets more packets than
the part can process. Both give nanoseconds of one run, the fastest of some: what else the machine does only adds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.analysis.verify import verify_module
from fsir.backends.af_xdp.emit import emit as emit_c
from fsir.backends.af_xdp.live import build
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.interp.mapfile import Contents
from fsir.kernel.engine import KernelProgram, on_cpu
from fsir.kernel.syscalls import TestRun
from fsir.object.exporter import export_object
from fsir.run.calibrate_programs import KEYS, Program
from fsir.run.throughput import Testbed, real_time

FRAME = bytes(range(1, 65))
ROUNDS = 800
"""Work that every user-space program does besides, so that the user part is what limits the rate."""
_REPEAT, _RUNS = 20_000, 5
_SECONDS = 0.06


def module_of(text: str, pipeline: str) -> ModuleOp:
    """IR through passes."""
    ctx = make_context()
    module = Parser(ctx, text).parse_module()
    verify_module(module)
    run_pipeline(ctx, module, pipeline)
    return module


def in_kernel(program: Program, times: int, cpu: int) -> float:
    """Nanoseconds of one run with so many repetitions."""
    elf = export_object(module_of(program.text(times), "lower-to-xdp"))
    found = []
    with KernelProgram(elf, maps=_contents(program)) as loaded, on_cpu(cpu), real_time(0):
        run = TestRun(loaded.fd, None)
        for _ in range(_RUNS):
            run(FRAME, _REPEAT)
            found.append(run.duration)
    return float(min(found))


def user_binary(text: str, output: Path) -> Path:
    """The user part of a program that is placed there as a whole."""
    module = module_of(text, "decompose{targets=af-xdp},share-maps")
    return build(emit_c(module, EmitOptions("calibrate"))["af_xdp.c"], output, "-g0")


def in_user(text: str, folder: Path, runs: int = _RUNS) -> float:
    """Nanoseconds that user space takes for one packet, everything included. Each program gets interfaces of its own:
    on those that had a socket before, everything takes longer."""
    binary = user_binary(text, folder / "af_xdp")
    with Testbed() as bed, bed.user_only(binary) as load:
        load.run(FRAME, seconds=0.03)
        return min(1e9 / load.run(FRAME, seconds=_SECONDS).user["received"] for _ in range(runs))


def _contents(program: Program) -> Contents:
    """Entries for the keys that a program looks up."""
    kind = program.name.removeprefix("maps.")
    if kind == program.name or kind in ("array", "percpu_array"):
        return {}
    prefix = (32).to_bytes(4, "little") if kind == "lpm_trie" else b""
    keys = [(prefix + n.to_bytes(4, "little")).hex() for n in range(KEYS)]
    value = bytes(16).hex()
    if kind == "percpu_hash":
        from fsir.kernel.syscalls import possible_cpus

        return {"tested": [{"key": key, "values": [value] * possible_cpus()} for key in keys]}
    return {"tested": [{"key": key, "value": value} for key in keys]}


Measure = Callable[[Program, int], float]


def cost(program: Program, measure: Measure, times: int, known: dict[str, float]) -> float:
    """Nanoseconds of one repetition, what it includes taken off; never below 0."""
    each = (measure(program, times) - measure(program, 0)) / times
    return max(0.0, each - sum(known.get(name, 0.0) for name in program.includes))
