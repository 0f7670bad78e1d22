"""The examples through the compiler, in the kernel: whatever goes in comes out with the same behaviour.

Every pipeline's object is run by the kernel on 2,000 packets of the example's own traffic and 500 mutated ones, from
the example's maps, and must give the verdicts, bytes and maps of the original. The scanner, which the kernel refuses,
is compared in the interpreter.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import traffic

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.kernel.engine import KernelProgram, on_cpu
from fsir.kernel.syscalls import possible_cpus
from fsir.object.encode import instruction_count
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.passes.freeze_environment import freeze_environment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LOADED = [name for name in traffic.NAMES if name != "scanner"]
PIPELINES = [
    "",
    "raise-registers,allocate-registers,layout-blocks",
    "raise,lower-to-xdp",
    "raise,optimize,lower-to-xdp",
]
START, INTERVAL = 1_700_000_000_000_000_000, 1_000_000  # nanoseconds: when packets come

Behaviour = tuple[list[tuple[int, bytes, bytes]], dict[str, Any]]


@cache
def original(name: str) -> bytes:
    """The object, with clocks and random numbers that the tests set."""
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    freeze_environment(module)
    return export_object(module)


@cache
def packets(name: str) -> list[bytes]:
    fuzzed = traffic.fuzz_packets(traffic.generate(name, 60, seed=4), 500, seed=5)
    return traffic.generate(name, 2000, seed=3) + [traffic.runnable(frame) for frame in fuzzed]


def compiled(name: str, pipeline: str) -> tuple[bytes, dict[str, int], list[str]]:
    """The object, the functions' lengths, and the reasons of functions that kept their original code."""
    module = import_object(original(name), f"{name}.o")
    run_pipeline(make_context(), module, pipeline)
    kept = [func.keep.data for func in functions(module) if func.keep is not None]
    return export_object(module), {func.symbol: instruction_count(func) for func in functions(module)}, kept


def in_kernel(name: str, data: bytes) -> Behaviour:
    with KernelProgram(data, traffic.program(name), maps=traffic.maps(name), cpu=0) as program:
        with on_cpu(program.cpu):
            outcomes = [program.run(packet, clock_ns=START + i * INTERVAL) for i, packet in enumerate(packets(name))]
        return [(o.verdict, o.data, o.meta) for o in outcomes], program.dump_maps()


def in_interpreter(name: str, data: bytes) -> Behaviour:
    module = import_object(data, f"{name}.o")
    with InterpProgram(module, traffic.program(name), maps=traffic.maps(name), ncpu=possible_cpus()) as program:
        outcomes = [program.run(packet, clock_ns=START + i * INTERVAL) for i, packet in enumerate(packets(name))]
        return [(o.verdict, o.data, o.meta) for o in outcomes], program.dump_maps()


@cache
def reference(name: str) -> Behaviour:
    return in_kernel(name, original(name)) if name in LOADED else in_interpreter(name, original(name))


def check_same(actual: Behaviour, expected: Behaviour) -> None:
    different = [i for i, (a, b) in enumerate(zip(actual[0], expected[0], strict=True)) if a != b]
    assert not different, f"packet {different[0]}: {actual[0][different[0]]} instead of {expected[0][different[0]]}"
    assert actual[1] == expected[1]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p or "identity")
@pytest.mark.parametrize("name", traffic.NAMES)
def test_pipeline_keeps_the_behaviour(name: str, pipeline: str) -> None:
    data, lengths, kept = compiled(name, pipeline)
    check_same(in_kernel(name, data) if name in LOADED else in_interpreter(name, data), reference(name))
    assert not kept, "fell back to the original code: " + "; ".join(kept)
    for func, length in compiled(name, "")[1].items():
        assert lengths[func] <= length


@pytest.mark.parametrize("name", LOADED)
def test_interpreter_equals_kernel(name: str) -> None:
    check_same(in_interpreter(name, original(name)), reference(name))
