"""Several inputs in one call of `fs-opt`: each by itself, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from fsir.driver.batch import Job, plan
from fsir.driver.cli import main
from fsir.driver.errors import UsageError
from fsir.driver.optimizer import Optimizer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROUTER, FIREWALL = EXAMPLES / "router" / "router.o", EXAMPLES / "firewall" / "firewall.o"


def test_outputs_lie_as_the_inputs_do() -> None:
    assert plan(["a/x.o", "a/y.elf"], "out", ".o") == [Job("a/x.o", "out/x.o"), Job("a/y.elf", "out/y.o")]
    assert plan(["a/x.o", "b/c/x.o"], "out", ".mlir") == [
        Job("a/x.o", "out/a/x.mlir"),
        Job("b/c/x.o", "out/b/c/x.mlir"),
    ]
    assert plan(["a/x.o", "a/y.o", "a/x.o"], "out", "") == [Job("a/x.o", "out/x"), Job("a/y.o", "out/y")]
    with pytest.raises(UsageError, match=r"a/x.o and a/x.c would both become out/x.o; give them in two calls"):
        plan(["a/x.o", "a/x.c"], "out", ".o")
    with pytest.raises(UsageError, match=r"a/x.o would replace the input a/x.o; name another directory"):
        plan(["a/x.o", "a/y.o"], "a", ".o")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_one_that_fails_does_not_lose_the_others(jobs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, out = tmp_path / "broken.o", tmp_path / "out"
    broken.write_bytes(ROUTER.read_bytes()[:900])
    inputs = [str(ROUTER), str(broken), str(tmp_path / "missing.o"), str(FIREWALL)]
    assert main([*inputs, "-t", "elf", "-o", str(out), "-j", jobs]) == 1
    err = capsys.readouterr().err
    assert f"{broken}:+0x" in err and f"{tmp_path}/missing.o: error: no such file" in err
    assert err.endswith(f"fs-opt: 2 of 4 inputs failed: {broken}, {tmp_path}/missing.o\n")
    written = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert written == ["firewall.o", "router.o"]


def test_one_that_dies_does_not_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Optimizer.run

    def deadly(self: Optimizer) -> int:
        if self.args.input == str(ROUTER):
            os.kill(os.getpid(), signal.SIGKILL)
        return run(self)

    monkeypatch.setattr(Optimizer, "run", deadly)
    assert main([str(ROUTER), str(FIREWALL), "-t", "elf", "-o", str(tmp_path / "out")]) == 1
    assert f"{ROUTER}: error: the process died with status -9" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*.o")] == ["firewall.o"]


def test_a_result_is_that_of_a_single_call(tmp_path: Path) -> None:
    common = ["-p", "raise,optimize,lower-to-xdp", "-t", "elf", "--quiet", "-o"]
    assert main([str(ROUTER), str(FIREWALL), *common, str(tmp_path)]) == 0
    assert main([str(FIREWALL), *common, str(tmp_path / "alone.o")]) == 0
    assert (tmp_path / "firewall" / "firewall.o").read_bytes() == (tmp_path / "alone.o").read_bytes()


def test_reports_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROUTER), str(FIREWALL), "--report", "--json"]) == 0
    assert [report["input"] for report in json.loads(capsys.readouterr().out)] == [str(ROUTER), str(FIREWALL)]
    assert main([str(ROUTER), str(FIREWALL), "--report"]) == 0
    assert f"== {ROUTER}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "2 inputs need -o DIR"),
        (["-", "-o", "x"], r"- (stdin) is an input by itself"),
        (["-o", str(ROUTER)], "router.o is no directory; with several inputs -o takes one"),
        (["-o", "x", "-p", "nope"], "unknown pass 'nope'"),
        (["-o", "x", "-t", "nope"], "unknown target 'nope'"),
        (["-o", "x", "--crash-reproducer", "y"], "--crash-reproducer is for one input"),
    ],
)
def test_what_is_refused_before_any_work(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(ROUTER), str(FIREWALL), *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("fs-opt: error: ") and said in err and err.count("error") == 1
    assert list(tmp_path.iterdir()) == []
