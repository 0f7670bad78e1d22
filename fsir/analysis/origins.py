"""What an address of unknown kind may be an address of, and where its kind was lost.

Words that `raise-types` leaves untyped are followed back, over joins, frame slots, casts and calls, to everything that
they may come from. Where `fsir.analysis.word_kinds` says what a word surely is, this says what it may be: for reports
on what was not raised, never for rewriting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue

from fsir.analysis.callbacks import CALLBACK_CONTEXT
from fsir.analysis.cfg import edges
from fsir.analysis.frame_contents import FrameContents
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FramePointerType, FuncOp, functions
from fsir.dialects.map import SOCKET_MAPS, DeclOp, HandleType, ValueType, described
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.interp.helpers import HELPERS

PACKET, METADATA, END, CONTEXT = "packet", "metadata", "packet end", "context"
VALUE, MAP, STACK, NUMBER = "map value", "map", "stack", "number"
MEMORY = "memory from elsewhere"
"""What a helper or kernel function gave, what lies behind a pointer found in memory, what a caller outside of the
object passed."""

_KINDS: dict[type[Attribute], str] = {
    PtrType: PACKET,
    MetaType: METADATA,
    EndType: END,
    CtxType: CONTEXT,
    ValueType: VALUE,
    HandleType: MAP,
    FramePointerType: STACK,
    IntegerType: NUMBER,
}
_VALUE_HELPERS = frozenset(h.number for h in HELPERS.values() if h.returns.value == "value")
_INTEGER_HELPERS = frozenset(h.number for h in HELPERS.values() if h.returns.value in ("int", "void"))


class Origins:
    """`of(value)`: what a word of a module's functions may be; `lost(value)`: how its kind got lost, in a few words."""

    def __init__(self, module: ModuleOp) -> None:
        self._maps = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, DeclOp)}
        self._funcs = {func.symbol: func for func in functions(module)}
        self._sources: dict[SSAValue, list[SSAValue]] = {}
        self._calls: defaultdict[str, list[ebpf.CallLocalOp]] = defaultdict(list)
        self._callbacks: defaultdict[str, list[ebpf.CallOp]] = defaultdict(list)
        self._spilled: dict[FuncOp, list[SSAValue]] = {}
        virtual = [func for func in self._funcs.values() if not func.is_allocated() and not func.is_raw()]
        self._contents = FrameContents(module, virtual)
        for func in self._funcs.values():
            self._collect(func)

    def of(self, value: SSAValue) -> frozenset[str]:
        """Everything that the word may be. An offset added to an address is not told."""
        found: set[str] = set()
        for reached in self._backwards(value):
            kind = self._kind(reached)
            if kind is not None:
                found.add(kind)
        return frozenset(found - {NUMBER} or found)

    def lost(self, value: SSAValue) -> str:
        """The first place, going back from an untyped word, that made its kind unknown."""
        for reached in self._backwards(value):
            if reached.type != ebpf.UNALLOCATED:
                continue
            sources = self._sources_of(reached)
            if not any(source.type == ebpf.UNALLOCATED for source in sources):
                return self._how(reached, sources)
        return "it comes from itself alone"

    def _how(self, value: SSAValue, sources: list[SSAValue]) -> str:
        owner = value.owner
        if isinstance(owner, Block):
            if sources:
                kinds = sorted({self._kind(source) or "?" for source in sources})
                at_call = isinstance(func := owner.parent_op(), FuncOp) and func.entry is owner
                where = "by caller" if at_call else "by path"
                return f"differs {where}: {', '.join(kinds)}"
            return "an argument of a function that others call"
        if isinstance(owner, ebpf.LdxOp):
            place = self._kind(owner.base) or "unknown memory"
            return f"read from {place}" + (" (relocated)" if owner.core is not None else "")
        if isinstance(owner, ebpf.CallOp):
            helper = HELPERS.get(owner.helper.data)
            return f"given by {helper.c_name}" if helper is not None else "given by an unknown helper"
        if isinstance(owner, ebpf.CallKfuncOp):
            return "given by a kernel function"
        if isinstance(owner, ebpf.CallLocalOp):
            return "given by a called function"
        kinds = sorted({self._kind(source) or "?" for source in sources})
        return f"{owner.name} of {', '.join(kinds)}" if kinds else owner.name

    def _kind(self, value: SSAValue) -> str | None:
        """What a word is by its type, or by the operation that made it; None for one that passes others on."""
        found = _KINDS.get(type(value.type))
        if found is not None:
            return found
        owner = value.owner
        if isinstance(owner, ebpf.CallOp):
            number = owner.helper.data
            if owner.operands and isinstance(of := owner.operands[0].type, HandleType) and self._holds_sockets(of):
                return MEMORY
            return VALUE if number in _VALUE_HELPERS else NUMBER if number in _INTEGER_HELPERS else MEMORY
        if isinstance(owner, ebpf.LdSymOp):
            return MAP if owner.sym.root_reference.data in self._maps else MEMORY
        if isinstance(owner, ebpf.UndefOp):
            return NUMBER
        return None if self._sources_of(value) else MEMORY

    def _holds_sockets(self, handle: HandleType) -> bool:
        """Whether what is found in a map is no value but a socket."""
        found = [described(self._maps, name) for name in handle.names]
        return all(like is not None and like.type.data in SOCKET_MAPS for like in found)

    def _collect(self, func: FuncOp) -> None:
        stored: list[SSAValue] = []
        for block in func.body.blocks:
            for successor, values in edges(block):
                for value, arg in zip(values, successor.args, strict=True):
                    self._sources.setdefault(arg, []).append(value)
            for op in block.ops:
                if isinstance(op, ebpf.CallLocalOp):
                    self._calls[op.callee.root_reference.data].append(op)
                elif isinstance(op, ebpf.CallOp) and op.helper.data in CALLBACK_CONTEXT:
                    for operand in op.operands:
                        if isinstance(operand.owner, ebpf.LdSymOp):
                            self._callbacks[operand.owner.sym.root_reference.data].append(op)
                elif isinstance(op, ebpf.StxOp) and op.row.width == 64 and not isinstance(op.value.type, IntegerType):
                    stored.append(op.value)
        self._spilled[func] = stored

    def _sources_of(self, value: SSAValue) -> list[SSAValue]:
        owner = value.owner
        if isinstance(value, BlockArgument):
            func = value.owner.parent_op()
            if isinstance(func, FuncOp) and func.entry is value.owner:
                calls = [call.operands[value.index : value.index + 1] for call in self._calls[func.symbol]]
                for call in self._callbacks[func.symbol]:
                    passed, taken = CALLBACK_CONTEXT[call.helper.data]
                    calls.append(call.operands[passed : passed + 1] if taken == value.index else ())
                return [operand for found in calls for operand in found]
            return self._sources.get(value, [])
        assert isinstance(owner, Operation)
        if isinstance(owner, ebpf.LdxOp):
            return self._reloaded(owner) if owner.row.width == 64 else []
        if isinstance(owner, ebpf.CallLocalOp):
            return list(_returned(self._funcs.get(owner.callee.root_reference.data)))
        if isinstance(owner, ebpf.AluRROp | ebpf.AluRIOp | ebpf.MovRROp | ebpf.CastOp | ebpf.UnaryOp):
            return list(owner.operands)
        return []

    def _reloaded(self, op: ebpf.LdxOp) -> list[SSAValue]:
        """The addresses that a load from some frame may give: what was stored there, or where that is not known, those
        that its function stores, or any function does when the frame may be that of a caller."""
        if self._contents.elsewhere(op):
            return []
        stored = self._contents.stored(op)
        if stored is not None:
            return [value for value in stored if isinstance(value, SSAValue)]
        func = _function_of(op)
        if isinstance(op.base.owner, ebpf.FpOp) and func is not None:
            return self._spilled[func]
        if STACK not in (self._kind(value) for value in self._backwards(op.base, through_memory=False)):
            return []
        return [value for stored in self._spilled.values() for value in stored]

    def _backwards(self, value: SSAValue, through_memory: bool = True) -> Iterable[SSAValue]:
        seen = {value}
        work = [value]
        while work:
            current = work.pop(0)
            yield current
            if isinstance(current.owner, ebpf.LdxOp) and not through_memory:
                continue
            if type(current.type) not in _KINDS or isinstance(current.owner, ebpf.CastOp):
                for source in self._sources_of(current):
                    if source not in seen:
                        seen.add(source)
                        work.append(source)


def _returned(func: FuncOp | None) -> Iterable[SSAValue]:
    for block in func.body.blocks if func is not None else ():
        if isinstance(block.last_op, ebpf.ExitOp) and block.last_op.value is not None:
            yield block.last_op.value


def _function_of(op: Operation) -> FuncOp | None:
    parent = op.parent_op()
    while parent is not None and not isinstance(parent, FuncOp):
        parent = parent.parent_op()
    return parent
