"""What kind of word every value of a function is: scalar, or an address of which thing.

A forward analysis over virtual `ebpf` code, sparse and optimistic; the kinds are the types of `docs/ir.md`, `i64` for
scalars and `!ebpf.reg` for what is not known or differs by path.  A kind is claimed only where the instruction set
gives no other possibility (for a context load of `data`, say), so types never lie; a pointer that went through memory
other than a stack frame, or a function whose callers differ, is simply unknown.  An address of packet data or of a map
value may be null instead.
Levels mix: a value that has a type keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from xdsl.dialects.builtin import ModuleOp, StringAttr, i64
from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue

from fsir.analysis.callbacks import CALLBACK_CONTEXT, Callbacks
from fsir.analysis.cfg import edges
from fsir.analysis.context_fields import RelocatedFields
from fsir.analysis.frame_contents import FrameContents
from fsir.analysis.program_types import programs_reaching
from fsir.analysis.signatures import Signatures
from fsir.dialects import ebpf
from fsir.dialects.ebpf import UNALLOCATED, FramePointerType, FuncOp
from fsir.dialects.map import SOCKET_MAPS, DeclOp, HandleType, MapsType, ValueType, described, inner_name, outer_name
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.interp.helpers import HELPERS, ArgKind, ReturnKind

UNKNOWN: Attribute = UNALLOCATED
_NULL: Attribute = StringAttr("null")
"""The kind of a constant 0 while nothing else is known: where it meets an address, an address that may be null, and a
scalar otherwise."""
_OTHER: Attribute = StringAttr("no context")
"""The kind of a word that is unknown but for this: it is no address of the context."""
_PACKET_FIELDS: Mapping[str, Mapping[int, Attribute]] = {
    "xdp": {0: PtrType(), 4: EndType(), 8: MetaType()},
    "sched_cls": {76: PtrType(), 80: EndType(), 140: MetaType()},
    "sched_act": {76: PtrType(), 80: EndType(), 140: MetaType()},
}
"""Context fields that are packet addresses: offset in `struct xdp_md` or `struct __sk_buff` (uapi linux/bpf.h)."""

PACKET_PROGRAMS = frozenset(_PACKET_FIELDS)
_MOVABLE = (PtrType, MetaType, FramePointerType, ValueType)  # kinds to which an offset may be added
_NULLABLE = (PtrType, MetaType, ValueType, HandleType)  # kinds of which an address may be null
_MAP = ArgKind.MAP
_LOOP, _FOR_EACH = 181, 164


class WordKinds:
    """The kinds of all values of a module's virtual functions: `kinds.of(value)`."""

    def __init__(self, module: ModuleOp, funcs: Iterable[FuncOp]) -> None:
        self._funcs = {func.symbol: func for func in funcs}
        self._maps = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, DeclOp)}
        self._kinds: dict[SSAValue, Attribute] = {}
        self._returns: dict[str, Attribute] = {}
        self._params: dict[tuple[str, int], Attribute] = {}
        self.relocated = RelocatedFields(module)
        self._signatures = Signatures(module)
        self._callbacks = Callbacks(self._funcs.values())
        self._programs = programs_reaching(self._funcs)
        self.contents = FrameContents(module, self._funcs.values())
        flows = [_Flow(self, func) for func in self._funcs.values()]
        self.learned = -1
        while self.learned:
            self.learned = 0
            for flow in flows:
                flow.run()
            if not self.learned:
                for value in [value for value, kind in self._kinds.items() if kind is _NULL and not _is_null(value)]:
                    self._kinds[value] = i64  # nothing but 0 comes here
                    self.learned += 1

    def of(self, value: SSAValue) -> Attribute:
        """The kind of a value; `UNKNOWN` for one that has none."""
        kind = self._kinds.get(value, UNKNOWN)
        return i64 if kind is _NULL else UNKNOWN if kind is _OTHER else kind

    def parameter(self, func: FuncOp, index: int) -> Attribute | None:
        """The kind of a function's argument; None before any call was seen."""
        if func.type_name is not None:
            return CtxType() if func.type_name in PACKET_PROGRAMS and index == 0 else UNKNOWN
        if func.symbol in self._callbacks.taken:
            return UNKNOWN
        if func.symbol in self._callbacks.calls:
            return self._called_back(func, index)
        if func.bind is None:  # global: anyone may call it, as its prototype says
            kind = self._signatures.parameter(func, index)
            return UNKNOWN if kind is None or (kind == CtxType() and not self._takes_packets(func)) else kind
        return self._params.get((func.symbol, index))

    def _called_back(self, func: FuncOp, index: int) -> Attribute | None:
        """The kind of a callback's argument: what the calls of helpers hand to it."""
        kind = self._params.get((func.symbol, index))
        for call in self._callbacks.calls[func.symbol]:
            passed, taken = CALLBACK_CONTEXT[call.helper.data]
            if index == taken and passed < len(call.operands):
                kind = join(kind, self._kinds.get(call.operands[passed]))
            elif call.helper.data == _FOR_EACH and index in (0, 2):  # a map, and the address of one of its values
                handle = self._kinds.get(call.operands[0])
                kind = join(kind, handle if index == 0 else self.found_in(handle))
            else:
                kind = join(kind, i64 if call.helper.data == _LOOP and index == 0 else UNKNOWN)
        return kind

    def _takes_packets(self, func: FuncOp) -> bool:
        types = self._programs[func.symbol]
        return bool(types) and types <= PACKET_PROGRAMS

    def map_of(self, name: str) -> DeclOp | None:
        """The declaration of a map."""
        return self._maps.get(name)

    def found_in(self, handle: Attribute | None) -> Attribute | None:
        """What is found in a map, given the handle's kind."""
        if not isinstance(handle, HandleType):
            return handle and _OTHER
        found: Attribute | None = None
        for name in handle.names:
            found = join(found, self.element(name))
        return found

    def element(self, name: str) -> Attribute:
        """What is found in a map."""
        like = described(self._maps, name)
        if like is not None and like.holds_maps:
            return HandleType(inner_name(name)) if outer_name(name) is None else _OTHER
        return _OTHER if like is not None and like.type.data in SOCKET_MAPS else ValueType(name)


def _is_null(value: SSAValue) -> bool:
    """Whether a value is the constant 0 (and not one that may be, by path or by what memory holds)."""
    return isinstance(value.owner, ebpf.LddwOp | ebpf.MovRIOp)


def join(a: Attribute | None, b: Attribute | None) -> Attribute | None:
    """The kind of a value that is `a` on one path and `b` on another; None is no path yet."""
    if a is None or b is None or a == b:
        return b if a is None else a
    for null, other in ((a, b), (b, a)):
        if null is _NULL and (other in (i64, _OTHER) or isinstance(other, _NULLABLE)):
            return other
    return a.joined(b) if isinstance(a, MapsType) and isinstance(b, MapsType) and type(a) is type(b) else _blurred(a, b)


def _blurred(*kinds: Attribute) -> Attribute:
    """The kind of a word that is one of several, or made of them in a way that is not known."""
    return UNKNOWN if any(kind == UNKNOWN or isinstance(kind, CtxType) for kind in kinds) else _OTHER


class _Flow:
    """One pass over one function, to its fixed point."""

    def __init__(self, shared: WordKinds, func: FuncOp) -> None:
        self.shared, self.func, self.kinds = shared, func, shared._kinds
        types = shared._programs[func.symbol]
        self.type_name = next(iter(types)) if len(types) == 1 else ""
        self.fields = _PACKET_FIELDS.get(self.type_name)
        self.addresses = {off for name in types or _PACKET_FIELDS for off in _PACKET_FIELDS.get(name, ())}
        self.incoming: defaultdict[BlockArgument, list[SSAValue]] = defaultdict(list)
        for block in func.body.blocks:
            for successor, values in edges(block):
                for value, arg in zip(values, successor.args, strict=True):
                    self.incoming[arg].append(value)
        self.passed: defaultdict[SSAValue, list[BlockArgument]] = defaultdict(list)
        for arg, passed in self.incoming.items():
            for value in passed:
                self.passed[value].append(arg)
        self.loads: defaultdict[SSAValue, list[ebpf.LdxOp]] = defaultdict(list)
        for op in func.walk():
            if isinstance(op, ebpf.LdxOp):
                for stored in shared.contents.stored(op) or ():
                    if isinstance(stored, SSAValue):
                        self.loads[stored].append(op)

    def run(self) -> None:
        work: list[SSAValue] = []
        for index, arg in enumerate(self.func.entry.args):
            if arg.type == UNKNOWN:
                self.learn(arg, self.shared.parameter(self.func, index), work)
        for block in self.func.body.blocks:
            for arg in block.args:
                if arg.type != UNKNOWN:
                    self.learn(arg, arg.type, work)
        for block in self.func.body.blocks:
            for op in block.ops:
                self.visit(op, work)
        for arg in self.incoming:
            self.meet(arg, work)
        while work:
            value = work.pop()
            for arg in self.passed[value]:
                self.meet(arg, work)
            for use in value.uses:
                self.visit(use.operation, work)
            for load in self.loads[value]:
                self.visit(load, work)

    def meet(self, arg: BlockArgument, work: list[SSAValue]) -> None:
        if arg.type != UNKNOWN:
            return
        for source in self.incoming[arg]:
            self.learn(arg, self.kinds.get(source), work)

    def learn(self, value: SSAValue, kind: Attribute | None, work: list[SSAValue]) -> None:
        """A value may be of this kind, too."""
        old = self.kinds.get(value)
        new = join(old, kind)
        if new is not None and new != old:
            self.kinds[value] = new
            self.shared.learned += 1
            work.append(value)

    def visit(self, op: Operation, work: list[SSAValue]) -> None:
        if isinstance(op, ebpf.CallLocalOp):
            self.pass_arguments(op)
        if isinstance(op, ebpf.ExitOp) and op.value is not None:
            kind = join(self.shared._returns.get(self.func.symbol), self.kinds.get(op.value))
            if kind is not None:
                self.shared._returns[self.func.symbol] = kind
        if op.results:
            self.learn(op.results[0], self.kind(op), work)

    def pass_arguments(self, op: ebpf.CallLocalOp) -> None:
        callee = op.callee.root_reference.data
        for index, value in enumerate(op.operands):
            kind = join(self.shared._params.get((callee, index)), self.kinds.get(value))
            if kind is not None:
                self.shared._params[callee, index] = kind

    def kind(self, op: Operation) -> Attribute | None:
        """The kind of an operation's result, or None while its operands are not known yet."""
        if op.results[0].type != UNKNOWN:
            return op.results[0].type
        for cls, rule in _RULES:
            if isinstance(op, cls):
                return rule(self, op)
        return None if isinstance(op, ebpf.UndefOp) else _OTHER

    def of(self, value: SSAValue) -> Attribute | None:
        kind = self.kinds.get(value)
        if kind is _NULL:
            return i64 if _is_null(value) else None
        return kind

    def symbol(self, op: ebpf.LdSymOp) -> Attribute:
        name = op.sym.root_reference.data
        declaration = self.shared.map_of(name)
        if declaration is None:
            return _OTHER
        return ValueType(name) if declaration.internal is not None else HandleType(name)

    def sum(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.AluRROp)
        lhs, rhs = self.of(op.lhs), self.of(op.rhs)
        if lhs is None or rhs is None:
            return None
        if op.row.name == "add":
            moved = {lhs, rhs} - {i64}
            if not moved:
                return i64
            kind = moved.pop()
            return kind if not moved and i64 in (lhs, rhs) and isinstance(kind, _MOVABLE) else _blurred(lhs, rhs)
        if op.row.name == "sub" and rhs == i64:
            return lhs if lhs == i64 or isinstance(lhs, _MOVABLE) else _blurred(lhs)
        return _blurred(lhs, rhs) if op.row.width == 64 and {UNKNOWN, _OTHER} & {lhs, rhs} else i64

    def immediate(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.AluRIOp)
        lhs = self.of(op.lhs)
        if op.row.width == 32 or lhs is None or lhs == i64:
            return lhs and i64
        if op.row.name in ("addi", "subi"):
            return lhs if isinstance(lhs, _MOVABLE) else _blurred(lhs)
        return lhs if lhs in (UNKNOWN, _OTHER) else i64

    def load(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.LdxOp)
        base = self.of(op.base)
        if base is None:
            return None
        if isinstance(base, CtxType):
            off = op.off.data if op.core is None else self.shared.relocated.offset(op.core, self.type_name)
            if self.fields is None or off is None:
                return _OTHER
            address = self.fields.get(off)
            if address is not None:
                return address if op.row.width == 32 else _OTHER
            return i64 if op.row.width <= 32 else _OTHER
        if base == UNKNOWN and op.row.width == 32 and (op.core is not None or op.off.data in self.addresses):
            return _OTHER  # perhaps the packet's address, from the context
        if op.row.width < 64 or isinstance(base, PtrType | MetaType | ValueType):
            return i64
        return _OTHER if self.shared.contents.elsewhere(op) else self.reloaded(op)

    def reloaded(self, op: ebpf.LdxOp) -> Attribute | None:
        """The kind of what was stored where eight bytes of a frame are loaded."""
        stored = self.shared.contents.stored(op)
        kind: Attribute | None = UNKNOWN if stored is None else None
        for value in stored or ():
            kind = join(
                kind, self.kinds.get(value) if isinstance(value, SSAValue) else _NULL if value.imm.data == 0 else i64
            )
        return kind

    def copy(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.MovRROp)
        kind = self.of(op.value)
        if op.row.name == "mov":
            return kind
        return kind and _blurred(kind) if op.row.op == "addr_space_cast" else kind and i64

    def call(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.CallOp)
        helper = HELPERS.get(op.helper.data)
        if helper is None:
            return _OTHER
        if helper.returns is ReturnKind.MAP_VALUE:
            return next(
                (
                    self.shared.found_in(self.of(value))
                    for arg, value in zip(helper.args, op.operands, strict=False)
                    if arg.kind is _MAP
                ),
                _OTHER,
            )
        return i64 if helper.returns in (ReturnKind.INTEGER, ReturnKind.VOID) else _OTHER

    def call_local(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.CallLocalOp)
        callee = op.callee.root_reference.data
        if callee not in self.shared._funcs:
            return UNKNOWN
        return self.shared._returns.get(callee)

    def cast(self, op: Operation) -> Attribute | None:
        """A word that only counts as unknown is what it was made from."""
        assert isinstance(op, ebpf.CastOp)
        source = op.value
        while isinstance(source.owner, ebpf.CastOp):
            source = source.owner.value
        return self.of(source)


def _scalar(flow: _Flow, op: Operation) -> Attribute:
    return i64


def _frame(flow: _Flow, op: Operation) -> Attribute:
    return FramePointerType()


def _constant(flow: _Flow, op: Operation) -> Attribute:
    assert isinstance(op, ebpf.LddwOp | ebpf.MovRIOp)
    if isinstance(op, ebpf.LddwOp) and op.pseudo is not None:
        return _OTHER
    return _NULL if op.imm.data == 0 and op.core is None else i64


def _symbol(flow: _Flow, op: Operation) -> Attribute:
    assert isinstance(op, ebpf.LdSymOp)
    return flow.symbol(op)


_RULES: tuple[tuple[type[Operation], Callable[[_Flow, Operation], Attribute | None]], ...] = (
    (ebpf.AluRROp, _Flow.sum),
    (ebpf.AluRIOp, _Flow.immediate),
    (ebpf.UnaryOp, _scalar),
    (ebpf.MovRROp, _Flow.copy),
    (ebpf.MovRIOp, _constant),
    (ebpf.LddwOp, _constant),
    (ebpf.LdSymOp, _symbol),
    (ebpf.FpOp, _frame),
    (ebpf.LdxOp, _Flow.load),
    (ebpf.AtomicFetchOp, _scalar),
    (ebpf.CmpxchgOp, _scalar),
    (ebpf.LdAbsOp, _scalar),
    (ebpf.LdIndOp, _scalar),
    (ebpf.CallOp, _Flow.call),
    (ebpf.CallLocalOp, _Flow.call_local),
    (ebpf.CastOp, _Flow.cast),
)
