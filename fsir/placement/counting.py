"""Counters that parts on several CPUs add to: `value += x` as one atomic operation.

Alone on its CPU, a program may read, add, and write back. With another part at work on the same element, what that
adds in between would be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, StringAttr
from xdsl.ir import SSAValue

from fsir.dialects import map as maps
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import ValueType
from fsir.placement.additions import addition_of, is_countable


def make_atomic(funcs: Iterable[FuncOp], names: Collection[str]) -> None:
    """Have functions count atomically in these maps."""
    for func in funcs:
        stores = [op for block in func.body.blocks for op in block.ops if isinstance(op, maps.StoreOp)]
        for op in stores:
            if set(_names(op.value)) & set(names) and is_countable(op):
                _replace(op)
                func.properties.pop("original", None)  # the code that it was, which must not come back


def _replace(store: maps.StoreOp) -> None:
    found = addition_of(store)
    assert found is not None
    block = store.parent
    assert block is not None
    by = found.by
    if by.type != store.stored.type:
        assert isinstance(store.stored.type, IntegerType)
        narrow = arith.TruncIOp(by, store.stored.type)
        narrow.location = store.location
        block.insert_op_before(narrow, store)
        by = narrow.result
    properties = {"op": StringAttr("add"), "off": store.properties["off"]}
    atomic = maps.AtomicOp.create(operands=[store.value, by], properties=properties)
    atomic.location = store.location
    block.insert_op_before(atomic, store)
    for op in (store, *found.ops, found.load):
        block.erase_op(op)


def _names(value: SSAValue) -> tuple[str, ...]:
    return value.type.names if isinstance(value.type, ValueType) else ()
