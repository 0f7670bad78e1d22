"""The pass `allocate-registers`."""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from fsir.dialects.ebpf import FuncOp, functions
from fsir.driver.diagnostics import fail
from fsir.passes._each_function import each_function


class AllocateRegisters(ModulePass):
    """Give every value of virtual `ebpf` functions a machine register.

    Whole functions at a time: values live across calls go to r6–r9 or the stack, copies are coalesced, constants are
    made again rather than kept where that costs nothing. A value named `r6…` (as `raise-registers` names them) goes to
    r6 if it can. Functions that are allocated already are left alone; blocks are not laid out (see `layout-blocks`).
    """

    name = "allocate-registers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Allocate all virtual functions; fail at the first that needs more than there is."""
        each_function([func for func in functions(op) if not func.is_allocated()], allocate_function)


def allocate_function(func: FuncOp) -> None:
    """Allocate one virtual function. Raises FailedAt, the function unchanged, when it cannot be."""
    from fsir.regalloc.allocate import allocate
    from fsir.regalloc.model import AllocationError

    try:
        body = allocate(func).body
    except AllocationError as error:
        fail(func, f"function {func.symbol}: {error}")
    old = func.detach_region(func.body)
    func.add_region(body)
    old.drop_all_references()
