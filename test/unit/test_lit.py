"""Runs the lit suite once, and reports each of its files as a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TEST = Path(__file__).parent.parent
SUITE = TEST / "filecheck"
FILES = sorted(
    str(file.relative_to(TEST))
    for file in SUITE.rglob("*")
    if file.suffix in (".mlir", ".test") and not {"Inputs", "Output"} & set(file.parts)
)

pytestmark = pytest.mark.xdist_group("lit")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of every file by its path below test/."""
    folder = tmp_path_factory.mktemp("lit")
    report = folder / "report.json"
    command = [sys.executable, "-c", "from lit.main import main; main()", "-j", "2", "-v", "--order", "lexical"]
    done = subprocess.run(
        [*command, "-o", str(report), str(SUITE)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert report.exists(), f"lit itself failed:\n{done.stdout}\n{done.stderr}"
    tests = json.loads(report.read_text())["tests"]
    return {test["name"].partition(" :: ")[2]: test for test in tests}


def test_there_are_files() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES)
def test_file(file: str, results: dict[str, Any]) -> None:
    outcome = results.get(file)
    assert outcome is not None, f"lit did not run test/{file}: no RUN line?"
    if outcome["code"] == "UNSUPPORTED":
        pytest.skip(outcome["output"])
    assert outcome["code"] == "PASS", outcome["output"]
