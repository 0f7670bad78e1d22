"""What packets cost on their way: reaching XDP, leaving it by each verdict, being handed to user space, leaving that.

Everything is a difference of rates on a veth pair, the best of some runs: what else the machine does only adds to a
cost. The kernel's part shares its CPU with what makes the frames.
"""

from __future__ import annotations

from pathlib import Path

from fsir.backends.af_xdp.emit import emit as emit_c
from fsir.backends.af_xdp.live import build
from fsir.driver.targets import EmitOptions
from fsir.kernel.live import receiving
from fsir.kernel.uapi import XdpVerdict
from fsir.object.exporter import export_object
from fsir.placement.lowering import lowered_of, parts_of, without_lowered
from fsir.run.calibrate_measure import FRAME, ROUNDS, in_user, module_of
from fsir.run.calibrate_programs import ALU
from fsir.run.throughput import Testbed

VERDICTS = {"drop": XdpVerdict.DROP, "pass": XdpVerdict.PASS, "tx": XdpVerdict.TX}
_SECONDS, _RUNS = 0.06, 5
_ALL_HANDED = """
ebpf.func @program section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %verdict = arith.constant 1 : i64
  cf.br ^there
^there:
  packet.verdict %verdict : i64
}
object.section "xdp" type 1 flags 6 align 8
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
object.symbol "program" in 1 value 0 size 16 bind 1 type 2 {func = @program}
object.symbol "_license" in 2 value 0 size 4 bind 1 type 1
"""


def in_xdp(verdict: XdpVerdict) -> float:
    """Nanoseconds per packet of a program that does nothing but return a verdict."""
    elf = export_object(module_of(ALU.text(0, verdict=verdict), "lower-to-xdp"))
    with Testbed() as bed, bed.program(elf) as load, receiving(bed.near):
        load.run(FRAME, seconds=0.02)
        return min(1e9 / load.run(FRAME, seconds=_SECONDS).offered for _ in range(_RUNS))


def handing_over(folder: Path) -> float:
    """Nanoseconds per packet for the kernel where every packet goes to a user part that keeps up."""
    module = module_of(_ALL_HANDED, "decompose{cut-at=bb1},share-maps,lower")
    (part,) = [part for part in parts_of(module) if part.target.data == "xdp"]
    lowered = lowered_of(module, part)
    assert lowered is not None
    source = emit_c(without_lowered(module), EmitOptions("calibrate", {"part": ("af_xdp",)}))["af_xdp.c"]
    binary = build(source, folder / "af_xdp")
    with Testbed() as bed, bed.program(export_object(lowered), binary) as load:
        load.run(FRAME, seconds=0.02)
        return min(1e9 / load.run(FRAME, seconds=_SECONDS).offered for _ in range(_RUNS))


def leaving_user(folder: Path) -> dict[str, float]:
    """Nanoseconds per packet in user space by verdict, besides `ROUNDS` of work."""
    return {name: in_user(ALU.text(0, ROUNDS, verdict=verdict), folder) for name, verdict in VERDICTS.items()}


def work(folder: Path) -> float:
    """Nanoseconds of `ROUNDS` of work in user space: three times as much, less once."""
    return (in_user(ALU.text(0, 3 * ROUNDS), folder) - in_user(ALU.text(0, ROUNDS), folder)) / 2
