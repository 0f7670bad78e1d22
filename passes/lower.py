"""`lower`: each part of a placed module into the form its target takes."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass


@dataclass(frozen=True)
class LowerPass(ModulePass):
    """Lower each part for its target, beside its placed form.

    A part on XDP becomes a module of its own, named like the part: the object that the kernel loads, with the handoffs
    spelled out and the functions as machine code. Parts on other targets are written from their placed form. The parts
    stay, so that the module still says, and executes, what was placed.
    """

    name = "lower"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        from fsir.placement.lowering import lower_parts

        lower_parts(ctx, op)
