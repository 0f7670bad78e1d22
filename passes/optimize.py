"""`optimize`: make raised functions smaller and faster."""

from __future__ import annotations

from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, UnitAttr

from fsir.driver.pipeline_pass import PipelinePass
from fsir.passes._rewrite import raised_functions


class OptimizePass(PipelinePass):
    """Run the optimising passes over raised functions, in an order in which each profits from those before it.

    The second round finds what the first uncovered; a third finds next to nothing. Every pass of the sequence keeps the
    behaviour and never adds an instruction; each is useful alone. The functions are `optimized` then: where lowering
    cannot keep all packets as fast as they were, they get their original code back.
    """

    name = "optimize"
    passes: ClassVar[tuple[str, ...]] = (
        "fold-constants",
        "simplify-cfg",
        "if-conversion",
        "value-numbering",
        "forward-loads",
        "eliminate-dead-stores",
        "eliminate-dead-code",
        "merge-accesses",
        "merge-guards",
        "thread-jumps",
        "fold-constants",
        "value-numbering",
        "eliminate-dead-code",
        "simplify-cfg",
        "sink-code",
        "split-edges",
        "merge-blocks",
        "simplify-cfg",
        "name-fields",
    )

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Run the sequence, and mark the functions."""
        super().apply(ctx, op)
        for func in raised_functions(op):
            func.properties["optimized"] = UnitAttr()
