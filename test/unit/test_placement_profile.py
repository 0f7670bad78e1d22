"""Frequencies from a profile: what was counted, where it is attached, and what the flow graph makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.ebpf import functions
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import PartOp
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.mapfile import read_contents
from fsir.object.importer import import_object
from fsir.placement.graph import FlowGraph
from fsir.placement.profile import ProfileError, attach, read, taken_of
from fsir.run.cli import main

SCANNER = Path(__file__).parent.parent.parent / "examples" / "scanner"
MAPS = read_contents(SCANNER / "maps.json")


def module(pipeline: str = "raise") -> ModuleOp:
    made = import_object((SCANNER / "scanner.o").read_bytes(), "scanner.o")
    run_pipeline(make_context(), made, pipeline)
    return made


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A profile of the scanner (which has a loop) on its own packets."""
    file = tmp_path_factory.mktemp("profile") / "scanner.json"
    run = [str(SCANNER / "scanner.o"), "-p", "raise", "--pcap", str(SCANNER / "scanner.pcap"), "--quiet"]
    assert main([*run, "--maps", str(SCANNER / "maps.json"), "--profile-out", str(file)]) == 0
    return str(file)


def test_frequencies_are_what_was_counted(profile: str) -> None:
    """Loops included: how often the body runs follows from its own branches."""
    program, found = module(), read(profile)
    attach(program, found)
    (func,) = functions(program)
    graph = FlowGraph(func, {op.sym_name.data: op for op in program.walk() if isinstance(op, DeclOp)})
    checked = 0
    for block, often in graph.frequency.items():
        taken = taken_of(block.last_op)
        if taken is not None:
            assert often * found.packets == pytest.approx(sum(taken), rel=1e-6)
            checked += 1
    assert checked > 10
    assert max(graph.frequency.values()) > 10  # the scan's loop


def test_the_decision_says_where_frequencies_come_from(profile: str) -> None:
    program = module(f"raise,decompose{{profile={profile}}}")
    assert f'frequencies = "profile {profile} (60 packets)"' in str(program)
    assert not any(op.attributes for part in program.walk() if isinstance(part, PartOp) for op in part.walk())


def test_a_profile_of_another_form_is_refused(profile: str) -> None:
    with pytest.raises(ProfileError, match="another flow graph than when it was profiled, after the passes 'raise'"):
        attach(module("raise,optimize"), read(profile))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "packets": 1, "functions": []}'])
def test_a_file_that_is_no_profile(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(text)
    with pytest.raises(ProfileError, match="this is no profile"):
        read(str(file))


def test_a_function_that_is_not_there(profile: str, tmp_path: Path) -> None:
    data = json.loads(Path(profile).read_text())
    data["functions"]["other"] = data["functions"].pop("xdp_scanner")
    file = tmp_path / "p.json"
    file.write_text(json.dumps(data))
    with pytest.raises(ProfileError, match="a function 'other', which there is not"):
        attach(module(), read(str(file)))
