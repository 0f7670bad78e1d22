"""One function as terms: every register, and for every edge whether it is taken.

A way through the function is cut where it goes back: a loop's head holds anything that its blocks may leave in
arguments and frame. What is true of all assignments of the unknowns is therefore true of every run, each time that it
comes to a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.analysis.context_fields import CONTEXT_FIELDS
from fsir.analysis.dominance import DominatorTree
from fsir.dialects import ebpf
from fsir.dialects.map import DeclOp
from fsir.interp.helpers import HELPERS, ArgKind
from fsir.smt import meaning
from fsir.smt.frame_bytes import FrameBytes, merged
from fsir.smt.terms import Term, Value, between, choice, operate, unknown

M64 = (1 << 64) - 1
_ADDRESS = 1 << 40
_FRAME = between("frame", _ADDRESS, 2 * _ADDRESS)
_CONTEXT = between("context", _ADDRESS, 2 * _ADDRESS)
_SHORTEST = {"xdp": 14}
"""The fewest bytes between `data` and `data_end`, by program type."""
_LONGEST = 1 << 20
_SHALLOW = 60
"""Deeper terms get a name, with what they are as a definition."""
_LOOKUP = 1
_READS = frozenset(
    {ArgKind.SCALAR, ArgKind.CTX, ArgKind.MAP, ArgKind.KEY, ArgKind.VALUE, ArgKind.MEM_RO, ArgKind.SIZE, ArgKind.SOCK}
    | {ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE, ArgKind.CONST_STR, ArgKind.LOCK, ArgKind.ALLOC_MEM}
)
"""Arguments through which a helper writes nothing of the frame."""
_ARRAYS = ("array", "percpu_array")


class Irreducible(Exception):
    """A loop is entered in two places."""


class Passed:
    """What functions are called with, gathered as their callers become terms."""

    _MOST = 16

    def __init__(self, module: ModuleOp) -> None:
        self._given: dict[str, list[dict[int, Value]]] = {}
        self._open: set[str] = set()
        """Functions that may be called with anything."""
        self._calls: dict[str, set[str]] = {}
        for op in module.walk():
            if isinstance(op, ebpf.LdSymOp):
                self._open.add(op.sym.root_reference.data)
        for func in ebpf.functions(module):
            called = {op.symbol_prop("callee") for op in func.walk() if isinstance(op, ebpf.CallLocalOp)}
            self._calls[func.symbol] = called
            if func.type_name is not None or func.bind is None:
                self._open.add(func.symbol)

    def callers_first(self, funcs: Iterable[ebpf.FuncOp]) -> list[ebpf.FuncOp]:
        """The functions, each after those that call it."""
        by_name = {func.symbol: func for func in funcs}
        done: dict[str, None] = {}

        def visit(name: str, way: tuple[str, ...]) -> None:
            if name in done or name in way or name not in by_name:
                return
            for callee in sorted(self._calls.get(name, ())):
                visit(callee, (*way, name))
            done.setdefault(name)

        for name in by_name:
            visit(name, ())
        return [by_name[name] for name in reversed(done)]

    def note(self, callee: str, arguments: dict[int, Value]) -> None:
        """A call with these arguments, by register."""
        self._given.setdefault(callee, []).append(arguments)

    def give_up(self, func: ebpf.FuncOp) -> None:
        """Nothing is known of what a function passes to others."""
        self._open |= self._calls.get(func.symbol, set())

    def argument(self, func: ebpf.FuncOp, register: int) -> Value | None:
        """What a function gets in a register: a number, the context, or one of a few numbers."""
        if func.symbol in self._open:
            return None
        values = [given.get(register) for given in self._given.get(func.symbol, ())]
        if values and all(value is _CONTEXT for value in values):
            return _CONTEXT
        numbers = {value for value in values if isinstance(value, int)}
        if not values or len(numbers) > self._MOST or not all(isinstance(value, int) for value in values):
            return None
        *others, last = sorted(numbers)
        found: Value = last
        for position, number in enumerate(others):
            found = choice(unknown(("given", register, position), 1), number, found)
        return found


@dataclass
class _State:
    frame: FrameBytes
    layout: object
    """Names the positions of the packet's data."""


class FunctionTerms:
    """The terms of a function.

    edges      for each (terminator, number of the successor) whether it is taken, 0 or 1; retreating edges have none
    reached    for each block whether control comes to it
    incoming   the edges into each block that do not go back
    """

    def __init__(self, func: ebpf.FuncOp, module: ModuleOp, passed: Passed) -> None:
        self.func, self._passed = func, passed
        self.tree = DominatorTree(func.body)
        self.edges: dict[tuple[Operation, int], Value] = {}
        self.incoming: dict[Block, list[tuple[Operation, int]]] = {block: [] for block in self.tree.rpo}
        self._definitions: dict[object, Term] = {}
        self._values: dict[SSAValue, Value] = {}
        self.reached: dict[Block, Value] = {}
        self._left: dict[Block, _State] = {}
        self._names = 0
        self._of_frame = _frame_addresses(func)
        self._escapes = any(_lets_escape(op, self._of_frame) for op in func.walk())
        self._maps = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, DeclOp)}
        self._fields = CONTEXT_FIELDS.get(func.type_name or "", {})
        self._heads = self._loop_heads()
        for block in self.tree.rpo:
            self._block(block)

    def defining(self, term: Value) -> list[Term]:
        """What is true of the unknowns of a term."""
        found: dict[object, Term] = {}
        work = list(term.unknowns) if isinstance(term, Term) else []
        while work:
            name = work.pop()
            if name in self._definitions and name not in found:
                found[name] = self._definitions[name]
                work += found[name].unknowns
        return list(found.values())

    # Ways

    def _loop_heads(self) -> set[Block]:
        heads = set()
        for block in self.tree.rpo:
            last = block.last_op
            for index, successor in enumerate(last.successors if last is not None else ()):
                if self.tree.rpo_number(successor) <= self.tree.rpo_number(block):
                    heads.add(successor)
                    if not self.tree.dominates(successor, block):
                        raise Irreducible
                elif last is not None:
                    self.incoming[successor].append((last, index))
        return heads

    def _block(self, block: Block) -> None:
        edges = [self.edges[edge] for edge in self.incoming[block]]
        if not edges:
            self.reached[block] = 1
            state = _State(FrameBytes(), self._fresh_name())
            for position, arg in enumerate(block.args, 1):
                self._values[arg] = self._argument(arg, position)
        else:
            self.reached[block] = self._any(edges)
            state = self._entered(block, edges)
        for op in block.ops:
            self._operation(op, state)
        self._left[block] = state
        self._leave(block)

    def _argument(self, arg: SSAValue, position: int) -> Value:
        index = ebpf.reg_index(arg.type)
        register = position if index is None else index
        if self.func.type_name is not None and register == 1:
            return _CONTEXT
        found = self._passed.argument(self.func, register)
        return self._fresh() if found is None else found

    def _any(self, edges: Sequence[Value]) -> Value:
        result: Value = 0
        for edge in edges:
            if isinstance(edge, int) and edge:
                return 1
            result = self._named(operate("or", result, edge))
        return self._named(result)

    def _entered(self, block: Block, edges: Sequence[Value]) -> _State:
        if block in self._heads:
            for arg in block.args:
                self._values[arg] = self._fresh()
            return _State(FrameBytes(), self._fresh_name())

        def select(values: Sequence[Value]) -> Value:
            result = values[-1]
            for edge, value in zip(edges[:-1], values[:-1], strict=True):
                result = self._named(choice(edge, value, result))
            return self._named(result)

        ways = [(last, index) for last, index in self.incoming[block]]
        for position, arg in enumerate(block.args):
            self._values[arg] = select([self._value(successor_operands(last, i)[position]) for last, i in ways])
        states = [self._left[last.parent] for last, _ in ways if last.parent is not None]
        layouts = {state.layout for state in states}
        return _State(
            merged([state.frame for state in states], select),
            layouts.pop() if len(layouts) == 1 else self._fresh_name(),
        )

    def _leave(self, block: Block) -> None:
        last, reached = block.last_op, self.reached[block]
        if last is None or not last.successors:
            return
        if len(last.successors) == 1:
            self.edges[last, 0] = reached
            return
        test = self._condition(last)
        is_test = isinstance(test, Term) and test.op in ("eq", "ne", "lt", "le")
        taken: Value = test if is_test else operate("ne", test, 0)
        for index, way in enumerate((taken, operate("eq", taken, 0))):
            both = operate("and", reached, way) if isinstance(reached, Term) or not reached else way
            self.edges[last, index] = self._named(both)

    def _condition(self, last: Operation) -> Value:
        found: Value | None = None
        if isinstance(last, ebpf.JccRIOp | ebpf.JccRROp):
            row = last.row
            values = [self._value(value) for value in last.fixed_operands()]
            if isinstance(last, ebpf.JccRIOp):
                values.append(meaning.immediate(row.op, row.width, last.int_prop("imm")))
            found = meaning.compared(row.op, row.width, *values)
        return self._fresh(1) if found is None else found

    # Names

    def _fresh_name(self) -> object:
        self._names += 1
        return self._names

    def _fresh(self, bits: int = 64) -> Term:
        return unknown(self._fresh_name(), bits)

    def _named(self, value: Value) -> Value:
        """The value, by a name where it is a deep term."""
        if isinstance(value, int) or value.depth < _SHALLOW or value.lo < 0:
            return value
        name = between(self._fresh_name(), value.lo, value.hi)
        self._definitions[name.args[0]] = Term("eq", (name, value), 0, 1)
        return name

    def _value(self, value: SSAValue) -> Value:
        found = self._values.get(value)
        if found is None:
            found = self._values[value] = self._fresh()
        return found

    # Operations

    def _operation(self, op: Operation, state: _State) -> None:
        result = self._result(op, state)
        for res in op.results:
            self._values[res] = self._named(self._fresh() if result is None else result)

    def _result(self, op: Operation, state: _State) -> Value | None:
        if "core" in op.properties:
            if isinstance(op, ebpf.StxOp | ebpf.StOp):
                state.frame.forget()
            return None  # the loader changes it
        if isinstance(op, ebpf.InsnOp):
            row = op.row
            values = [self._value(value) for value in op.operands]
            if isinstance(op, ebpf.AluRROp):
                return meaning.binary(row.op, row.width, *values)
            if isinstance(op, ebpf.AluRIOp):
                imm = meaning.immediate(row.op, row.width, op.int_prop("imm"))
                return meaning.binary(row.op, row.width, values[0], imm)
            if isinstance(op, ebpf.UnaryOp | ebpf.MovRROp):
                return meaning.unary(row.op, row.width, values[0])
            if isinstance(op, ebpf.MovRIOp):
                return op.int_prop("imm") & ((1 << row.width) - 1)
            if isinstance(op, ebpf.LddwOp):
                return None if op.int_prop("pseudo") else op.int_prop("imm") & M64
            if isinstance(op, ebpf.LdxOp):
                return self._load(op, values[0], state)
            if isinstance(op, ebpf.BranchOp | ebpf.ExitOp):
                return None
            return self._effect(op, values, state)
        if isinstance(op, ebpf.FpOp):
            return _FRAME
        if isinstance(op, ebpf.LdSymOp):
            name, offset = op.sym.root_reference.data, op.int_prop("offset")
            return between(("symbol", name, offset), _ADDRESS, 2 * _ADDRESS) if name in self._maps else None
        if not isinstance(op, ebpf.UndefOp | ebpf.BranchOp):
            state.frame.forget()
            state.layout = self._fresh_name()
        return None

    def _load(self, op: ebpf.LdxOp, base: Value, state: _State) -> Value | None:
        row, offset = op.row, op.int_prop("off")
        size = row.width // 8
        found: Value | None = None
        if (start := _offset_in(_FRAME, base)) is not None:
            found = state.frame.load(start + offset, size)
        elif base is _CONTEXT and size == 4 and (position := self._position(offset, state)) is not None:
            return position
        if row.signed:
            return None
        return self._fresh(row.width) if found is None else found

    def _position(self, offset: int, state: _State) -> Value | None:
        name, layout = self._fields.get(offset), state.layout
        if name not in ("data", "data_end"):
            return self._fresh() if name == "data_meta" else None
        data = between(("data", layout), _ADDRESS, 2 * _ADDRESS)
        if name == "data":
            return data
        shortest = _SHORTEST.get(self.func.type_name or "", 0)
        return operate("add", data, between(("length", layout), shortest, _LONGEST))

    def _effect(self, op: ebpf.InsnOp, values: list[Value], state: _State) -> Value | None:
        """What an instruction writes, and its result."""
        if isinstance(op, ebpf.StxOp | ebpf.StOp):
            row = op.row
            stored = values[1] if isinstance(op, ebpf.StxOp) else op.int_prop("imm") & ((1 << row.width) - 1)
            self._store(op.operands[0], values[0], op.int_prop("off"), row.width // 8, stored, state)
            return None
        if isinstance(op, ebpf.CallOp):
            return self._call(op, state)
        if isinstance(op, ebpf.AtomicOp | ebpf.AtomicFetchOp | ebpf.CmpxchgOp):
            self._store(op.operands[0], values[0], op.int_prop("off"), op.row.width // 8, None, state)
            return None
        if isinstance(op, ebpf.CallLocalOp):
            registers = [ebpf.reg_index(value.type) for value in op.operands]
            numbered = [index if index is not None else i + 1 for i, index in enumerate(registers)]
            self._passed.note(op.symbol_prop("callee"), dict(zip(numbered, values, strict=True)))
        if not isinstance(op, ebpf.LdAbsOp | ebpf.LdIndOp):
            state.frame.forget()
            state.layout = self._fresh_name()
        return None

    def _store(
        self, base: SSAValue, address: Value, offset: int, size: int, value: Value | None, state: _State
    ) -> None:
        start = _offset_in(_FRAME, address)
        if start is not None:
            state.frame.store(start + offset, size, value)
        elif base in self._of_frame or (self._escapes and address is not _CONTEXT):
            state.frame.forget()

    def _call(self, op: ebpf.CallOp, state: _State) -> Value | None:
        helper = HELPERS.get(op.helper.data)
        registers = [ebpf.reg_index(value.type) for value in op.operands]
        by_position = {
            index if index is not None else position: value
            for position, (index, value) in enumerate(zip(registers, op.operands, strict=True), 1)
        }
        result = self._looked_up(by_position, state) if op.helper.data == _LOOKUP else None
        if helper is None or helper.calls_back or not all(arg.kind in _READS for arg in helper.args):
            state.frame.forget()
        if helper is None or helper.calls_back or helper.changes_packet:
            state.layout = self._fresh_name()
        return result

    def _looked_up(self, operands: dict[int, SSAValue], state: _State) -> Value | None:
        """The result of bpf_map_lookup_elem: an array has all its elements."""
        if 1 not in operands or 2 not in operands:
            return None
        asked, key = self._value(operands[1]), self._value(operands[2])
        name = asked.args[0][1] if isinstance(asked, Term) and _is_symbol(asked) else ""
        decl, start = self._maps.get(name), _offset_in(_FRAME, key)
        if decl is None or decl.type.data not in _ARRAYS or start is None or not decl.int_prop("max_entries"):
            return None
        index = state.frame.load(start, 4)
        if index is None:
            return None
        there = operate("lt", index, decl.int_prop("max_entries"))
        return choice(there, between(self._fresh_name(), _ADDRESS, 2 * _ADDRESS), 0)


def _is_symbol(term: Term) -> bool:
    return term.op == "in" and isinstance(term.args[0], tuple) and term.args[0][0] == "symbol"


def _offset_in(region: Term, address: Value) -> int | None:
    """How far behind a base an address is, if that is known."""
    if address is region:
        return 0
    if isinstance(address, Term) and address.op == "add" and address.args[0] is region:
        offset = address.args[1]
        return offset if isinstance(offset, int) else None
    return None


_OTHER_RESULTS = (ebpf.LdxOp, ebpf.CallOp, ebpf.CallLocalOp, ebpf.CallKfuncOp, ebpf.CallxOp)
"""Whose results come out of memory, or of elsewhere."""


def _lets_escape(op: Operation, addresses: set[SSAValue]) -> bool:
    """Whether an address in the frame may stand in memory afterwards."""
    if isinstance(op, ebpf.StxOp):
        return op.operands[1] in addresses
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        plain = helper is not None and not helper.calls_back
    else:
        plain = isinstance(op, ebpf.InsnOp) and not isinstance(op, _OTHER_RESULTS + _SWAPS)
        plain = plain or isinstance(op, ebpf.LdxOp)
    return not plain and isinstance(op, ebpf.EbpfOp) and any(value in addresses for value in op.operands)


_SWAPS = (ebpf.AtomicOp, ebpf.AtomicFetchOp, ebpf.CmpxchgOp)


def _frame_addresses(func: ebpf.FuncOp) -> set[SSAValue]:
    """Values that may be addresses in the function's frame, other than by way of memory."""
    found: set[SSAValue] = set()
    work: list[SSAValue] = [op.results[0] for op in func.walk() if isinstance(op, ebpf.FpOp | ebpf.AllocaOp)]
    while work:
        value = work.pop()
        if value in found:
            continue
        found.add(value)
        for use in value.uses:
            user = use.operation
            if not isinstance(user, _OTHER_RESULTS):
                work += user.results
            for index, successor in enumerate(user.successors):
                passed = successor_operands(user, index)
                work += [arg for arg, given in zip(successor.args, passed, strict=True) if given is value]
    return found


__all__ = ["FunctionTerms", "Irreducible", "Passed"]
