"""The NIC's parts of the examples: P4 on the switch, the kernel's part interpreted behind it, against the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import traffic
from p4_placed import DROP, PASS, REDIRECT, Nic
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Region

from fsir.backends.p4.mirror import add_to
from fsir.dialects.ebpf import functions
from fsir.dialects.placement import PartOp
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram, Outcome
from fsir.object.importer import import_object

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
COUNT = 300
SPLIT = "decompose{targets=p4-v1model,xdp},share-maps"


def module_of(name: str, pipeline: str) -> ModuleOp:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    if pipeline:
        run_pipeline(make_context(), module, pipeline)
    return module


def all_on_the_nic(module: ModuleOp) -> ModuleOp:
    """The whole program as one part."""
    (func,) = functions(module)
    func.detach()  # type: ignore[no-untyped-call]
    properties = {"sym_name": StringAttr("nic"), "target": StringAttr("p4-v1model")}
    part = PartOp.create(properties=properties, regions=[Region(Block([func]))])
    first = module.body.block.first_op
    assert first is not None
    module.body.block.insert_ops_before([part], first)
    return module


class Split:
    """A placed module: its NIC part on the switch, its second part interpreted."""

    def __init__(self, module: ModuleOp, contents: dict[str, Any]) -> None:
        self.nic = Nic(module, contents)
        self.rest = InterpProgram(module, maps=contents)
        self.handed_over = 0

    def run(self, frame: bytes, ifindex: int) -> tuple[int, bytes | None, int | None]:
        """Verdict, bytes, and the interface of a redirection on the NIC."""
        result = self.nic.run(frame, ifindex)
        if result.verdict is not None:
            return result.verdict, result.data, result.target
        self.handed_over += 1
        assert result.data is not None and result.resume is not None
        outcome = resume(self.rest, result.data, ifindex, result.resume, result.values)
        self.nic.controller.mirror(self.rest.dump_maps())
        return outcome.verdict, outcome.data, None

    def maps(self) -> Any:
        return add_to(self.rest.dump_maps(), self.nic.control, self.nic.controller.collect())


def resume(program: InterpProgram, frame: bytes, ifindex: int, point: int, values: tuple[int, ...]) -> Outcome:
    """Go on in a placed program's second part."""
    part, machine = program._parts[1], program.machine
    ctx = machine.begin_packet(frame, ifindex=ifindex)
    part.link.reset()
    part.link.arrival = (point, values)
    verdict = part.link.run(part.entry, ctx)
    machine.end_packet()
    return Outcome(verdict & 0xFFFFFFFF, machine.packet.packet, b"")


PIPELINES = [
    ("router", f"raise,{SPLIT}", False),
    ("router", f"raise,optimize,{SPLIT}", False),
    ("router", "raise", True),
    ("firewall", f"raise,{SPLIT}", False),
    ("firewall", f"raise,optimize,{SPLIT}", False),
    ("maglev", f"raise,{SPLIT}", False),
    ("maglev", f"raise,optimize,{SPLIT}", False),
]


CASES = [(*row, setting) for row in PIPELINES for setting in [{}, *traffic.settings(row[0])]]


@pytest.mark.parametrize(("name", "pipeline", "whole", "setting"), CASES)
def test_example(name: str, pipeline: str, whole: bool, setting: dict[str, Any]) -> None:
    contents = traffic.maps(name) | setting
    module = module_of(name, pipeline)
    split = Split(all_on_the_nic(module) if whole else module, contents)
    original = InterpProgram(module_of(name, ""), maps=contents)
    verdicts = set()
    for number, frame in enumerate(traffic.generate(name, COUNT, seed=5)):
        ifindex = 1 + number % 3
        outcome = original.run(frame, ifindex=ifindex)
        verdict, data, target = split.run(frame, ifindex)
        assert verdict == outcome.verdict, frame.hex()
        assert verdict == DROP or data == outcome.data, frame.hex()
        if target is not None and verdict == REDIRECT:
            assert target == _target(contents, outcome)
        verdicts.add(verdict)
    assert split.maps() == original.dump_maps()
    assert {DROP, PASS} <= verdicts
    assert whole or 0 < split.handed_over < COUNT, "both parts have work"


def _target(contents: dict[str, Any], outcome: Outcome) -> int:
    """The interface of a redirection through a device map."""
    redirect = outcome.redirect
    assert redirect is not None and redirect.map_name is not None and redirect.key is not None
    key = redirect.key.to_bytes(4, "little").hex()
    return next(int(entry["ifindex"]) for entry in contents[redirect.map_name] if entry["key"] == key)
