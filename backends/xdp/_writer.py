"""Adds operations to a block that is being lowered, at the level of packet and map operations."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerType, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.dialects import packet
from fsir.dialects.ebpf import int_attr
from fsir.passes._rewrite import conditional, constant

RX_QUEUE = 16  # offsetof(struct xdp_md, rx_queue_index)


class Writer:
    """Adds operations to the end of a block, all at one location."""

    def __init__(self, block: Block, like: Operation) -> None:
        self.block, self.like = block, like

    def add(self, op: Operation) -> SSAValue:
        """Add an operation; its result."""
        op.location = self.like.location
        self.block.add_op(op)
        return op.results[0]

    def end(self, op: Operation) -> None:
        """Add an operation without result."""
        op.location = self.like.location
        self.block.add_op(op)

    def number(self, value: int, type_: IntegerType = i64) -> SSAValue:
        """A constant."""
        return self.add(constant(value, type_))

    def take(self, cls: type[Operation], operands: Sequence[SSAValue], type_: Attribute, **fields: int) -> SSAValue:
        """Add an operation with integer properties."""
        properties: dict[str, Attribute] = {name: int_attr(value) for name, value in fields.items()}
        return self.add(cls.create(operands=operands, result_types=[type_], properties=properties))

    def store(self, address: SSAValue, off: int, value: SSAValue) -> None:
        """`packet.store`."""
        self.end(packet.StoreOp.create(operands=[address, value], properties={"off": int_attr(off)}))

    def branch(self, condition: SSAValue, then: Block, otherwise: Block, passed: Sequence[SSAValue] = ()) -> None:
        """`cf.cond_br`; `passed` goes to the block when it does not hold."""
        self.end(conditional(condition, (then, []), (otherwise, passed)))

    def go_on(self, after: Block) -> Writer:
        """A writer for a new block, behind `after` in the layout."""
        block = Block()
        region = after.parent
        assert region is not None
        region.insert_block_after(block, after)
        return Writer(block, self.like)
