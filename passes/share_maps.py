"""`share-maps`: how maps are shared between parts."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass


@dataclass(frozen=True)
class ShareMapsPass(ModulePass):
    """Choose the mechanism by which each map that parts touch is shared, and say what it promises.

    A `placement.share` is added for each: `private` (one part), `mmap` (arrays in user space), `pinned` (system calls),
    `mirror` (tables of the NIC), `split` (counters of the NIC). Fails where the parts' accesses allow none, which
    `decompose` avoids. The order that handoffs keep becomes `commuting` where all shared accesses commute.
    """

    name = "share-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        from fsir.placement.share import share_maps

        share_maps(op)
