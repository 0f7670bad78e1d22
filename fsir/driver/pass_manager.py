"""Runs passes, and watches them: verification, dumps of the IR, timing.

`run_pipeline` is what tools and composite passes call. A composite pass runs its parts through the manager
that runs it, so that each part is verified, dumped and timed by its own name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TextIO

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.arg_spec import ArgSpec

from fsir.driver.errors import PassFailure
from fsir.driver.pipeline import parse_pipeline
from fsir.driver.pipeline_pass import PipelinePass
from fsir.driver.registry import PassRegistry
from fsir.driver.semantics import SemanticsCheck
from fsir.driver.timing import Timer


@dataclass
class Watch:
    """What to do around each pass. `print_before` and `print_after` hold pass names; None stands for all.
    `verify_each` checks the IR after every pass, the parts of composite ones too; None, only after those that the
    pipeline names."""

    verify_each: bool | None = None
    print_before: frozenset[str] | None = frozenset()
    print_after: frozenset[str] | None = frozenset()
    generic: bool = False
    semantics: SemanticsCheck | None = None
    """Checks after every pass, the parts of composite ones too, that programs behave as before."""
    stream: TextIO = field(default_factory=lambda: sys.stderr)


class PassManager:
    """Runs passes on modules in the context `ctx`."""

    def __init__(
        self,
        ctx: Context,
        registry: PassRegistry | None = None,
        watch: Watch | None = None,
        timer: Timer | None = None,
    ) -> None:
        self.ctx = ctx
        self.registry = registry or PassRegistry()
        self.watch = watch or Watch()
        self.timer = timer or Timer()
        self._depth = 0

    def build(self, specs: Iterable[ArgSpec]) -> list[ModulePass]:
        """The passes of a pipeline. Raises `UsageError` for unknown passes and options."""
        return [self.registry.build(spec) for spec in specs]

    def run(self, module: ModuleOp, passes: Sequence[ModulePass]) -> None:
        """Apply `passes` to `module` in order. Raises `PassFailure` around whatever goes wrong in one."""
        token = _active.set(self)
        self._depth += 1
        try:
            for pass_ in passes:
                self._run_one(module, pass_)
        finally:
            self._depth -= 1
            _active.reset(token)

    def _run_one(self, module: ModuleOp, pass_: ModulePass) -> None:
        composite = isinstance(pass_, PipelinePass)
        if not composite:
            self._dump(module, pass_.name, self.watch.print_before, "Before")
            if self.watch.semantics is not None:
                self.watch.semantics.before(module)
        with self.timer.measure(pass_.name):
            try:
                pass_.apply(self.ctx, module)
            except PassFailure:
                raise
            except Exception as error:
                raise PassFailure(pass_.name, "in") from error
        if self._must_verify(composite):
            from fsir.analysis.verify import verify_module

            with self.timer.measure("verify", apart=True):
                try:
                    verify_module(module)
                except Exception as error:
                    self._dump(module, pass_.name, self.watch.print_after, "After failed verification of")
                    raise PassFailure(pass_.name, "invalid IR after") from error
        if not composite:
            self._dump(module, pass_.name, self.watch.print_after, "After")
            self._verify_semantics(module, pass_.name)

    def _verify_semantics(self, module: ModuleOp, name: str) -> None:
        if self.watch.semantics is not None:
            with self.timer.measure("verify semantics", apart=True):
                try:
                    self.watch.semantics.after(module)
                except Exception as error:
                    raise PassFailure(name, "different behaviour after") from error

    def _must_verify(self, composite: bool) -> bool:
        if self.watch.verify_each is None:
            return self._depth == 1
        return self.watch.verify_each and not composite

    def _dump(self, module: ModuleOp, name: str, wanted: frozenset[str] | None, when: str) -> None:
        if wanted is not None and name not in wanted:
            return
        from fsir.driver.emitters import print_module

        with self.timer.measure("print", apart=True):
            text = print_module(module, generic=self.watch.generic or when.startswith("After failed"))
            self.watch.stream.write(f"// -----// IR Dump {when} {name} //----- //\n{text}\n")
            self.watch.stream.flush()


_active: ContextVar[PassManager | None] = ContextVar("pass_manager", default=None)


def run_pipeline(ctx: Context, module: ModuleOp, pipeline: str | Iterable[ArgSpec]) -> None:
    """Run `pipeline` on `module`: in the manager at work when called from a pass, else in one that verifies."""
    manager = _active.get() or PassManager(ctx)
    specs = parse_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    manager.run(module, manager.build(specs))
