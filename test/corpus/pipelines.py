"""Check `pipeline P`: what a pipeline makes of a program loads, does the same, and is not longer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from corpus.collection import Item
from corpus.findings import FAIL, NOTE, OK, SKIP, Findings
from corpus.interpretation import COUNT, NOT_INTERPRETED, STATES, states
from corpus.running import (
    PACKET_TYPES,
    Contents,
    Target,
    Trace,
    frozen,
    incomparable,
    interpreted,
    run_in_kernel,
    run_interpreted,
    targets,
    try_load,
    unreadable_maps,
    why_refused,
    world,
)
from corpus.states import sizes
from corpus.traffic_seeds import packets
from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.branches import Branches
from fsir.interp.engine import ExecutionError, InterpProgram, SelectionError
from fsir.interp.environment import FROZEN
from fsir.interp.map_base import MapError
from fsir.interp.results import compare
from fsir.kernel.errors import KernelError
from fsir.object.encode import instruction_count
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.run.coverage import explore, global_data

SLOW = 30.0


class PipelineCheck:
    """The check of one pipeline; call it with an item. Each packet program gets at least `packets` packets; where that
    is more than the usual number, also such as are searched to reach its branches."""

    def __init__(self, pipeline: str, every_type: bool = True, packets: int = 0) -> None:
        self.pipeline = pipeline
        self.every_type = every_type
        self.packets = max(COUNT, -(-packets // STATES))
        self.searches = self.packets > COUNT

    def __call__(self, item: Item) -> Findings:
        result = Findings()
        for name in (REFUSED, DIFFERENT, KEPT, LONGER):
            result.count(name, 0)
        original = import_object(item.data, item.name)
        wanted = [t for t in targets(original) if self.every_type or set(t.types) & set(PACKET_TYPES)]
        if not wanted:
            result.count("objects without packet programs")
            return result
        module = import_object(item.data, item.name)
        start = time.process_time()
        try:
            with collecting(Diagnostics()):
                run_pipeline(make_context(), module, self.pipeline)
        except PassFailure as failure:
            cause = failure.__cause__ or failure
            result.add(FAIL, item.name, f"{failure}: {type(cause).__name__}: {cause}"[:240])
            return result
        seconds = time.process_time() - start
        result.count("seconds in passes", seconds)
        result.extreme("most seconds for an object", seconds, item.name)
        if seconds > SLOW:
            result.add(NOTE, item.name, f"takes more than {SLOW:.0f} s", f"{seconds:.0f} s")
        verify_module(module)
        lowered = all(func.is_allocated() for func in functions(module))
        elf = export_object(module) if lowered else None
        if lowered:
            _sizes(result, item, original, module, FAIL if "lower-to-xdp" in self.pipeline else NOTE)
        before = frozen(original, item.data)
        after = frozen(module, elf) if elf is not None else None
        with world():
            for target in wanted:
                type_ = self.loads(result, item, original, elf, target)
                if type_ is not None:
                    self.behaves(result, item, _Pair(original, module, before, after, target, type_))
        return result

    def loads(self, result: Findings, item: Item, original: ModuleOp, elf: bytes | None, target: Target) -> str | None:
        """The type as which a packet program loads, before and after; None where there is nothing more to ask."""
        subject = f"{item.name} {target.name}"
        type_, reason = try_load(item.data, target, original)
        if type_ is None:
            result.add(SKIP, subject, f"the original is refused: {reason}")
            return None
        if elf is not None:
            again, reason = try_load(elf, target, original)
            if again != type_:
                result.count(REFUSED)
                result.add(FAIL, subject, f"loads as {type_}, the result does not: {reason}")
                return None
            result.count("programs that load again")
        if type_ not in PACKET_TYPES:
            result.add(OK, subject)
            return None
        return type_

    def behaves(self, result: Findings, item: Item, pair: _Pair) -> None:
        """Judge what a packet program does."""
        subject = f"{item.name} {pair.target.name}"
        compared = 0
        for number, (maps, frames) in enumerate(self.cases(result, pair)):
            difference = None
            if pair.after is not None:
                difference = self.in_kernel(result, subject, pair, maps, frames)
                compared += difference is None
            if difference in (None, _NOTHING) and not incomparable(pair.original, pair.target.name):
                difference = self.interpreted(result, subject, pair, maps, frames)
                compared += difference is None
            if difference is not None and difference != _NOTHING:
                result.count(DIFFERENT)
                result.add(FAIL, subject, difference[0], f"state {number}: {difference[1]}")
                return
        result.add(OK if compared else SKIP, subject, "" if compared else "neither kernel nor interpreter can run it")

    def cases(self, result: Findings, pair: _Pair) -> Iterator[tuple[Contents, list[bytes]]]:
        """Contents of maps and packets to compare with."""
        for number, maps in enumerate(states(pair.original, [pair.target.name], STATES)):
            yield maps, packets(self.packets, seed=number)
        if self.searches and not incomparable(pair.original, pair.target.name):
            try:
                found = explore(pair.opened, global_data(pair.original), solve=True)
            except (ExecutionError, MapError, SelectionError):
                result.count("programs whose branches could not be searched")
                return
            result.part("sides of branches reached", found.sides - len(found.open), found.sides)
            result.count("sides of branches proven impossible", len(found.impossible))
            result.count("sides of branches open", len(found.open))
            yield from ((case.maps, list(case.packets)) for case in found.cases)

    def in_kernel(
        self, result: Findings, subject: str, pair: _Pair, maps: Contents, frames: list[bytes]
    ) -> tuple[str, str] | None:
        """Where original and result differ in the kernel; None if nowhere."""
        assert pair.after is not None
        try:
            expected = run_in_kernel(pair.before, pair.target, pair.type_, pair.original, maps, frames)
        except KernelError as refused:
            result.add(NOTE, subject, f"the kernel cannot run the original: {why_refused(refused)}")
            return _NOTHING
        try:
            found = run_in_kernel(pair.after, pair.target, pair.type_, pair.original, maps, frames)
        except KernelError as refused:
            return "the kernel cannot run the result", why_refused(refused)
        difference = difference_of(expected, found, pair.original, frames)
        if difference is None:
            result.count("packets in the kernel", len(frames))
            return None
        again = run_in_kernel(pair.before, pair.target, pair.type_, pair.original, maps, frames)
        if difference_of(expected, again, pair.original, frames):
            result.add(NOTE, subject, "the original differs from itself: depends on more than packets and maps")
            return _NOTHING
        return f"kernel: {difference[0]}", difference[1]

    def interpreted(
        self, result: Findings, subject: str, pair: _Pair, maps: Contents, frames: list[bytes]
    ) -> tuple[str, str] | None:
        """Where original and result differ in the interpreter; None if nowhere."""
        target, type_ = pair.target, pair.type_
        try:
            expected = run_interpreted(pair.original, target, type_, maps, frames)
        except (ExecutionError, MapError, SelectionError) as error:
            if any(words in str(error) for words in NOT_INTERPRETED):
                return _NOTHING
            return f"interpreter on the original: {error}"[:200], ""
        try:
            given = sizes(pair.original)
            found = run_interpreted(pair.module, target, type_, maps, frames, map_sizes=given, poison=True)
        except (ExecutionError, MapError, SelectionError) as error:
            return f"interpreter on the result: {error}"[:200], ""
        if difference := difference_of(expected, found, pair.original, frames):
            return f"interpreter: {difference[0]}", difference[1]
        result.count("packets in the interpreter", len(frames))
        if all(func.is_allocated() for func in functions(pair.module)):
            _speed(result, subject, expected, found)
        return None


REFUSED, DIFFERENT = "programs refused", "programs different"
KEPT, LONGER = "functions that keep their code", "functions longer"


@dataclass(frozen=True)
class _Pair:
    """A program before and after: modules, and objects for the kernel (with the interpreter's time and chance). There
    is no object after where the pipeline ends above machine code."""

    original: ModuleOp
    module: ModuleOp
    before: bytes
    after: bytes | None
    target: Target
    type_: str

    def opened(self, maps: Contents, branches: Branches) -> InterpProgram:
        """The original in the interpreter, observed."""
        given = sizes(self.original)
        return interpreted(self.original, self.target, self.type_, maps, map_sizes=given, branches=branches)


_NOTHING = ("", "")
"""Neither equal nor different: it cannot be run."""


def difference_of(expected: Trace, found: Trace, module: ModuleOp, frames: list[bytes]) -> tuple[str, str] | None:
    known = expected.maps.keys()
    added = found.maps.keys() - known
    difference = compare(
        expected.results,
        found.results,
        expected.maps,
        found.maps,
        ignore_maps=unreadable_maps(module) | added | {FROZEN},
        perf_maps=expected.perf_maps,
    )
    if difference is None:
        return None
    packet = frames[int(difference.where[7:])].hex() if difference.where.startswith("packet ") else ""
    return f"{difference.what.split(' from ')[0]} differ", f"{str(difference)[:400]} {packet}"


def _speed(result: Findings, subject: str, expected: Trace, found: Trace) -> None:
    """Executed instructions before and after, packet by packet."""
    counts = [(a.instructions or 0, b.instructions or 0) for a, b in zip(expected.results, found.results, strict=True)]
    slower = [(before, after) for before, after in counts if after > before]
    total = [sum(side) for side in zip(*counts, strict=True)]
    result.count("executed before", total[0])
    result.count("executed after", total[1])
    if all(total):
        for group in ("", *_group(subject)):
            result.ratio(f"executed instructions of programs{group}", total[1] / total[0])
    if slower:
        worst = max(slower, key=lambda pair: pair[1] - pair[0])
        details = f"{len(slower)} of {len(counts)}; at worst {worst[0]} -> {worst[1]}"
        result.count("programs with packets that take more instructions")
        result.add(NOTE, subject, "packets take more instructions", details)


def _group(name: str) -> list[str]:
    """The compiler and level that an object of the matrix was made with, as its name says."""
    match = re.search(r"(clang\d+)-(O\w)-", name)
    return [f", {match[1]} -{match[2]}"] if match else []


def _sizes(result: Findings, item: Item, original: ModuleOp, module: ModuleOp, longer: str) -> None:
    """Lengths before and after, and functions that keep their code. `longer` is what it means to come out longer: only
    lower-to-xdp promises not to, by going back to the original."""
    before = {func.symbol: instruction_count(func) for func in functions(original)}
    for func in functions(module):
        verify_allocated(func)
        if func.symbol not in before or func.is_raw():
            continue
        after = instruction_count(func)
        result.count("instructions before", before[func.symbol])
        result.count("instructions after", after)
        for group in ("", *_group(item.name)) if after and before[func.symbol] else ():
            result.ratio(f"lengths of functions{group}", after / before[func.symbol])
        if func.keep is not None:
            result.count(KEPT)
            reason = re.sub(r"\d+", "N", func.keep.data.replace(f"function {func.symbol}", "the function"))
            result.add(FAIL, f"{item.name} {func.symbol}", f"keeps its code: {reason}", func.keep.data)
        elif after > before[func.symbol]:
            result.count(LONGER)
            result.add(longer, f"{item.name} {func.symbol}", "is longer", f"{before[func.symbol]} -> {after}")
