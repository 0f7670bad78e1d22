"""What the benchmarks of splits share: making the artifacts of a placement, and running them side by side."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fsir.backends.af_xdp.live import build
from fsir.bundle.emit import emit
from fsir.driver.clang import compile_c
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.kernel import availability
from fsir.object.importer import import_object
from fsir.run.throughput import Load, Testbed, cpus

ROUNDS = 9
SECONDS = 0.08


def require() -> None:
    """Leave, loudly, where nothing can be measured."""
    reason = availability.unavailable()
    if reason is None and len(set(cpus())) < 2:
        reason = "it needs two CPUs"
    if reason is not None:
        print(f"SKIPPED: {Path(sys.argv[0]).name} measures nothing here: {reason}", file=sys.stderr)
        raise SystemExit(0)


@dataclass
class Setup:
    """One placement: its artifacts, and what it is predicted to do (`mpps`, None where nothing is). `handed` is the
    share of packets that user space gets."""

    name: str
    handed: float
    mpps: float | None
    elf: bytes | None
    binary: Path | None

    @contextmanager
    def running(self, bed: Testbed) -> Iterator[Load]:
        """The artifacts at the testbed."""
        with ExitStack() as stack:
            if self.elf is not None:
                yield stack.enter_context(bed.program(self.elf, self.binary))
            else:
                assert self.binary is not None
                yield stack.enter_context(bed.user_only(self.binary))


def object_of(source: str, folder: Path, name: str) -> bytes:
    """C through clang."""
    file = folder / f"{name}.c"
    file.write_text(source)
    return compile_c(file)


def placed(elf: bytes, name: str, options: str, folder: Path, passes: str = "raise,optimize") -> tuple[Setup, Any]:
    """The setup of a placement, and the manifest's decision."""
    import json

    module = import_object(elf, f"{folder.name}.o")
    run_pipeline(make_context(), module, f"{passes},decompose{{{options}}},share-maps,lower")
    files = emit(module, EmitOptions(f"{folder.name}.o"))
    decision = json.loads(files["manifest.json"])["decision"]
    chosen = decision["considered"][0]
    only_user = "xdp.o" not in files
    binary = None
    if "af_xdp.c" in files:
        binary = build(files["af_xdp.c"], folder / re.sub(r"\W", "_", name), "-g0")
    handed = 1.0 if only_user else float(chosen["handed_over"])
    return Setup(name, handed, float(chosen["mpps"]), files.get("xdp.o"), binary), decision


def predicted(decision: Any, name: str) -> float | None:
    """What a decision predicts for another placement."""
    return next((float(c["mpps"]) for c in decision["considered"] if c["placement"] == name and "mpps" in c), None)


def side_by_side(
    setups: Sequence[Setup], frame: bytes, variants: Callable[[Setup], Sequence[int]]
) -> dict[str, list[float]]:
    """Packets per second of each, in rounds that take turns."""
    rates: dict[str, list[float]] = {setup.name: [] for setup in setups}
    for _ in range(ROUNDS):
        for setup in setups:
            with Testbed() as bed, setup.running(bed) as load:
                load.run(frame, variants(setup), seconds=0.02)
                rates[setup.name].append(load.run(frame, variants(setup), seconds=SECONDS).rate(setup.handed))
    return rates


def middle(rates: Sequence[float]) -> tuple[float, float]:
    """The median in millions, and how far the middle half lies apart, in percent of it."""
    ordered = sorted(rates)
    quarter = len(ordered) // 4
    half = median(ordered)
    return half / 1e6, 100 * (ordered[-1 - quarter] - ordered[quarter]) / half
