"""How deep into its stack frame a function reaches by itself.

What lies below is free for spills and for objects that passes add. The answer is an upper bound in bytes, 512 (the
whole frame) where addresses cannot be followed. An address of the frame is followed through arithmetic, block
arguments, local calls (whose frames are told apart from the caller's), and memory: what was stored at a known place
comes back from there only, and never as what has the type of another address. Objects extend upwards from their
address, as helpers take them; negative offsets and the subtraction of constants count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from xdsl.ir import Block, Operation, SSAValue
from xdsl.traits import SymbolTable

from fsir.analysis.cfg import edges
from fsir.analysis.signs import is_field_offset, is_not_negative
from fsir.analysis.upper_bits import UpperBits
from fsir.dialects.ebpf import (
    AluRIOp,
    AluRROp,
    AtomicFetchOp,
    AtomicOp,
    CallLocalOp,
    CallOp,
    CallxOp,
    CastOp,
    CmpxchgOp,
    FpOp,
    FramePointerType,
    FuncOp,
    LdxOp,
    MovRROp,
    StOp,
    StxOp,
    WordType,
)
from fsir.interp.helpers import HELPERS, SIZE_KINDS, ArgKind

FRAME_SIZE = 512
_ACCESSES = (LdxOp, StxOp, StOp, AtomicOp, AtomicFetchOp, CmpxchgOp)


def frame_depth(func: FuncOp) -> int:
    """Bytes below the frame pointer that `func` may access, 0 to 512. The function may be virtual or allocated."""
    if not any(isinstance(op, FpOp) for block in func.body.blocks for op in block.ops):
        return 0
    depth = _Depth(func.symbol, called=func.type_name is None)
    _Reach(func, {}, depth, frozenset({func.symbol})).run()
    return -depth.lowest


@dataclass(frozen=True, slots=True)
class _Place:
    """An address in a frame: at least `offset` bytes from the frame pointer; just there if `exact`."""

    offset: int
    exact: bool

    def moved(self, by: int) -> _Place:
        return _Place(max(self.offset + by, -FRAME_SIZE), self.exact)

    def anywhere_above(self) -> _Place:
        return _Place(self.offset, False)


_ANYWHERE = _Place(-FRAME_SIZE, False)

_Places = Mapping[str, _Place]
"""The addresses that a value may be, by the function whose frame it is; or it is none of a frame that is followed."""

_NOWHERE: _Places = {}


def _join(a: _Places, b: _Places) -> _Places:
    if not a or not b or a == b:
        return a or b
    joined = dict(a)
    for frame, place in b.items():
        known = a.get(frame, place)
        joined[frame] = place if known == place else _Place(min(known.offset, place.offset), False)
    return joined


@dataclass
class _Depth:
    """How deep the frame of `function` is used, as far as that is known, and the addresses that were stored: at known
    offsets of frames, at unknown ones, and outside of those that are followed (where that is a caller's frame; from
    elsewhere no program can use an address that it reads back: one that is not `called` gets none from there)."""

    function: str
    called: bool = True
    lowest: int = 0
    slots: dict[tuple[str, int], _Places] = field(default_factory=dict)
    somewhere: dict[str, _Places] = field(default_factory=dict)
    outside: _Places = field(default_factory=dict)

    def touch(self, places: _Places, offset: int = 0) -> None:
        """Note an access, or an address that goes where it is not followed."""
        place = places.get(self.function)
        if place is not None:
            self.lowest = max(min(self.lowest, place.offset + offset), -FRAME_SIZE)

    def touch_all(self) -> None:
        self.lowest = -FRAME_SIZE

    def put(self, base: _Places, sure: bool, offset: int | None, value: _Places) -> bool:
        """Note a store; whether that is new. The base may be no address of a frame after all, unless that is `sure`."""
        changed = False
        for frame, place in base.items():
            if place.exact and offset is not None:
                changed |= _join_into(self.slots, (frame, place.offset + offset), value)
            else:
                changed |= _join_into(self.somewhere, frame, value)
        if not sure:
            before, self.outside = self.outside, _join(self.outside, value)
            changed |= before != self.outside
        return changed

    def get(self, base: _Places, sure: bool, offset: int | None) -> _Places:
        """What a load of 64 bits may give."""
        found = _NOWHERE if sure or not self.called else self.outside
        for frame, place in base.items():
            found = _join(found, self.somewhere.get(frame, _NOWHERE))
            if place.exact and offset is not None:
                found = _join(found, self.slots.get((frame, place.offset + offset), _NOWHERE))
                continue
            for (owner, _), stored in self.slots.items():
                if owner == frame:
                    found = _join(found, stored)
        return found

    def stored(self) -> Iterator[_Places]:
        """All that was stored."""
        yield from self.slots.values()
        yield from self.somewhere.values()
        yield self.outside

    def state(self) -> object:
        return dict(self.slots), dict(self.somewhere), self.outside


_Key = TypeVar("_Key")


def _join_into(table: dict[_Key, _Places], key: _Key, value: _Places) -> bool:
    before = table.get(key, _NOWHERE)
    table[key] = _join(before, value)
    return before != table[key]


class _Reach:
    """Follows addresses of frames through a function: of its own, and of those of its callers that are followed."""

    def __init__(self, func: FuncOp, seeds: Mapping[SSAValue, _Places], depth: _Depth, active: frozenset[str]) -> None:
        self.func, self.active, self.depth = func, active, depth
        self.at: dict[SSAValue, _Places] = dict(seeds)
        self.bits: UpperBits | None = None
        self.changed = True

    def run(self) -> None:
        """Go through the function until nothing new is found."""
        while self.changed:
            self.changed = False
            for block in self.func.body.blocks:
                for op in block.ops:
                    self.visit(op)
                self.pass_on(block)
                if self.depth.lowest <= -FRAME_SIZE:
                    return

    def reach(self, value: SSAValue, places: _Places) -> None:
        """`value` may be one of these addresses, unless its type says that it is another."""
        if isinstance(value.type, WordType) and not isinstance(value.type, FramePointerType):
            return
        known = self.at.get(value, _NOWHERE)
        joined = _join(known, places)
        if joined != known:
            self.at[value] = joined
            self.changed = True

    def pass_on(self, block: Block) -> None:
        for successor, values in edges(block):
            for value, arg in zip(values, successor.args, strict=True):
                if value in self.at:
                    self.reach(arg, self.at[value])

    def visit(self, op: Operation) -> None:
        if isinstance(op, FpOp):
            self.reach(op.res, {self.func.symbol: _Place(0, True)})
            return
        known = [self.at.get(value, _NOWHERE) for value in op.operands]
        if isinstance(op, LdxOp) and op.row.width == 64:
            offset = None if "core" in op.properties else op.off.data
            self.reach(op.res, self.depth.get(known[0], _is_in_frame(op.base), offset))
        if isinstance(op, CallOp) and _calls_back(op):
            for places in self.depth.stored():
                self.depth.touch(places)
        if not any(known) or op.successors:
            return
        if "core" in op.properties:
            self.relocated(op, known)
        elif isinstance(op, _ACCESSES):
            self.access(op, known, op.int_prop("off"))
        elif isinstance(op, CastOp | MovRROp):
            self.reach(op.results[0], known[0])
        elif isinstance(op, AluRIOp):
            by = {"add": op.imm.data, "sub": -op.imm.data}.get(op.row.op)
            moved = {name: _ANYWHERE if by is None else place.moved(by) for name, place in known[0].items()}
            self.reach(op.res, moved)
        elif isinstance(op, AluRROp):
            self.arithmetic(op, known)
        elif isinstance(op, CallLocalOp):
            self.call(op, known)
        elif isinstance(op, CallxOp):
            self.depth.touch_all()
        elif isinstance(op, CallOp):
            self.helper(op, known)
        else:
            for places in known:
                self.depth.touch(places)
            if op.name.startswith("arith."):
                self.reach(op.results[0], _lost(known))

    def relocated(self, op: Operation, known: list[_Places]) -> None:
        """An access or an addition whose offset the loader fills in: that of a field, and so not negative."""
        if isinstance(op, _ACCESSES) and is_field_offset(op):
            self.access(op, known, None)
        elif isinstance(op, AluRIOp) and op.row.name == "addi" and is_field_offset(op):
            self.reach(op.res, {name: place.anywhere_above() for name, place in known[0].items()})
        else:
            self.depth.touch_all()

    def access(self, op: Operation, known: list[_Places], offset: int | None) -> None:
        """A load or store; `offset` None is one that is not negative."""
        self.depth.touch(known[0], offset or 0)
        for value in known[1:]:
            if value:
                self.changed |= self.depth.put(known[0], _is_in_frame(op.operands[0]), offset, value)

    def arithmetic(self, op: AluRROp, known: list[_Places]) -> None:
        """Sums with numbers that are not negative go up; a difference is a number, as the kernel lets nothing but an
        address be subtracted from an address of the stack; the rest may be anywhere."""
        base, other = known
        if op.row.name == "sub":
            return
        number = op.lhs if other else op.rhs
        if op.row.op == "add" and not (base and other) and self.is_not_negative(number):
            self.reach(op.res, {name: place.anywhere_above() for name, place in (base or other).items()})
        else:
            self.reach(op.res, _lost(known))

    def is_not_negative(self, number: SSAValue) -> bool:
        if is_not_negative(number):
            return True
        if self.bits is None:
            self.bits = UpperBits(self.func.body)
        return self.bits.of(number) < 63

    def call(self, op: CallLocalOp, known: list[_Places]) -> None:
        module = op.get_toplevel_object()
        name = op.callee.root_reference.data
        callee = SymbolTable.lookup_symbol(module, op.callee) if isinstance(module, Operation) else None
        if not isinstance(callee, FuncOp) or name in self.active or len(known) > len(callee.entry.args):
            self.depth.touch_all()
            return
        seeds: dict[SSAValue, _Places] = {
            arg: places for arg, places in zip(callee.entry.args, known, strict=False) if places
        }
        before = self.depth.state()
        _Reach(callee, seeds, self.depth, self.active | {name}).run()
        self.changed |= before != self.depth.state()

    def helper(self, op: CallOp, known: list[_Places]) -> None:
        """A helper's arguments; what it takes for a number is no address to it."""
        prototype = HELPERS.get(op.helper.data)
        args = prototype.args if prototype is not None and len(prototype.args) == len(known) else ()
        for index, places in enumerate(known):
            if not (args and args[index].kind in _NUMBERS):
                self.depth.touch(places)


def _lost(known: Iterable[_Places]) -> _Places:
    """Somewhere in the same frames."""
    return {name: _ANYWHERE for places in known for name in places}


def _is_in_frame(value: SSAValue) -> bool:
    """Whether a value is surely an address of the frame of the function that it is in."""
    while isinstance(owner := value.owner, CastOp | MovRROp) or (
        isinstance(owner, AluRIOp) and owner.row.op in ("add", "sub")
    ):
        value = owner.operands[0]
    return isinstance(owner, FpOp)


def _calls_back(op: CallOp) -> bool:
    """Whether a helper may run functions of the program, which see what memory holds."""
    prototype = HELPERS.get(op.helper.data)
    return prototype is None or prototype.calls_back


_NUMBERS = frozenset({ArgKind.SCALAR, ArgKind.ALLOC_SIZE}) | SIZE_KINDS
