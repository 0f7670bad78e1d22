"""What a function does with its stack frame: which operations touch which bytes.

Offsets are relative to the frame pointer, so negative.  Addresses are followed through additions of constants and of
numbers that are not negative (what is accessed there may be anything from the object's start upwards), and into
static functions and callbacks that they are passed to, whose use of the memory behind an argument is found in the same
way.  One that goes where this analysis cannot see (memory, arithmetic, a function that others may replace) makes the
whole frame `escaped`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp, SymbolRefAttr
from xdsl.ir import BlockArgument, Operation, SSAValue
from xdsl.traits import SymbolTable

from fsir.analysis.callbacks import CALLBACK_CONTEXT
from fsir.analysis.cfg import predecessors, successor_operands
from fsir.analysis.signs import is_not_negative
from fsir.dialects import ebpf, map
from fsir.dialects.map import DeclOp, HandleType, described
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
    addresses: bool = False
    """Whether what a called function writes there may be addresses."""


@dataclass(frozen=True, slots=True)
class _Address:
    """`offset` bytes from the root. If not `exact`, that is the least; or it is no address of the frame at all."""

    offset: int
    exact: bool = True

    def moved(self, by: int) -> _Address:
        return _Address(self.offset + by, self.exact)

    def join(self, other: _Address) -> _Address:
        """Either of two."""
        return self if self == other else _Address(min(self.offset, other.offset), exact=False)


class Frame:
    """The frame of one function: its `roots`, `offsets` of the addresses into it, `accesses` in program order, and
    `escaped` with the operation where an address was lost sight of, or None. Given a `root`, an argument of the
    function, it is the memory behind that argument, in which offsets are relative to it."""

    def __init__(
        self,
        func: ebpf.FuncOp,
        maps: dict[str, DeclOp],
        callees: Callees | None = None,
        root: SSAValue | None = None,
    ) -> None:
        self.maps = maps
        self.callees = callees or Callees(func, maps)
        self._own = root is None
        self.offsets: dict[SSAValue, int] = {}
        self.accesses: list[Access] = []
        self.escaped: Operation | None = None
        self._incoming = predecessors(func.body)
        frames = [op.res for block in func.body.blocks for op in block.ops if isinstance(op, ebpf.FpOp)]
        self.roots: set[SSAValue] = {root} if root is not None else set(frames)
        known = self._follow()
        self.offsets = {value: address.offset for value, address in known.items()}
        for value, address in known.items():
            for use in list(value.uses):
                if self.escaped is None and self._goes_on(use.operation, use.index, address) is None:
                    self._use(use.operation, use.index, address)
        if self.escaped is None:
            self._order(func)

    def _follow(self) -> dict[SSAValue, _Address]:
        """All values that are addresses of the frame, or may be."""
        known: dict[SSAValue, _Address] = {}
        work = [(value, _Address(0)) for value in self.roots]
        while work:
            value, address = work.pop()
            before = known.get(value)
            joined = address if before is None else before.join(address)
            if joined == before:
                continue
            known[value] = joined
            if joined.offset < -FRAME_SIZE:
                self.escaped = value.owner if isinstance(value.owner, Operation) else value.owner.first_op
                break
            for use in list(value.uses):
                found = self._goes_on(use.operation, use.index, joined)
                if found is not None:
                    work.append(found)
        return known

    def _order(self, func: ebpf.FuncOp) -> None:
        position: dict[Operation, int] = {}
        for block in func.body.blocks:
            for op in block.ops:
                position[op] = len(position)
        self.accesses.sort(key=lambda access: (position[access.op], access.operand))

    def _goes_on(self, op: Operation, index: int, address: _Address) -> tuple[SSAValue, _Address] | None:
        """The address that an operation makes of its operand, or hands to a block argument."""
        if "core" in op.properties:
            return None  # the loader changes the offset
        if isinstance(op, ebpf.AluRIOp) and op.row.name in ("addi", "subi"):
            return op.res, address.moved(op.imm.data if op.row.name == "addi" else -op.imm.data)
        if isinstance(op, ebpf.AluRROp) and op.row.name == "add" and is_not_negative(op.operands[1 - index]):
            return op.res, _Address(address.offset, exact=False)
        if op.successors and (passed := self._passed_to(op, index)) is not None:
            exact = address.exact and self._all_same(passed)
            return passed, _Address(address.offset, exact)
        return None

    def _use(self, op: Operation, index: int, address: _Address) -> None:
        """An operation at which an address ends."""
        comparison = bool(op.successors)
        if "core" in op.properties or not (comparison or self._access(op, index, address)):
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
        found = {self._constant_offset(successor_operands(op, i)[arg.index]) for op, i in self._incoming[arg.owner]}
        return len(found) == 1 and None not in found

    def _constant_offset(self, value: SSAValue) -> int | None:
        total = 0
        while isinstance(op := value.owner, ebpf.AluRIOp) and op.row.name in ("addi", "subi") and op.core is None:
            total += op.imm.data if op.row.name == "addi" else -op.imm.data
            value = op.lhs
        return total if value in self.roots else None

    def _access(self, op: Operation, index: int, address: _Address) -> bool:
        """Record what an operation does with an address of the frame. False when that is not known."""
        found = touches(op, index, self.maps)
        if found is None:
            found = self.callees.touches(op, index)
        if found is None:
            return False
        for touch in found:
            start = address.offset + touch.start
            bounded = address.exact and touch.size is not None
            end = start + (touch.size or 0) if bounded else 0 if self._own else _UNBOUNDED
            if self._own and not -FRAME_SIZE <= start <= end <= 0:
                return False  # outside of the frame: no loader takes this
            how, addresses = touch.how, touch.addresses
            if not address.exact:
                addresses = addresses or _stores_address(op, how)
                how = How.WRITE if how in (How.STORE, How.WRITE) else How.READ
            self.accesses.append(Access(op, how, start, end, index, addresses))
        return True


class Callees:
    """What the static functions and callbacks of a module do with memory behind their arguments."""

    def __init__(self, inside: Operation, maps: dict[str, DeclOp]) -> None:
        self._maps = maps
        self._module = inside.get_toplevel_object()
        self._known: dict[tuple[str, int], list[_Touch] | None] = {}

    def touches(self, op: Operation, index: int) -> list[_Touch] | None:
        """What a call does with the memory behind its operand; None when that is not known."""
        if isinstance(op, ebpf.CallLocalOp):
            return self._argument(op.callee, index)
        if not isinstance(op, ebpf.CallOp) or op.helper.data not in CALLBACK_CONTEXT:
            return None
        passed, taken = CALLBACK_CONTEXT[op.helper.data]
        symbols = [value.owner.sym for value in op.operands if isinstance(value.owner, ebpf.LdSymOp)]
        found = [touches for sym in symbols if (touches := self._argument(sym, taken)) is not None]
        return found[0] if index == passed and len(found) == 1 else None

    def _argument(self, callee: SymbolRefAttr, index: int) -> list[_Touch] | None:
        key = callee.root_reference.data, index
        if key not in self._known:
            self._known[key] = None  # what a recursive call does is not known
            func = SymbolTable.lookup_symbol(self._module, callee) if isinstance(self._module, ModuleOp) else None
            if isinstance(func, ebpf.FuncOp) and is_static(func) and index < len(func.entry.args):
                memory = Frame(func, self._maps, self, func.entry.args[index])
                self._known[key] = None if memory.escaped is not None else [_seen(a) for a in memory.accesses]
        return self._known[key]


_UNBOUNDED = 1 << 16


def is_static(func: ebpf.FuncOp) -> bool:
    """Whether a function is understood, and nobody can replace it: global ones are for others to see (freplace)."""
    return func.bind is not None and func.bind.data == 0 and not func.is_raw() and not func.is_allocated()


def _seen(access: Access) -> _Touch:
    """An access of a called function, as its caller sees it."""
    writes = access.how in (How.STORE, How.WRITE)
    size = None if access.end >= _UNBOUNDED else access.end - access.start
    addresses = access.addresses or _stores_address(access.op, access.how)
    return _Touch(How.WRITE if writes else How.READ, access.start, size, addresses)


def _stores_address(op: Operation, how: How) -> bool:
    return how is How.STORE and isinstance(op, ebpf.StxOp) and not isinstance(op.value.type, IntegerType)


@dataclass(frozen=True, slots=True)
class _Touch:
    """What an operation does with the memory at an operand: from `start` on, `size` bytes (None: unknown how many)."""

    how: How
    start: int
    size: int | None
    addresses: bool = False


def touches(op: Operation, index: int, maps: dict[str, DeclOp]) -> list[_Touch] | None:
    """What an operation does with its operand; None when that is not known."""
    if isinstance(op, ebpf.LdxOp):
        return [_Touch(How.LOAD, op.off.data, op.row.width // 8)] if op.row.op == "ldx" else None
    if isinstance(op, ebpf.StxOp):
        return [_Touch(How.STORE, op.off.data, op.row.width // 8)] if index == 0 else None
    if isinstance(op, ebpf.StOp):
        return [_Touch(How.STORE, op.off.data, op.row.width // 8)]
    if isinstance(op, ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp):
        return [_Touch(How.WRITE, op.off.data, op.row.width // 8)] if index == 0 else None
    if isinstance(op, map.LookupAtOp | map.DeleteAtOp | map.UpdateAtOp):
        declaration = maps.get(op.map.root_reference.data)
        size = None if declaration is None else declaration.int_prop("key_size" if index == 0 else "value_size")
        return [_Touch(How.KEY, 0, size)] if index < 2 and size is not None else None
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        return _helper_touches(op, helper, index, maps) if helper is not None and index < len(helper.args) else None
    return None


def _helper_touches(op: ebpf.CallOp, helper: Helper, index: int, maps: dict[str, DeclOp]) -> list[_Touch] | None:
    arg = helper.args[index]
    if arg.kind in (ArgKind.KEY, ArgKind.VALUE, ArgKind.VALUE_OUT, ArgKind.VALUE_RW):
        size = _map_size(op, helper, maps, "key_size" if arg.kind is ArgKind.KEY else "value_size")
    elif arg.kind in MEMORY_KINDS:
        size = _memory_size(op, helper, index, arg)
    else:
        return None
    return [_Touch(How.WRITE if arg.writes_memory else How.READ, 0, size)]


def _map_size(op: ebpf.CallOp, helper: Helper, maps: dict[str, DeclOp], which: str) -> int | None:
    for position, arg in enumerate(helper.args):
        if position >= len(op.operands):
            return None
        if arg.kind is ArgKind.MAP:
            sizes = [declaration.int_prop(which) for declaration in _maps_behind(op.operands[position], maps)]
            return max(sizes, default=None)
    return None


def _maps_behind(handle: SSAValue, maps: dict[str, DeclOp]) -> list[DeclOp]:
    """What the maps are like that a handle may be of; none where that is not known of all."""
    names: tuple[str, ...] = ()
    if isinstance(handle.type, HandleType):
        names = handle.type.names
    elif isinstance(handle.owner, ebpf.LdSymOp):
        names = (handle.owner.sym.root_reference.data,)
    found = [described(maps, name) for name in names]
    return [like for like in found if like is not None] if None not in found else []


def _memory_size(op: ebpf.CallOp, helper: Helper, index: int, arg: Arg) -> int | None:
    if arg.size:
        return arg.size
    following = helper.args[index + 1] if index + 1 < len(helper.args) else None
    if following is None or following.kind not in SIZE_KINDS or index + 1 >= len(op.operands):
        return None  # no size, or one in a register that nothing has set
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
