"""Which accesses to map values only add to them: what a NIC can count by itself and merge later.

An addition is `map.atomic "add"` without a result, or a load, an addition to what was loaded, and a store back to the
same bytes, in one block with no write to the map between.  Bytes of a map's values *count* where nothing in the module
does anything to them but add: then additions on the NIC and elsewhere commute, and their sums can be added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Operation, SSAValue

from fsir.analysis.effects import EffectTable
from fsir.backends.p4.facts import users, width_of
from fsir.dialects import map, packet
from fsir.dialects.ebpf import BranchOp, LdSymOp
from fsir.dialects.map import DeclOp, HandleType, MapsType, ValueType


@dataclass(frozen=True)
class Addition:
    """`*(pointer + off) += addend`, modulo `1 << width`. `op` is the one that writes, `inner` are those before it that
    serve nothing else: the load, the addition, and the changes of width between."""

    op: Operation
    inner: tuple[Operation, ...]
    pointer: SSAValue
    off: int
    width: int
    addend: SSAValue


Span = tuple[int, int]
"""Bytes from … to (not included) of a map's values; an unknown end is large."""
WHOLE: Span = (0, 1 << 32)


class Additions:
    """The additions of a module (of what is in `scope`), and what else there touches the maps' values."""

    def __init__(self, module: ModuleOp, scope: Operation | None = None) -> None:
        scope = module if scope is None else scope
        self._effects = EffectTable(module)
        self._declared = [op.sym_name.data for op in module.body.block.ops if isinstance(op, DeclOp)]
        self.by_op: dict[Operation, Addition] = {}
        ops = list(scope.walk())
        for op in ops:
            addition = self._addition(op)
            if addition is not None:
                self.by_op |= dict.fromkeys((op, *addition.inner), addition)
        self._others: dict[str, list[tuple[Span, Operation]]] = {}
        for op in ops:
            for name, span in self._touches(op):
                self._others.setdefault(name, []).append((span, op))

    def of(self, op: Operation) -> Addition | None:
        """The addition that an operation is, or is a part of."""
        return self.by_op.get(op)

    def other_access(self, name: str, span: Span) -> Operation | None:
        """An operation that may touch these bytes of the values of a map and is no addition."""
        for (start, end), op in self._others.get(name, ()):
            if start < span[1] and span[0] < end:
                return op
        return None

    def overlapping(self, addition: Addition) -> Operation | None:
        """Another addition, to some but not all of the same bytes: one carries into the other."""
        name, start, end = _map_of(addition.pointer), addition.off, addition.off + addition.width // 8
        for other in self.by_op.values():
            low, high = other.off, other.off + other.width // 8
            if (low, high) != (start, end) and low < end and start < high and _map_of(other.pointer) == name:
                return other.op
        return None

    def _addition(self, op: Operation) -> Addition | None:
        if (
            isinstance(op, map.StoreOp | map.AtomicOp)
            and isinstance(op.value.type, ValueType)
            and not op.value.type.only
        ):
            return None
        if isinstance(op, map.AtomicOp) and op.op.data == "add" and op.res is None:
            return Addition(op, (), op.value, op.off.data, width_of(op.arg), op.arg)
        if isinstance(op, map.StoreOp):
            return self._read_add_write(op)
        return None

    def _read_add_write(self, store: map.StoreOp) -> Addition | None:
        width = width_of(store.stored)
        stored = store.stored
        chain: list[Operation] = []
        if isinstance(stored.owner, arith.TruncIOp):
            chain.append(stored.owner)
            stored = stored.owner.input
        add = stored.owner
        if not isinstance(add, arith.AddiOp):
            return None
        for left, right in ((add.lhs, add.rhs), (add.rhs, add.lhs)):
            inner: list[Operation] = [add]
            if isinstance(left.owner, arith.ExtUIOp):
                inner.append(left.owner)
                left = left.owner.input
            load = left.owner
            if (
                isinstance(load, map.LoadOp)
                and load.value is store.value
                and load.off == store.off
                and width_of(load.res) == width
                and all(len(users(op.results[0])) == 1 for op in (*chain, *inner, load))
                and self._undisturbed(load, store)
            ):
                return Addition(store, (*chain, *inner, load), store.value, store.off.data, width, right)
        return None

    def _undisturbed(self, load: map.LoadOp, store: map.StoreOp) -> bool:
        """Whether both are in one block, in this order, and nothing between writes values of the map."""
        if load.parent is not store.parent:
            return False
        values = self._effects.values(_map_of(load.value))
        op = load.next_op
        while op is not None and op is not store:
            if self._effects.of(op).writes & values:
                return False
            op = op.next_op
        return op is store

    def _touches(self, op: Operation) -> Iterator[tuple[str, Span]]:
        """The values that an operation touches otherwise than by adding."""
        if op in self.by_op or isinstance(op, map.HitOp | map.LookupOp | cf.BranchOp | cf.ConditionalBranchOp):
            return
        if isinstance(op, BranchOp) and not op.fixed_operands():
            return
        if isinstance(op, map.LoadOp | map.StoreOp):
            size = width_of(op.res if isinstance(op, map.LoadOp) else op.stored) // 8
            assert isinstance(op.value.type, ValueType)
            yield from ((name, (op.off.data, op.off.data + size)) for name in self._names(op.value.type))
            return
        if isinstance(op, LdSymOp) and not isinstance(op.res.type, ValueType | HandleType):
            yield op.symbol_prop("sym"), WHOLE  # code that is not raised: it may do anything
        if isinstance(op, map.UpdateOp | map.UpdateAtOp | map.DeleteOp | map.DeleteAtOp):
            yield op.symbol_prop("map"), WHOLE
        for operand in op.operands:
            handle = isinstance(operand.type, HandleType)
            if handle or (isinstance(operand.type, ValueType) and not isinstance(op, packet.OffsetOp)):
                yield from ((name, WHOLE) for name in self._names(operand.type))
        for result in op.results:
            if isinstance(op, packet.OffsetOp) and isinstance(result.type, ValueType):
                yield from ((name, WHOLE) for name in self._names(result.type))

    def _names(self, type_: Attribute) -> Sequence[str]:
        """The maps of a type; all where it is of one in a map of maps, which may be any."""
        assert isinstance(type_, MapsType)
        return self._declared if any(map.outer_name(name) for name in type_.names) else type_.names


def _map_of(pointer: SSAValue) -> str:
    assert isinstance(pointer.type, ValueType) and pointer.type.only is not None
    return pointer.type.only
