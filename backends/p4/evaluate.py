"""From a part's function to P4 statements: every block's code, its edges, and what the program around it needs.

The function is acyclic, so one walk in topological order gives every word its meaning: bits of fields and variables,
conditions, addresses with constant offsets.  The walk happens twice: first for the survey of what is accessed, then
with the headers and action parameters that the survey led to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from xdsl.dialects import cf
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.backends.p4 import bits as b
from fsir.backends.p4.bits import Bits, Term
from fsir.backends.p4.capabilities import P4Context, map_name, map_uses, why_not
from fsir.backends.p4.conditions import TRUE, Condition, is_set, named
from fsir.backends.p4.demand import Demand
from fsir.backends.p4.facts import FuncFacts, width_of
from fsir.backends.p4.layout import Layout, Survey
from fsir.backends.p4.names import Names
from fsir.backends.p4.sites import Access, Site, ValueLayout, blob_layout, members_of
from fsir.backends.p4.values import Opaque, PacketAddress, ValuePointer, Word
from fsir.dialects.ebpf import FuncOp, form_of
from fsir.dialects.map import DeclOp, LoadOp
from fsir.dialects.packet import PtrType
from fsir.driver.diagnostics import fail
from fsir.interp.engine_maps import ModuleData

LONG = 100
"""Characters beyond which a condition that is used more than once gets a variable."""


@dataclass(frozen=True)
class Add:
    """A statement that becomes a counter or register access once all additions are known."""

    map: str
    off: int
    width: int
    index: Bits
    addend: Bits


Statement = str | Add


@dataclass
class Edge:
    """A way out of a block: what to assign before going on in `target`."""

    target: Block
    assigns: list[str] = field(default_factory=list)


@dataclass
class BlockCode:
    """The code of a block: statements, then its edges. `condition` chooses between two; none end the program."""

    statements: list[Statement] = field(default_factory=list)
    condition: Condition = TRUE
    edges: list[Edge] = field(default_factory=list)
    redirected: bool = False
    """Whether the packet's way out may have been chosen (XDP_REDIRECT), which no later part can know."""


Incoming = tuple[BlockCode, Edge, Sequence[Word]]
"""A way into a block: where from, the edge, and the words passed."""


@dataclass(frozen=True)
class Handoff:
    """A resume point that the part hands packets to: the widths of its values, and their names."""

    resume: int
    to: str
    fields: tuple[tuple[str, int], ...]


@dataclass
class Plan:
    """How packet and map values are laid out; what is not in `values` is one field."""

    layout: Layout
    stored: frozenset[int] = frozenset()
    values: dict[str, ValueLayout] = field(default_factory=dict)


class Evaluation:
    """One walk over a function. Raises FailedAt for what P4 cannot do (placement should not have put it here)."""

    def __init__(self, func: FuncOp, context: P4Context, plan: Plan, names: dict[int, list[str]]) -> None:
        self.func = func
        self.context = context
        self.plan = plan
        self.field_names = names
        self.facts: FuncFacts = context.facts(func)
        self.demand = Demand(func)
        self.uses = map_uses(func.walk(), context)
        loads = (op for op in func.walk() if isinstance(op, LoadOp) and context.additions.of(op) is None)
        self.loaded = {map_name(op.value) for op in loads}
        self.data = ModuleData(context.module)
        # Parameters of actions must not hide variables.
        self.names = Names(field.name for layout in plan.values.values() for field in layout.fields)
        self.words: dict[SSAValue, Word] = {}
        self.code: dict[Block, BlockCode] = {}
        self.variables: list[tuple[str, str]] = []
        self.sites: list[Site] = []
        self.data_sites: dict[str, ValuePointer] = {}
        self.handoffs: dict[int, Handoff] = {}
        self.verdicts: set[int | None] = set()
        self.possible: dict[Term, frozenset[int | None]] = {}
        self.uses_ifindex = False
        self.redirects = False
        self.survey = Survey()
        self.value_survey: dict[str, set[Access]] = {}
        self.pending: dict[int, Bits] = {}
        self.at: Operation = func
        self.here = BlockCode()
        self._incoming: dict[Block, list[Incoming]] = {}

    def run(self) -> None:
        """Evaluate every block that control can reach."""
        for block in self.facts.tree.rpo:
            incoming = self._incoming.get(block)
            if incoming is None and block is not self.func.entry:
                continue  # only constant conditions lead here
            chosen = any(source.redirected for source, _, _ in incoming or ())
            self.here = self.code[block] = BlockCode(redirected=chosen)
            self.pending = {}
            for arg in block.args:
                self.words[arg] = self._merged(arg.index, arg.type, incoming or [], arg.name_hint or "v")
            for op in block.ops:
                self._evaluate(op)

    def _evaluate(self, op: Operation) -> None:
        self.at = op
        reason = why_not(op, self.context)
        if reason is not None:
            self.fail(f"{op.name} cannot be part of a P4 program: {reason}")
        addition = self.context.additions.of(op)
        if addition is not None and op is not addition.op:
            return  # the operation that writes stands for all of them
        rule = RULES.get(form_of(op))
        if rule is None:
            self.fail(f"{op.name} has no counterpart in P4")
        rule(self, op)

    def fail(self, message: str) -> NoReturn:
        """Give up at the operation at hand."""
        fail(self.at, f"{message}; place it on another target")

    # -- words -------------------------------------------------------------------------------------------------------

    def bits(self, value: SSAValue) -> Bits:
        """A scalar as bits."""
        word = self.words[value]
        if isinstance(word, Condition):
            if word.known is not None:
                return b.constant(int(word.known), 1)
            word = self.words[value] = self.keep(b.variable(f"(bit<1>)({word.text})", 1), value)
        if not isinstance(word, Bits):
            self.fail(f"{self.at.name} uses an address as a number")
        return word

    def condition(self, value: SSAValue) -> Condition:
        """A scalar of one bit as a truth value."""
        word = self.words[value]
        return word if isinstance(word, Condition) else is_set(self.bits(value))

    def pointer(self, value: SSAValue) -> ValuePointer:
        """An address within a map value."""
        word = self.words[value]
        if not isinstance(word, ValuePointer):
            self.fail(f"{self.at.name} uses an address that comes from no lookup")
        return word

    def address(self, value: SSAValue) -> int:
        """The offset of a packet address."""
        word = self.words[value]
        offset = word.offset if isinstance(word, PacketAddress) else None
        if offset is None:
            self.fail(f"{self.at.name} uses an address without constant offset")
        return offset

    def set(self, value: SSAValue, word: Word) -> None:
        """Say what a result is; scalars are brought to its width."""
        if isinstance(value.type, IntegerType):
            width = width_of(value)
            if isinstance(word, Bits) and width == 1:
                word = is_set(word.slice(0, 1))
            elif isinstance(word, Bits):
                word = word.extended(width)
            if isinstance(word, Condition) and not word.atomic and len(word.text) > LONG and len(list(value.uses)) > 1:
                word = self.keep_condition(word, value.name_hint or "c")
        self.words[value] = word

    # -- variables and statements --------------------------------------------------------------------------------------

    def line(self, text: Statement) -> None:
        """Add a statement to the block at hand."""
        self.here.statements.append(text)

    def new(self, type_: str, wish: str) -> str:
        """A new variable of the program."""
        name = self.names.new(wish)
        self.variables.append((type_, name))
        return name

    def keep(self, value: Bits, hint: SSAValue | str) -> Bits:
        """A variable that holds a value, in the byte order in which it is simplest."""
        wish = hint if isinstance(hint, str) else hint.name_hint or "v"
        name = self.new(f"bit<{value.width}>", wish)
        held = b.variable(name, value.width)
        if value.width % 8 == 0 and len((swapped := value.swapped()).pieces) < len(value.pieces):
            self.line(f"{name} = {swapped.text()};")
            return held.swapped()
        self.line(f"{name} = {value.text()};")
        return held

    def keep_condition(self, value: Condition, wish: str) -> Condition:
        """A variable that holds a truth value."""
        name = self.new("bool", wish)
        self.line(f"{name} = {value.text};")
        return named(name)

    def compute(self, text: str, width: int) -> Bits:
        """The value of an expression, in a variable."""
        hint = self.at.results[0].name_hint if self.at.results else None
        name = self.new(f"bit<{width}>", hint or "v")
        self.line(f"{name} = {text};")
        return b.variable(name, width)

    # -- control -------------------------------------------------------------------------------------------------------

    def go(self, op: Operation, index: int) -> Edge:
        """An edge of the block at hand, with the words that it passes on."""
        edge = Edge(op.successors[index])
        values = [self.words[value] for value in successor_operands(op, index)]
        self._incoming.setdefault(edge.target, []).append((self.here, edge, values))
        return edge

    def _merged(self, index: int, type_: Attribute, incoming: Sequence[Incoming], hint: str) -> Word:
        """What a block argument is, given what each edge passes."""
        edges = [edge for _, edge, _ in incoming]
        words = [values[index] for _, _, values in incoming]
        if not words:
            return Opaque()
        if isinstance(type_, PtrType):
            return self._merge_addresses(words, edges, hint)
        if isinstance(type_, IntegerType):
            return (
                self.merge_condition(words, edges, hint)
                if width_of_type(type_) == 1
                else self._scalars(words, edges, hint)
            )
        if all(isinstance(word, ValuePointer) for word in words):
            return self._merge_pointers([word for word in words if isinstance(word, ValuePointer)], edges, hint)
        return words[0] if all(word == words[0] for word in words) else Opaque()

    def _merge_addresses(self, words: Sequence[Word], edges: Sequence[Edge], hint: str) -> Word:
        found = [word for word in words if isinstance(word, PacketAddress)]
        if len(found) < len(words) or (len(set(found)) > 1 and any(word.offset is None for word in found)):
            return Opaque()
        if len(set(found)) == 1:
            return found[0]
        offsets = [b.constant(word.offset, 64) for word in found if word.offset is not None]
        return PacketAddress(self.merge_bits(offsets, edges, hint))

    def _scalars(self, words: Sequence[Word], edges: Sequence[Edge], hint: str) -> Word:
        found = [word for word in words if isinstance(word, Bits)]
        return self.merge_bits(found, edges, hint) if len(found) == len(words) else Opaque()

    def merge_bits(self, values: Sequence[Bits], edges: Sequence[Edge], hint: str) -> Bits:
        """One of several values, by the edge that was taken."""
        if all(value == values[0] for value in values):
            return values[0]
        width = values[0].width
        term = Term(self.new(f"bit<{width}>", hint), width)
        for edge, value in zip(edges, values, strict=True):
            edge.assigns.append(f"{term.text} = {value.text()};")
        self.possible[term] = frozenset().union(*(self.possible_values(value) for value in values))
        return b.of_term(term)

    def merge_condition(self, words: Sequence[Word], edges: Sequence[Edge], hint: str) -> Word:
        """One of several truth values, by the edge that was taken."""
        values = [is_set(word) if isinstance(word, Bits) else word for word in words]
        found = [value for value in values if isinstance(value, Condition)]
        if len(found) < len(values):
            return Opaque()
        if all(value == found[0] for value in found):
            return found[0]
        name = self.new("bool", hint)
        for edge, value in zip(edges, found, strict=True):
            edge.assigns.append(f"{name} = {value.text};")
        return named(name)

    def _merge_pointers(self, found: Sequence[ValuePointer], edges: Sequence[Edge], hint: str) -> Word:
        first = found[0]
        if any(pointer.off != first.off for pointer in found):
            return Opaque()
        hit = self.merge_condition([pointer.hit for pointer in found], edges, f"{hint}_hit")
        assert isinstance(hit, Condition)
        indices = [pointer.index for pointer in found if pointer.index is not None]
        index = self.merge_bits(indices, edges, f"{first.map}_index") if len(indices) == len(found) else None
        layout = self.values_of(first.map)
        fields = [
            self.merge_bits([pointer.fields[i] for pointer in found], edges, f"{first.map}_{layout.fields[i].name}")
            for i in range(len(first.fields))
        ]
        return ValuePointer(first.map, hit, index, tuple(fields), first.off)

    def possible_values(self, value: Bits) -> frozenset[int | None]:
        """The numbers that a value may be; None among them where it may be any."""
        if value.value is not None:
            return frozenset({value.value})
        only = value.pieces[0]
        if len(value.pieces) == 1 and only.term is not None and only.width == only.term.width:
            return self.possible.get(only.term, frozenset({None}))
        return frozenset({None})

    def reads(self, name: str) -> bool:
        """Whether the NIC looks at what a map holds, and not only counts in it."""
        return "table" in self.uses.get(name, ())

    def reads_value(self, name: str) -> bool:
        """Whether it looks at more than whether there is an entry."""
        return name in self.loaded

    def members(self, decl: DeclOp, of: Literal["key_btf", "value_btf"]) -> list[tuple[str, int, int]]:
        """The members (name, offset, size) of a map's key or value, where there is BTF; variables of global data."""
        if decl.internal is None:
            return members_of(self.data.btf, decl.int_prop(of), of.removesuffix("_btf"))
        section = decl.section.data if decl.section is not None else decl.sym_name.data
        numbers = {n for n, each in enumerate(self.data.sections, 1) if each.section.data == section}
        found = [s for s in self.data.symbols if s.section.data in numbers and s.size.data]
        return [(s.symbol.data, s.value.data, s.size.data) for s in found if s.symbol.data]

    def values_of(self, name: str) -> ValueLayout:
        """The fields of a map's value."""
        return self.plan.values.get(name) or blob_layout(self.context.maps[name].value_size.data)


Rule = Callable[[Evaluation, Operation], None]
RULES: dict[type[Operation], Rule] = {}
"""By operation class, or form of instruction; filled by `fsir.backends.p4.ops_*`."""


def rule(*classes: type[Operation]) -> Callable[[Rule], Rule]:
    """Say that a function evaluates operations of these classes."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(classes, function))
        return function

    return register


def width_of_type(type_: Attribute) -> int:
    """The width of a scalar type."""
    assert isinstance(type_, IntegerType)
    return int(type_.width.data)


@rule(cf.BranchOp)
def _branch(e: Evaluation, op: Operation) -> None:
    flush(e)
    e.here.edges = [e.go(op, 0)]


@rule(cf.ConditionalBranchOp)
def _conditional_branch(e: Evaluation, op: Operation) -> None:
    condition = e.condition(op.operands[0])
    flush(e)
    if condition.known is not None:
        e.here.edges = [e.go(op, 0 if condition.known else 1)]
        return
    e.here.condition = condition
    e.here.edges = [e.go(op, 0), e.go(op, 1)]


def flush(e: Evaluation) -> None:
    """Write the packet bytes that were stored since the last flush, field by field."""
    if not e.pending:
        return
    for each in e.plan.layout.fields(min(e.pending), max(e.pending) + 1):
        for lo, value in _written(each.start, each.end, e.pending):
            if value.width == each.term.width:
                e.line(f"{each.term.text} = {value.text()};")
            else:
                high = each.end - lo - 1
                e.line(f"{each.term.text}[{high}:{high - value.width + 1}] = {value.text()};")
    e.pending = {}


def _written(start: int, end: int, pending: dict[int, Bits]) -> list[tuple[int, Bits]]:
    """The runs of bits between `start` and `end` (bits of the packet) that are written, as (first bit, value)."""
    found: list[tuple[int, Bits]] = []
    for byte in range(start // 8, (end + 7) // 8):
        if byte not in pending:
            continue
        first, last = max(start, 8 * byte), min(end, 8 * byte + 8)
        part = pending[byte].slice(8 * byte + 8 - last, last - first)
        if found and found[-1][0] + found[-1][1].width == first:
            found[-1] = found[-1][0], b.concat((part, found[-1][1]))
        else:
            found.append((first, part))
    return found
