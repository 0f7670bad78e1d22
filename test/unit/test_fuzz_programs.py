"""A few random programs through every pipeline. `python -m fuzz` goes on from here; see docs/fuzzing.md."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from corpus.running import world
from fuzz import assembly, check
from fuzz.build import compile_program
from fuzz.check import Result
from fuzz.generate import Program, program
from xdsl.dialects import arith

from fsir.kernel.availability import unavailable
from fsir.passes import raise_scalars

SEEDS = (2, 7, 11, 16)
ASSEMBLY = (2, 3, 6)
KERNEL = unavailable() is None

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang, which is not installed")


@pytest.fixture
def surroundings() -> Iterator[None]:
    """Interfaces that maps may name, where there can be any."""
    with world() if KERNEL else nullcontext():
        yield


def examined(made: Program, seed: int) -> Result:
    """What is wrong with a program. Compared with the kernel's run, or where there is none with the
    interpreter's of the machine code."""
    return check.check(compile_program(made), seed=seed, count=60, kernel=KERNEL)


def test_random_programs(surroundings: None) -> None:
    results = [examined(program(seed), seed) for seed in SEEDS]
    results += [examined(assembly.program(seed), seed) for seed in ASSEMBLY]
    assert [finding for result in results for finding in result.findings] == []
    assert sum(not result.dropped for result in results) >= len(results) // 2, "else this tests nothing"


def test_wrong_code_is_found_and_blamed(surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(raise_scalars._BINARY, "add", arith.SubiOp)
    kinds = {finding.kind for seed in SEEDS[:2] for finding in examined(program(seed), seed).findings}
    assert "interpreter [raise] after raise-scalars" in kinds
    assert "kernel [raise,lower-to-xdp] different" in kinds
    assert not any(kind.startswith("kernel [raise-registers,") for kind in kinds)
