"""Counters that parts on several CPUs add to: `value += x` as one atomic operation.

Alone on its CPU, a program may read, add, and write back. With another part at work on the same element, what that
adds in between would be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xdsl.dialects.builtin import IntegerType, StringAttr
from xdsl.ir import Operation, SSAValue

from fsir.dialects import ebpf
from fsir.dialects import map as maps
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import ValueType
from fsir.placement.access import addition_of, is_displacement


def is_countable(op: Operation) -> bool:
    """Whether an operation adds to a map value, and does or can do so atomically."""
    if isinstance(op, maps.AtomicOp):
        return op.op.data == "add" and (op.res is None or not op.res.uses)
    if not isinstance(op, maps.StoreOp) or addition_of(op) is None or "core" in op.properties:
        return False
    assert isinstance(op.stored.type, IntegerType)
    width = op.stored.type.width.data
    distance = _distance(op.value)
    return width in (32, 64) and distance is not None and (distance + op.int_prop("off")) % (width // 8) == 0


def make_atomic(funcs: Iterable[FuncOp], names: Collection[str]) -> None:
    """Have functions count atomically in these maps."""
    for func in funcs:
        for op in [op for block in func.body.blocks for op in block.ops]:
            if isinstance(op, maps.StoreOp) and set(_names(op.value)) & set(names) and is_countable(op):
                _replace(op)


def _replace(store: maps.StoreOp) -> None:
    found = addition_of(store)
    assert found is not None
    load, other = found
    properties = {"op": StringAttr("add"), "off": store.properties["off"]}
    atomic = maps.AtomicOp.create(operands=[store.value, other], properties=properties)
    atomic.location = store.location
    add = store.stored.owner
    block = store.parent
    assert block is not None and isinstance(add, Operation)
    block.insert_op_before(atomic, store)
    for op in (store, add, load):
        block.erase_op(op)


def _names(value: SSAValue) -> tuple[str, ...]:
    return value.type.names if isinstance(value.type, ValueType) else ()


def _distance(value: SSAValue) -> int | None:
    """How far an address lies from the beginning of its map value, where that is known."""
    owner = value.owner
    if isinstance(owner, maps.LookupOp | maps.LookupAtOp):
        return 0
    if isinstance(owner, ebpf.LdSymOp):
        return owner.int_prop("offset")
    if isinstance(owner, ebpf.AluRIOp) and is_displacement(owner) and owner.row.op == "add":
        before = _distance(owner.operands[0])
        return None if before is None else before + owner.int_prop("imm")
    return None
