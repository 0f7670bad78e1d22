"""Passes that change what programs do, as a mistake would."""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.universe import Universe

from fsir.dialects.ebpf import int_attr
from fsir.dialects.packet import GuardOp


@dataclass(frozen=True)
class LoosenGuardPass(ModulePass):
    """Make the last guard of every function ask for one byte less."""

    name = "loosen-guard"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        guards = [inner for inner in op.walk() if isinstance(inner, GuardOp)]
        guards[-1].properties["size"] = int_attr(guards[-1].size.data - 1)


@dataclass(frozen=True)
class CountElsewherePass(ModulePass):
    """Count in the wrong place."""

    name = "count-elsewhere"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        from fsir.dialects.map import AtomicOp, LoadOp, StoreOp

        for inner in op.walk():
            if isinstance(inner, AtomicOp | LoadOp | StoreOp):
                inner.properties["off"] = int_attr(8)


WRONG = Universe(
    all_passes={"loosen-guard": lambda: LoosenGuardPass, "count-elsewhere": lambda: CountElsewherePass},
)
