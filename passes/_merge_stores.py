"""Stores next to each other, made one where their values are one."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import i64
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.accesses import BlockAccesses, Place, load_place, store_place
from fsir.analysis.evaluate import width_of
from fsir.dialects import map, packet
from fsir.dialects.ebpf import insn, int_attr
from fsir.passes._merge_loads import can_access
from fsir.passes._rewrite import constant, constant_of, extend, integer, truncate

_SIZES = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Store:
    """A store that no later operation, so far, depends on: it may sink."""

    op: Operation
    place: Place
    value: SSAValue


def merge_stores(block: Block, accesses: BlockAccesses) -> None:
    """Merge the stores of a block. Each merged store stands at the last of those it replaces."""
    waiting: list[Store] = []
    for op in list(block.ops):
        effects = accesses.effects.of(op)
        if not effects.reads and not effects.writes:
            continue
        place = store_place(op, accesses.effects)
        read = load_place(op, accesses.effects)
        if any(_depends(store, effects.reads | effects.writes, place or read) for store in waiting):
            _merge(waiting, block, accesses)
            waiting = []
        if place is not None and isinstance(op, packet.StoreOp | map.StoreOp):
            waiting.append(Store(op, place, op.operands[1]))
    _merge(waiting, block, accesses)


def _depends(store: Store, resources: int, place: Place | None) -> bool:
    """Whether an operation reads or writes what a store writes, as far as is known."""
    if not resources & store.place.resource:
        return False
    return place is None or store.place.may_overlap(place)


def _merge(stores: list[Store], block: Block, accesses: BlockAccesses) -> None:
    """Merge what can be merged of stores that may all sink to the last of them."""
    rest = sorted(stores, key=lambda store: (id(store.place.base), store.place.start))
    while rest:
        run = [rest[0]]
        for store in rest[1:]:
            if store.place.base is run[0].place.base and store.place.start == run[-1].place.end:
                run.append(store)
            else:
                break
        taken = next((size for size in _SIZES if _try(run, size, block, accesses)), None)
        start = rest[0].place.start + taken if taken is not None else rest[0].place.end
        base = rest[0].place.base
        rest = [store for store in rest if store.place.base is not base or store.place.start >= start]


def _try(run: list[Store], size: int, block: Block, accesses: BlockAccesses) -> bool:
    """Merge the first stores of a run into one of `size` bytes. False when they do not make one."""
    end = run[0].place.start + size
    count = next((i + 1 for i, store in enumerate(run) if store.place.end == end), 0)
    if count < 2:
        return False
    group = run[:count]
    place = Place(run[0].place.base, run[0].place.start, end, run[0].place.resource)
    if not can_access(place, type(group[0].op)):
        return False
    last = max((store.op for store in group), key=lambda op: accesses.position(op) or 0)
    new: list[Operation] = []
    value = _constant(group, new) or _part(group, new) or _copy(group, block, accesses)
    if value is None:
        return False
    store = type(last).create(operands=[place.base, value], properties={"off": int_attr(place.start)})
    for op in (*new, store):
        op.location = last.location
        block.insert_op_before(op, last)
    accesses.moved(store, accesses.position(last) or 0)
    for old in group:
        block.erase_op(old.op)
        load = old.value.owner
        if isinstance(load, packet.LoadOp | map.LoadOp) and not old.value.uses and load.parent is block:
            block.erase_op(load)
    return True


def _constant(group: list[Store], new: list[Operation]) -> SSAValue | None:
    """The constant whose bytes the stores write, where one instruction can store it."""
    value, at = 0, 0
    for store in group:
        piece = constant_of(store.value)
        if piece is None:
            return None
        value |= piece << at
        at += 8 * store.place.size
    if at == 64 and not (value < 1 << 31 or value >= (1 << 64) - (1 << 31)):
        return None
    new.append(constant(value, integer(at)))
    return new[-1].results[0]


def _part(group: list[Store], new: list[Operation]) -> SSAValue | None:
    """The part of a word that the stores write piece by piece, from its low end or from its high end."""
    parts = [_bits_of(store.value) for store in group]
    word = parts[0][0]
    if any(part[0] is not word for part in parts):
        return None
    at = sorted(shift for _, shift in parts)[0]
    total = sum(8 * store.place.size for store in group)
    expected = at
    for (_, shift), store in zip(parts, group, strict=True):
        if shift != expected:
            break
        expected += 8 * store.place.size
    else:
        return _cut(word, at, total, new)
    if not all(store.place.size == 1 for store in group) or [s for _, s in parts] != list(
        range(at + total - 8, at - 8, -8)
    ):
        return None
    cut = _cut(word, at, total, new)
    if total < 64:
        new.append(extend(cut))
    new.append(insn(f"be{total}", [new[-1].results[0] if total < 64 else cut], i64))
    if total < 64:
        new.append(truncate(new[-1].results[0], integer(total)))
    return new[-1].results[0]


def _bits_of(value: SSAValue) -> tuple[SSAValue, int]:
    """The word that a value is a piece of, and the lowest of its bits there."""
    shift, width = 0, width_of(value.type)
    while True:
        op = value.owner
        if isinstance(op, arith.TruncIOp):
            value = op.input
        elif (
            isinstance(op, arith.ShRUIOp)
            and (amount := constant_of(op.rhs)) is not None
            and shift + amount + width <= width_of(op.lhs.type)
        ):
            value, shift = op.lhs, shift + amount
        else:
            return value, shift


def _cut(word: SSAValue, at: int, total: int, new: list[Operation]) -> SSAValue:
    """Bits [at, at + total) of a word."""
    type_ = integer(width_of(word.type))
    if at:
        new.append(constant(at, type_))
        new.append(arith.ShRUIOp.create(operands=[word, new[-1].results[0]], result_types=[type_]))
        word = new[-1].results[0]
    if total < type_.width.data:
        new.append(truncate(word, integer(total)))
        word = new[-1].results[0]
    return word


def _copy(group: list[Store], block: Block, accesses: BlockAccesses) -> SSAValue | None:
    """The bytes that loads next to each other read for these stores only, loaded at once at the last of the loads."""
    loads: list[tuple[Operation, Place]] = []
    for store in group:
        load = store.value.owner
        if not isinstance(load, packet.LoadOp | map.LoadOp) or not store.value.has_one_use():
            return None
        place = load_place(load, accesses.effects)
        if place is None or accesses.position(load) is None or type(load) is not type(group[0].value.owner):
            return None
        if loads and (place.base is not loads[0][1].base or place.start != loads[-1][1].end):
            return None
        loads.append((load, place))
    first = loads[0][1]
    whole = Place(first.base, first.start, loads[-1][1].end, first.resource)
    positions = [accesses.position(load) or 0 for load, _ in loads]
    if not can_access(whole, type(loads[0][0])) or not accesses.unchanged(whole, min(positions), max(positions)):
        return None
    last = max((load for load, _ in loads), key=lambda op: accesses.position(op) or 0)
    wide = type(last).create(
        operands=[whole.base], result_types=[integer(8 * whole.size)], properties={"off": int_attr(whole.start)}
    )
    wide.location = last.location
    block.insert_op_before(wide, last)
    accesses.moved(wide, accesses.position(last) or 0)
    return wide.results[0]
