"""What code does to maps: by block, subprograms included.

Kinds of access, from what they mean for sharing:

    lookup   whether a key is there (an array's lookup is no access: its keys always are)
    read     bytes of a value
    add      `value += x` where nobody looks at the result, which is atomic or can be made so: commutative
    write    other stores and atomics through a value's address
    update   whole values put in, by key
    delete   keys removed
    redirect a device or CPU map chosen as the packet's way out
    opaque   the address, or the map itself, goes where this analysis does not follow
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation
from xdsl.traits import IsTerminator

from fsir.analysis.libraries import Unknown, prototype_of
from fsir.analysis.signatures import btf_of
from fsir.dialects import ebpf
from fsir.dialects import map as maps
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp, HandleType, MapsType, ValueType, outer_name
from fsir.interp.helpers import HELPERS, ArgKind, Helper
from fsir.placement.additions import is_addition, is_countable, is_displacement


class Kind(StrEnum):
    """See the module."""

    LOOKUP = "lookup"
    READ = "read"
    ADD = "add"
    WRITE = "write"
    UPDATE = "update"
    DELETE = "delete"
    REDIRECT = "redirect"
    OPAQUE = "opaque"


CHANGES = frozenset({Kind.ADD, Kind.WRITE, Kind.UPDATE, Kind.DELETE, Kind.OPAQUE})
MOVES = frozenset({Kind.UPDATE, Kind.DELETE, Kind.OPAQUE})
"""Ways of touching a map after which the address of an element may be that of none, or of another."""
ARRAYS = frozenset({"array", "percpu_array"})
ANY_MAP = "*"
"""The map of accesses through addresses of unknown kind."""

Accesses = dict[str, set[Kind]]
Access = tuple[str, Kind, Operation]


class MapAccesses:
    """The map accesses of a module's blocks and functions."""

    def __init__(self, module: ModuleOp, funcs: Iterable[FuncOp]) -> None:
        self.declarations: dict[str, DeclOp] = {
            op.sym_name.data: op for op in module.body.block.ops if isinstance(op, DeclOp)
        }
        self._funcs = {func.symbol: func for func in funcs}
        self._btf = btf_of(module)
        self._by_function: dict[str, list[Access]] = {}
        self._reached: dict[tuple[str, ...], list[Operation]] = {}

    def of_block(self, block: Block) -> list[Access]:
        """The accesses of a block, those of the functions it calls at the call."""
        found: list[Access] = []
        for op in block.ops:
            for name, kind, _ in self.of_op(op):
                if kind is not Kind.LOOKUP or not self.is_array(name):
                    found.append((name, kind, op))
        return found

    def of_function(self, func: FuncOp) -> list[Access]:
        """The accesses of all blocks of a function."""
        return [access for block in func.body.blocks for access in self.of_block(block)]

    def touched_as(self, kinds: Collection[Kind]) -> set[str]:
        """The maps that some function touches in one of these ways, callbacks and subprograms included, `ANY_MAP` where
        the address is of unknown kind; all maps where a function is no SSA and cannot be read."""
        if any(func.is_raw() or func.is_allocated() for func in self._funcs.values()):
            return set(self.declarations)
        accesses = (access for func in self._funcs.values() for access in self.of_function(func))
        return {name for name, kind, _ in accesses if kind in kinds}

    def moved_beside(self, func: FuncOp) -> set[str]:
        """The maps whose elements may be replaced or removed by code that `func` does not wait for: other programs, and
        functions whose address is taken."""
        if any(each.is_raw() or each.is_allocated() for each in self._funcs.values()):
            return set(self.declarations)
        taken = {
            o.sym.root_reference.data
            for each in self._funcs.values()
            for o in each.walk()
            if isinstance(o, ebpf.LdSymOp)
        }
        beside = [f for name, f in self._funcs.items() if f is not func and (f.type_name is not None or name in taken)]
        return {name for each in beside for name, kind, _ in self.of_function(each) if kind in MOVES}

    def is_array(self, name: str) -> bool:
        """Whether a map's keys are always there."""
        declaration = self.declarations.get(name)
        return declaration is not None and declaration.type.data in ARRAYS

    def runs(self, op: Operation) -> list[Operation]:
        """The operations of all functions that an operation calls, directly, by way of others, or as callbacks."""
        if isinstance(op, ebpf.CallLocalOp):
            return self._closure((op.callee.root_reference.data,))
        return self._closure(self._callbacks(op))

    def _callbacks(self, op: Operation) -> tuple[str, ...]:
        """The functions that a helper may call back: those whose address the calling function takes, or, where it takes
        none, any function."""
        helper = HELPERS.get(op.helper.data) if isinstance(op, ebpf.CallOp) else None
        if helper is None or not helper.calls_back:
            return ()
        func = op.parent_op()
        assert func is not None
        taken = {o.sym.root_reference.data for o in func.walk() if isinstance(o, ebpf.LdSymOp)} & self._funcs.keys()
        return tuple(sorted(taken or self._funcs))

    def _closure(self, names: tuple[str, ...]) -> list[Operation]:
        if names not in self._reached:
            found = dict.fromkeys(names)
            work = list(names)
            ops: list[Operation] = []
            while work:
                func = self._funcs.get(work.pop())
                if func is None:
                    continue
                ops += [op for block in func.body.blocks for op in block.ops]
                for name in _symbols(func):
                    if name not in found:
                        found[name] = None
                        work.append(name)
            self._reached[names] = ops
        return self._reached[names]

    def _called(self, name: str) -> list[Access]:
        if name not in self._by_function:
            self._by_function[name] = []  # of a recursion
            func = self._funcs.get(name)
            if func is not None:
                self._by_function[name] = self.of_function(func)
        return self._by_function[name]

    def of_op(self, op: Operation) -> Iterator[Access]:
        """The accesses of one operation, arrays' lookups among them."""
        if isinstance(op, ebpf.CallLocalOp):
            yield from self._called(op.callee.root_reference.data)
        for name in self._callbacks(op):
            yield from self._called(name)
        if isinstance(op, maps.LookupOp | maps.LookupAtOp):
            yield op.map.root_reference.data, Kind.LOOKUP, op
        elif isinstance(op, maps.UpdateOp | maps.UpdateAtOp):
            yield op.map.root_reference.data, Kind.UPDATE, op
        elif isinstance(op, maps.DeleteOp | maps.DeleteAtOp):
            yield op.map.root_reference.data, Kind.DELETE, op
        elif isinstance(op, maps.RedirectOp):
            yield op.map.root_reference.data, Kind.REDIRECT, op
        helper = HELPERS.get(op.helper.data) if isinstance(op, ebpf.CallOp) else None
        for index, operand in enumerate(op.operands):
            if isinstance(operand.type, ValueType):
                for kind in self._through_call(op, index) or _through_value(op, index, helper):
                    yield from _of_any(operand.type, kind, op)
            elif isinstance(operand.type, HandleType):
                for kind in _through_handle(op, helper):
                    yield from _of_any(operand.type, kind, op)
            elif operand.type == ebpf.UNALLOCATED and index == 0 and isinstance(op, _MEMORY):
                yield ANY_MAP, Kind.OPAQUE, op

    def _through_call(self, op: Operation, index: int) -> Iterable[Kind]:
        """What a called function does with the address of a map value: what a library's prototype allows; of the
        program's own functions, nothing that is not among their accesses."""
        if isinstance(op, ebpf.CallLocalOp):
            func = self._funcs.get(op.callee.root_reference.data)
            takes = [arg.type for arg in func.entry.args] if func is not None else []
            same = index < len(takes) and takes[index] == op.operands[index].type
            return (Kind.READ,) if same else ()
        if not isinstance(op, ebpf.CallKfuncOp) or op.callee is None:
            return ()
        try:
            taken = prototype_of(self._btf, op.callee.root_reference.data).parameters
        except Unknown:
            return ()
        if index >= len(taken) or not taken[index].is_pointer:
            return ()
        return (Kind.READ, Kind.WRITE) if taken[index].writable else (Kind.READ,)


def _symbols(func: Operation) -> Iterator[str]:
    """The names that a function's code refers to as functions, or by their address."""
    for op in func.walk():
        if isinstance(op, ebpf.CallLocalOp):
            yield op.callee.root_reference.data
        elif isinstance(op, ebpf.LdSymOp):
            yield op.sym.root_reference.data


def _of_any(type_: MapsType, kind: Kind, op: Operation) -> Iterator[Access]:
    """An access to one of several maps, as one to each; any map may be one that is in a map of maps."""
    for name in type_.names:
        yield (name, kind, op) if outer_name(name) is None else (ANY_MAP, Kind.OPAQUE, op)


_MEMORY = (ebpf.LdxOp, ebpf.StxOp, ebpf.StOp, ebpf.AtomicOp, ebpf.AtomicFetchOp, ebpf.CmpxchgOp)
_MEMORY_ARGS: Mapping[ArgKind, tuple[Kind, ...]] = {
    ArgKind.KEY: (Kind.READ,),
    ArgKind.VALUE: (Kind.READ,),
    ArgKind.MEM_RO: (Kind.READ,),
    ArgKind.CONST_STR: (Kind.READ,),
    ArgKind.VALUE_OUT: (Kind.WRITE,),
    ArgKind.VALUE_RW: (Kind.READ, Kind.WRITE),
    ArgKind.MEM_WO: (Kind.WRITE,),
    ArgKind.MEM_RW: (Kind.READ, Kind.WRITE),
}


_BY_HELPER: Mapping[str, tuple[Kind, ...]] = {
    "map_lookup_elem": (Kind.LOOKUP,),
    "map_update_elem": (Kind.UPDATE,),
    "map_delete_elem": (Kind.DELETE,),
    "map_push_elem": (Kind.UPDATE,),
    "map_pop_elem": (Kind.READ, Kind.DELETE),
    "map_peek_elem": (Kind.READ,),
    "redirect_map": (Kind.REDIRECT,),
}


def _through_value(op: Operation, index: int, helper: Helper | None) -> Iterable[Kind]:
    """What an operation does with the address of a map value that is its operand number `index`."""
    if isinstance(op, maps.HitOp) or op.has_trait(IsTerminator):
        return ()
    if isinstance(op, maps.LoadOp):
        return () if is_addition(op) else (Kind.READ,)
    if isinstance(op, maps.StoreOp) and index == 0:
        return (Kind.ADD,) if is_countable(op) else (Kind.WRITE,)
    if isinstance(op, maps.AtomicOp) and index == 0:
        return (Kind.ADD,) if is_countable(op) else (Kind.READ, Kind.WRITE)
    if isinstance(op, maps.LookupAtOp | maps.DeleteAtOp | maps.UpdateAtOp):
        return (Kind.READ,)
    if is_displacement(op):
        return ()
    if isinstance(op, ebpf.LdxOp):
        return (Kind.READ,)
    if isinstance(op, ebpf.StxOp | ebpf.StOp) and index == 0:
        return (Kind.WRITE,)
    if isinstance(op, ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp) and index == 0:
        return (Kind.READ, Kind.WRITE)
    if helper is not None and index < len(helper.args):
        return _MEMORY_ARGS.get(helper.args[index].kind, (Kind.OPAQUE,))
    return (Kind.OPAQUE,)


def _through_handle(op: Operation, helper: Helper | None) -> Iterable[Kind]:
    """What an operation does with a map itself."""
    if isinstance(op, maps.HitOp) or op.has_trait(IsTerminator) or is_displacement(op):
        return ()
    return _BY_HELPER.get(helper.name if helper is not None else "", (Kind.OPAQUE,))
