"""The generated traffic brings every case about that the examples count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import traffic

from fsir.interp.engine import InterpProgram
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
START = 1_700_000_000_000_000_000

# The map of counters, how many of its entries there are per case, and the cases that packets cannot bring about.
COUNTERS = {
    "cheetah": ("stats", 1, set[str]()),
    "snat": ("counters", 1, set[str]()),
    "vlan-router": ("stats", 1, {"NO_ROOM"}),
    "policer": ("counters", 4, set[str]()),
}


def cases(name: str) -> list[str]:
    """The names of the counters, in the order of their numbers."""
    text = (EXAMPLES / name / f"{name}.c").read_text()
    body = re.search(r"enum \w+_stat \{(.*?)STAT_MAX", text, re.DOTALL)
    assert body is not None
    return re.findall(r"STAT_(\w+),", body[1])


@pytest.mark.parametrize("name", COUNTERS)
def test_every_case_is_counted(name: str) -> None:
    table, width, impossible = COUNTERS[name]
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    counted: set[int] = set()
    for setting in [{}, *traffic.settings(name)]:
        with InterpProgram(module, maps=traffic.maps(name) | setting) as program:
            for number, frame in enumerate(traffic.generate(name, 2000, seed=1)):
                program.run(frame, clock_ns=START + number * 1_000_000)
            contents = program.dump_maps()[table]
        counted |= {int.from_bytes(bytes.fromhex(entry["key"]), "little") // width for entry in contents}
    assert {case for number, case in enumerate(cases(name)) if number not in counted} == impossible
