"""`value += x` in map values: which operations do that, and whether they can do it as one atomic operation."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.dialects import ebpf
from fsir.dialects import map as maps
from fsir.dialects.map import MapsType, ValueType, outer_name

_WIDER = arith.ExtUIOp | arith.ExtSIOp
_STEPS = 4  # from a load to the store: widened, added, narrowed, stored
_CHANGING = ebpf.StxOp | ebpf.StOp | ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp
_WORD = 8
"""What map values are aligned to."""


def is_countable(op: Operation) -> bool:
    """Whether an operation adds to a map value, and nobody looks at the result; it is atomic, or can be made so."""
    if isinstance(op, maps.AtomicOp):
        return op.op.data == "add" and (op.res is None or not op.res.uses)
    if not isinstance(op, maps.StoreOp) or "core" in op.properties or addition_of(op) is None:
        return False
    assert isinstance(op.stored.type, IntegerType)
    width = op.stored.type.width.data
    distance = _distance(op.value)
    return width in (32, 64) and distance is not None and (distance + op.int_prop("off")) % (width // 8) == 0


def is_displacement(op: Operation) -> bool:
    """Whether the operation adds to an address of a map value, the result being an address of the same thing, or only
    forgets of which of some maps it is one, or which of them a handle is."""
    if isinstance(op, ebpf.CastOp):
        source, result = op.operands[0].type, op.results[0].type
        return isinstance(source, MapsType) and type(source) is type(result) and set(source.names) <= set(result.names)
    return (
        isinstance(op, ebpf.AluRIOp | ebpf.AluRROp)
        and op.row.op in ("add", "sub")
        and any(operand.type == op.results[0].type for operand in op.operands)
        and isinstance(op.results[0].type, ValueType)
    )


@dataclass(frozen=True)
class Addition:
    """What makes up a `*p = *p + x`: `x` may be wider than what is stored; `ops` lie between load and store."""

    load: maps.LoadOp
    by: SSAValue
    ops: tuple[Operation, ...]


def addition_of(store: maps.StoreOp) -> Addition | None:
    """The addition that a store ends, when nothing else uses what was loaded, and nothing comes between. The sum may be
    made with more bits than are stored."""
    add = store.stored.owner
    ops: list[Operation] = [add] if isinstance(add, Operation) else []
    if isinstance(add, arith.TruncIOp) and _single_use(add.result):
        add = add.operands[0].owner
        ops += [add] if isinstance(add, Operation) else []
    if not isinstance(add, arith.AddiOp) or not _single_use(add.result) or add.parent is not store.parent:
        return None
    for summand, other in ((add.lhs, add.rhs), (add.rhs, add.lhs)):
        load: Operation | Block = summand.owner
        wider: tuple[Operation, ...] = ()
        if isinstance(load, _WIDER) and _single_use(summand):
            wider = (load,)
            load = load.operands[0].owner
        if (
            isinstance(load, maps.LoadOp)
            and load.value is store.value
            and load.int_prop("off") == store.int_prop("off")
            and load.res.type == store.stored.type
            and load.parent is store.parent
            and _single_use(load.res)
            and _quiet_between(load, store)
        ):
            return Addition(load, other, (*ops, *wider))
    return None


def is_addition(load: maps.LoadOp) -> bool:
    """Whether a load is the first half of `*p = *p + x`."""
    value: SSAValue = load.res
    for _ in range(_STEPS):
        users = [use.operation for use in value.uses]
        if len(users) != 1:
            return False
        if isinstance(users[0], maps.StoreOp):
            found = addition_of(users[0])
            return found is not None and found.load is load and is_countable(users[0])
        if not isinstance(users[0], arith.AddiOp | arith.TruncIOp | _WIDER):
            return False
        value = users[0].results[0]
    return False


def _single_use(value: SSAValue[Attribute]) -> bool:
    return len(list(value.uses)) == 1


def _quiet_between(first: Operation, last: Operation) -> bool:
    """Whether only pure operations, and other accesses to map values, lie between two operations of a block."""
    op = first.next_op
    while op is not None and op is not last:
        if isinstance(op, ebpf.CallOp | ebpf.CallLocalOp | ebpf.CallKfuncOp | ebpf.CallxOp):
            return False
        if isinstance(op, maps.StoreOp | maps.AtomicOp):
            if not _different_maps(op.operands[0].type, first.operands[0].type) and not _different_bytes(op, first):
                return False
        elif isinstance(op, maps.UpdateOp | maps.UpdateAtOp | maps.DeleteOp | maps.DeleteAtOp | _CHANGING):
            return False
        op = op.next_op
    return op is last


def _different_maps(one: Attribute, other: Attribute) -> bool:
    """Whether no value is behind addresses of both types. (A map of maps may have any map.)"""
    assert isinstance(one, ValueType) and isinstance(other, ValueType)
    known = all(outer_name(name) is None for name in (*one.names, *other.names))
    return known and not set(one.names) & set(other.names)


def _different_bytes(a: Operation, b: Operation) -> bool:
    assert isinstance(a, ebpf.EbpfOp) and isinstance(b, ebpf.EbpfOp)
    return a.operands[0] is b.operands[0] and abs(a.int_prop("off") - b.int_prop("off")) >= 8


def _distance(value: SSAValue) -> int | None:
    """How far an address lies from the beginning of its map value, in bytes modulo 8; None where that is not known, or
    depends on the path."""
    found: set[int] = set()
    work: list[tuple[SSAValue, int]] = [(value, 0)]
    seen = set(work)
    while work:
        value, behind = work.pop()
        owner = value.owner
        if isinstance(owner, maps.LookupOp | maps.LookupAtOp):
            found.add(behind)
            continue
        if isinstance(owner, ebpf.LdSymOp):
            found.add((owner.int_prop("offset") + behind) % _WORD)
            continue
        sources = _sources(value)
        if not sources:
            return None
        for source, by in sources:
            step = source, (behind + by) % _WORD
            if step not in seen:
                seen.add(step)
                work.append(step)
    return found.pop() if len(found) == 1 else None


def _sources(value: SSAValue) -> list[tuple[SSAValue, int]]:
    """What an address is made from, each with the distance to it; none where that is not known."""
    op = value.owner
    if isinstance(op, Block):
        assert isinstance(value, BlockArgument)
        return [(successor_operands(use.operation, use.index)[value.index], 0) for use in op.uses]
    if isinstance(op, ebpf.CastOp) and is_displacement(op):
        return [(op.operands[0], 0)]
    if isinstance(op, ebpf.AluRIOp) and is_displacement(op):
        return [(op.operands[0], op.int_prop("imm") * (1 if op.row.op == "add" else -1))]
    return []
