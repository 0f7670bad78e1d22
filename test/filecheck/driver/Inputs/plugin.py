"""A third party's dialect and passes."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Dialect
from xdsl.irdl import IRDLOperation, irdl_op_definition
from xdsl.passes import ModulePass
from xdsl.universe import Universe

from fsir.driver.diagnostics import fail, fallback, remark, warning
from fsir.driver.pipeline_pass import PipelinePass


@irdl_op_definition
class HelloOp(IRDLOperation):
    name = "plugin.hello"


@dataclass(frozen=True)
class CountOps(ModulePass):
    """Count the operations of each function. Says the number in a remark."""

    name = "count-ops"
    limit: int = 100
    strict: bool = False

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Report one remark, warning or error per function."""
        for function in op.body.ops:
            count = sum(1 for _ in function.walk()) - 1
            if count <= self.limit:
                remark(function, f"{count} operations")
            elif self.strict:
                fail(function, f"{count} operations are more than {self.limit}")
            else:
                warning(function, f"{count} operations are more than {self.limit}")


class GiveUp(ModulePass):
    """Keeps everything as it is."""

    name = "give-up"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Report the fallback."""
        fallback(op.body.block.first_op, "kept as it is")


class Crash(ModulePass):
    """Has a defect."""

    name = "crash"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Fail in a way that no pass may."""
        {}["missing"]


class Break(ModulePass):
    """Leaves invalid IR."""

    name = "break-ir"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Move the first operation of each function behind its user."""
        for function in op.body.ops:
            first = function.regions[0].block.first_op
            if first is not None and (second := first.next_op) is not None:
                first.detach()
                function.regions[0].block.insert_op_after(first, second)


class Both(PipelinePass):
    """Count, then clean up."""

    name = "both"
    passes = ("count-ops{limit=2}", "dce")


PLUGIN = Universe(
    all_dialects={"plugin": lambda: Dialect("plugin", [HelloOp])},
    all_passes={cls.name: lambda cls=cls: cls for cls in (CountOps, GiveUp, Crash, Break, Both)},
)
