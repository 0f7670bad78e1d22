"""How fast the interpreter is: eBPF instructions and packets a second, for the examples as imported and raised."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.interp.packet_io import read_packets
from fsir.object.importer import import_object

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 1.0
GOAL = 1_000_000  # instructions a second, on imported code
PIPELINES = ("", "raise")


def measure(name: str, pipeline: str) -> tuple[float, float]:
    """Instructions and packets a second."""
    folder = ROOT / "examples" / name
    module = import_object((folder / f"{name}.o").read_bytes(), f"{name}.o")
    if pipeline:
        run_pipeline(make_context(), module, pipeline)
    program = InterpProgram(module, maps=json.loads((folder / "maps.json").read_text()))
    frames = [packet.data for packet in read_packets(folder / f"{name}.pcap")]
    instructions = packets = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS:
        instructions += sum(program.run(frame).instructions for frame in frames)
        packets += len(frames)
    return instructions / elapsed, packets / elapsed


def main() -> int:
    print(f"{'example':10} {'level':10} {'M insn/s':>9} {'k packets/s':>12}")
    slow = False
    for name in ("router", "firewall", "maglev", "scanner"):
        for pipeline in PIPELINES:
            instructions, packets = measure(name, pipeline)
            slow |= not pipeline and instructions < GOAL
            print(f"{name:10} {pipeline or 'imported':10} {instructions / 1e6:9.2f} {packets / 1e3:12.1f}")
    print(f"goal on imported code: {GOAL / 1e6} M insn/s: {'missed' if slow else 'met'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
