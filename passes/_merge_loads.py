"""Words that a program puts together from smaller loads, found and loaded at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, i64
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.accesses import BlockAccesses, Place, load_place
from fsir.analysis.evaluate import width_of
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import insn, int_attr
from fsir.passes._rewrite import constant, constant_of, extend, integer, truncate

_SIZES = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Piece:
    """A load whose bytes stand in a word from bit `shift` on, as `value` has them: `swapped` if in the other order."""

    load: Operation
    value: SSAValue
    place: Place
    shift: int
    swapped: bool

    @property
    def bits(self) -> int:
        """The width of the piece."""
        return 8 * self.place.size


def merge_loads(block: Block, accesses: BlockAccesses) -> None:
    """Load at once the words of a block that are put together by `or` from loads of bytes next to each other."""
    for op in list(block.ops):
        if isinstance(op, arith.OrIOp) and not _is_part(op):
            _Word(op, block, accesses).rewrite()


def can_access(place: Place, kind: type[Operation]) -> bool:
    """Whether one access may take these bytes: in the packet any, of a map value those at a multiple of their size."""
    if kind in (packet.LoadOp, packet.StoreOp):
        return True
    aligned_base = isinstance(place.base.owner, map.LookupOp | map.LookupAtOp | ebpf.LdSymOp)
    return aligned_base and place.start % place.size == 0


def _is_part(op: arith.OrIOp) -> bool:
    """Whether the result only goes into another `or`, which will take this one in."""
    if not op.result.has_one_use():
        return False
    user = next(iter(op.result.uses)).operation
    while isinstance(user, arith.ShLIOp | arith.ExtUIOp) and user.results[0].has_one_use():
        user = next(iter(user.results[0].uses)).operation
    return isinstance(user, arith.OrIOp) and user.parent is op.parent


class _Word:
    """One word, the result of an `or`."""

    def __init__(self, root: arith.OrIOp, block: Block, accesses: BlockAccesses) -> None:
        self.root, self.block, self.accesses = root, block, accesses
        self.type = root.result.type
        self.width = width_of(self.type)
        self.pieces: list[Piece] = []
        self.others: list[SSAValue] = []
        self.new: list[Operation] = []

    def rewrite(self) -> None:
        if self.width not in (16, 32, 64) or not isinstance(self.type, IntegerType):
            return
        for side in self.root.operands:
            self.take(side)
        runs = [run for run in self.runs() if self.profits(run)]
        if not runs:
            return
        merged = {piece for run in runs for piece in run}
        parts = [self.load(run) for run in runs]
        parts += [self.again(piece) for piece in self.pieces if piece not in merged]
        parts += self.others
        total = parts[0]
        for part in parts[1:]:
            total = self.add(arith.OrIOp.create(operands=[total, part], result_types=[self.type]))
        for op in self.new:
            op.location = self.root.location
            self.block.insert_op_before(op, self.root)
        if total.name_hint is None:
            total.name_hint = self.root.result.name_hint
        self.root.result.replace_all_uses_with(total)
        self.block.erase_op(self.root)

    # --- what the word is made of ------------------------------------------------------------------------------------

    def take(self, value: SSAValue) -> None:
        """Add a side of an `or`, as pieces if it is made of nothing but pieces, or what can be had of it."""
        pieces = self.pieces_of(value, 0, self.width)
        if pieces is not None:
            self.pieces += pieces
        elif isinstance(value.owner, arith.OrIOp) and value.has_one_use() and value.owner.parent is self.block:
            for side in value.owner.operands:
                self.take(side)
        else:
            self.others.append(value)

    def pieces_of(self, value: SSAValue, shift: int, limit: int) -> list[Piece] | None:
        """The pieces of a value that is shifted by `shift` and cut off at bit `limit`; None when it has other parts."""
        op = value.owner
        if isinstance(op, arith.OrIOp) and value.has_one_use() and op.parent is self.block:
            sides = [self.pieces_of(side, shift, limit) for side in op.operands]
            return None if None in sides else [piece for side in sides if side is not None for piece in side]
        if isinstance(op, arith.ShLIOp) and value.has_one_use() and (amount := constant_of(op.rhs)) is not None:
            return self.pieces_of(op.lhs, shift + amount, limit)
        if isinstance(op, arith.ExtUIOp):
            return self.pieces_of(op.input, shift, min(limit, shift + width_of(op.input.type)))
        piece = self.piece(value, shift)
        return [piece] if piece is not None and shift + piece.bits <= limit else None

    def piece(self, value: SSAValue, shift: int) -> Piece | None:
        op, swapped = value.owner, False
        if isinstance(op, ebpf.UnaryOp) and op.row.op in ("be", "bswap"):
            ext = op.value.owner
            if not isinstance(ext, arith.ExtUIOp) or width_of(ext.input.type) != op.row.width:
                return None
            op, swapped = ext.input.owner, True
        if not isinstance(op, packet.LoadOp | map.LoadOp) or self.accesses.position(op) is None:
            return None
        place = load_place(op, self.accesses.effects)
        return None if place is None else Piece(op, value, place, shift, swapped)

    # --- which of it can be loaded at once ---------------------------------------------------------------------------

    def runs(self) -> list[list[Piece]]:
        """Groups of pieces, each to be loaded at once, in memory order."""
        found: list[list[Piece]] = []
        left = sorted(self.pieces, key=lambda p: (id(p.place.base), p.place.start, p.shift))
        while left:
            run = self.longest(left)
            found += [run] if len(run) > 1 else []
            left = [piece for piece in left if piece not in run]
        return found

    def longest(self, pieces: list[Piece]) -> list[Piece]:
        """The largest group that begins with the first of the pieces, or that alone."""
        first = pieces[0]
        row = [first]
        for piece in pieces[1:]:
            if type(piece.load) is type(first.load) and piece.place.base is first.place.base:
                row += [piece] if piece.place.start == row[-1].place.end else []
        for size in _SIZES:
            ends = [i for i, piece in enumerate(row) if piece.place.end == first.place.start + size]
            if ends and self.fits(row[: ends[0] + 1]):
                return row[: ends[0] + 1]
        return [first]

    def fits(self, run: list[Piece]) -> bool:
        """Whether the pieces stand in the word as in memory, or just the other way round, with nothing in between."""
        if len(run) < 2:
            return False
        ascending = all(b.shift == a.shift + a.bits for a, b in pairwise(run)) and not any(p.swapped for p in run)
        descending = all(a.shift == b.shift + b.bits for a, b in pairwise(run)) and all(
            p.swapped or p.bits == 8 for p in run
        )
        if not ascending and not descending:
            return False
        place = _whole(run)
        positions = [self.accesses.position(piece.load) or 0 for piece in run]
        return can_access(place, type(run[0].load)) and self.accesses.unchanged(place, min(positions), max(positions))

    def profits(self, run: list[Piece]) -> bool:
        """Whether a load of the run goes away: it is used here only."""
        return any(_used_once(piece.load.results[0]) for piece in run)

    # --- the new word ------------------------------------------------------------------------------------------------

    def add(self, op: Operation) -> SSAValue:
        self.new.append(op)
        return op.results[0]

    def load(self, run: list[Piece]) -> SSAValue:
        """Load a run at the last of its loads, and bring it to its place in the word."""
        place = _whole(run)
        last = max((piece.load for piece in run), key=lambda op: self.accesses.position(op) or 0)
        bits = 8 * place.size
        load = type(last).create(
            operands=[place.base], result_types=[integer(bits)], properties={"off": int_attr(place.start)}
        )
        load.location = last.location
        self.block.insert_op_before(load, last)
        self.accesses.moved(load, self.accesses.position(last) or 0)
        value: SSAValue = load.results[0]
        if run[0].shift > run[-1].shift:
            wide = value if bits == 64 else self.add(extend(value))
            value = self.add(insn(f"be{bits}", [wide], i64))
            value = value if self.width == 64 else self.add(truncate(value, integer(self.width)))
        elif bits < self.width:
            value = self.add(extend(value, integer(self.width)))
        return self.shifted(value, min(piece.shift for piece in run))

    def again(self, piece: Piece) -> SSAValue:
        """A piece that stays by itself."""
        value, width = piece.value, width_of(piece.value.type)
        if width < self.width:
            value = self.add(extend(value, integer(self.width)))
        elif width > self.width:
            value = self.add(truncate(value, integer(self.width)))
        return self.shifted(value, piece.shift)

    def shifted(self, value: SSAValue, shift: int) -> SSAValue:
        if not shift:
            return value
        amount = self.add(constant(shift, integer(self.width)))
        return self.add(arith.ShLIOp.create(operands=[value, amount], result_types=[self.type]))


def _whole(run: list[Piece]) -> Place:
    first = run[0].place
    return Place(first.base, first.start, run[-1].place.end, first.resource)


def _used_once(value: SSAValue) -> bool:
    """Whether a load's value is used once, or its extension is."""
    if not value.has_one_use():
        return False
    user = next(iter(value.uses)).operation
    while isinstance(user, arith.ExtUIOp) or (isinstance(user, ebpf.UnaryOp) and user.row.op in ("be", "bswap")):
        if not user.results[0].has_one_use():
            return False
        user = next(iter(user.results[0].uses)).operation
    return True
