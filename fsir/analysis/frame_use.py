"""How deep into its stack frame a function reaches by itself.

What lies below is free for spills and for objects that passes add. The answer is an upper bound in bytes, 512 (the
whole frame) where addresses cannot be followed. An address of the frame is followed through arithmetic, block
arguments, local calls, and memory: what was stored at a known place comes back from there only. Objects extend upwards
from their address, as helpers take them; negative offsets and subtractions count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xdsl.dialects.builtin import DictionaryAttr, IntAttr
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.traits import SymbolTable

from fsir.analysis.cfg import edges
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
    FuncOp,
    LdxOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
)
from fsir.interp.helpers import HELPERS, SIZE_KINDS, ArgKind

FRAME_SIZE = 512
_ACCESSES = (LdxOp, StxOp, StOp, AtomicOp, AtomicFetchOp, CmpxchgOp)


def frame_depth(func: FuncOp) -> int:
    """Bytes below the frame pointer that `func` may access, 0 to 512. The function may be virtual or allocated."""
    seeds: dict[SSAValue, _Place] = {
        op.res: _Place(0, True) for block in func.body.blocks for op in block.ops if isinstance(op, FpOp)
    }
    return -_Reach(func, seeds, _Memory(), {func.symbol}).run() if seeds else 0


@dataclass(frozen=True, slots=True)
class _Place:
    """An address: at least `offset` bytes from the frame pointer; just there if `exact`."""

    offset: int
    exact: bool

    def moved(self, by: int) -> _Place:
        return _Place(max(self.offset + by, -FRAME_SIZE), self.exact)

    def anywhere_above(self) -> _Place:
        return _Place(self.offset, False)


_ANYWHERE = _Place(-FRAME_SIZE, False)


def _join(a: _Place | None, b: _Place | None) -> _Place | None:
    if a is None or b is None or a == b:
        return b if a is None else a
    return _Place(min(a.offset, b.offset), False)


@dataclass
class _Memory:
    """The addresses that were stored: at known offsets of the frame, at unknown ones, and outside of it (where that is
    another frame; from elsewhere no program can use an address that it reads back)."""

    slots: dict[int, _Place] = field(default_factory=dict)
    somewhere: _Place | None = None
    outside: _Place | None = None

    def put(self, base: _Place | None, offset: int | None, value: _Place) -> bool:
        """Note a store; whether that is new."""
        if base is None:
            before, self.outside = self.outside, _join(self.outside, value)
            return before != self.outside
        if not base.exact or offset is None:
            before, self.somewhere = self.somewhere, _join(self.somewhere, value)
            return before != self.somewhere
        slot = base.offset + offset
        before = self.slots.get(slot)
        joined = _join(before, value)
        assert joined is not None
        self.slots[slot] = joined
        return before != joined

    @property
    def lowest(self) -> int:
        """The lowest of the stored addresses."""
        found = (*self.slots.values(), self.somewhere, self.outside)
        return min((place.offset for place in found if place is not None), default=0)

    def get(self, base: _Place | None, offset: int | None) -> _Place | None:
        """What a load of 64 bits may give. (The base may also be no address of the frame after all.)"""
        if base is None:
            return self.outside
        found = _join(self.somewhere, self.outside)
        if base.exact and offset is not None:
            return _join(found, self.slots.get(base.offset + offset))
        for place in self.slots.values():
            found = _join(found, place)
        return found


class _Reach:
    """Follows addresses of one frame through a function, whose own it is or to which they are passed."""

    def __init__(self, func: FuncOp, seeds: Mapping[SSAValue, _Place], memory: _Memory, active: set[str]) -> None:
        self.func, self.active, self.memory = func, active, memory
        self.at: dict[SSAValue, _Place] = dict(seeds)
        self.lowest = 0
        self.changed = True

    def run(self) -> int:
        """The lowest offset from the frame pointer that is accessed or passed on."""
        while self.changed:
            self.changed = False
            for block in self.func.body.blocks:
                for op in block.ops:
                    self.visit(op)
                self.pass_on(block)
                if self.lowest <= -FRAME_SIZE:
                    return -FRAME_SIZE
        return self.lowest

    def reach(self, value: SSAValue, place: _Place) -> None:
        """`value` may be this address."""
        known = self.at.get(value)
        joined = _join(known, place)
        if joined is not None and joined != known:
            self.at[value] = joined
            self.changed = True

    def touch(self, offset: int) -> None:
        self.lowest = max(min(self.lowest, offset), -FRAME_SIZE)

    def pass_on(self, block: Block) -> None:
        for successor, values in edges(block):
            for value, arg in zip(values, successor.args, strict=True):
                if value in self.at:
                    self.reach(arg, self.at[value])

    def visit(self, op: Operation) -> None:
        known = [self.at.get(value) for value in op.operands]
        if isinstance(op, LdxOp) and op.row.width == 64:
            found = self.memory.get(known[0], None if "core" in op.properties else op.off.data)
            if found is not None:
                self.reach(op.res, found)
        if isinstance(op, CallOp) and _calls_back(op):
            self.touch(self.memory.lowest)
        places = [place for place in known if place is not None]
        if not places or op.successors:
            return
        if "core" in op.properties:
            self.relocated(op, known)
        elif isinstance(op, _ACCESSES):
            self.access(op, known, op.int_prop("off"))
        elif isinstance(op, CastOp | MovRROp):
            self.reach(op.results[0], places[0])
        elif isinstance(op, AluRIOp):
            by = {"add": op.imm.data, "sub": -op.imm.data}.get(op.row.op)
            self.reach(op.res, _ANYWHERE if by is None else places[0].moved(by))
        elif isinstance(op, AluRROp):
            self.arithmetic(op, known)
        elif isinstance(op, CallLocalOp):
            self.call(op, known)
        elif isinstance(op, CallxOp):
            self.touch(-FRAME_SIZE)
        elif isinstance(op, CallOp):
            self.helper(op, known)
        else:
            self.touch(min(place.offset for place in places))
            if op.name.startswith("arith."):
                self.reach(op.results[0], _ANYWHERE)

    def relocated(self, op: Operation, known: list[_Place | None]) -> None:
        """An access or an addition whose offset the loader fills in: that of a field, and so not negative."""
        base = known[0]
        if isinstance(op, _ACCESSES) and _is_field_offset(op):
            self.access(op, known, None)
        elif base is not None and isinstance(op, AluRIOp) and op.row.name == "addi" and _is_field_offset(op):
            self.reach(op.res, base.anywhere_above())
        else:
            self.touch(-FRAME_SIZE)

    def access(self, op: Operation, known: list[_Place | None], offset: int | None) -> None:
        """A load or store; `offset` None is one that is not negative."""
        base = known[0]
        if base is not None:
            self.touch(base.offset + (offset or 0))
        for value in known[1:]:
            if value is not None:
                self.changed |= self.memory.put(base, offset, value)

    def arithmetic(self, op: AluRROp, known: list[_Place | None]) -> None:
        """Sums with numbers that are not negative go up; a number less an address is none; the rest may be anywhere."""
        base, other = known
        if op.row.op == "sub" and base is None:
            return
        number = op.rhs if other is None else op.lhs
        if op.row.op == "add" and (base is None or other is None) and _is_not_negative(number):
            place = base or other
            assert place is not None
            self.reach(op.res, place.anywhere_above())
        else:
            self.reach(op.res, _ANYWHERE)

    def call(self, op: CallLocalOp, known: list[_Place | None]) -> None:
        module = op.get_toplevel_object()
        name = op.callee.root_reference.data
        callee = SymbolTable.lookup_symbol(module, op.callee) if isinstance(module, Operation) else None
        if not isinstance(callee, FuncOp) or name in self.active or len(known) > len(callee.entry.args):
            self.touch(-FRAME_SIZE)
            return
        seeds: dict[SSAValue, _Place] = {
            arg: place for arg, place in zip(callee.entry.args, known, strict=False) if place is not None
        }
        before = replace(self.memory, slots=dict(self.memory.slots))
        self.touch(_Reach(callee, seeds, self.memory, self.active | {name}).run())
        self.changed |= before != self.memory

    def helper(self, op: CallOp, known: list[_Place | None]) -> None:
        """A helper's arguments; what it takes for a number is no address to it."""
        prototype = HELPERS.get(op.helper.data)
        args = prototype.args if prototype is not None and len(prototype.args) == len(known) else ()
        for index, place in enumerate(known):
            if place is not None and not (args and args[index].kind in _NUMBERS):
                self.touch(place.offset)


def _calls_back(op: CallOp) -> bool:
    """Whether a helper may run functions of the program, which see what memory holds."""
    prototype = HELPERS.get(op.helper.data)
    return prototype is None or prototype.calls_back


_NUMBERS = frozenset({ArgKind.SCALAR, ArgKind.ALLOC_SIZE}) | SIZE_KINDS


def _is_field_offset(op: Operation) -> bool:
    """Whether the CO-RE relocation of an operation is the byte offset of a field (kind 0, uapi linux/bpf.h)."""
    core = op.properties["core"]
    kind = core.data.get("kind") if isinstance(core, DictionaryAttr) else None
    return isinstance(kind, IntAttr) and kind.data == 0


def _is_not_negative(value: SSAValue) -> bool:
    """Whether a scalar is surely not negative as a signed 64-bit number, by its defining instruction alone."""
    owner = value.owner
    if isinstance(value, BlockArgument) or not isinstance(owner, Operation):
        return False
    if "core" in owner.properties and not _is_field_offset(owner):
        return False
    if isinstance(owner, LdxOp):
        return not owner.row.signed and owner.row.width < 64
    if isinstance(owner, AluRIOp):
        if owner.row.width == 32:
            return True
        if "core" in owner.properties:
            return False
        return (owner.row.op == "and" and owner.imm.data >= 0) or (owner.row.op == "rsh" and owner.imm.data & 63 != 0)
    if isinstance(owner, AluRROp):
        return owner.row.width == 32
    if isinstance(owner, MovRROp):
        return owner.row.width == 32 and not owner.row.signed
    return isinstance(owner, MovRIOp) and (owner.row.width == 32 or owner.imm.data >= 0)
