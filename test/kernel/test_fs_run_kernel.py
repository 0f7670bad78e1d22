"""`fs-run` with the kernel as engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsir.run.cli import main

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def arguments(name: str) -> list[str]:
    folder = EXAMPLES / name
    return [str(folder / f"{name}.o"), "--pcap", str(folder / f"{name}.pcap"), "--maps", str(folder / "maps.json")]


@pytest.mark.parametrize("name", ["router", "firewall", "maglev"])
def test_interpreter_and_kernel_agree(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(name), "--ifindex", "3", "--queue", "1", "--compare-engine", "kernel"]) == 0
    assert capsys.readouterr().out.startswith("equal: 60 packets")


def test_the_kernel_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments("router"), "--engine", "kernel", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdicts"].keys() == {"XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"}
    assert "instructions" not in document["packets"][0]


def test_ir_is_written_as_an_object_for_the_kernel() -> None:
    assert main([*arguments("router"), "-p", "raise-registers,allocate-registers", "--compare-engine", "kernel"]) == 0


def test_refusal_is_an_error_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments("scanner"), "--engine", "kernel"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "scanner.o: error: the kernel refuses the object" in captured.err
    assert "too complex" in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("content", "said"), [(b"types", "is not the types of a kernel"), (None, "--kernel-btf: there is no file")]
)
def test_types_that_are_none(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "types").write_bytes(content)
    assert main([*arguments("router"), "--engine", "kernel", "--kernel-btf", str(tmp_path / "types")]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and said in captured.err and captured.err.count("\n") == 1
