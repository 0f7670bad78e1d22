"""How deep into its stack frame a function reaches by itself.

What lies below is free for spills and for objects that passes add. The answer is an upper bound in bytes, 512 (the
whole frame) where addresses cannot be followed. An address of the frame is followed through arithmetic, block
arguments, local calls, and memory: once one has been stored, every 64-bit load may give it back. Objects extend upwards
from their address, as helpers take them; negative offsets and subtractions count.
"""

from __future__ import annotations

from collections.abc import Mapping

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

FRAME_SIZE = 512
_ACCESSES = (LdxOp, StxOp, StOp, AtomicOp, AtomicFetchOp, CmpxchgOp)


def frame_depth(func: FuncOp) -> int:
    """Bytes below the frame pointer that `func` may access, 0 to 512. The function may be virtual or allocated."""
    seeds: dict[SSAValue, int] = {op.res: 0 for block in func.body.blocks for op in block.ops if isinstance(op, FpOp)}
    return -_lowest(func, seeds, {func.symbol}) if seeds else 0


def _lowest(func: FuncOp, seeds: Mapping[SSAValue, int], active: set[str]) -> int:
    """The lowest offset from the frame pointer that is reached when the values in `seeds` are at the given offsets."""
    return _Reach(func, seeds, active).run()


class _Reach:
    def __init__(self, func: FuncOp, seeds: Mapping[SSAValue, int], active: set[str]) -> None:
        self.func, self.active = func, active
        self.at: dict[SSAValue, int] = dict(seeds)
        self.stored: int | None = None
        self.lowest = min(seeds.values(), default=0)
        self.changed = True

    def run(self) -> int:
        while self.changed:
            self.changed = False
            for block in self.func.body.blocks:
                for op in block.ops:
                    self.visit(op)
                self.pass_on(block)
                if self.lowest <= -FRAME_SIZE:
                    return -FRAME_SIZE
        return self.lowest

    def reach(self, value: SSAValue, offset: int) -> None:
        """`value` may be an address `offset` bytes from the frame pointer."""
        offset = max(offset, -FRAME_SIZE)
        known = self.at.get(value)
        if known is None or offset < known:
            self.at[value] = offset
            self.changed = True
        self.touch(offset)

    def touch(self, offset: int) -> None:
        self.lowest = max(min(self.lowest, offset), -FRAME_SIZE)

    def pass_on(self, block: Block) -> None:
        for successor, values in edges(block):
            for value, arg in zip(values, successor.args, strict=True):
                if value in self.at:
                    self.reach(arg, self.at[value])

    def visit(self, op: Operation) -> None:
        if isinstance(op, LdxOp) and op.row.width == 64 and self.stored is not None:
            self.reach(op.res, self.stored)
        known = [self.at.get(value) for value in op.operands]
        if all(offset is None for offset in known) or op.successors:
            return
        if "core" in op.properties:
            self.relocated(op, known)
        elif isinstance(op, _ACCESSES):
            self.access(op, known)
        elif isinstance(op, CastOp | MovRROp):
            assert known[0] is not None
            self.reach(op.results[0], known[0])
        elif isinstance(op, AluRIOp) and op.row.op in ("add", "sub"):
            imm = op.imm.data
            assert known[0] is not None
            self.reach(op.res, known[0] + (imm if op.row.op == "add" else -imm))
        elif isinstance(op, AluRROp) and op.row.op == "add":
            self.add_variable(op, known)
        elif isinstance(op, CallLocalOp):
            self.call(op, known)
        elif isinstance(op, CallxOp):
            self.touch(-FRAME_SIZE)
        elif isinstance(op, AluRIOp | AluRROp):
            # Differences and masks of addresses: to be safe they count as addresses anywhere.
            self.reach(op.results[0], -FRAME_SIZE)

    def relocated(self, op: Operation, known: list[int | None]) -> None:
        """An access or an addition whose offset the loader fills in: that of a field, and so not negative."""
        base = known[0]
        if isinstance(op, _ACCESSES) and _is_field_offset(op):
            if base is not None:
                self.touch(base)
            self.pass_to_memory(known)
        elif base is not None and isinstance(op, AluRIOp) and op.row.name == "addi" and _is_field_offset(op):
            self.reach(op.res, base)
        else:
            self.touch(-FRAME_SIZE)

    def access(self, op: Operation, known: list[int | None]) -> None:
        offset = op.properties["off"]
        assert isinstance(offset, IntAttr)
        if known[0] is not None:
            self.touch(known[0] + offset.data)
        self.pass_to_memory(known)

    def pass_to_memory(self, known: list[int | None]) -> None:
        """Note the addresses among the operands of a store."""
        passed = [value for value in known[1:] if value is not None]
        if passed and (self.stored is None or min(passed) < self.stored):
            self.stored = min(passed)
            self.changed = True

    def add_variable(self, op: AluRROp, known: list[int | None]) -> None:
        base = min(offset for offset in known if offset is not None)
        others = [value for value, offset in zip(op.operands, known, strict=True) if offset is None]
        safe = all(_is_not_negative(value) for value in others) and len(others) == 1
        self.reach(op.res, base if safe else -FRAME_SIZE)

    def call(self, op: CallLocalOp, known: list[int | None]) -> None:
        module = op.get_toplevel_object()
        name = op.callee.root_reference.data
        callee = SymbolTable.lookup_symbol(module, op.callee) if isinstance(module, Operation) else None
        if not isinstance(callee, FuncOp) or name in self.active or len(known) > len(callee.entry.args):
            self.touch(-FRAME_SIZE)
            return
        seeds: dict[SSAValue, int] = {
            arg: offset for arg, offset in zip(callee.entry.args, known, strict=False) if offset is not None
        }
        self.touch(_lowest(callee, seeds, self.active | {name}))


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
