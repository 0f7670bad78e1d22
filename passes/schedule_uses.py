"""The pass `schedule-uses`: values are used before the instruction that takes their register."""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.calls import CLOBBERING
from fsir.dialects.ebpf import (
    AluRIOp,
    AluRROp,
    CastOp,
    FpOp,
    FuncOp,
    LddwOp,
    LdSymOp,
    LdxOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
    UnaryOp,
    functions,
)

_TIED = (AluRROp, AluRIOp, UnaryOp)
"""Two-address instructions: the result takes the register of the first operand."""
_PURE = (*_TIED, CastOp, FpOp, MovRROp, MovRIOp, LddwOp, LdSymOp)


class ScheduleUses(ModulePass):
    """Order the virtual `ebpf` instructions of each block so that two-address instructions end the lives of their first
    operands, which saves the copies that would be made for them.

    Such an instruction goes behind the last use of its operand in the block, if its result is not used before that;
    else those uses go before it. Nothing moves past a call, or past what may access the same bytes.
    """

    name = "schedule-uses"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Order the instructions of all functions that are not allocated."""
        for func in functions(op):
            if not (func.is_raw() or func.is_allocated()):
                schedule_uses(func)


def schedule_uses(func: FuncOp) -> None:
    """Order the instructions of one virtual function."""
    for block in func.body.blocks:
        _schedule(block)


def _schedule(block: Block) -> None:
    place = {op: number for number, op in enumerate(block.ops)}
    for op in list(block.ops):
        if isinstance(op, _TIED) and not isinstance(op.operands[0].owner, FpOp):
            users = _later_uses(op, place)
            if users and (_sink(op, users[-1], place) or _raise(op, users)):
                place = {op: number for number, op in enumerate(block.ops)}


def _later_uses(op: Operation, place: dict[Operation, int]) -> list[Operation]:
    """What uses the first operand of a two-address instruction after it, in order; nothing if other blocks use it, or
    something that takes its register itself, or if there is a call in between."""
    names = _names(op.operands[0])
    users = {use.operation for value in names for use in value.uses} - {op}
    users = {user for user in users if not isinstance(user, CastOp)}
    if any(user not in place or user.successors or isinstance(user, CLOBBERING) for user in users):
        return []
    if any(isinstance(user, _TIED) and user.operands[0] in names for user in users):
        return []
    found = sorted((user for user in users if place[user] > place[op]), key=place.__getitem__)
    return found if found and not any(isinstance(other, CLOBBERING) for other in _from(op, found[-1])) else []


def _from(op: Operation, end: Operation) -> list[Operation]:
    """The operations from one to before another that comes after it in the block."""
    found: list[Operation] = []
    at: Operation | None = op
    while at is not None and at is not end:
        found.append(at)
        at = at.next_op
    return found


def _names(value: SSAValue) -> list[SSAValue]:
    """A value with all casts of it and of what it is a cast of."""
    while isinstance(value.owner, CastOp):
        value = value.owner.value
    found = [value]
    for name in found:
        found += [use.operation.res for use in name.uses if isinstance(use.operation, CastOp)]
    return found


def _sink(op: Operation, last: Operation, place: dict[Operation, int]) -> bool:
    """Move an instruction behind another, unless its result is used until then."""
    block = op.parent
    assert block is not None
    if any(place.get(use.operation, place[last] + 1) <= place[last] for use in op.results[0].uses):
        return False
    block.detach_op(op)
    block.insert_op_after(op, last)
    return True


def _raise(op: Operation, users: list[Operation]) -> bool:
    """Move instructions before another, if all of them can be."""
    between = _from(op, users[-1])
    for number, user in enumerate(users):
        if any(value.owner in between for value in user.operands):
            return False
        others = [other for other in _from(op, user) if other not in users[:number]]
        if not isinstance(user, _PURE) and not all(_may_pass(user, other) for other in others):
            return False
    block = op.parent
    assert block is not None
    for user in users:
        block.detach_op(user)
        block.insert_op_before(user, op)
    return True


def _may_pass(op: Operation, other: Operation) -> bool:
    """Whether a load or store may as well come before another operation: past what accesses no memory, and, in the
    frame, past what accesses other bytes of it."""
    if not isinstance(op, StxOp | LdxOp):
        return False
    if isinstance(other, _PURE):
        return True
    if not isinstance(other, StxOp | StOp | LdxOp) or not (_is_frame(op.base) and _is_frame(other.base)):
        return False
    start, second = int(op.off.data), int(other.off.data)
    return start + op.row.width // 8 <= second or second + other.row.width // 8 <= start


def _is_frame(base: SSAValue) -> bool:
    return isinstance(base.owner, FpOp)
