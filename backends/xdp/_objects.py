"""Keys and values of map operations as objects in the stack frame; part of `lower-maps`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import i64
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.calls import is_call
from fsir.analysis.dominance import DominatorTree, successors
from fsir.backends.xdp._build import Builder, constant_of, fits, signed, width_of
from fsir.backends.xdp._written import Byte, Content, Written, WrittenObjects
from fsir.dialects.ebpf import (
    AllocaOp,
    CallOp,
    CastOp,
    FramePointerType,
    FuncOp,
    int_attr,
)
from fsir.regalloc.frequency import block_weights


class Objects:
    """The objects of one function. Helpers only read them, so that one with the same content that is there already on
    every path serves again, and one whose content is not needed any more where only some of it has to change; and a
    value that would have to survive calls is written when it is made."""

    def __init__(self, func: FuncOp) -> None:
        self.tree = DominatorTree(func.body)
        self.weights = block_weights(self.tree)
        self.written = WrittenObjects(self.tree)

    def address(self, build: Builder, pieces: Sequence[SSAValue]) -> SSAValue:
        """The address of an object that holds the pieces one after the other."""
        content = tuple(byte for piece in pieces for byte in _content(piece))
        found = self.written.holding(content, build.block)
        if found is None:
            found = self.change(build, pieces, content) or self.write(build, pieces, content)
        found.used_in.add(build.block)
        found.user = build.op
        return found.address

    def write(self, build: Builder, pieces: Sequence[SSAValue], content: Content) -> Written:
        """A new object in the frame."""
        places = [self.place(build, piece) for piece in pieces]
        alloca = AllocaOp.create(properties={"size": int_attr(len(content))}, result_types=[FramePointerType()])
        address = self.first(places, build).add(alloca).results[0]
        known = _numbers(content)
        apart, over = _stores(known), _stores(known, across=True)
        early = len(over) < len(apart)
        _write_bytes(self.first(places, build) if early else build, address, over if early else apart)
        for (at, piece), place in zip(_pieces(pieces), places, strict=True):
            if constant_of(piece) is None:
                _write_value(place, address, at, width_of(piece.type) // 8, _root(piece))
        return self.written.add(address, content, build.block, {place.block for place in (*places, build)})

    def change(self, build: Builder, pieces: Sequence[SSAValue], content: Content) -> Written | None:
        """The object that takes the fewest stores to hold the pieces, if they are less than for a new one, with these
        stores made. None if there is none."""
        parts = [(at, p, self.place(build, p)) for at, p in _pieces(pieces) if constant_of(p) is None]
        least = len(_stores(_numbers(content))) + len(parts)
        best: tuple[Written, list[tuple[int, int, int]], list[tuple[int, SSAValue, Builder]]] | None = None
        for found in self.written.there(build.block):
            if len(found.content) != len(content):
                continue
            new = _changed(pieces, content, found.content)
            stores = _stores(_numbers(new))
            values = [(at, p, place) for at, p, place in parts if any(new[at : at + width_of(p.type) // 8])]
            early = {place.block for _, _, place in values if place.op is not build.op}
            if len(stores) + len(values) < least and self.written.may_change(found, build.op, early):
                best, least = (found, stores, values), len(stores) + len(values)
        if best is None:
            return None
        base, stores, values = best
        _write_bytes(build, base.address, stores)
        for at, piece, place in values:
            _write_value(place, base.address, at, width_of(piece.type) // 8, _root(piece))
        places = {build.block, *(place.block for _, _, place in values)}
        return self.written.add(base.address, content, build.block, places, base)

    # --- where to write ----------------------------------------------------------------------------------------------

    def place(self, build: Builder, piece: SSAValue) -> Builder:
        """Where to write a piece: before the operation, or where the value is made if it would have to survive a call
        until then (or gives way to the next call anyway, being the result of one, and is not used any more)."""
        if constant_of(piece) is not None:
            return build
        value = _root(piece)
        owner = value.owner
        after = owner.first_op if isinstance(owner, Block) else owner.next_op
        assert after is not None and after.parent is not None
        made_in = after.parent
        if self.weights[made_in] > self.weights[build.block]:
            return build
        brief = isinstance(owner, CallOp) and made_in is not build.block and not self.is_used_after(build, piece)
        if brief:
            return Builder(after)
        return Builder(self.latest(after, build, piece)) if self.call_between(after, build.op) else build

    def latest(self, after: Operation, build: Builder, piece: SSAValue) -> Operation:
        """Where to write what would have to survive a call: on that way of a branch alone, before any call, if another
        way needs the value too, so that it is in a register at the branch anyway."""
        made_in, block = after.parent, build.block
        assert made_in is not None
        while block is not made_in:
            before, first = self.tree.predecessors(block), block.first_op
            if (
                len(before) == 1
                and first is not None
                and self.weights[block] <= self.weights[made_in]
                and not self.call_between(after, first)
                and self.is_used_behind(before[0], build.op, _root(piece))
            ):
                return first
            above = self.tree.idom(block)
            if above is None:
                break
            block = above
        return after

    def is_used_behind(self, block: Block, besides: Operation, value: SSAValue) -> bool:
        """Whether something else than one operation needs a value on a way from the end of a block."""
        work = [value]
        while work:
            for use in work.pop().uses:
                op = use.operation
                if isinstance(op, _CUTS):
                    work.extend(op.results)
                elif op is not besides and op.parent is not None and self.comes_after(block, op.parent):
                    return True
        return False

    def is_used_after(self, build: Builder, piece: SSAValue) -> bool:
        """Whether the value that a piece is cut from is needed once more after the operation, or by it."""
        cut, seen = piece, set[Operation]()
        while True:
            for use in cut.uses:
                op = use.operation
                if op in seen or (op is build.op and cut is piece):
                    continue
                block = op.parent
                before = op.is_before_in_block(build.op) if block is build.block else True
                if block is None or not before or (block is not build.block and self.comes_after(build.block, block)):
                    return True
            if cut is _root(piece) or not isinstance(cut.owner, Operation):
                return False
            seen.add(cut.owner)
            cut = cut.owner.operands[0]

    def comes_after(self, block: Block, other: Block) -> bool:
        """Whether a block can be reached from another."""
        work, seen = list(successors(block)), set[Block]()
        while work:
            found = work.pop()
            if found is other:
                return True
            if found not in seen:
                seen.add(found)
                work.extend(successors(found))
        return False

    def call_between(self, after: Operation, before: Operation) -> bool:
        """Whether there is a call on a path from one operation (included) to the next execution of another."""
        start, end = after.parent, before.parent
        assert start is not None and end is not None
        if start is end:
            return any(map(is_call, _between(after, before)))
        if any(map(is_call, (*_between(after, None), *_between(end.first_op, before)))):
            return True
        work, seen = list(self.tree.predecessors(end)), {start}
        while work:
            block = work.pop()
            if block not in seen:
                seen.add(block)
                if any(map(is_call, block.ops)):
                    return True
                work.extend(self.tree.predecessors(block))
        return False

    def first(self, places: Sequence[Builder], build: Builder) -> Builder:
        """The place that comes before all others; they lie on one path from the entry."""
        best = build
        for place in places:
            if place.block is best.block:
                if place.op is not best.op and place.op.is_before_in_block(best.op):
                    best = place
            elif self.tree.dominates(place.block, best.block):
                best = place
        return best


_CUTS = (arith.TruncIOp, arith.ExtUIOp, arith.ExtSIOp, CastOp)


def _between(first: Operation | None, end: Operation | None) -> list[Operation]:
    """The operations from `first` to before `end`, in one block."""
    found: list[Operation] = []
    while first is not None and first is not end:
        found.append(first)
        first = first.next_op
    return found


def _root(piece: SSAValue) -> SSAValue:
    """The value that has the piece as its low bits."""
    width = width_of(piece.type)
    value = piece
    while isinstance(value.owner, arith.TruncIOp | CastOp) or (
        isinstance(value.owner, arith.ExtUIOp | arith.ExtSIOp) and width_of(value.owner.input.type) >= width
    ):
        value = value.owner.operands[0]
    return value


def _content(piece: SSAValue) -> Content:
    """What a piece of an object is made of: bytes of its number, or of the value whose low bits it has."""
    length, number = width_of(piece.type) // 8, constant_of(piece)
    if number is not None:
        return tuple((number & (1 << 8 * length) - 1).to_bytes(length, "little"))
    root = _root(piece)
    return tuple((root, index) for index in range(length))


def _pieces(pieces: Sequence[SSAValue]) -> Iterator[tuple[int, SSAValue]]:
    """Pieces one after the other, each with its offset."""
    at = 0
    for piece in pieces:
        yield at, piece
        at += width_of(piece.type) // 8


def _changed(pieces: Sequence[SSAValue], content: Content, old: Content) -> list[Byte | None]:
    """The bytes of pieces that are something else than before, None for others. Pieces stay whole, for the verifier
    follows only numbers that are stored at once."""
    new: list[Byte | None] = [None] * len(content)
    for at, piece in _pieces(pieces):
        own = slice(at, at + width_of(piece.type) // 8)
        if content[own] != old[own]:
            new[own] = content[own]
    return new


def _numbers(content: Sequence[Byte | None]) -> list[int | None]:
    """The bytes that are known."""
    return [byte if isinstance(byte, int) else None for byte in content]


# --- stores ----------------------------------------------------------------------------------------------------------


def _stores(known: Sequence[int | None], across: bool = False) -> list[tuple[int, int, int]]:
    """As few aligned stores as there can be for the bytes that are known, as (offset, size, number). They leave the
    others alone, or (`across`) put anything there, which has to be written afterwards."""
    stores: list[tuple[int, int, int]] = []
    at = 0
    while at < len(known):
        if known[at] is None and not (across and any(byte is not None for byte in known[at : at + _aligned(at, 8)])):
            at += 1
            continue
        size = _aligned(at, len(known) - at)
        while True:
            part = known[at : at + size]
            number = signed(int.from_bytes(bytes(byte or 0 for byte in part), "little"), 8 * size)
            if fits(number) and (across or None not in part):
                break
            size //= 2
        if any(byte is not None for byte in part):
            stores.append((at, size, number))
        at += size
    return stores


def _write_bytes(build: Builder, address: SSAValue, stores: Sequence[tuple[int, int, int]]) -> None:
    for at, size, number in stores:
        build.effect(f"st{8 * size}", [address], off=at, imm=number)


def _write_value(build: Builder, address: SSAValue, at: int, length: int, value: SSAValue) -> None:
    """Store the low bytes of a value, in parts where their place is not aligned, as the verifier wants of the stack."""
    done = 0
    while done < length:
        size = _aligned(at + done, length - done)
        build.effect(f"stx{8 * size}", [address, value], off=at + done)
        done += size
        if done < length:
            value = build.insn("rshi", [value], i64, imm=8 * size)


def _aligned(at: int, remaining: int) -> int:
    """The largest power of two, up to 8, that is no longer than what remains and divides the offset."""
    size = 8
    while size > remaining or at % size:
        size //= 2
    return size
