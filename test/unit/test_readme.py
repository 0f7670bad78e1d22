"""The README's tour: every command runs, and prints what the README says.

Commands stand in `console` blocks after `$ `, continued by a trailing backslash or up to END, and run one after the
other in an empty directory that has `examples`. A line `…` in the expected output stands for any lines; everything else
must match, but for trailing blanks. What needs root or a tool says so in the block's first line (`# needs root`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NEEDS = re.compile(r"# needs (\w+)")


@dataclass
class Step:
    """A command of the tour, what it prints, and what it needs."""

    command: str
    expected: list[str]
    needs: str | None


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for block in _BLOCK.findall(text):
        needs = _NEEDS.match(block)
        for line in block.splitlines():
            if _NEEDS.match(line):
                continue
            if line.startswith("$ "):
                found.append(Step(line[2:], [], needs.group(1) if needs else None))
            elif found[-1].command.endswith("\\"):
                found[-1].command = found[-1].command[:-1] + line.strip()
            elif "<<'END'" in found[-1].command and not found[-1].command.endswith("\nEND"):
                found[-1].command += "\n" + line
            else:
                found[-1].expected.append(line.rstrip())
    return found


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether the lines are the expected ones, `…` standing for any number of lines."""
    if not expected:
        return not actual
    if expected[0].strip() == "…":
        return any(matches(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    return bool(actual) and expected[0] == actual[0] and matches(expected[1:], actual[1:])


def missing(needs: str | None) -> str | None:
    """Why a step cannot run here, or None."""
    if needs is None:
        return None
    if needs == "root":
        return None if os.geteuid() == 0 else "needs root"
    return None if shutil.which(needs) else f"needs {needs}"


def test_matching() -> None:
    assert matches(["a", "…", "d"], ["a", "b", "c", "d"])
    assert matches(["…"], [])
    assert not matches(["a"], ["a", "b"])
    assert not matches(["a", "…", "d"], ["a", "b"])


def test_the_tour_runs_as_written(tmp_path: Path) -> None:
    tour = steps((ROOT / "README.md").read_text())
    assert len(tour) >= 8, "the README has lost its tour"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    skipped: list[str] = []
    for step in tour:
        reason = missing(step.needs)
        if reason is not None:
            skipped.append(f"{step.command} ({reason})")
            continue
        run = subprocess.run(
            ["bash", "-o", "pipefail", "-c", step.command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        actual = [line.rstrip() for line in run.stdout.splitlines()]
        assert run.returncode == 0, f"$ {step.command}\n{run.stdout}"
        assert matches(step.expected, actual), f"$ {step.command}\n{run.stdout}"
    if skipped:
        pytest.skip("parts of the tour did not run: " + "; ".join(skipped))
