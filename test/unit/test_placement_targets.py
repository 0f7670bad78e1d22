"""Targets described in a file, cores that targets share, and what a decision says of the placements it weighed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from xdsl.parser import Parser

from fsir.bundle.emit import emit
from fsir.bundle.manifest import schema
from fsir.bundle.schema import problem
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.object.importer import import_object
from fsir.placement.targets import TargetError, load, load_all, load_file
from fsir.run.calibrate import _text
from fsir.run.calibrate_programs import ALU, PROGRAMS

SCANNER = Path(__file__).parent.parent.parent / "examples" / "scanner" / "scanner.o"


def written(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_a_file_extends_the_targets_that_it_names(tmp_path: Path) -> None:
    file = written(tmp_path, '[af-xdp]\ncosts.alu = 0.5\n[xdp]\nextends = "xdp-5-15"\ncores = 2\nhandoff.send = 99.0\n')
    xdp, user = load_all([file])
    assert (xdp.name, xdp.cores, xdp.send, xdp.measured) == ("xdp-5-15", 2, 99.0, file)
    assert xdp.kernel == (5, 15)
    assert xdp.costs == load("xdp-5-15").costs
    assert (user.name, user.costs["alu"], user.costs["mul"]) == ("af-xdp", 0.5, load("af-xdp").costs["mul"])
    assert [target.name for target in load_all(["p4-v1model", file])] == ["p4-v1model", "xdp-5-15", "af-xdp"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alu = 1", "'alu' is no table"),
        ("[nonesuch]", "there is no target 'nonesuch'"),
        ("[xdp]\nlevel = 2", r"\[xdp\] says 'level'; it can say core_set, cores, costs"),
        ("[xdp.handoff]\ntransport = 'head'", "can say send and receive"),
        ("[xdp.costs]\nalu = 'much'", "costs: alu is no number"),
        ("[xdp.costs.maps]\nhash = -1", "maps: hash is no number of at least 0"),
        ("[xdp]\ncores = 0", "cores is no number of at least 1"),
        ("[xdp]\ncore_set = 1", "core_set is no string"),
        ("[xdp", "mine.toml: "),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load_file(written(tmp_path, text))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(TargetError, match=r"nope\.toml: No such file"):
        load_all(["nope.toml"])


def test_what_calibration_writes_is_a_file_of_targets(tmp_path: Path) -> None:
    costs = {"alu": 0.25, "helper": 3.0, "arrival": 150.0, "helpers.ktime_get_ns": 30.0, "maps.hash": 31.0}
    text = _text(costs | {"verdicts.tx": 300.0}, costs, {"send": 90.0, "receive": 25.0})
    xdp, user = load_all([written(tmp_path, text)])
    assert (xdp.costs["arrival"], xdp.helper_costs["ktime_get_ns"], xdp.send) == (150.0, 30.0, 90.0)
    assert (xdp.verdict_costs["tx"], user.map_cost("hash"), user.receive) == (300.0, 31.0, 25.0)
    assert xdp.core_set != user.core_set


def test_calibration_knows_what_each_program_includes() -> None:
    """In an order in which what is taken off is known already."""
    known: set[str] = set()
    for program in PROGRAMS:
        assert set(program.includes) <= known
        known.add(program.name)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_calibration_programs_are_programs(program: Any) -> None:
    Parser(make_context(), program.text(3)).parse_module().verify()
    Parser(make_context(), program.text(2, rounds=5)).parse_module().verify()


def placed(targets: str) -> dict[str, Any]:
    module = import_object(SCANNER.read_bytes(), "scanner.o")
    run_pipeline(make_context(), module, f"raise,decompose{{targets={targets}}},share-maps,lower")
    manifest: dict[str, Any] = json.loads(emit(module, EmitOptions("scanner.o"))["manifest.json"])
    assert problem(manifest, schema()) is None
    return manifest


def test_a_decision_says_what_other_placements_would_do() -> None:
    decision = placed("xdp,af-xdp")["decision"]
    chosen, all_xdp, all_user, *_ = decision["considered"]
    assert chosen["placement"] == "chosen"
    assert chosen["mpps"] == pytest.approx(1000 / max(chosen["loads"].values()), rel=1e-2)
    assert chosen["cuts"]
    assert 0 < chosen["handed_over"] < 1
    assert "loop without a bound" in all_xdp["why_not"]
    assert all_user["mpps"] < chosen["mpps"]
    assert decision["costs"] == "shipped"


def test_loads_of_parts_that_share_a_core_add_up(tmp_path: Path) -> None:
    file = written(tmp_path, '[xdp]\ncore_set = "one"\n[af-xdp]\ncore_set = "one"\n')
    decision = placed(file)["decision"]
    chosen = decision["considered"][0]
    assert chosen["mpps"] == pytest.approx(1000 / sum(chosen["loads"].values()), rel=1e-2)
    assert decision["costs"] == file


def test_repetitions_go_on_from_the_work_before() -> None:
    """Else both would run side by side, and one would hide the other."""
    assert "%x1 = arith.addi %w2," in ALU.text(1, rounds=5)
