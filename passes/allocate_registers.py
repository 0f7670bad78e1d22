"""The pass `allocate-registers`."""

from __future__ import annotations

from typing import cast

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.dialects.ebpf import UNALLOCATED, CastOp, ExitOp, FuncOp, MovRIOp, functions, jump
from fsir.driver.diagnostics import fail
from fsir.isa import INSN_SIZE
from fsir.object.encode import size_of
from fsir.object.original import original_size
from fsir.passes._each_function import each_function
from fsir.passes._jumps import thread_jumps
from fsir.passes._sink_copies import sink_copies
from fsir.passes.layout_blocks import lay_out


class AllocateRegisters(ModulePass):
    """Give every value of virtual `ebpf` functions a machine register.

    Whole functions at a time: values live across calls go to r6–r9 or the stack, copies are coalesced, constants are
    made again rather than kept where that costs nothing, and copies that one way of a branch needs are made there. A
    value named `r6…` (as `raise-registers` names them) goes to r6 if it can. A function that would come out longer than
    its original is tried again with one exit only. Functions that are allocated already are left alone; blocks are not
    laid out (see `layout-blocks`).
    """

    name = "allocate-registers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Allocate all virtual functions; fail at the first that needs more than there is."""
        each_function([func for func in functions(op) if not func.is_allocated()], allocate_function)


def allocate_function(func: FuncOp) -> None:
    """Allocate one virtual function. Raises FailedAt, the function unchanged, when it cannot be."""
    from fsir.regalloc.allocate import allocate
    from fsir.regalloc.model import AllocationError

    size = original_size(func)
    try:
        found = allocate(func)
        if size is not None and found.size > size:
            shortest = _laid_out_size(found.body)
            if shortest > size and join_exits(func.body):
                again = allocate(func)
                found = again if _laid_out_size(again.body) < shortest else found
    except AllocationError as error:
        fail(func, f"function {func.symbol}: {error}")
    sink_copies(found.body)
    old = func.detach_region(func.body)
    func.add_region(found.body)
    old.drop_all_references()


def _laid_out_size(body: Region) -> int:
    lay_out(body)
    return sum(size_of(op) for block in body.blocks for op in block.ops) // INSN_SIZE


def join_exits(body: Region) -> bool:
    """Make one exit of several, and constants for it in the beginning, so that a result can be set before the branches
    that lead there. False if there is only one."""
    exits = [op for block in body.blocks if isinstance(op := block.last_op, ExitOp) and op.value is not None]
    if len(exits) < 2:
        return False
    types = {op.value.type for op in exits if op.value is not None}
    type_ = types.pop() if len(types) == 1 else UNALLOCATED
    joint = Block(arg_types=[type_])
    joint.add_op(type(exits[-1]).create(operands=[joint.args[0]], location=exits[-1].location))
    body.add_block(joint)
    entry = body.first_block
    assert entry is not None
    early: dict[tuple[str, int], SSAValue] = {
        (op.name, op.imm.data): op.res for op in entry.ops if isinstance(op, MovRIOp) and "core" not in op.properties
    }
    for op in exits:
        block, passed = op.parent, op.value
        assert block is not None and passed is not None
        constant = passed.owner
        if isinstance(constant, MovRIOp) and "core" not in constant.properties:
            key = constant.name, constant.imm.data
            if key not in early:
                copy = constant.clone()
                entry.insert_op_before(copy, cast("Operation", entry.first_op))
                early[key] = copy.res
            passed = early[key]
        if passed.type != type_:
            same = CastOp.create(operands=[passed], result_types=[type_])
            block.insert_op_before(same, op)
            passed = same.res
        block.insert_op_before(jump(joint, [passed]), op)
        block.erase_op(op)
        if isinstance(constant, MovRIOp) and not constant.res.first_use and constant.parent is not None:
            constant.parent.erase_op(constant)
    thread_jumps(body)
    return True
