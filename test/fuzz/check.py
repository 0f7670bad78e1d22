"""One program against everything: kernel, interpreter, each pipeline's result in both, and split into parts.

`check` gives the first failure of each kind as `Finding`s. A failure of the interpreter at a raised level names
the pass after which it first shows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from corpus.identity import code_of
from corpus.running import (
    Contents,
    Target,
    Trace,
    is_cut_short,
    run_in_kernel,
    run_interpreted,
    targets,
    try_load,
    why_refused,
)
from corpus.states import Filler, sizes
from corpus.traffic_seeds import packets, seeds
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.arg_spec import ArgSpec

from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.analysis.verify_dominance import InvalidOperation
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import PassManager, Watch
from fsir.driver.pipeline import parse_pipeline
from fsir.driver.pipeline_pass import PipelinePass
from fsir.driver.registry import PassRegistry
from fsir.interp.engine import ExecutionError, SelectionError
from fsir.interp.map_base import MapError
from fsir.interp.results import compare
from fsir.kernel.errors import KernelError
from fsir.kernel.syscalls import possible_cpus
from fsir.object.elf import read_elf
from fsir.object.encode import instruction_count
from fsir.object.errors import ObjectError
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

NAME = "fuzz.o"
REFUSED = "refused by the kernel"
_NO_ROOM = "bytes of stack are needed"
_WRONG = "does something else than originally"
"""Why `allocate-registers` refuses what it made: it is wrong, on packets that it ran."""
MACHINE = (
    "",
    "raise-registers,allocate-registers,layout-blocks",
    "raise,lower-to-xdp",
    "raise,optimize,lower-to-xdp",
)
RAISED = ("raise", "raise,optimize")
PLACED = ("raise,decompose", "raise,optimize,decompose")
PARTS = ("xdp,af-xdp", "p4-v1model,xdp,af-xdp")


@dataclass
class Finding:
    """Something wrong: `kind` is stable while a program shrinks, `details` are for readers."""

    kind: str
    details: str


@dataclass
class Result:
    """What became of one program. `dropped` says why it was not examined."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    dropped: str = ""


@dataclass
class _Subject:
    elf: bytes
    module: ModuleOp
    target: Target
    type_: str
    states: list[Contents]
    frames: list[list[bytes]]
    kernel: bool
    expected: list[Trace] = field(default_factory=list)
    made: dict[str, ModuleOp] = field(default_factory=dict)

    def after(self, pipeline: str) -> ModuleOp:
        """The module after passes (without options); not to be changed. Raises PassFailure."""
        if not pipeline:
            return self.module
        if pipeline not in self.made:
            before, _, last = pipeline.rpartition(",")
            module = self.after(before).clone()
            _run(module, last)
            verify_module(module)
            self.made[pipeline] = module
        return self.made[pipeline]


def _trace(subject: _Subject, elf: bytes, module: ModuleOp, state: int) -> Trace:
    """A run of machine code. Raises KernelError, ExecutionError."""
    maps, frames = subject.states[state], subject.frames[state]
    if subject.kernel:
        return run_in_kernel(elf, subject.target, subject.type_, subject.module, maps, frames)
    return run_interpreted(module, subject.target, subject.type_, maps, frames, map_sizes=sizes(subject.module))


def check(elf: bytes, *, count: int = 300, seed: int = 0, only: str = "", kernel: bool = True, cuts: int = 0) -> Result:
    """Everything about one object; must run in `corpus.running.world`. `only` is the kind of finding that matters.

    With `cuts`, only the parts are looked at, cut in that many random ways for each choice of targets.
    Without `kernel` (no root) the interpreter's run of the original is what others are compared with.
    """
    result = Result()
    try:
        module = import_object(elf, NAME)
    except ObjectError as error:
        result.dropped = f"refused by the importer: {error}"
        return result
    if len(targets(module)) != 1:
        result.dropped = "it is not one program"
        return result
    (target,) = targets(module)
    type_: str | None = target.types[0]
    if kernel:
        type_, reason = try_load(elf, target, module)
        if type_ is None:
            result.dropped = f"{REFUSED}: {reason}"
            return result
    assert type_ is not None
    frames = [packets(count, seed), packets(count, seed + 1)]
    if type_ != "xdp":
        frames = [[packet for packet in some if not is_cut_short(packet)] for some in frames]
    states = [{}, Filler(module, seeds(), [], possible_cpus(), seed).contents()]
    subject = _Subject(elf, module, target, type_, states, frames, kernel)
    try:
        for i in range(len(states)):
            subject.expected.append(_trace(subject, elf, module, i))
    except (KernelError, ExecutionError) as error:
        result.dropped = f"it does not run: {error}"
        return result
    for finding in _examine(subject, result.counts, seed, only, cuts):
        if not only or finding.kind == only:
            result.findings.append(finding)
            if only:
                break
    return result


def _examine(subject: _Subject, counts: Counter[str], seed: int, only: str, cuts: int) -> Iterator[Finding]:
    def wanted(start: str) -> bool:
        return not only or only.startswith(start)

    if wanted("interpreter of machine code"):
        found = _interpret(subject, subject.module)
        if found is not None:
            yield Finding("interpreter of machine code", found)
            return
    for pipeline in MACHINE if not cuts else ():
        if wanted(f"kernel [{pipeline}]"):
            yield from _machine(subject, pipeline, counts)
    for pipeline in RAISED if not cuts else ():
        if wanted(f"interpreter [{pipeline}]"):
            yield from _raised(subject, pipeline, counts)
    chosen = PLACED if only or cuts else PLACED[seed % 4 :][:1]  # half of the time goes here, so not for every program
    if subject.type_ != "xdp":
        return
    for pipeline in chosen:
        if wanted(f"placed [{pipeline}"):
            yield from _placed(subject, pipeline, counts, random.Random(seed), cuts or 2)


def _run(module: ModuleOp, pipeline: str | Sequence[ArgSpec], verify: bool = False) -> None:
    """Run passes. Raises PassFailure."""
    specs = parse_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    manager = PassManager(make_context(), watch=Watch(verify_each=verify))
    manager.run(module, manager.build(specs))


def _told(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{error}: {type(cause).__name__}: {cause}"[:1500]


# --- machine code ----------------------------------------------------------------------------------------------------


def _machine(subject: _Subject, pipeline: str, counts: Counter[str]) -> Iterator[Finding]:
    kind = f"kernel [{pipeline}]"
    try:
        module = subject.after(pipeline)
    except (PassFailure, InvalidOperation) as error:
        if _NO_ROOM in _told(error):
            counts[f"{pipeline} has no room in the frame"] += 1
        else:
            yield Finding(f"{kind} crash", _told(error))
        return
    for func in functions(module):
        verify_allocated(func)
    elf = export_object(module)
    if not pipeline and code_of(read_elf(elf, NAME)) != code_of(read_elf(subject.elf, NAME)):
        yield Finding(f"{kind} identity", "the exported object has other bytes")
    before = {func.symbol: instruction_count(func) for func in functions(subject.module)}
    for func in functions(module):
        after = instruction_count(func)
        if "lower-to-xdp" in pipeline:
            counts[f"{pipeline} instructions"] += after
            counts[f"{pipeline} instructions before"] += before[func.symbol]
            if func.keep is not None:
                counts[f"{pipeline} fallbacks"] += 1
                if _WRONG in func.keep.data:
                    yield Finding(f"{kind} different", func.keep.data)
                    return
            if after > before[func.symbol]:
                yield Finding(f"{kind} longer", f"{func.symbol} has {after} instructions, before {before[func.symbol]}")
    try:
        for i in range(len(subject.states)):
            difference = _difference(subject, i, _trace(subject, elf, module, i))
            if difference is not None:
                yield Finding(f"{kind} different", difference)
                return
    except KernelError as refused:
        yield Finding(f"{kind} refused", f"{why_refused(refused)}\n{refused.log[-1500:]}")
        return
    except ExecutionError as error:
        yield Finding(f"{kind} fails", str(error))
        return
    counts[f"{pipeline or 'identity'} same"] += 1


# --- interpreter -----------------------------------------------------------------------------------------------------


def _interpret(subject: _Subject, module: ModuleOp, poison: bool = False) -> str | None:
    """What the interpreter does differently from the kernel's run of the original."""
    map_sizes = sizes(subject.module)
    for i, (state, frames) in enumerate(zip(subject.states, subject.frames, strict=True)):
        try:
            found = run_interpreted(
                module, subject.target, subject.type_, state, frames, map_sizes=map_sizes, poison=poison
            )
        except (ExecutionError, MapError, SelectionError) as error:
            return f"state {i}: {type(error).__name__}: {error}"
        difference = _difference(subject, i, found)
        if difference is not None:
            return difference
    return None


def _difference(subject: _Subject, state: int, found: Trace) -> str | None:
    expected, frames = subject.expected[state], subject.frames[state]
    added = found.maps.keys() - expected.maps.keys()
    difference = compare(expected.results, found.results, expected.maps, found.maps, ignore_maps=added)
    if difference is None:
        return None
    packet = frames[int(difference.where[7:])].hex() if difference.where.startswith("packet ") else ""
    return f"state {state}: {str(difference)[:600]}\n  packet {packet}"


def _raised(subject: _Subject, pipeline: str, counts: Counter[str]) -> Iterator[Finding]:
    try:
        wrong = _interpret(subject, subject.after(pipeline), poison=True)
    except (PassFailure, InvalidOperation) as error:
        wrong = _told(error)
    if wrong is not None:
        guilty, what = _bisect(subject, pipeline)
        yield Finding(f"interpreter [{pipeline}] {guilty}", what or wrong)
        return
    counts[f"{pipeline} same"] += 1


def flattened(pipeline: str) -> list[ArgSpec]:
    """The passes of a pipeline, composite ones by their parts."""
    registry = PassRegistry()
    result: list[ArgSpec] = []
    for spec in parse_pipeline(pipeline):
        built = registry.build(spec)
        result += flattened(built.pipeline()) if isinstance(built, PipelinePass) else [spec]
    return result


def _bisect(subject: _Subject, pipeline: str) -> tuple[str, str]:
    """The first pass after which the interpreter differs, and how."""
    module = subject.module.clone()
    for number, spec in enumerate(flattened(pipeline)):
        try:
            _run(module, [spec], verify=True)
            what = _interpret(subject, module.clone(), poison=True)  # what is interpreted may not change afterwards
        except PassFailure as error:
            what = _told(error)
        if what is not None:
            return f"after {spec.name}", f"pass {number}: {what}"
    return "as a whole only", ""


# --- parts -----------------------------------------------------------------------------------------------------------


def _placed(subject: _Subject, pipeline: str, counts: Counter[str], rng: random.Random, cuts: int) -> Iterator[Finding]:
    try:
        prepared = subject.after(pipeline.rpartition(",")[0])
    except (PassFailure, InvalidOperation):
        return  # a finding of _raised
    (func,) = [f for f in functions(prepared) if f.type_name == "xdp"]
    blocks = len(list(func.body.blocks))
    for targets_ in PARTS:
        places = [",".join(f"bb{rng.randrange(blocks)}" for _ in range(1 + i % 3)) for i in range(cuts)]
        for cut in ("", *places):
            options = f"targets={targets_}" + (f" cut-at={cut}" if cut else "")
            kind = f"placed [{pipeline} {targets_}]"
            module = prepared.clone()
            try:
                _run(module, f"decompose{{{options}}}", verify=True)
            except PassFailure as failure:
                cause = failure.__cause__
                if isinstance(cause, FailedAt):
                    counts[f"{targets_} no placement"] += 1
                    continue
                yield Finding(f"{kind} crash", f"{options}: {type(cause).__name__}: {cause}"[:1500])
                break
            what = _interpret(subject, module, poison=True)
            if what is not None:
                yield Finding(f"{kind} different", f"{options}: {what}")
                break
            counts[f"{targets_} {'cut' if cut else 'uncut'} same"] += 1
