"""What a program does is the same before and after each pass: verdicts, packets, maps of the examples."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import traffic

from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).parents[2] / "examples"
PASSES = (
    "eliminate-dead-code",
    "fold-constants",
    "value-numbering",
    "simplify-cfg",
    "merge-accesses",
    "forward-loads",
    "optimize",
)

Behaviour = tuple[list[tuple[int, bytes, bytes]], object]


@cache
def packets(name: str) -> list[bytes]:
    found = traffic.generate(name, 2000, seed=11)
    return found + traffic.fuzz_packets(found[:200], 800, seed=12)


@cache
def behaviour(name: str, pipeline: str, setting: int) -> Behaviour:
    """What the example does with its traffic after the passes, with its usual or another setting of its global data."""
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, pipeline)
    contents = [traffic.maps(name), *(traffic.maps(name) | extra for extra in traffic.settings(name))][setting]
    with InterpProgram(module, traffic.program(name), maps=contents, ncpu=2) as program:
        outcomes = [program.run(packet, ifindex=3) for packet in packets(name)]
        return [(o.verdict, o.data, o.meta) for o in outcomes], program.dump_maps()


EACH_PASS = ("router", "firewall", "maglev", "scanner")
CASES = [
    *(
        (name, setting, step)
        for name in EACH_PASS
        for setting in range(1 + len(traffic.settings(name)))
        for step in PASSES
    ),
    *((name, 0, "optimize") for name in traffic.NAMES if name not in EACH_PASS),
]


@pytest.mark.parametrize(("name", "setting", "pass_name"), CASES)
def test_behaviour_is_kept(name: str, setting: int, pass_name: str) -> None:
    expected, actual = behaviour(name, "raise", setting), behaviour(name, f"raise,{pass_name}", setting)
    for index, (before, after) in enumerate(zip(expected[0], actual[0], strict=True)):
        assert after == before, f"packet {index}"
    assert actual[1] == expected[1]
