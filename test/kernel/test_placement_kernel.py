"""Kernel parts of splits in the kernel: they load, and do there what they do in the interpreter.

From a NIC they get the frames that nic.p4, interpreted, sends to the CPU port. Handoffs to user space find no socket
here, so that their packets end with the verdict for that.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import traffic
from nic_handoff import HEADER, READS, lowered_from_nic
from xdsl.dialects.builtin import ModuleOp

from fsir.backends.p4.controller import Controller
from fsir.backends.p4.emit import control_plane
from fsir.backends.p4.emit import emit as emit_p4
from fsir.backends.p4.interp import Switch, load
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.kernel.engine import KernelProgram
from fsir.kernel.syscalls import possible_cpus
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.placement.lowering import lowered_of, parts_of, without_lowered

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NIC = "p4-v1model"
CUTS = [None, "bb9", "bb21", "bb36"]
COUNT = 400


@cache
def raised(name: str) -> ModuleOp:
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, "raise")
    return module


def split(name: str, targets: str, cut: str | None) -> ModuleOp | None:
    """The lowered split, None where the program cannot be cut there."""
    module = raised(name).clone()
    option = "" if cut is None else f" cut-at={cut}"
    with collecting(Diagnostics()):
        try:
            run_pipeline(make_context(), module, f"decompose{{targets={targets}{option}}}")
        except PassFailure:
            return None
        run_pipeline(make_context(), module, "share-maps,lower")
    return module


def kernel_object(module: ModuleOp) -> bytes:
    (part,) = [part for part in parts_of(module) if part.target.data == "xdp"]
    lowered = lowered_of(module, part)
    assert lowered is not None
    return export_object(lowered)


def frames_for_kernel(name: str, module: ModuleOp) -> list[bytes]:
    """What comes to the kernel: the traffic, or what the NIC's part passes on of it."""
    frames = [frame for frame in traffic.generate(name, COUNT, seed=5) if len(frame) >= 14]
    placed = without_lowered(module)
    if not parts_of(placed)[0].target.data.startswith("p4"):
        return frames
    switch = Switch(load(emit_p4(placed), "nic.p4"))
    control = control_plane(placed)
    Controller(switch, control).mirror(InterpProgram(raised(name), maps=traffic.maps(name)).dump_maps())
    outputs = [output for frame in frames for output in switch.process(frame, 3)]
    return [output.data for output in outputs if output.port == control["cpu_port"]]


@pytest.mark.parametrize("targets", ["xdp,af-xdp", f"{NIC},xdp,af-xdp"])
@pytest.mark.parametrize("name", ["router", "firewall", "maglev", "scanner"])
def test_kernel_parts_load_and_behave(name: str, targets: str) -> None:
    cut = 0
    for place in CUTS:
        module = split(name, targets, place)
        if module is None:
            continue
        cut += 1
        data = kernel_object(module)
        frames = frames_for_kernel(name, module)
        with KernelProgram(data, maps=traffic.maps(name)) as kernel:
            reference = InterpProgram(import_object(data, "xdp.o"), maps=traffic.maps(name), ncpu=possible_cpus())
            for number, frame in enumerate(frames):
                expected, got = reference.run(frame), kernel.run(frame)
                assert (got.verdict, got.data) == (expected.verdict, expected.data), f"cut at {place}, frame {number}"
    assert cut, "no cut was possible"


def test_guards_behind_a_carried_distance_mean_something() -> None:
    """With 16 bits, of which any can be set, the verifier would not let the read behind the guard through."""
    frame = bytes(range(64))
    with KernelProgram(kernel_object(lowered_from_nic(READS))) as kernel:
        for distance, verdict in ((13, 20), (60, 0), (0xFFF0, 0)):
            assert kernel.run(HEADER.encode([distance]) + frame).verdict == verdict
