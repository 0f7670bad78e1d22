"""The operations that keep the order of packets, in the copy of a function that hands them over: see `order.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, i1, i8, i32, i64
from xdsl.ir import Block, Operation, Region, SSAValue

from fsir.analysis.cfg import predecessors
from fsir.dialects.placement import OvertakesOp
from fsir.passes._rewrite import conditional, constant, extend, truncate
from fsir.placement.order import Order

_MULTIPLIER = 0x9E3779B97F4A7C15
_SLOT_BITS = 8


def ticket_values(
    order: Order, values: Mapping[SSAValue, SSAValue], ops: list[Operation], slot: SSAValue | None = None
) -> list[SSAValue]:
    """What a handoff passes for the fields of its ticket: a number that is set when it is carried out, and the slot.
    Operations are appended to `ops`."""
    number = constant(0, i32)
    ops.append(number)
    return [number.result, slot if slot is not None else slot_of(order.key, values, ops)]


def slot_of(key: Sequence[SSAValue], values: Mapping[SSAValue, SSAValue], ops: list[Operation]) -> SSAValue:
    """Among which packets to look: the hash of a key, 0 without one."""

    def add(op: Operation) -> SSAValue:
        ops.append(op)
        return op.results[0]

    if not key:
        return add(constant(0, i8))
    mixed: SSAValue = add(constant(0, i64))
    for part in key:
        value = values.get(part, part)
        assert isinstance(value.type, IntegerType)
        if value.type != i64:
            value = add(extend(value))
        mixed = add(arith.XOrIOp(mixed, value))
        mixed = add(arith.MuliOp(mixed, add(constant(_MULTIPLIER, i64))))
        mixed = add(arith.XOrIOp(mixed, add(arith.ShRUIOp(mixed, add(constant(32, i64))))))
    mixed = add(arith.MuliOp(mixed, add(constant(_MULTIPLIER, i64))))
    return add(truncate(add(arith.ShRUIOp(mixed, add(constant(64 - _SLOT_BITS, i64)))), i8))


def add_gates(
    region: Region,
    order: Order,
    blocks: Mapping[Block, Block],
    values: Mapping[SSAValue, SSAValue],
    ctx: SSAValue,
    hand_over: Callable[[SSAValue, Block], Block],
) -> None:
    """Put the gates of an order into a copy of the function; `blocks` and `values` map the original's to the copy's.
    `hand_over(slot, at)` makes a block that hands the packet over as it came, in front of the original's block `at`."""
    for gate in order.gates:
        block = blocks[gate.block]
        asking = Block(arg_types=[arg.type for arg in block.args] if gate.source is not None else [])
        if gate.source is None:
            after = block.split_before(list(block.ops)[gate.at])
            region.insert_block_before(asking, after)
            block.add_op(_located(cf.BranchOp.create(successors=[asking]), after))
            passed: list[SSAValue] = []
        else:
            source, after = blocks[gate.source], block
            region.insert_block_before(asking, after)
            for terminator, index in predecessors(region)[after]:
                if terminator.parent is source:
                    terminator.successors[index] = asking
            passed = list(asking.args)
        ops: list[Operation] = []
        slot = slot_of(order.key, values, ops)
        overtakes = OvertakesOp.create(operands=[ctx, slot], result_types=[i1])
        leaving = hand_over(slot, gate.block)
        ops += [overtakes, conditional(overtakes.res, (leaving, []), (after, passed))]
        asking.add_ops([_located(op, after) for op in ops])


def _located(op: Operation, like: Block) -> Operation:
    first = like.first_op
    if first is not None:
        op.location = first.location
    return op


__all__ = ["add_gates", "slot_of", "ticket_values"]
