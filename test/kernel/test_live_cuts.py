"""Examples that the verifier accepts, cut where nobody would: over a veth pair they do what the interpreter says.

They are cut in front of blocks that packets come to, and some packets have to be handed over. `FS_CUTS` in the
environment says at how many places each is cut, `FS_PACKETS` how many packets each of these gets, `FS_CUTS_LOG` names a
file to write what was done to.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import dpkt  # type: ignore[import-untyped]
import pytest
import traffic
from xdsl.dialects.builtin import ModuleOp

from fsir.backends.af_xdp.inprocess import compiler
from fsir.bundle.emit import emit
from fsir.dialects.ebpf import FuncOp, functions
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.object.importer import import_object
from fsir.placement.access import MapAccesses
from fsir.placement.graph import FlowGraph
from fsir.placement.profile import attach, read
from fsir.run.cli import main
from fsir.run.live_user import UserPart

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COUNT = int(os.environ.get("FS_PACKETS", "200"))
CUTS = int(os.environ.get("FS_CUTS", "1"))
THOROUGH = "FS_CUTS" in os.environ
LOG = os.environ.get("FS_CUTS_LOG")
RAISE = "freeze-environment,raise"
"""Time and chance are those of the interpreter."""
RARE = 0.01
"""Times per packet: less often is too seldom to see anything."""
IFINDEX = "3"
"""The tables of all examples have something for it."""
LONGER = {"kv-cache": 300, "vxlan-gateway": 128}
"""On veth there is no room behind a frame, so that it could grow: answers have to be shorter than what was asked. And
the network stack drops what ends in a VLAN tag, before it can be seen."""
NOT_HERE = {"tc-marker": "no XDP program"}
NAMES = sorted({path.parent.name for path in EXAMPLES.glob("*/*.o")} - NOT_HERE.keys())


@cache
def raised(name: str) -> ModuleOp:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, RAISE)
    return module


def program(module: ModuleOp) -> FuncOp:
    """The longest XDP program of an example."""
    programs = [func for func in functions(module) if func.type_name == "xdp"]
    return max(programs, key=lambda func: len(list(func.body.blocks)))


def cut(name: str, block: int) -> ModuleOp | None:
    """The example, cut in front of a block; None where that cannot be, or is done elsewhere."""
    module = raised(name).clone()
    said = Diagnostics()
    with collecting(said):
        try:
            run_pipeline(
                make_context(),
                module,
                f"decompose{{program={program(module).symbol} cut-at=bb{block}}},share-maps,lower",
            )
        except PassFailure:
            return None
    return None if any("cut-at" in diagnostic.message for diagnostic in said.emitted) else module


def places(name: str, profile: Path) -> list[int]:
    """Blocks to cut in front of that packets come to, far from each other first."""
    module = raised(name).clone()
    attach(module, read(str(profile)))
    func = program(module)
    frequency = FlowGraph(func, MapAccesses(module, ()).declarations).frequency
    blocks = list(func.body.blocks)
    visited = [number for number, block in enumerate(blocks) if number and frequency.get(block, 0.0) > RARE]
    found: list[int] = []
    for parts in (2, 4, 8, 16, 32):
        spread = [visited[len(visited) * part // parts] for part in range(1, parts, 2)]
        found += [number for number in spread if number not in found]
    return found


@pytest.mark.parametrize("name", NAMES if THOROUGH else ["policer", "vlan-router"])
def test_forced_cuts_on_an_interface(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over = 0
    verdict = UserPart.verdict

    def counted(part: UserPart) -> int:
        nonlocal handed_over
        handed_over += 1
        return verdict(part)

    monkeypatch.setattr(UserPart, "verdict", counted)
    maps = traffic.maps(name)
    for entry in maps.get("tx_ports", ()):
        entry["ifindex"] = int.from_bytes(bytes.fromhex(entry["key"]), "little") + 10
    (tmp_path / "maps.json").write_text(json.dumps(maps))
    with (tmp_path / "in.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for index, frame in enumerate(traffic.generate(name, COUNT, seed=8)):
            writer.writepkt(frame.ljust(LONGER.get(name, 0), b"\0"), 1_700_000_000 + index * 0.0001)
    world = ["--pcap", str(tmp_path / "in.pcap"), "--maps", str(tmp_path / "maps.json"), "--ifindex", IFINDEX]
    example = [str(EXAMPLES / name / f"{name}.o"), "--prog", program(raised(name)).symbol]
    profile = tmp_path / "profile.json"
    assert main([*example, *world, "-p", RAISE, "--profile-out", str(profile), "--json"]) == 0
    capsys.readouterr()
    done = 0
    for block in places(name, profile):
        module = cut(name, block)
        if module is None:
            continue
        directory = tmp_path / f"bb{block}"
        directory.mkdir()
        for file_name, content in emit(module, EmitOptions(f"{name}.o")).items():
            (directory / file_name).write_bytes(content)
        handed_over = 0
        assert main([*example, *world, "--compare", str(directory), "--compare-engine", "live"]) == 0, f"bb{block}"
        said = capsys.readouterr().out.strip()
        assert said.startswith("equal:"), f"bb{block}"
        assert handed_over, f"bb{block}: no packet was handed over"
        if LOG:
            with Path(LOG).open("a") as log:
                print(f"{name} bb{block}: {said}; handed over {handed_over}", file=log)
        done += 1
        if done == CUTS:
            break
    assert done, "no cut was possible"
