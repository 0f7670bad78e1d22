"""What a packet must carry over a cut in front of a block, how the receiver gets its values back, and why it cannot.

Every value that is live there either *travels* in a field of the handoff header, or is *made again* on arrival: an
address of the packet from its offset, an address of a map value by looking its key up again, constants and the like by
repeating their operation. Bytes of the stack travel, too. What was proven of an address before the cut (a guard, a hit)
is proven again after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.effects import PACKET, EffectTable
from fsir.analysis.liveness import Liveness
from fsir.analysis.nullness import may_be_null
from fsir.analysis.ranges import Ranges
from fsir.backends.handoff import MAX_SIZE, Layout
from fsir.dialects import ebpf, packet
from fsir.dialects import map as maps
from fsir.dialects.map import ValueType
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.passes._rewrite import relocation_of
from fsir.placement.access import ANY_MAP, CHANGES, MOVES, MapAccesses
from fsir.placement.additions import is_displacement
from fsir.placement.element import Element, Lookup, element_of, same_key
from fsir.placement.facts import Facts
from fsir.placement.graph import FlowGraph
from fsir.placement.held import Held
from fsir.placement.loops import evaluate
from fsir.placement.scalars import Scalars
from fsir.placement.stack import Piece, StackBytes

FieldKind = Literal["scalar", "offset", "key", "stack"]


class Impossible(Exception):
    """The program cannot be cut here; the message says why."""


@dataclass(frozen=True)
class Field:
    """A value in the handoff header: `width` bits. A `scalar` is `value` itself, an `offset` the distance of the packet
    address `value` from the packet's start, a `key` the first bytes at the map address `value`, `stack` the bytes at
    `at` from the frame pointer."""

    kind: FieldKind
    width: int
    name: str
    value: SSAValue | None = None
    at: int = 0


@dataclass(frozen=True)
class Step:
    """How the receiver gets `value`: `repeat` its operation, or take it from field number `field`: a scalar as it is,
    an offset added to the packet's start, or (`repeat` too) as the key of a lookup. A lookup that is repeated by `key`
    takes the low bits of these values and numbers, so many of each."""

    value: SSAValue
    field: int | None = None
    repeat: Operation | None = None
    key: tuple[Piece, ...] = ()


@dataclass
class Crossing:
    """A cut in front of `block`. `steps` are in the order in which the receiver executes them; `guards`, `hits` and
    `bounds` (numbers between two others) are the facts to be checked again."""

    block: Block
    fields: list[Field] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    guards: list[tuple[SSAValue, int]] = field(default_factory=list)
    hits: list[SSAValue] = field(default_factory=list)
    bounds: list[tuple[SSAValue, int, int]] = field(default_factory=list)
    maps: set[str] = field(default_factory=set)
    redirect: Operation | None = None
    """That which chose the packet's way out before the cut, and is done again."""
    metadata: tuple[int, ...] = ()
    """How many bytes of its own the program may have put in front of the packet."""
    decided: list[str] = field(default_factory=list)
    """Maps that are changed after the cut as was decided before it: it is exact only if the packet is done with before
    the next one."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the fields, in order."""
        return tuple(f.width for f in self.fields)

    def size(self, transport: str) -> int:
        """The bytes that the header takes where it travels, the program's own among them if it travels there."""
        layout = Layout(0, self.widths)
        return layout.metadata_size + max(self.metadata, default=0) if transport == "metadata" else layout.size


class Crossings:
    """The cuts of one function."""

    def __init__(
        self,
        graph: FlowGraph,
        accesses: MapAccesses,
        effects: EffectTable,
        only_handoff: bool = False,
        in_order: bool = True,
        ranges: Ranges | None = None,
    ) -> None:
        """`only_handoff`: no packet crosses a second cut, so that what the receiver has on its stack need not be there
        for another one. `in_order`: where the function moves elements of a map, no packet does while another is on its
        way over a cut. `ranges`: the receiver is told again what branches have said of numbers."""
        func = graph.func
        self.only_handoff, self.in_order, self.ranges = only_handoff, in_order, ranges
        self.graph, self.tree, self.accesses, self.effects = graph, graph.tree, accesses, effects
        self.scalars = Scalars(func)
        self.liveness = Liveness(func.body)
        self.held = Held(self.tree, accesses)
        self.facts = Facts(self.tree)
        self.stack = StackBytes(func, self.tree, accesses.declarations, self.scalars)
        changed = accesses.touched_as(CHANGES)
        self.changed = set(accesses.declarations) if ANY_MAP in changed else changed
        self.moved = accesses.moved_beside(func) if in_order else accesses.touched_as(MOVES)
        self._movers: dict[str, set[Operation]] = {}
        for name, kind, op in accesses.of_function(func):
            if kind in MOVES:
                self._movers.setdefault(name, set()).add(op)
        self.stale = self._outlives_packet()
        self._order = {op: i for i, op in enumerate(op for block in self.tree.rpo for op in block.ops)}
        self._plans: dict[Block, Crossing | Impossible] = {}

    def plan_for(self, block: Block, live: set[SSAValue]) -> Crossing:
        """The cut in front of a block when these values are needed after it, its arguments among them. Raises
        Impossible."""
        return _Planner(self, block).run(sorted(live, key=self._position))

    def plan(self, block: Block) -> Crossing:
        """The cut in front of a block when all that comes after it runs in one place. Raises Impossible."""
        if block not in self._plans:
            try:
                self._plans[block] = _Planner(self, block).run(self.live(block))
            except Impossible as error:
                self._plans[block] = error
        found = self._plans[block]
        if isinstance(found, Impossible):
            raise found
        return found

    def live(self, block: Block) -> list[SSAValue]:
        """The values needed from a block on: its arguments, then those live into it, definitions before uses."""
        values = self.liveness.values_of(self.liveness.live_in(block))
        return [*block.args, *sorted(values, key=self._position)]

    def _position(self, value: SSAValue) -> tuple[int, int]:
        if isinstance(value, BlockArgument):
            first = value.owner.first_op
            return self._order.get(first, -1) if first is not None else -1, value.index - 1000
        owner = value.owner
        assert isinstance(owner, Operation)
        return self._order.get(owner, -1), 0

    def may_have_moved(self, name: str, element: Element, block: Block) -> bool:
        """Whether the element that was looked up in a map may be gone, or another one have its key, at the cut."""
        if self.accesses.is_array(name):
            return False
        movers = self._movers.get(name, set())
        return name in self.moved or bool(movers and element.happens_since(block, movers.__contains__))

    def _outlives_packet(self) -> bool:
        """Whether an address of the packet is used after the packet was resized, which no verifier lets through."""
        for block in self.tree.rpo:
            for op, live in self.liveness.backward(block):
                if _changes_packet(op) or any(map(_changes_packet, self.accesses.runs(op))):
                    values = self.liveness.values_of(live)
                    if any(isinstance(v.type, PtrType | EndType | MetaType) and v not in op.results for v in values):
                        return True
        return False


def _changes_packet(op: Operation) -> bool:
    from fsir.interp.helpers import HELPERS

    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        return helper is None or helper.changes_packet
    return isinstance(op, packet.AdjustHeadOp | packet.AdjustTailOp | packet.AdjustMetaOp | ebpf.CallxOp)


_REPEATED = (
    *(arith.ConstantOp, ebpf.MovRIOp, ebpf.LdSymOp, ebpf.FpOp, ebpf.UndefOp),
    *(packet.DataOp, packet.EndOp, packet.MetaOp),
)
"""Operations that give the same again, with no operand but the context."""
_ALIKE = (ebpf.AluRIOp, ebpf.AluRROp, ebpf.MovRROp, ebpf.UnaryOp, ebpf.CastOp)


class _Planner:
    def __init__(self, shared: Crossings, block: Block) -> None:
        self.shared, self.block = shared, block
        self.crossing = Crossing(block)
        self._done: set[SSAValue] = set()
        self._keys = 0  # bytes of the stack that keys are looked up again from

    def run(self, live: list[SSAValue]) -> Crossing:
        reasons = self.shared.held.reasons(self.block)
        if self.shared.stale:
            reasons.append("packet addresses are used after the packet was resized")
        if reasons:
            raise Impossible("; ".join(reasons))
        self.crossing.metadata = self.shared.held.metadata(self.block)
        self.crossing.decided = self.shared.held.decided(self.block)
        self.redirect()
        for value in live:
            self.value(value)
        self.stack()
        proven = self.shared.facts.guarded(self.block)
        self.crossing.guards = [(ptr, size) for ptr, size in proven.items() if ptr in self._done and size > 0]
        found = self.shared.facts.found(self.block)
        self.crossing.hits = [s.value for s in self.crossing.steps if s.value in found and _is_lookup(s.repeat)]
        self.bounds()
        layout = Layout(0, self.crossing.widths)
        if layout.size > MAX_SIZE:
            raise Impossible(f"{layout.size} bytes would have to be carried; a handoff header holds {MAX_SIZE}")
        return self.crossing

    def bounds(self) -> None:
        """Add what is known of carried numbers, and does not follow from the operations that made them."""
        ranges = self.shared.ranges
        for each in self.crossing.fields:
            if ranges is None or each.kind != "scalar" or each.value is None:
                continue
            found = ranges.at(each.value, self.block)
            most = (1 << min(each.width, self._bits(each.value))) - 1
            if found.base is None and 0 <= found.low <= found.high and (found.low > 0 or found.high < most):
                self.crossing.bounds.append((each.value, found.low, min(found.high, most)))

    def redirect(self) -> None:
        """Add what it takes to choose the packet's way out again."""
        op = self.shared.held.redirect(self.block)
        if op is None:
            return
        self._repeat(op.results[0], op)
        self._done.add(op.results[0])
        self.crossing.redirect = op
        if isinstance(op, maps.RedirectOp):
            self.crossing.maps.add(op.map.root_reference.data)

    def value(self, value: SSAValue) -> None:
        """Add what it takes to have `value` on the other side."""
        if value in self._done:
            return
        self._step(value)
        self._done.add(value)

    def _step(self, value: SSAValue) -> None:
        if isinstance(value.type, CtxType):
            if not (isinstance(value, BlockArgument) and value.owner is self.shared.graph.func.entry):
                raise Impossible(f"a copy of the context{_named(value)} is needed")
        elif isinstance(value, BlockArgument):
            self._path_dependent(value)
        else:
            assert isinstance(value.owner, Operation)
            self._computed(value, value.owner)

    def _path_dependent(self, value: BlockArgument) -> None:
        passed = self._passed(value)
        first = passed[0].owner
        if isinstance(first, arith.ConstantOp) and len({evaluate(v, {}) for v in passed}) == 1:
            self.crossing.steps.append(Step(value, repeat=first))
        elif isinstance(value.type, PtrType):
            self._offset(value)
        elif (bound := self._bound_of_packet(value)) is not None:
            self.crossing.steps.append(Step(value, repeat=bound))
        elif isinstance(value.type, IntegerType) and not self.shared.scalars.is_address(value):
            self._carry(value)
        elif isinstance(value.type, ValueType) and (element := element_of(value, self.shared.tree)) is not None:
            self._element(element)
        else:
            raise Impossible(_on_path(value))

    def _bound_of_packet(self, value: SSAValue) -> Operation | None:
        """Where the packet ends, or its metadata begins, if a value is that by whatever way: the operation."""
        found: list[Operation] = []
        seen, work = {value}, [value]
        while work:
            current = work.pop()
            if isinstance(current, BlockArgument):
                for source in self.shared.tree.predecessors(current.owner):
                    passed = [values[current.index] for target, values in edges(source) if target is current.owner]
                    work += [each for each in passed if each not in seen]
                    seen.update(passed)
            else:
                assert isinstance(current.owner, Operation)
                found.append(current.owner)
        alike = len({type(op) for op in found}) == 1 and isinstance(found[0], packet.EndOp | packet.MetaOp)
        return found[0] if alike else None

    def _computed(self, value: SSAValue, op: Operation) -> None:
        if isinstance(op, (*_REPEATED, packet.OffsetOp)) or self._moves_address(value, op):
            self._repeat(value, op)
        elif isinstance(op, maps.LookupOp | maps.LookupAtOp):
            self._element(Element(value, (op,)))
        elif isinstance(value.type, PtrType):
            if isinstance(op, ebpf.CastOp) and evaluate(op.operands[0], {}) is not None:
                self._repeat(value, op)  # null
            else:
                self._offset(value)
        elif isinstance(value.type, IntegerType) and not self.shared.scalars.is_address(value):
            if self._repeatable(op):
                self._repeat(value, op)
            else:
                self._carry(value)
        elif isinstance(op, _ALIKE) or (isinstance(value.type, IntegerType) and self.shared.effects.of(op).pure):
            self._repeat(value, op)
        else:
            raise Impossible(f"a word of unknown kind{_named(value)} is needed, the result of {op.name}")

    def _moves_address(self, value: SSAValue, op: Operation) -> bool:
        """Whether an address of a map value or of the frame is another one and a distance."""
        frame = isinstance(value.type, ebpf.FramePointerType) and isinstance(op, ebpf.AluRIOp)
        return frame or (isinstance(value.type, ValueType) and is_displacement(op))

    def _repeatable(self, op: Operation) -> bool:
        """Whether a scalar follows from constants, and from values that are there already."""
        return (
            not relocation_of(op)
            and self.shared.effects.of(op).pure
            and all(
                isinstance(v.type, IntegerType)
                and (v in self._done or (isinstance(v.owner, Operation) and self._is_constant(v.owner)))
                for v in op.operands
            )
        )

    def _is_constant(self, op: Operation) -> bool:
        return (isinstance(op, arith.ConstantOp | ebpf.MovRIOp) and not relocation_of(op)) or (
            bool(op.operands)
            and self.shared.effects.of(op).pure
            and all(isinstance(v.owner, Operation) and self._is_constant(v.owner) for v in op.operands)
        )

    def _repeat(self, value: SSAValue, op: Operation) -> None:
        for operand in op.operands:
            self.value(operand)
        self.crossing.steps.append(Step(value, repeat=op))

    def _passed(self, value: SSAValue) -> list[SSAValue]:
        """What the block's argument can be when control comes to the cut; of another value, it alone. The arguments of
        a loop's head come from outside of the loop: inside, it does not run where the cut is made."""
        graph, tree = self.shared.graph, self.shared.tree
        if not isinstance(value, BlockArgument) or value.owner is not self.block:
            return [value]
        inside = graph.pieces[graph.piece_of[self.block]].blocks
        sources = [p for p in tree.predecessors(self.block) if p not in inside and tree.is_reachable(p)]
        return [values[value.index] for p in sources for target, values in edges(p) if target is self.block] or [value]

    def _bits(self, value: SSAValue) -> int:
        return max(self.shared.scalars.bits(v) for v in self._passed(value))

    def _carry(self, value: SSAValue) -> None:
        number = self._field(Field("scalar", _rounded(self._bits(value)), _name(value), value))
        self.crossing.steps.append(Step(value, field=number))

    def _offset(self, value: SSAValue) -> None:
        if may_be_null(value):
            raise Impossible(f"an address of the packet{_named(value)} may be null")
        width = _rounded(self._bits(value))
        number = self._field(Field("offset", width, f"{_name(value)}_offset", value))
        self.crossing.steps.append(Step(value, field=number))

    def _element(self, element: Element) -> None:
        """Look an element up again by the key that all lookups which it may be from have used."""
        value, op, block = element.value, element.lookups[0], self.block
        name = op.map.root_reference.data
        declaration = self.shared.accesses.declarations.get(name)
        kind = declaration.type.data if declaration is not None else "unknown"
        self.crossing.maps.add(name)
        if kind not in ("array", "percpu_array", "hash", "percpu_hash", "lpm_trie"):
            raise Impossible(f"an element of the {kind} map '{name}' is held, which cannot be looked up again")
        if self.shared.may_have_moved(name, element, block):
            raise Impossible(f"an element of map '{name}' is held, which may be replaced or deleted meanwhile")
        if isinstance(op, maps.LookupOp) and len(element.lookups) == 1:
            self._repeat(value, op)
            return
        size = declaration.int_prop("key_size") if declaration is not None else 0
        keys = [self._key(each, size) for each in element.lookups]
        if (stored := keys[0]) is not None and same_key(keys):
            for piece, _ in stored:
                if isinstance(piece, SSAValue):
                    self.value(piece)
            self.crossing.steps.append(Step(value, repeat=op, key=tuple(stored)))
            return
        in_memory = [each for each in element.lookups if isinstance(each, maps.LookupAtOp)]
        if len(in_memory) != len(element.lookups):
            raise Impossible(_on_path(value))
        self._key_in_memory(element, in_memory, size)

    def _key(self, op: Lookup, size: int) -> list[Piece] | None:
        """What the key of a lookup is made of, where that is known and can travel."""
        if isinstance(op, maps.LookupAtOp):
            key = self.shared.stack.stored(op, size)
        else:
            numbers = [(v, evaluate(v, {})) for v in op.operands if isinstance(v.type, IntegerType)]
            key = [(v if n is None else n, v.type.width.data) for v, n in numbers if isinstance(v.type, IntegerType)]
        addresses = any(isinstance(p, SSAValue) and self.shared.scalars.is_address(p) for p, _ in key or ())
        return None if addresses or not key else key

    def _key_in_memory(self, element: Element, lookups: list[maps.LookupAtOp], size: int) -> None:
        """Look an element up again by bytes that are in memory still as they were, at one place for all lookups."""
        op, name = lookups[0], lookups[0].map.root_reference.data
        kept = {
            self.shared.stack.kept_key(each, size, lambda matters: element.happens_since(self.block, matters))
            for each in lookups
            if self.shared.only_handoff
        }
        if len(kept) == 1 and (bits := kept.pop()):
            self._keys |= bits
            self._repeat(element.value, op)
            return
        if any(each.key is not op.key for each in lookups):
            raise Impossible(_on_path(element.value))
        if size not in (1, 2, 4, 8) or not isinstance(op.key.type, ValueType | PtrType):
            raise Impossible(f"an element of map '{name}' is held, whose key is in memory that does not travel")
        if (changed := self._has_changed(element, op.key)) is not None:
            raise Impossible(f"an element of map '{name}' is held, whose key lies in {changed}")
        number = self._field(Field("key", 8 * size, f"{name}_key", op.key))
        self.crossing.steps.append(Step(element.value, field=number, repeat=op))

    def _has_changed(self, element: Element, key: SSAValue) -> str | None:
        """What may have changed since a key was read there; None where it is as it was."""
        source = key.type
        if isinstance(source, ValueType):
            holders = [name for name in source.names if name in self.shared.changed]
            if not holders and source.names:
                return None
            return f"map '{holders[0]}', which is changed" if holders else "a map that is not known"
        effects = self.shared.effects

        def changes(other: Operation) -> bool:
            return bool(effects.of(other).writes & PACKET)

        changed = element.happens_since(self.block, changes)
        return "the packet, which may have been changed" if changed else None

    def stack(self) -> None:
        """Add the live bytes of the stack."""
        live = self.shared.stack.live(self.block) | self._keys
        if not live:
            return
        if not self.shared.stack.traceable:
            raise Impossible("the address of an object on the stack goes where it cannot be followed")
        if self.shared.stack.holds_address(self.block, live):
            raise Impossible("an address is kept on the stack")
        for at, width in self.shared.stack.chunks(live):
            self._field(Field("stack", width, f"stack{-at}", at=at))

    def _field(self, new: Field) -> int:
        if new in self.crossing.fields:
            return self.crossing.fields.index(new)
        self.crossing.fields.append(new)
        return len(self.crossing.fields) - 1


def _is_lookup(op: Operation | None) -> bool:
    return isinstance(op, maps.LookupOp | maps.LookupAtOp)


def _rounded(bits: int) -> int:
    return next(width for width in (8, 16, 32, 64) if bits <= width)


def _name(value: SSAValue) -> str:
    """What to call a field: the value's name, or that of what it is the low bits of."""
    while value.name_hint is None and isinstance(op := value.owner, arith.TruncIOp | arith.ExtUIOp):
        value = op.operands[0]
    if value.name_hint is None and isinstance(value.owner, packet.LoadOp) and value.owner.field is not None:
        return value.owner.field.data
    return value.name_hint or ("arg" if isinstance(value, BlockArgument) else "value")


def _named(value: SSAValue) -> str:
    return f" (%{value.name_hint})" if value.name_hint else ""


def _on_path(value: SSAValue) -> str:
    return f"an address{_named(value)} ({_kind(value)}) depends on the path taken"


def _kind(value: SSAValue) -> str:
    names = value.type.names if isinstance(value.type, ValueType) else ()
    return f"of map {' or '.join(map(repr, names))}" if names else str(value.type)


__all__ = ["Crossing", "Crossings", "Field", "Impossible", "Step"]
