"""The pass `allocate-registers`."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.dialects.ebpf import UNALLOCATED, CastOp, ExitOp, FuncOp, MovRIOp, functions, jump
from fsir.driver.diagnostics import fail
from fsir.isa import INSN_SIZE
from fsir.object.encode import size_of
from fsir.object.original import original_body, original_size
from fsir.passes._each_function import each_function, is_handled
from fsir.passes._exits import share_exits
from fsir.passes._jumps import thread_jumps
from fsir.passes._own_ends import own_ends
from fsir.passes._sink_copies import sink_copies
from fsir.passes.layout_blocks import lay_out
from fsir.regalloc.allocate import WAYS, Allocation, Cost, allocate
from fsir.regalloc.emit import spills_below
from fsir.regalloc.measure import Measure
from fsir.regalloc.model import AllocationError
from fsir.regalloc.paths import path_excess
from fsir.regalloc.remake_ends import remake_ends
from fsir.regalloc.sink_ways import sink_on_ways


class AllocateRegisters(ModulePass):
    """Give every value of virtual `ebpf` functions a machine register.

    Whole functions at a time: values live across calls go to r6–r9 or the stack, copies are coalesced, constants are
    made again rather than kept where that costs nothing, and copies that one way of a branch needs are made there. A
    value named `r6…` (as `raise-registers` names them) goes to r6 if it can. Where the original code is known, several
    allocations are tried until one is neither longer nor slower on any path, or for any packet of a short search where
    the two branch differently; what would still come out longer is tried again with one exit only. A function that
    does something else than its original on such a packet fails. Functions that are allocated already are left alone;
    blocks are not brought into order for good (see `layout-blocks`).
    """

    name = "allocate-registers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Allocate all virtual functions; fail at the first that needs more than there is."""
        measure = Measure(op)
        left = [func for func in functions(op) if not func.is_allocated()]
        each_function(left, lambda func: allocate_function(func, measure))


_AGAIN = 8
"""How many ways are tried with ends of packets loaded again."""


def allocate_function(func: FuncOp, measure: Measure | None = None) -> None:
    """Allocate one virtual function; `measure` runs bodies beside the original. Raises FailedAt, the function
    unchanged, when it cannot be."""
    judge = _Judge(func, measure) if func.original is not None else None
    try:
        found = allocate(func, judge)
        if judge is not None and judge.is_slower(found) and remake_ends(func):
            again = allocate(func, judge, WAYS[:_AGAIN])
            found = again if judge.judged[again.body] < judge.judged[found.body] else found
        if judge is not None and judge.is_longer(found):
            before = judge(found)
            if join_exits(func.body):
                again = allocate(func, judge)
                found = again if judge(again) < before else found
        if judge is not None and judge.is_longer(found):
            found = replace(found, body=share_exits(found.body, judge.cost))
        if judge is not None and judge.is_longer(found) and own_ends(found.body):
            judge.cost(found.body)
    except AllocationError as error:
        fail(func, f"function {func.symbol}: {error}")
    if judge is None:
        sink_copies(found.body)
    else:
        judge.finish(found.body)
    old = func.detach_region(func.body)
    func.add_region(found.body)
    old.drop_all_references()


class _Judge:
    """Compares allocations of a function with its original code: the length, and what the path that loses most takes
    more, or the packet where paths cannot be compared. Bodies are laid out for that."""

    def __init__(self, func: FuncOp, measure: Measure | None) -> None:
        self.func, self.measure = func, measure
        self.original = original_body(func)
        self.size = original_size(func) or 0
        self.spills_below = spills_below(func)
        self.judged: dict[Region, Cost] = {}
        """What allocations cost, by their bodies as they were judged."""

    def __call__(self, found: Allocation) -> Cost:
        sink_copies(found.body)
        cost = self.cost(found.body)
        _, longer, slower, _ = cost
        self.judged[found.body] = self.spread(found.body, cost) if slower and not longer else cost
        return self.judged[found.body]

    def spread(self, body: Region, cost: Cost) -> Cost:
        """Write what only some ways need on each of them, as far as that leaves a body which costs this no longer than
        the original, and no slower. Gives what it costs then."""
        best: Region | None = None
        for apart in (False, True):
            other = body.clone()
            if sink_on_ways(other, self.spills_below, self.size - _laid_out_size(body), apart):
                changed = self.cost(other)
                if changed < cost or (best is None and changed[:-1] == cost[:-1]):
                    best, cost = other, changed
        if best is not None:
            for block in list(body.blocks):
                body.detach_block(block)
                block.drop_all_references()
            best.move_blocks(body)
        return cost

    def cost(self, body: Region) -> Cost:
        """What a body costs that is laid out for that."""
        lay_out(body)
        size = _laid_out_size(body)
        longer = max(size - self.size, 0)
        slower = 0.0 if longer else max(self.excess(body), 0.0)
        return float(longer > 0 or slower > 0), longer, slower, size

    def excess(self, body: Region) -> float:
        """How many instructions the path or packet that loses most takes more."""
        excess = path_excess(self.original, body)
        if excess is not None:
            return excess
        measured = self.measure(self.func, body) if self.measure is not None else None
        return measured.excess if measured is not None else 0.0

    def is_longer(self, found: Allocation) -> bool:
        """Whether a body that was judged is longer than the original."""
        return _laid_out_size(found.body) > self.size

    def is_slower(self, found: Allocation) -> bool:
        """Whether a body that was judged is slower than the original, though not longer."""
        _, longer, slower, _ = self.judged[found.body]
        return not longer and slower > 0

    def finish(self, body: Region) -> None:
        """Do what makes paths shorter that nothing is known of. Fail if a body is wrong, and, for an optimized function
        where somebody takes those that fail, if packets are slower with it."""
        excess = path_excess(self.original, body)
        optimized = self.func.optimized is not None
        if excess is not None and (excess <= 0 or not optimized):
            return
        if excess is None and _laid_out_size(body) < self.size:
            self.spread(body, self.cost(body))
        if self.measure is None:
            return
        measured, name = self.measure(self.func, body), self.func.symbol
        if measured is not None and measured.different is not None:
            what = f"does something else than originally on packet {measured.different.hex()}"
            fail(self.func, f"function {name} {what}; a pass that means to change it drops its `original`")
        if measured is not None and measured.excess > 0 and optimized and is_handled():
            count = f"{measured.excess} instruction{'s' * (measured.excess > 1)}"
            fail(self.func, f"lowered it takes {count} more than originally for some packet")


def _laid_out_size(body: Region) -> int:
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
        onward = jump(joint, [passed])
        onward.location = op.location
        block.insert_op_before(onward, op)
        block.erase_op(op)
        if isinstance(constant, MovRIOp) and not constant.res.first_use and constant.parent is not None:
            constant.parent.erase_op(constant)
    thread_jumps(body)
    return True
