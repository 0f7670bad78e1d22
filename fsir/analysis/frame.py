"""What a function does with its stack frame: which operations touch which bytes.

Offsets are relative to the frame pointer, so negative.  Addresses are followed through additions of constants; one that
goes where this analysis cannot see (memory, arithmetic, another function) makes the whole frame `escaped`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.dialects import ebpf, map
from fsir.dialects.map import DeclOp
from fsir.interp.helpers import HELPERS, MEMORY_KINDS, SIZE_KINDS, Arg, ArgKind, Helper

FRAME_SIZE = 512


class How(Enum):
    """The way in which an operation touches bytes of the frame."""

    LOAD = "load"
    STORE = "store"
    KEY = "read by a map operation, which can take values instead"
    READ = "read"
    WRITE = "written, or read and written"


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes [start, end) of the frame, touched by an operation through its operand number `operand`."""

    op: Operation
    how: How
    start: int
    end: int
    operand: int


class Frame:
    """The frame of one function: `offsets` of the addresses into it, `accesses` in program order, `escaped` with the
    operation where an address was lost sight of, or None."""

    def __init__(self, func: ebpf.FuncOp, maps: dict[str, DeclOp]) -> None:
        self.maps = maps
        self.offsets: dict[SSAValue, int] = {}
        self.accesses: list[Access] = []
        self.escaped: Operation | None = None
        self._merged: set[Block] = set()
        self._incoming = predecessors(func.body)
        roots = [op.res for block in func.body.blocks for op in block.ops if isinstance(op, ebpf.FpOp)]
        work: list[tuple[SSAValue, int]] = [(root, 0) for root in roots]
        while work and self.escaped is None:
            value, offset = work.pop()
            if value in self.offsets:
                if self.offsets[value] != offset:
                    self.escaped = value.owner if isinstance(value.owner, Operation) else value.owner.first_op
                continue
            self.offsets[value] = offset
            for use in list(value.uses):
                self._use(use.operation, use.index, offset, work)
        if self.escaped is None:
            self._order(func)

    def _order(self, func: ebpf.FuncOp) -> None:
        position: dict[Operation, int] = {}
        for block in func.body.blocks:
            for op in block.ops:
                position[op] = len(position)
        self.accesses.sort(key=lambda access: (position[access.op], access.operand))

    def _use(self, op: Operation, index: int, offset: int, work: list[tuple[SSAValue, int]]) -> None:
        if "core" in op.properties:
            self.escaped = op  # the loader changes the offset
        elif isinstance(op, ebpf.AluRIOp) and op.row.name in ("addi", "subi"):
            work.append((op.res, offset + (op.imm.data if op.row.name == "addi" else -op.imm.data)))
        elif op.successors and (passed := self._passed_to(op, index)) is not None:
            if self._all_same(passed):
                work.append((passed, offset))
            else:
                self.escaped = op
        elif op.successors:
            return  # a comparison
        elif not self._access(op, index, offset):
            self.escaped = op

    def _passed_to(self, op: Operation, index: int) -> BlockArgument | None:
        """The block argument that a terminator's operand is passed to; None for an operand of its own."""
        at = len(op.operands) - sum(len(successor_operands(op, i)) for i in range(len(op.successors)))
        for i, successor in enumerate(op.successors):
            count = len(successor_operands(op, i))
            if at <= index < at + count:
                return successor.args[index - at]
            at += count
        return None

    def _all_same(self, arg: BlockArgument) -> bool:
        """Whether every edge passes an address of the same offset (found by following constants back)."""
        found = {_constant_offset(successor_operands(op, i)[arg.index]) for op, i in self._incoming[arg.owner]}
        return len(found) == 1 and None not in found

    def _access(self, op: Operation, index: int, offset: int) -> bool:
        """Record what an operation does with an address of the frame. False when that is not known."""
        found = _touches(op, index, self.maps)
        if found is None:
            return False
        for how, at, size in found:
            end = 0 if size is None else offset + at + size
            if not -FRAME_SIZE <= offset + at <= end <= 0:
                return False  # outside of the frame: no loader takes this
            self.accesses.append(Access(op, how, offset + at, end, index))
        return True


def _constant_offset(value: SSAValue) -> int | None:
    total = 0
    while isinstance(op := value.owner, ebpf.AluRIOp) and op.row.name in ("addi", "subi") and op.core is None:
        total += op.imm.data if op.row.name == "addi" else -op.imm.data
        value = op.lhs
    return total if isinstance(value.owner, ebpf.FpOp) else None


_Touch = tuple[How, int, int | None]


def _touches(op: Operation, index: int, maps: dict[str, DeclOp]) -> list[_Touch] | None:
    """(how, distance from the address, size or None for unknown) of what an operation does with its operand."""
    if isinstance(op, ebpf.LdxOp):
        return [(How.LOAD, op.off.data, op.row.width // 8)] if op.row.op == "ldx" else None
    if isinstance(op, ebpf.StxOp):
        return [(How.STORE, op.off.data, op.row.width // 8)] if index == 0 else None
    if isinstance(op, ebpf.StOp):
        return [(How.STORE, op.off.data, op.row.width // 8)]
    if isinstance(op, ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp):
        return [(How.WRITE, op.off.data, op.row.width // 8)] if index == 0 else None
    if isinstance(op, map.LookupAtOp | map.DeleteAtOp | map.UpdateAtOp):
        declaration = maps.get(op.map.root_reference.data)
        size = None if declaration is None else declaration.int_prop("key_size" if index == 0 else "value_size")
        return [(How.KEY, 0, size)] if index < 2 and size is not None else None
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        return _helper_touches(op, helper, index, maps) if helper is not None and index < len(helper.args) else None
    return None


def _helper_touches(op: ebpf.CallOp, helper: Helper, index: int, maps: dict[str, DeclOp]) -> list[_Touch] | None:
    arg = helper.args[index]
    if arg.kind in (ArgKind.KEY, ArgKind.VALUE, ArgKind.VALUE_OUT):
        size = _map_size(op, helper, maps, "key_size" if arg.kind is ArgKind.KEY else "value_size")
    elif arg.kind in MEMORY_KINDS:
        size = _memory_size(op, helper, index, arg)
    else:
        return None
    return [(How.WRITE if arg.writes_memory else How.READ, 0, size)]


def _map_size(op: ebpf.CallOp, helper: Helper, maps: dict[str, DeclOp], which: str) -> int | None:
    for position, arg in enumerate(helper.args):
        if arg.kind is ArgKind.MAP and isinstance(symbol := op.operands[position].owner, ebpf.LdSymOp):
            declaration = maps.get(symbol.sym.root_reference.data)
            return None if declaration is None else declaration.int_prop(which)
    return None


def _memory_size(op: ebpf.CallOp, helper: Helper, index: int, arg: Arg) -> int | None:
    if arg.size:
        return arg.size
    following = helper.args[index + 1] if index + 1 < len(helper.args) else None
    if following is None or following.kind not in SIZE_KINDS:
        return None
    return constant_word(op.operands[index + 1])


def constant_word(value: SSAValue) -> int | None:
    """The value of a constant of the machine or of the raised level; None also for one that the loader sets."""
    op = value.owner
    if isinstance(op, ebpf.MovRIOp) and op.core is None:
        return int(op.imm.data) & 0xFFFFFFFF if op.row.width == 32 else int(op.imm.data)
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return int(op.value.value.data)
    return None


def declared_maps(module: ModuleOp) -> dict[str, DeclOp]:
    """The declarations of a module's maps by name."""
    return {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, DeclOp)}
