"""Placed modules from text, their P4 programs on the interpreter's switch, and what became of a packet there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from fsir.backends.handoff import FINISHED_ABORTED, FINISHED_PASS, FINISHED_REDIRECT, Layout, peek
from fsir.backends.p4.controller import Controller
from fsir.backends.p4.emit import control_plane, emit
from fsir.backends.p4.interp import Switch, load
from fsir.backends.p4.program import CPU_PORT
from fsir.driver.context import make_context
from fsir.driver.inputs import parse_text

ABORTED, DROP, PASS, TX, REDIRECT = range(5)
UNDEFINED = 0xBAD
"""What reading something undefined gives: a program that does so by mistake is noticed."""

MODULE = """
builtin.module {{
{declarations}
  placement.part @nic on "p4-v1model" {{
    ebpf.func @prog section "xdp" attributes {{prog_type = "xdp"}} {{
{body}
    }}
  }}
}}
"""


def placed(body: str, declarations: str = "") -> ModuleOp:
    """A module whose only part is on the NIC; `body` is the text of the function's blocks."""
    return parse_text(make_context(), MODULE.format(body=body, declarations=declarations), "placed.mlir")


@dataclass(frozen=True)
class Result:
    """What became of a packet: a verdict (and the interface of a redirection), or a resume point with its values."""

    verdict: int | None
    data: bytes | None = None
    target: int | None = None
    resume: int | None = None
    values: tuple[int, ...] = ()


class Nic:
    """The part of a placed module on a switch; `ports` are identical with interfaces unless given."""

    def __init__(self, module: ModuleOp, maps: Mapping[str, Any] | None = None, ports: dict[int, int] | None = None):
        self.text = emit(module)
        self.control = control_plane(module)
        self.switch = Switch(load(self.text, "nic.p4"), undefined=UNDEFINED)
        self.ports = {n: n for n in range(1, 8)} if ports is None else ports
        self.controller = Controller(self.switch, self.control, self.ports)
        self.controller.mirror(maps or {})
        self.layouts = {
            each["resume"]: Layout(each["resume"], tuple(field["width"] for field in each["fields"]))
            for each in self.control["handoffs"]
        }

    def run(self, frame: bytes, port: int = 1) -> Result:
        outputs = self.switch.process(frame, port=port)
        if not outputs:
            return Result(DROP)
        (output,) = outputs
        if output.port == CPU_PORT:
            return self.from_cpu(output.data)
        if self.switch.metadata_of_last["metadata"]["verdict"] == TX:
            assert output.port == port
            return Result(TX, output.data)
        return Result(REDIRECT, output.data, {p: n for n, p in self.ports.items()}[output.port])

    def from_cpu(self, data: bytes) -> Result:
        """What a frame on the CPU port says."""
        resume, size = peek(data)
        frame = data[size:]
        if resume == FINISHED_REDIRECT:
            return Result(REDIRECT, frame, Layout(resume, (32,)).decode(data)[0])
        finished = {FINISHED_PASS: PASS, FINISHED_ABORTED: ABORTED}
        if resume in finished:
            assert data == Layout(resume, ()).encode([]) + frame
            return Result(finished[resume], frame)
        values = tuple(self.layouts[resume].decode(data))
        assert data[:size] == self.layouts[resume].encode(values)
        return Result(None, frame, resume=resume, values=values)
