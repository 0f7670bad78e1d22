"""Random programs until told otherwise: `PYTHONPATH=test python -m fuzz [FIRST] [COUNT]` (root, for the kernel).

Failures go to `build/fuzz/SEED.c`, with the flags and what failed in front. `python -m fuzz --shrink KIND FILE` makes
one small, `python -m fuzz --again FILE` says what is wrong with it now. `python -m fuzz objects`
damages objects instead (see `fuzz.objects`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from corpus.running import world

from fsir.driver import workers
from fuzz import assembly, objects
from fuzz.build import CompileError, compile_program
from fuzz.check import Result, check
from fuzz.generate import Program, program
from fuzz.shrink import shrink

OUT = Path(__file__).resolve().parents[2] / "build" / "fuzz"


def examine(seed: int, make: Callable[[int], Program] = program, cuts: int = 0) -> Result:
    """One program, in a world of its own."""
    try:
        elf = compile_program(make(seed))
    except CompileError as error:
        return Result(dropped=f"clang: {str(error)[:120]}")
    with world():
        return check(elf, seed=seed, cuts=cuts)


def fails(candidate: Program, kind: str, seed: int) -> bool:
    """Whether a program still shows a failure of this kind."""
    try:
        elf = compile_program(candidate)
    except CompileError:
        return False
    return any(f.kind == kind for f in check(elf, seed=seed, only=kind, count=150).findings)


def run(first: int, count: int, make: Callable[[int], Program], cuts: int) -> None:
    """Seeds from `first` on; `make` gives the program of one."""
    OUT.mkdir(parents=True, exist_ok=True)
    totals: Counter[str] = Counter()
    start = time.monotonic()
    try:
        for seed, found in workers.run(
            partial(examine, make=make, cuts=cuts), range(first, first + count), jobs=1, timeout=120
        ):
            if isinstance(found, workers.Failure):
                totals["EXCEPTIONS"] += 1
                report(seed, make(seed), "exception", f"{found.what}\n{found.details}")
                continue
            totals.update(found.counts)
            if found.dropped:
                totals[f"dropped: {found.dropped.split(':')[0]}"] += 1
                with (OUT / "dropped.txt").open("a") as file:
                    file.write(f"{seed}: {found.dropped}\n")
            else:
                totals["programs"] += 1
                totals["clean"] += not found.findings
            if seed % 50 == 49:
                print(f"-- {seed}: {totals['programs']} programs, {totals['clean']} clean", flush=True)
            for finding in found.findings:
                totals["FINDINGS"] += 1
                report(seed, make(seed), finding.kind, finding.details)
    except KeyboardInterrupt:
        print("interrupted")
    for name in sorted(totals):
        print(f"{totals[name]:8}  {name}")
    print(f"{time.monotonic() - start:8.0f}  seconds")


def report(seed: int, made: Program, kind: str, details: str) -> None:
    """A failure, on the terminal and in a file."""
    print(f"{seed}: {kind}\n  {details[:300]}", flush=True)
    comment = f"{kind}\n{details}".replace("*/", "* /")
    with (OUT / f"{seed}.c").open("w") as file:
        file.write(f"/* clang {' '.join(made.flags)}\n{comment} */\n{made.source}")


def load(path: Path) -> tuple[int, Program]:
    """The seed and the program of a file that `report` wrote."""
    text = path.read_text()
    head, _, source = text.partition("*/\n")
    flags = head.splitlines()[0].split()[2:]
    return int(path.stem) if path.stem.isdigit() else 0, Program(source, tuple(flags))


def main() -> int:
    """Do what the command line says."""
    if sys.argv[1:2] == ["objects"]:
        return objects.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("first", type=int, nargs="?", default=0, help="seed of the first program")
    parser.add_argument("count", type=int, nargs="?", default=100)
    parser.add_argument("--assembly", action="store_true", help="programs in assembly instead of C")
    parser.add_argument("--cuts", type=int, default=0, help="only parts, cut in so many random ways")
    parser.add_argument("--shrink", nargs=2, metavar=("KIND", "FILE"), help="a smaller program with this failure")
    parser.add_argument("--again", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.shrink is None and args.again is None:
        run(args.first, args.count, assembly.program if args.assembly else program, args.cuts)
        return 0
    kind, path = args.shrink or ("", args.again)
    seed, made = load(Path(path))
    with world():
        if kind:
            made = shrink(made, lambda candidate: fails(candidate, kind, seed))
        result = check(compile_program(made), seed=seed, only=kind)
    for finding in result.findings:
        print(f"{finding.kind}: {finding.details}\n")
    print(result.dropped)
    if kind:
        print(f"/* clang {' '.join(made.flags)}\n{kind} */\n{made.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
