"""The frozen environment: what goes wrong, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsir.driver.cli import main as fs_opt
from fsir.interp.environment import INCREMENT, MULTIPLIER, Prandom
from fsir.run.cli import main as fs_run

PROGRAM = """
map.decl @".data.frozen" "array" key 4 value 8 entries 1 flags 0 {section = ".data.frozen", internal = unit}
ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
^bb0(%0: !ebpf.reg<r1>):
  CODE
  ebpf.exit (%1) : r0
}
object.section "xdp" type 1 flags 6 align 8
object.section ".data.frozen" type 1 flags 3 align 8 {data = "0102030405060708"}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "p.mlir"


def test_a_section_of_that_name_is_not_taken_over(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text(PROGRAM.replace("CODE", "%1 = ebpf.call 5() -> r0"))
    assert fs_opt([str(program), "-p", "freeze-environment"]) == 1
    assert "the program has a section '.data.frozen' of its own; give it another name" in capsys.readouterr().err


def test_and_its_contents_stay(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text(PROGRAM.replace("CODE", "%1 = ebpf.movi 2 -> r0"))
    assert fs_run([str(program), "--hex", "00" * 60, "--time-start", "99", "--maps-out", "-", "--quiet"]) == 0
    assert '"value": "0102030405060708"' in capsys.readouterr().out


def test_a_program_without_time_or_chance_stays_as_it_is(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text(PROGRAM.replace("CODE", "%1 = ebpf.call 8() -> r0"))
    printed = []
    for pipeline in ([], ["-p", "freeze-environment"]):
        assert fs_opt([str(program), *pipeline]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_random_numbers_are_the_upper_halves_of_the_states() -> None:
    numbers = Prandom((1 << 64) - 1)
    state = (-MULTIPLIER + INCREMENT) % (1 << 64)
    assert numbers.next() == state >> 32
    assert Prandom(5).next() != Prandom(6).next()
