"""Examples split between kernel and user space: the kernel part's object interpreted, the user part's C run in this
process on the frames that it hands over, header and all; verdicts, bytes and maps are the original's."""

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
from fsir.interp.engine import InterpProgram, Outcome
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOCKETS = "fs_xsks"

pytestmark = needs_compiler


def module_of(name: str) -> ModuleOp:
    return import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")


@cache
def packets(name: str) -> list[bytes]:
    return traffic.generate(name, 2000, seed=3) + traffic.fuzz_packets(traffic.generate(name, 60, seed=4), 300, seed=5)


@cache
def original(name: str) -> tuple[list[Outcome], object]:
    program = InterpProgram(module_of(name), maps=traffic.maps(name))
    outcomes = [program.run(packet, clock_ns=1000 * number) for number, packet in enumerate(packets(name))]
    return outcomes, program.dump_maps()


def split(name: str, options: str) -> tuple[InterpProgram, Process]:
    """The two parts, on the same maps."""
    module = module_of(name)
    run_pipeline(make_context(), module, f"raise,decompose{{targets=xdp,af-xdp {options}}},share-maps,lower")
    [kernel] = [op for op in module.ops if isinstance(op, ModuleOp)]
    program = InterpProgram(import_object(export_object(kernel), "xdp.o"), maps=traffic.maps(name))
    program.set_maps({SOCKETS: [{"key": "00000000", "socket": 1}]})
    return program, Process(Library(emit(module)["af_xdp.c"], flags=WARNINGS), program.machine)


@pytest.mark.parametrize(
    ("name", "options"),
    [("scanner", ""), *((name, f"cut-at=bb{n}") for name in ("router", "firewall") for n in (6, 16, 28))],
)
def test_split_examples(name: str, options: str) -> None:
    kernel, user = split(name, options)
    outcomes, maps = original(name)
    handed_over = 0
    for number, (packet, expected) in enumerate(zip(packets(name), outcomes, strict=True)):
        first = kernel.run(packet, clock_ns=1000 * number)
        got = (first.verdict, first.data, first.meta, first.redirect)
        if first.redirect is not None and first.redirect.map_name == SOCKETS:
            handed_over += 1
            second = user.run(first.data, metadata=first.meta, clock_ns=1000 * number)
            assert second.dropped_because is None, number
            got = (second.verdict, second.packet, second.metadata, second.redirect)
        assert got == (expected.verdict, expected.data, expected.meta, expected.redirect), number
    assert {key: value for key, value in kernel.dump_maps().items() if key != SOCKETS} == maps
    assert handed_over > 0
