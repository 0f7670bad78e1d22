"""Check `split`: an XDP program cut between kernel and user space does what it did.

Each program is placed by the decision of `decompose`, and with a cut forced at several of its blocks (`cut-at`). The
parts run in the interpreter, and for some cuts the artifacts of the bundle do, too: 0 differences to the original.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp

from corpus.collection import Item
from corpus.findings import FAIL, NOTE, OK, SKIP, Findings
from corpus.interpretation import NOT_INTERPRETED, states
from corpus.pipelines import difference_of
from corpus.raised import undescribed_maps
from corpus.running import (
    ROUTES,
    Contents,
    Target,
    Trace,
    clock,
    incomparable,
    run_interpreted,
    targets,
    try_load,
)
from corpus.states import sizes
from corpus.traffic_seeds import packets
from fsir.analysis.verify import verify_module
from fsir.backends.af_xdp.inprocess import compiler
from fsir.bundle.emit import emit
from fsir.dialects.ebpf import functions, int_attr
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import EdgeOp
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, FailedAt, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.interp.engine import ExecutionError, SelectionError
from fsir.interp.map_base import MapError
from fsir.interp.packet_io import Packet
from fsir.kernel.availability import unavailable
from fsir.kernel.engine import current_cpu
from fsir.kernel.syscalls import possible_cpus
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.placement.lowering import lowered_of, parts_of
from fsir.placement.place import is_placed
from fsir.run.bundle import BundleEngine
from fsir.run.engines import Settings, Subject
from fsir.run.kernel import running_kernel

COUNT = 90
CUTS = 6
"""Blocks at which each program is cut, spread evenly over it."""
BUNDLES = 2
"""Placements of each program whose artifacts run."""
_NO_BUNDLE = "no bundle can be made"
_REFUSALS = (ExecutionError, MapError, SelectionError)


def check(item: Item) -> Findings:
    """Every XDP program of an object, cut in several ways."""
    result = Findings()
    original = import_object(item.data, item.name)
    programs = [target for target in targets(original) if "xdp" in target.types]
    if not programs or undescribed_maps(original):
        return result
    raised = import_object(item.data, item.name)
    for func in functions(raised):
        if func.type_name == "unspec":
            return result
    with collecting(Diagnostics()):
        run_pipeline(make_context(), raised, "raise")
    for target in programs:
        func = next(func for func in functions(raised) if func.symbol == target.name)
        if not is_placed(func):
            continue
        if why_not := incomparable(original, target.name):
            result.add(SKIP, f"{item.name} {target.name}", why_not)
            continue
        _Program(result, item, original, raised, target).run(len(list(func.body.blocks)))
    return result


class _Program:
    """One program: its packets, and what the original makes of them from each state of the maps."""

    def __init__(self, result: Findings, item: Item, original: ModuleOp, raised: ModuleOp, target: Target) -> None:
        self.result, self.item, self.original, self.raised, self.target = result, item, original, raised, target
        self.subject = f"{item.name} {target.name}"
        self.cases: list[tuple[Contents, list[bytes], Trace]] = []

    def run(self, blocks: int) -> None:
        """Try all cuts."""
        try:
            for number, maps in enumerate(states(self.original, [self.target.name])):
                frames = packets(COUNT, seed=number)
                found = run_interpreted(self.original, self.target, "xdp", maps, frames)
                self.cases.append((maps, frames, found))
        except _REFUSALS as error:
            known = any(words in str(error) for words in NOT_INTERPRETED)
            self.result.add(SKIP, self.subject, str(error)[:160] if known else "the interpreter stops at the original")
            return
        bundles = 0
        good = True
        for cut in _cuts(blocks):
            module = self.place(cut)
            if module is None:
                continue
            good &= self.judge(cut, "placed", self.placed(module))
            split = any(isinstance(op, EdgeOp) for op in module.body.block.ops)
            if bundles < BUNDLES and split and compiler() is not None:
                bundles += 1
                good &= self.judge(cut, "bundle", self.bundle(module))
                good &= self.loads(cut, module)
        if good:
            self.result.add(OK, self.subject)

    def place(self, cut: str) -> ModuleOp | None:
        """The placed module; None, and a note, where there is no such placement."""
        module = self.raised.clone()
        option = f" cut-at={cut}" if cut else ""
        try:
            with collecting(Diagnostics()):
                run_pipeline(
                    make_context(), module, f"decompose{{program={self.target.name}{option}}},share-maps,lower"
                )
        except PassFailure as failure:
            cause = failure.__cause__
            if not isinstance(cause, FailedAt):
                raise
            self.result.count("cuts refused" if cut else "programs refused")
            self.result.add(NOTE, f"{self.subject} {cut}", _reason(str(cause)), str(cause)[:240])
            return None
        verify_module(module)
        edges = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
        elsewhere = edges and all(edge.transport.data == "none" for edge in edges)
        self.result.count("decisions" if not cut else "cuts that maps have moved to the entry" if elsewhere else "cuts")
        return module

    def judge(self, cut: str, engine: str, difference: tuple[str, str] | None) -> bool:
        """Record how an engine's run went; whether it was well."""
        if difference is None:
            self.result.count(f"runs of engine {engine}")
            return True
        if difference[0] == _NO_BUNDLE:
            self.result.add(NOTE, f"{self.subject} {cut or 'by itself'}", *difference)
            return True
        status = FAIL
        refused = try_load(self.item.data, self.target, self.original)[1]
        if refused:
            difference = difference[0] + " (the kernel refuses the original)", f"{refused[:120]}; {difference[1]}"
            status = NOTE if engine == "bundle" else FAIL
        self.result.add(status, f"{self.subject} {cut or 'by itself'} {engine}", *difference)
        return False

    def loads(self, cut: str, module: ModuleOp) -> bool:
        """Whether the kernel takes its part, if it takes the original."""
        if unavailable() is not None or try_load(self.item.data, self.target, self.original)[0] is None:
            return True
        for part in parts_of(module):
            lowered = lowered_of(module, part)
            if lowered is None:
                continue
            type_, reason = try_load(export_object(lowered), self.target, self.original)
            if type_ is None:
                self.result.add(FAIL, f"{self.subject} {cut or 'by itself'}", f"the kernel refuses its part: {reason}")
                return False
            self.result.count("kernel parts that load")
        return True

    def placed(self, module: ModuleOp) -> tuple[str, str] | None:
        """What differs when the parts are interpreted."""
        for number, (maps, frames, expected) in enumerate(self.cases):
            try:
                found = run_interpreted(
                    module, self.target, "xdp", maps, frames, map_sizes=sizes(self.original), poison=True
                )
            except _REFUSALS as error:
                return f"interpreter on the parts: {error}"[:160], f"state {number}"
            if difference := difference_of(expected, found, self.original, frames):
                return difference
        return None

    def _sized(self, module: ModuleOp) -> ModuleOp:
        """The module with sizes for the maps that have none, as loaders of these objects give them some."""
        given = sizes(self.original)
        if not given:
            return module
        copy = module.clone()
        for op in copy.body.block.ops:
            if isinstance(op, DeclOp) and op.sym_name.data in given:
                op.properties["max_entries"] = int_attr(given[op.sym_name.data])
        return copy

    def bundle(self, module: ModuleOp) -> tuple[str, str] | None:
        """What differs when the artifacts run together."""
        with tempfile.TemporaryDirectory() as name:
            try:
                for file, content in emit(self._sized(module), EmitOptions(self.item.name)).items():
                    (Path(name) / file).write_bytes(content)
            except FailedAt as error:
                return _NO_BUNDLE, _reason(str(error))
            for number, (maps, frames, expected) in enumerate(self.cases):
                try:
                    found = _run_bundle(name, self.target.name, maps, frames, sizes(self.original))
                except _REFUSALS as error:
                    return f"bundle: {error}"[:160], f"state {number}"
                if difference := difference_of(expected, found, self.original, frames):
                    return difference
        return None


def _cuts(blocks: int) -> Iterator[str]:
    """None forced, then some blocks."""
    yield ""
    step = max(1, blocks // CUTS)
    for block in range(0, blocks, step):
        yield f"bb{block}"


def _run_bundle(
    directory: str, program: str, maps: Contents, frames: Sequence[bytes], map_sizes: dict[str, int]
) -> Trace:
    settings = Settings(
        program=program,
        prog_type="xdp",
        maps=maps,
        map_sizes=map_sizes,
        cpu=current_cpu(),
        cpus=possible_cpus(),
        kernel=running_kernel(),
        fib=ROUTES,
    )
    engine = BundleEngine(Subject(directory), settings)
    try:
        results = [engine.run(i, Packet(frame, clock(i)), clock(i)) for i, frame in enumerate(frames)]
        return Trace(results, engine.dump_maps())
    finally:
        engine.close()


def _reason(text: str) -> str:
    """A refusal without names and numbers, so that equal ones are counted together."""
    text = re.sub(r"^.*error: ", "", text)
    text = re.sub(r"cut-at: (the program cannot be cut here: |this is )?", "cut-at: ", text)
    text = re.sub(r"there is no placement: .*?(cannot run it|it cannot be handed over)", r"no placement: \1", text)
    return re.sub(r"'[^']*'|%[\w.]+|0x[0-9a-f]+|\d+", "…", text)[:160]
