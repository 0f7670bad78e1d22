"""Damaged objects through `fs-opt`: a result or an error line each time, and nothing else. See docs/fuzzing.md."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fsir.driver import workers
from fsir.driver.cli import main as fs_opt
from fuzz.mutate_objects import mutated_object
from fuzz.outcomes import attempt

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "fuzz" / "objects"
LARGEST = 12 << 10
"""Bytes of the objects that are damaged; large ones take long and have nothing that small ones have not."""
BATCH = 20
"""Objects for one child process: what kills it costs these."""
SECONDS = 1800
"""For a batch. A single command has the limits of `fuzz.outcomes`."""

OPTIMISE = ("-p", "raise,optimize,lower-to-xdp", "-t", "elf")


@dataclass
class Seen:
    """What happened to some objects: how often which, and what must not happen, by seed."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        self.counts.update(other.counts)
        self.findings += other.findings


def originals(folders: Sequence[Path] = ()) -> list[Path]:
    """What is damaged: the objects of the folders, without any those of the examples and of the corpus, if there."""
    roots = folders or (ROOT / "examples", ROOT / "build" / "corpus" / "obj")
    found = (path for root in roots for path in ([root] if root.is_file() else root.rglob("*.o")))
    return sorted(path for path in found if 64 <= path.stat().st_size <= LARGEST)


def damaged(paths: Sequence[Path], seed: int) -> bytes:
    """The object of a seed; equal for equal paths."""
    rng = random.Random(seed)
    return mutated_object(rng, rng.choice(paths).read_bytes())


def examine(data: bytes, seed: int, folder: Path) -> Seen:
    """One object: printed, written, read back from its text, and optimised."""
    seen = Seen()
    path = folder / "in.o"
    path.write_bytes(data)

    def run(what: str, source: Path, *arguments: str) -> Path | None:
        """The output; None where there is none."""
        output = folder / f"{what}.out"
        output.unlink(missing_ok=True)
        outcome = attempt(fs_opt, [str(source), *arguments, "--quiet", "-o", str(output)])
        if (complaint := outcome.complaint(output)) is not None:
            seen.findings.append((seed, f"{what}: {complaint.strip()}"))
        if sorted(folder.iterdir()) != sorted({path, source, output, *results} & set(folder.iterdir())):
            seen.findings.append((seed, f"{what}: leaves files behind"))
        seen.counts[f"{what}: {'done' if outcome.status == 0 else 'refused'}"] += 1
        if outcome.status == 0:
            results.append(output)
            return output
        said.append(outcome.stderr.strip())
        return None

    results: list[Path] = []
    said: list[str] = []
    text = run("print", path, "--print-debuginfo")
    written = run("write", path, "-t", "elf")
    if text is not None and written is not None:
        again = run("read back", text, "--from", "mlir", "-t", "elf")
        if again is None or again.read_bytes() != written.read_bytes():
            seen.findings.append((seed, f"read back: not the object that was printed {' '.join(said)}"))
        if run("optimise", path, *OPTIMISE) is None:
            seen.findings.append((seed, f"optimise: refuses what imports: {' '.join(said)}"))
    elif (text is None) != (written is None):
        seen.counts["printed, but not written" if text is not None else "written, but not printed"] += 1
    seen.counts["objects"] += 1
    return seen


def batch(paths: Sequence[Path], seeds: range) -> Seen:
    """The objects of some seeds."""
    seen = Seen()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            seen.add(examine(damaged(paths, seed), seed, Path(folder)))
    return seen


def sweep(paths: Sequence[Path], seeds: range, jobs: int) -> Iterator[tuple[range, Seen]]:
    """All seeds, as batches come in; a batch without result is a finding of its first seed."""
    parts = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    for part, seen in workers.run(partial(batch, paths), parts, jobs=jobs, timeout=SECONDS):
        if isinstance(seen, workers.Failure):
            what = f"{seen.what} (one of the seeds {part[0]} to {part[-1]})\n{seen.details}"
            seen = Seen(findings=[(part[0], what)])
        yield part, seen


def main(argv: Sequence[str]) -> int:
    """`python -m fuzz objects`; 1 with findings."""
    parser = argparse.ArgumentParser(prog="fuzz objects", description=__doc__)
    add = parser.add_argument
    add("--first", type=int, default=0, metavar="SEED", help="the first seed (0)")
    add("--count", type=int, default=1000, help="how many objects (1000)")
    add("--jobs", type=int, default=1, help="processes at a time (1)")
    add("folders", nargs="*", type=Path, metavar="FOLDER", help="what to damage, instead of examples and corpus")
    args = parser.parse_args(argv)
    paths = originals(args.folders)
    if not paths:
        parser.error(f"no objects of 64 to {LARGEST} bytes there")
    total, start = Seen(), time.monotonic()
    for part, seen in sweep(paths, range(args.first, args.first + args.count), args.jobs):
        total.add(seen)
        for seed, what in seen.findings:
            OUT.mkdir(parents=True, exist_ok=True)
            (OUT / f"{seed}.o").write_bytes(damaged(paths, seed))
            print(f"build/fuzz/objects/{seed}.o: {what}", flush=True)
        if part[-1] // BATCH % 10 == 9:
            print(f"-- {part[-1]}: {len(total.findings)} findings, {time.monotonic() - start:.0f} s", flush=True)
    for name, number in sorted(total.counts.items()):
        print(f"{number:8}  {name}")
    print(f"{len(total.findings):8}  FINDINGS\n{time.monotonic() - start:8.0f}  seconds, of {len(paths)} objects")
    return 1 if total.findings else 0
