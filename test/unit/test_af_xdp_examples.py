"""The examples as C in this process: as imported, and as raised; the interpreter says what they must do."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import traffic
from af_xdp_helpers import WARNINGS, needs_compiler
from xdsl.dialects.builtin import ModuleOp

from fsir.backends.af_xdp.emit import emit
from fsir.backends.af_xdp.inprocess import Library, Process
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = needs_compiler


@cache
def packets(name: str) -> list[bytes]:
    return traffic.generate(name, 2000, seed=3) + traffic.fuzz_packets(traffic.generate(name, 60, seed=4), 500, seed=5)


def module_of(name: str, pipeline: str) -> ModuleOp:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, pipeline)
    return module


@pytest.mark.parametrize("pipeline", ["", "raise-registers", "raise"])
@pytest.mark.parametrize("name", ["router", "firewall", "scanner", "maglev"])
def test_same_verdicts_bytes_and_maps(name: str, pipeline: str) -> None:
    module = module_of(name, pipeline)
    reference = InterpProgram(module_of(name, ""), maps=traffic.maps(name))
    mirror = InterpProgram(module, maps=traffic.maps(name))
    compiled = Process(Library(emit(module)["af_xdp.c"], flags=WARNINGS), mirror.machine)
    for number, packet in enumerate(packets(name)):
        expected = reference.run(packet, clock_ns=number * 1_000_000)
        got = compiled.run(packet, clock_ns=number * 1_000_000)
        assert got.dropped_because is None
        assert (got.verdict, got.packet, got.redirect) == (
            expected.verdict,
            expected.data,
            expected.redirect,
        ), number
    assert mirror.dump_maps() == reference.dump_maps()
    assert compiled.library.counters["map_errors"] == 0
