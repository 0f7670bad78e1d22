"""The pass `lower-to-xdp`: from raised functions to machine code."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.ebpf import FuncOp, functions
from fsir.driver import diagnostics
from fsir.driver.diagnostics import FailedAt
from fsir.driver.pipeline_pass import PipelinePass
from fsir.object.encode import instruction_count
from fsir.object.original import original_size, restore_original
from fsir.passes._each_function import on_failure


@dataclass(frozen=True)
class LowerToXdp(PipelinePass):
    """Lower raised functions to machine code, never worse than the original.

    Instruction selection, frame layout, register allocation and block layout, in this order. A function that comes out
    longer than its original code, or that cannot be lowered, gets its original code back, with a remark and the reason
    in its `keep` property; with `fallback=false` (and under `--no-fallback`) that is an error. `cpu` bounds the
    instruction set as in `lower-scalars`. With `ask-kernel`, the kernel of this machine is asked to load the programs,
    and the functions of one that it refuses, but takes as it was, get their original code back likewise.
    """

    name = "lower-to-xdp"

    fallback: bool = True
    cpu: int = 0
    ask_kernel: bool = False

    def pipeline(self) -> str:
        """The sequence, as pipeline text."""
        scalars = f"lower-scalars{{cpu={self.cpu}}}" if self.cpu else "lower-scalars"
        machine = "split-stores,layout-frame,schedule-uses,allocate-registers,layout-blocks"
        return f"lower-packet,lower-maps,lower-conditions,{scalars},{machine}"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions of the module."""
        lowered = [func for func in functions(op) if not func.is_raw() and not func.is_allocated()]
        with on_failure(self._keep_original):
            super().apply(ctx, op)
        for func in lowered:
            size = original_size(func)
            if func.keep is None and size is not None and _has_original_meaning(func):
                new = instruction_count(func)
                if new > size:
                    self._give_up(func, f"lowered it has {new} instructions, originally {size}")
        if self.ask_kernel:
            from fsir.backends.xdp._ask_kernel import refused

            for func, reason in list(refused(op)):
                if func.keep is None:
                    self._give_up(func, reason)

    def _keep_original(self, func: FuncOp, error: FailedAt) -> bool:
        if func.original is None or not _has_original_meaning(func):
            return False
        self._give_up(func, str(error))
        return True

    def _give_up(self, func: FuncOp, reason: str) -> None:
        message = f"function {func.symbol} keeps its original code: {reason}"
        if not self.fallback:
            diagnostics.fail(func, message)
        diagnostics.fallback(func, message)
        restore_original(func, reason)


def _has_original_meaning(func: FuncOp) -> bool:
    """Whether the function still is the whole of what it was: parts of a placed program are not."""
    return isinstance(func.parent_op(), ModuleOp)
