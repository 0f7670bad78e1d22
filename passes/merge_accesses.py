"""`merge-accesses`: few wide loads and stores instead of many narrow ones."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from fsir.analysis.accesses import BlockAccesses
from fsir.analysis.effects import EffectTable
from fsir.passes._merge_loads import merge_loads
from fsir.passes._merge_stores import merge_stores
from fsir.passes._rewrite import raised_functions


@dataclass(frozen=True)
class MergeAccessesPass(ModulePass):
    """Access packet and map bytes that lie next to each other at once.

    A word put together by `or` from smaller loads becomes one load, with a byte swap where the order is the other one;
    stores of neighbouring constants, of the pieces of one word, or of what neighbouring loads read (a copied address)
    become one store. All within a block, and only where no access in between may touch the bytes.

    Packet accesses need no alignment (the kernel allows any for packets, except on machines that trap); accesses to map
    values stay aligned. The context and the stack frame are left alone. A constant that no store instruction can hold
    stays in two.
    """

    name = "merge-accesses"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            for block in func.body.blocks:
                accesses = BlockAccesses(block, effects)
                merge_loads(block, accesses)
                merge_stores(block, accesses)
