"""The examples, cut everywhere: whatever the cut, the parts together do what the program did.

Blocks of every example are cut in turn (`cut-at`), with two and with three targets; the placed module runs in the
interpreter, part by part, and must give the verdicts, bytes and maps of the original. `FS_EVERY=1` in the environment
cuts at every block, and compares with how many cuts are expected to be refused.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import traffic
from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, FailedAt, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object

ROOT = Path(__file__).parent.parent.parent
NIC = "p4-v1model"

EVERY = int(os.environ.get("FS_EVERY", "5"))
REFUSED = {
    ("router", "xdp,af-xdp"): {"an address": 2, "the packet's way out": 2},
    ("firewall", "xdp,af-xdp"): {"an address": 3, "map 'flows' was looked at": 5},
    ("scanner", "xdp,af-xdp"): {"an address": 2, "inside of a loop": 6},
}
"""How many blocks cannot be cut at, by the beginning of the reason."""


@cache
def raised(name: str) -> ModuleOp:
    module = import_object((ROOT / "examples" / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, "raise")
    return module


@cache
def packets(name: str) -> tuple[bytes, ...]:
    made = traffic.generate(name, 60, seed=1) + traffic.fuzz_packets(traffic.generate(name, 30, seed=2), 40, seed=3)
    return tuple(packet for packet in made if len(packet) >= 14)


def behaviour(module: ModuleOp, name: str) -> tuple[list[Any], Any]:
    """Verdict, bytes and redirect of each packet, and the maps afterwards."""
    with InterpProgram(module, maps=traffic.maps(name)) as program:
        outcomes = [program.run(p, ifindex=3, clock_ns=1_000_000 * i) for i, p in enumerate(packets(name))]
        return [(o.verdict, o.data, o.redirect) for o in outcomes], program.dump_maps()


def place(name: str, options: str) -> ModuleOp | str:
    """The placed module, or why there is none."""
    module = raised(name).clone()
    try:
        with collecting(Diagnostics()), redirect_stderr(io.StringIO()):
            run_pipeline(make_context(), module, f"decompose{{{options}}},share-maps")
    except PassFailure as failure:
        assert isinstance(failure.__cause__, FailedAt), failure
        return str(failure.__cause__)
    verify_module(module)
    return module


def blocks(name: str) -> int:
    (program,) = [func for func in functions(raised(name)) if func.type_name == "xdp"]
    return len(list(program.body.blocks))


@pytest.mark.parametrize("targets", ["xdp,af-xdp", f"{NIC},xdp", f"{NIC},xdp,af-xdp"])
@pytest.mark.parametrize("name", ["router", "firewall", "maglev", "scanner"])
def test_a_program_split_by_itself_behaves_as_before(name: str, targets: str) -> None:
    for objective in ("throughput", "cpu", "latency"):
        placed = place(name, f"targets={targets} objective={objective}")
        if name == "scanner" and "af-xdp" not in targets:
            assert isinstance(placed, str)
            assert "a loop without a bound" in placed
            continue
        assert not isinstance(placed, str), placed
        assert behaviour(placed, name) == behaviour(raised(name), name)


@pytest.mark.parametrize("targets", ["xdp,af-xdp", f"{NIC},xdp,af-xdp"])
@pytest.mark.parametrize("name", ["router", "firewall", "maglev", "scanner"])
def test_a_program_cut_at_any_block_behaves_as_before(name: str, targets: str) -> None:
    before = behaviour(raised(name), name)
    refused: Counter[str] = Counter()
    cut = 0
    for block in range(0, blocks(name), EVERY):
        placed = place(name, f"targets={targets} cut-at=bb{block}")
        if isinstance(placed, str):
            refused[re.sub(r"cut-at: (the program cannot be cut here: |this is )?", "", placed)] += 1
            continue
        cut += 1
        assert behaviour(placed, name) == before, f"cut at bb{block}"
    for beginning, count in REFUSED.get((name, targets), {}).items():
        assert sum(n for reason, n in refused.items() if reason.startswith(beginning)) <= count, refused
    assert cut, refused
