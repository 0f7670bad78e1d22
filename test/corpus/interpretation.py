"""Check `interp`: the interpreter does with a program what the kernel does."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects.builtin import ModuleOp

from corpus.collection import Item
from corpus.findings import FAIL, NOTE, OK, SKIP, Findings
from corpus.running import (
    PACKET_TYPES,
    Contents,
    Target,
    frozen,
    incomparable,
    run_in_kernel,
    run_interpreted,
    targets,
    try_load,
    unreadable_maps,
    why_refused,
    world,
)
from corpus.states import Filler
from corpus.traffic_seeds import packets, seeds
from fsir.interp.engine import ExecutionError, SelectionError
from fsir.interp.environment import FROZEN
from fsir.interp.map_base import MapError
from fsir.interp.results import compare
from fsir.kernel.errors import KernelError
from fsir.kernel.syscalls import possible_cpus
from fsir.object.importer import import_object

COUNT = 150
STATES = 2
"""States of maps: the first is empty, the others random."""
NOT_INTERPRETED = ("is not interpreted", "are not interpreted", "does not exist here", "only the kernel knows")


def check(item: Item) -> Findings:
    """Every packet program that loads, from every state."""
    result = Findings()
    module = import_object(item.data, item.name)
    elf = frozen(module, item.data)
    with world():
        for target in targets(module):
            if not set(target.types) & set(PACKET_TYPES):
                continue
            type_, reason = try_load(item.data, target, module)
            if type_ is None:
                result.add(SKIP, f"{item.name} {target.name}", f"the original is refused: {reason}")
            elif why_not := incomparable(module, target.name):
                result.add(SKIP, f"{item.name} {target.name}", why_not)
            else:
                _compare(result, item, module, target, type_, elf)
    return result


def states(module: ModuleOp, loaded: list[str], count: int = STATES) -> Iterator[Contents]:
    """Contents of maps to start from; `loaded` are the programs that program arrays may hold."""
    yield {}
    for seed in range(1, count):
        contents = Filler(module, seeds(), loaded, possible_cpus(), seed).contents()
        if contents:
            yield contents


def _compare(result: Findings, item: Item, module: ModuleOp, target: Target, type_: str, elf: bytes) -> None:
    subject = f"{item.name} {target.name}"
    for number, maps in enumerate(states(module, [target.name])):
        frames = packets(COUNT, seed=number)
        try:
            expected = run_in_kernel(elf, target, type_, module, maps, frames)
        except KernelError as refused:
            status = FAIL if elf is not item.data and refused.log else NOTE if number else SKIP
            result.add(status, subject, f"the kernel cannot run it: {why_refused(refused)}")
            continue
        try:
            only = [result.index for result in expected.results]
            found = run_interpreted(module, target, type_, maps, frames, only=only)
        except (ExecutionError, MapError, SelectionError) as error:
            status = SKIP if any(words in str(error) for words in NOT_INTERPRETED) else FAIL
            result.add(status, subject, f"interpreter: {error}"[:200])
            return
        ignored = unreadable_maps(module) | {FROZEN}
        if difference := compare(
            expected.results,
            found.results,
            expected.maps,
            found.maps,
            ignore_maps=ignored,
            perf_maps=expected.perf_maps,
        ):
            where = f"state {number}: {difference}"
            packet = frames[int(difference.where[7:])].hex() if difference.where.startswith("packet ") else ""
            result.add(FAIL, subject, f"{difference.what} differ", f"{where[:400]} {packet}")
            return
        result.count("packets", len(frames))
    result.add(OK, subject)
