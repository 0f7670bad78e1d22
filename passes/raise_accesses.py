"""`raise-accesses`: what words are, and what is done with them to packets, maps and the stack frame."""

from __future__ import annotations

from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.ebpf import UNALLOCATED, CastOp
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.pipeline_pass import PipelinePass
from fsir.passes._rewrite import raised_functions


class RaiseAccessesPass(PipelinePass):
    """Recover the accesses to packets and maps from words and their kinds, until there are no more to find.

    The sequence runs again when a stack slot that has become a value tells the kind of a word: with an address in it,
    what is done through that address has just become known. (Map operations that take their keys as values no longer
    read the frame, so that more of it can be values than before.)
    """

    name = "raise-accesses"
    passes: ClassVar[tuple[str, ...]] = ("raise-types", "raise-packet", "raise-maps", "raise-stack")

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Run the sequence, and again while it is of use."""
        *accesses, stack = self.passes
        learning = True
        while learning:
            run_pipeline(ctx, op, ",".join(accesses))
            before = _forgotten(op)
            run_pipeline(ctx, op, stack)
            learning = bool(_forgotten(op) - before)


def _forgotten(module: ModuleOp) -> set[CastOp]:
    """The casts of words of known kinds to such of unknown kind: what `raise-stack` puts in the place of a load whose
    kind was not known when `raise-types` asked."""
    return {
        op
        for func in raised_functions(module)
        for block in func.body.blocks
        for op in block.ops
        if isinstance(op, CastOp) and op.res.type == UNALLOCATED and op.value.type != UNALLOCATED
    }
