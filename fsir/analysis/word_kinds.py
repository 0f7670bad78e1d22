"""What kind of word every value of a function is: scalar, or an address of which thing.

A forward analysis over virtual `ebpf` code, sparse and optimistic; the kinds are the types of `docs/ir.md`, `i64` for
scalars and `!ebpf.reg` for what is not known or differs by path.  A kind is claimed only where the instruction set
gives no other possibility (for a context load of `data`, say), so types never lie; a pointer that went through memory
or a function whose callers differ is simply unknown.  An address of packet data or of a map value may be null instead.
Levels mix: a value that has a type keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from xdsl.dialects.builtin import ModuleOp, StringAttr, SymbolRefAttr, i64
from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.context_fields import RelocatedFields
from fsir.analysis.signatures import Signatures
from fsir.dialects import ebpf
from fsir.dialects.ebpf import UNALLOCATED, FramePointerType, FuncOp
from fsir.dialects.map import DeclOp, HandleType, ValueType
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.interp.helpers import HELPERS, ReturnKind

UNKNOWN: Attribute = UNALLOCATED
_NULL: Attribute = StringAttr("null")
"""The kind of a constant 0 while nothing else is known: where it meets an address, an address that may be null, and a
scalar otherwise."""
_PACKET_FIELDS: Mapping[str, Mapping[int, Attribute]] = {
    "xdp": {0: PtrType(), 4: EndType(), 8: MetaType()},
    "sched_cls": {76: PtrType(), 80: EndType(), 140: MetaType()},
    "sched_act": {76: PtrType(), 80: EndType(), 140: MetaType()},
}
"""Context fields that are packet addresses: offset in `struct xdp_md` or `struct __sk_buff` (uapi linux/bpf.h)."""

PACKET_PROGRAMS = frozenset(_PACKET_FIELDS)
_MOVABLE = (PtrType, MetaType, FramePointerType, ValueType)  # kinds to which an offset may be added
_NULLABLE = (PtrType, MetaType, ValueType)  # kinds of which an address may be null
_LOOKUP = 1


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
        self._taken = _address_taken(self._funcs.values())
        self._programs = _programs_reaching(self._funcs)
        again = True
        while again:
            before = (dict(self._returns), dict(self._params))
            for func in self._funcs.values():
                _Flow(self, func).run()
            again = before != (self._returns, self._params)

    def of(self, value: SSAValue) -> Attribute:
        """The kind of a value; `UNKNOWN` for one that has none."""
        kind = self._kinds.get(value, UNKNOWN)
        return i64 if kind is _NULL else kind

    def parameter(self, func: FuncOp, index: int) -> Attribute | None:
        """The kind of a function's argument; None before any call was seen."""
        if func.type_name is not None:
            return CtxType() if func.type_name in PACKET_PROGRAMS and index == 0 else UNKNOWN
        if func.symbol in self._taken:  # called back
            return UNKNOWN
        if func.bind is None:  # global: anyone may call it, as its prototype says
            kind = self._signatures.parameter(func, index)
            return UNKNOWN if kind is None or (kind == CtxType() and not self._takes_packets(func)) else kind
        return self._params.get((func.symbol, index))

    def _takes_packets(self, func: FuncOp) -> bool:
        types = self._programs[func.symbol]
        return bool(types) and types <= PACKET_PROGRAMS

    def map_of(self, name: str) -> DeclOp | None:
        """The declaration of a map."""
        return self._maps.get(name)


def _address_taken(funcs: Iterable[FuncOp]) -> set[str]:
    return {
        op.sym.root_reference.data
        for func in funcs
        for block in func.body.blocks
        for op in block.ops
        if isinstance(op, ebpf.LdSymOp)
    }


def _programs_reaching(funcs: Mapping[str, FuncOp]) -> dict[str, set[str]]:
    """For every function, the types of the programs that it runs in: itself, by calls or as a callback."""
    reached: dict[str, set[str]] = {name: set() for name in funcs}
    work = [(name, func.type_name) for name, func in funcs.items() if func.type_name is not None]
    while work:
        name, type_name = work.pop()
        if name not in reached or type_name in reached[name]:
            continue
        reached[name].add(type_name)
        for op in funcs[name].walk():
            if isinstance(op, ebpf.CallLocalOp):
                work.append((op.callee.root_reference.data, type_name))
            elif isinstance(op, ebpf.LdSymOp):
                work.append((op.sym.root_reference.data, type_name))
    return reached


def join(a: Attribute | None, b: Attribute | None) -> Attribute | None:
    """The kind of a value that is `a` on one path and `b` on another; None is no path yet."""
    if a is None or b is None or a == b:
        return b if a is None else a
    for null, other in ((a, b), (b, a)):
        if null is _NULL and (other == i64 or isinstance(other, _NULLABLE)):
            return other
    return a.joined(b) if isinstance(a, ValueType) and isinstance(b, ValueType) else UNKNOWN


class _Flow:
    """One pass over one function, to its fixed point."""

    def __init__(self, shared: WordKinds, func: FuncOp) -> None:
        self.shared, self.func, self.kinds = shared, func, shared._kinds
        types = shared._programs[func.symbol]
        self.type_name = next(iter(types)) if len(types) == 1 else ""
        self.fields = _PACKET_FIELDS.get(self.type_name)
        self.incoming: defaultdict[BlockArgument, list[SSAValue]] = defaultdict(list)
        for block in func.body.blocks:
            for successor, values in edges(block):
                for value, arg in zip(values, successor.args, strict=True):
                    self.incoming[arg].append(value)

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
        passed: defaultdict[SSAValue, list[BlockArgument]] = defaultdict(list)
        for arg, values in self.incoming.items():
            for value in values:
                passed[value].append(arg)
            self.meet(arg, work)
        while work:
            while work:
                value = work.pop()
                for arg in passed[value]:
                    self.meet(arg, work)
                for use in value.uses:
                    self.visit(use.operation, work)
            for block in self.func.body.blocks:
                for arg in block.args:
                    if self.kinds.get(arg) is _NULL:  # nothing but 0 comes here
                        self.learn(arg, i64, work)

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
        if isinstance(op, ebpf.UndefOp):
            return None
        return UNKNOWN

    def of(self, value: SSAValue) -> Attribute | None:
        kind = self.kinds.get(value)
        if kind is _NULL:
            return None if isinstance(value, BlockArgument) else i64
        return kind

    def symbol(self, op: ebpf.LdSymOp) -> Attribute:
        name = op.sym.root_reference.data
        declaration = self.shared.map_of(name)
        if declaration is None:
            return UNKNOWN
        return ValueType(name) if declaration.internal is not None else HandleType(SymbolRefAttr(name))

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
            return kind if not moved and i64 in (lhs, rhs) and isinstance(kind, _MOVABLE) else UNKNOWN
        if op.row.name == "sub":
            if rhs == i64:
                return lhs if lhs == i64 or isinstance(lhs, _MOVABLE) else UNKNOWN
            return UNKNOWN if UNKNOWN in (lhs, rhs) else i64
        return UNKNOWN if op.row.width == 64 and UNKNOWN in (lhs, rhs) else i64

    def immediate(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.AluRIOp)
        lhs = self.of(op.lhs)
        if op.row.width == 32 or lhs is None or lhs == i64:
            return lhs and i64
        if op.row.name in ("addi", "subi"):
            return lhs if isinstance(lhs, _MOVABLE) else UNKNOWN
        return UNKNOWN if lhs == UNKNOWN else i64

    def load(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.LdxOp)
        base = self.of(op.base)
        if base is None:
            return None
        if isinstance(base, CtxType):
            off = op.off.data if op.core is None else self.shared.relocated.offset(op.core, self.type_name)
            if self.fields is None or off is None:
                return UNKNOWN
            address = self.fields.get(off)
            if address is not None:
                return address if op.row.width == 32 else UNKNOWN
            return i64 if op.row.width <= 32 else UNKNOWN
        if op.row.width < 64 or isinstance(base, PtrType | MetaType | ValueType):
            return i64
        return UNKNOWN

    def copy(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.MovRROp)
        kind = self.of(op.value)
        if op.row.name == "mov":
            return kind
        return UNKNOWN if op.row.op == "addr_space_cast" else kind and i64

    def call(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.CallOp)
        number = op.helper.data
        helper = HELPERS.get(number)
        if helper is None:
            return UNKNOWN
        if number == _LOOKUP and op.operands:
            return self.looked_up(op.operands[0])
        return i64 if helper.returns in (ReturnKind.INTEGER, ReturnKind.VOID) else UNKNOWN

    def looked_up(self, handle: SSAValue) -> Attribute | None:
        kind = self.of(handle)
        if not isinstance(kind, HandleType):
            return kind and UNKNOWN
        declaration = self.shared.map_of(kind.map.root_reference.data)
        if declaration is None or declaration.inner is not None or declaration.type.data in _POINTER_MAPS:
            return UNKNOWN
        return ValueType(kind.map.root_reference.data)

    def call_local(self, op: Operation) -> Attribute | None:
        assert isinstance(op, ebpf.CallLocalOp)
        callee = op.callee.root_reference.data
        if callee not in self.shared._funcs:
            return UNKNOWN
        return self.shared._returns.get(callee)


_POINTER_MAPS = ("array_of_maps", "hash_of_maps", "sockmap", "sockhash", "xskmap")
"""Maps of which a lookup gives the address of something that is no plain value."""


def _scalar(flow: _Flow, op: Operation) -> Attribute:
    return i64


def _frame(flow: _Flow, op: Operation) -> Attribute:
    return FramePointerType()


def _constant(flow: _Flow, op: Operation) -> Attribute:
    assert isinstance(op, ebpf.LddwOp | ebpf.MovRIOp)
    if isinstance(op, ebpf.LddwOp) and op.pseudo is not None:
        return UNKNOWN
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
)
