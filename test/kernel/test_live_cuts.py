"""Examples that the verifier accepts, cut where nobody would: over a veth pair they do what the interpreter says.

`FS_CUTS` in the environment says at how many places each is cut, `FS_PACKETS` how many packets each of these gets.
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
from fsir.dialects.placement import EdgeOp
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.object.importer import import_object
from fsir.run.cli import main

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COUNT = int(os.environ.get("FS_PACKETS", "200"))
CUTS = int(os.environ.get("FS_CUTS", "1"))
TRIES = 12
"""Blocks that are tried, spread over the program; some cannot be cut in front of."""
THOROUGH = "FS_CUTS" in os.environ
NOT_HERE = {"tc-marker": "no XDP program", "snat": "takes random numbers"}
TOGETHER = ("kv-cache", "maglev", "policer", "vlan-router", "vxlan-gateway")
"""Maps that only one side can use (per CPU, LRU, with locks) keep these whole, as far as is tried here."""
NAMES = sorted({path.parent.name for path in EXAMPLES.glob("*/*.o")} - NOT_HERE.keys())


@cache
def raised(name: str) -> ModuleOp:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, "raise")
    return module


def program(name: str) -> FuncOp:
    """The longest XDP program of an example."""
    programs = [func for func in functions(raised(name)) if func.type_name == "xdp"]
    return max(programs, key=lambda func: len(list(func.body.blocks)))


def cut(name: str, block: int) -> ModuleOp | None:
    """The example, cut in front of a block; None where that cannot be, or no packet would be handed over with what it
    carries."""
    module = raised(name).clone()
    with collecting(Diagnostics()):
        try:
            run_pipeline(
                make_context(), module, f"decompose{{program={program(name).symbol} cut-at=bb{block}}},share-maps,lower"
            )
        except PassFailure:
            return None
    edges = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    return module if any(edge.transport.data == "metadata" for edge in edges) else None


def places(name: str) -> list[int]:
    """Blocks to cut in front of, the middle of the program first."""
    blocks = len(list(program(name).body.blocks))
    spread = list(range(1, blocks, max(1, blocks // TRIES)))
    return sorted(spread, key=lambda block: abs(block - blocks // 2))


@pytest.mark.parametrize("name", NAMES if THOROUGH else ["ipv6-filter", "router"])
def test_forced_cuts_on_an_interface(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = traffic.maps(name)
    for entry in maps.get("tx_ports", ()):
        entry["ifindex"] = int.from_bytes(bytes.fromhex(entry["key"]), "little") + 10
    (tmp_path / "maps.json").write_text(json.dumps(maps))
    with (tmp_path / "in.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for index, frame in enumerate(traffic.generate(name, COUNT, seed=8)):
            writer.writepkt(frame, 1_700_000_000 + index * 0.0001)
    world = ["--pcap", str(tmp_path / "in.pcap"), "--maps", str(tmp_path / "maps.json")]
    done = 0
    for block in places(name):
        module = cut(name, block)
        if module is None:
            continue
        directory = tmp_path / f"bb{block}"
        directory.mkdir()
        for file_name, content in emit(module, EmitOptions(f"{name}.o")).items():
            (directory / file_name).write_bytes(content)
        example = str(EXAMPLES / name / f"{name}.o")
        chosen = ["--prog", program(name).symbol]
        assert main([example, *chosen, *world, "--compare", str(directory), "--compare-engine", "live"]) == 0, (
            f"bb{block}"
        )
        assert capsys.readouterr().out.startswith("equal:"), f"bb{block}"
        done += 1
        if done == CUTS:
            break
    assert done or name in TOGETHER, "no cut was possible"
