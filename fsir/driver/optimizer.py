"""One run of `fs-opt`: read, verify, transform, emit, write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp
from xdsl.universe import Universe
from xdsl.utils.arg_spec import ArgSpec

from fsir.analysis.verify import verify_module
from fsir.driver.arguments import clang_flags, map_sizes
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.emitters import print_module
from fsir.driver.errors import UsageError, describe
from fsir.driver.expectations import mismatches
from fsir.driver.inputs import SPLIT_MARKER, ProgramTypes, Source, read_source
from fsir.driver.output import check_place, write_artifact
from fsir.driver.pass_manager import PassManager, Watch
from fsir.driver.pipeline import parse_pipeline, print_pipeline
from fsir.driver.pipeline_pass import PipelinePass
from fsir.driver.registry import PassRegistry
from fsir.driver.reproducer import Reproducer, read_reproducer
from fsir.driver.semantics import SemanticsCheck
from fsir.driver.targets import Artifact, EmitOptions, TargetTable
from fsir.driver.timing import Timer


class Optimizer:
    """Carries out the command line `args` with the plugins `universes`."""

    def __init__(self, args: argparse.Namespace, universes: Sequence[tuple[str, Universe]]) -> None:
        self.args = args
        self.universes = universes
        self.timer = Timer()
        self.registry = PassRegistry(lambda: universes)

    def run(self) -> int:
        """The whole run; raises what goes wrong, and has written nothing then."""
        args = self.args
        check_place(args.output)
        types = ProgramTypes.of(args.prog_type, args.section_type)
        source = read_source(args.input, args.format or ("mlir" if args.run_reproducer else None))
        source = replace(source, types=types, flags=clang_flags(args), map_sizes=map_sizes(args))
        pipeline, target = self._pipeline(), args.target
        if args.run_reproducer:
            pipeline, target = read_reproducer(source.text())
        if args.report:
            target = f"report{{kind={args.report} format={'json' if args.json else 'text'}}}"
            if args.report == "access" and not pipeline and source.format != "mlir":
                pipeline = "raise"
        specs, target_spec = parse_pipeline(pipeline), _target_spec(target)
        self._check_pipeline(specs)
        if source.format != "mlir" and (args.split_input_file or args.verify_diagnostics):
            raise UsageError("--split-input-file and --verify-diagnostics are for IR text")
        try:
            chunks = source.chunks() if args.split_input_file else [source]
            results = [self._run_chunk(chunk, specs, target_spec) for chunk in chunks]
            artifacts = [artifact for artifact in results if artifact is not None]
            if len(artifacts) == len(results):
                write_artifact(_joined(artifacts), args.output)
        finally:
            if args.timing:
                print(self.timer.table(), file=sys.stderr)
        return 0 if len(artifacts) == len(results) else 1

    def prepare(self) -> None:
        """Complain about what no input can mend, and import the passes, before any input is looked at."""
        ProgramTypes.of(self.args.prog_type, self.args.section_type)
        specs, target = parse_pipeline(self._pipeline()), _target_spec(self.args.target)
        self._check_pipeline(specs)
        TargetTable(make_context(self.universes), lambda: self.universes).find(target.name, target.parameters)
        work = list(specs)
        while work:
            pass_ = self.registry.build(work.pop())
            if isinstance(pass_, PipelinePass):
                work += parse_pipeline(pass_.pipeline())

    def _pipeline(self) -> str:
        return ",".join(text for text in self.args.pass_pipeline if text.strip())

    def _check_pipeline(self, specs: Sequence[ArgSpec]) -> None:
        """Complain about unknown passes and options before anything costly is done."""
        for spec in specs:
            self.registry.build(spec)
        for name in _names(self.args.print_ir_before) | _names(self.args.print_ir_after):
            self.registry.find(name)

    def _run_chunk(self, source: Source, specs: Sequence[ArgSpec], target: ArgSpec) -> Artifact | None:
        """The result of one input; None if its messages are not the expected ones."""
        args = self.args
        messages = Diagnostics(source.name, None if args.quiet else sys.stderr, args.no_fallback)
        if not args.verify_diagnostics:
            with collecting(messages):
                return self._transform(source, specs, target)
        messages.stream = None
        artifact: Artifact = ""
        with collecting(messages):
            try:
                artifact = self._transform(source, specs, target)
            except Exception as error:
                messages.emit(describe(error, source.name))
        problems = mismatches(source.text(), source.name, messages.emitted)
        for problem in problems:
            print(problem, file=sys.stderr)
        return None if problems else artifact

    def _transform(self, source: Source, specs: Sequence[ArgSpec], target: ArgSpec) -> Artifact:
        args, timer = self.args, self.timer
        ctx = make_context(self.universes, args.allow_unregistered_dialect)
        watch = self._watch()
        manager = PassManager(ctx, self.registry, watch, timer)
        passes = manager.build(specs)
        emit = TargetTable(ctx, lambda: self.universes).find(target.name, target.parameters)
        options = EmitOptions(source.name, dict(target.parameters), args.print_op_generic, args.print_debuginfo)

        with timer.measure("read"):
            module = source.load(ctx)
        with timer.measure("verify input"):
            verify_module(module)
        if watch.semantics is not None:
            with timer.measure("search packets"):
                watch.semantics.start(module)
        reproducer = self._reproducer(module, specs, target)
        try:
            manager.run(module, passes)
            with timer.measure(f"emit {target.name}"):
                return emit(module, options)
        except Exception as error:
            if reproducer is not None:
                error.add_note(_reproduce(reproducer, args.crash_reproducer, str(describe(error, source.name))))
            raise

    def _watch(self) -> Watch:
        args = self.args
        return Watch(
            args.verify_each,
            None if args.print_ir_before_all else _names(args.print_ir_before),
            None if args.print_ir_after_all else _names(args.print_ir_after),
            args.print_op_generic,
            SemanticsCheck() if args.verify_semantics else None,
        )

    def _reproducer(self, module: ModuleOp, specs: Sequence[ArgSpec], target: ArgSpec) -> Reproducer | None:
        """What to write if the run fails from here on; the IR is printed now because passes change it."""
        if self.args.crash_reproducer is None:
            return None
        text = print_module(module, generic=True, debuginfo=True)
        return Reproducer(print_pipeline(specs), str(target), text)


def _reproduce(reproducer: Reproducer, path: str, error: str) -> str:
    """Write a reproducer, and say where it is; that it cannot be written must not hide what failed."""
    try:
        reproducer.write(Path(path), error)
    except (OSError, UsageError) as second:
        return f"there is no reproducer: {second}"
    return f"the input and the pipeline are in {path}"


def _target_spec(text: str) -> ArgSpec:
    specs = parse_pipeline(text)
    if len(specs) != 1:
        raise UsageError(f"-t takes one target, not '{text}'; --list-targets lists them")
    return specs[0]


def _names(names: str | None) -> frozenset[str]:
    return frozenset(filter(None, (name.strip() for name in (names or "").split(","))))


def _joined(artifacts: Sequence[Artifact]) -> Artifact:
    """The results of the parts of a split input, separated as the parts were."""
    if len(artifacts) == 1:
        return artifacts[0]
    texts = [artifact for artifact in artifacts if isinstance(artifact, str)]
    if len(texts) != len(artifacts):
        raise UsageError("--split-input-file needs a target that is text")
    return f"{SPLIT_MARKER}\n".join(texts)
