"""Base of the passes that are a sequence of other passes, such as `raise` and `lower`."""

from __future__ import annotations

from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass


class PipelinePass(ModulePass):
    """Runs `passes` one after the other; each shows in `--print-ir-after-all` and `--timing` by its own name.

        class RaisePass(PipelinePass):
            \"\"\"Recover packet and map operations from machine code.\"\"\"

            name = "raise"
            passes = ("raise-packet", "raise-maps{strict=true}")

    A pass whose sequence depends on its options overrides `pipeline`.
    """

    passes: ClassVar[tuple[str, ...]] = ()

    def pipeline(self) -> str:
        """The sequence, as pipeline text."""
        return ",".join(self.passes)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Run the sequence on `op` inside the pass manager at work, or a plain one outside of any."""
        from fsir.driver.pass_manager import run_pipeline

        run_pipeline(ctx, op, self.pipeline())
