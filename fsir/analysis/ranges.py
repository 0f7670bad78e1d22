"""Between which bounds every value lies: a number by itself, an address by its distance from what it points into.

    ranges = Ranges(func.body, effects)
    ranges.at(value, block)     what the value can be while control is in `block`, which its definition dominates

Intervals by optimistic iteration, widened to the constants that the function compares with, and narrowed by what the
branches on the way say. Nothing here depends on the verifier having seen the function: a loop may run as often as it
likes, and a sum that may wrap is any number.

The base of an address is what an operation gave when it last ran. That holds for block arguments, too: as all that an
argument can be has the same base, that operation dominates its block, and does not run again between it and a use.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, cf
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue

from fsir.analysis.bits import mask
from fsir.analysis.cfg import edges, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.effects import LAYOUT, Effects, EffectTable
from fsir.analysis.evaluate import PREDICATES, width_of
from fsir.analysis.facts import constant_of
from fsir.analysis.intervals import FAR, FRAME, RULES, THROUGH, Element, End, Range, Start, any_word, hull
from fsir.analysis.memory_versions import MemoryVersions, Versions
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import form_of

LONGEST = (1 << 32) - 1
"""More bytes than any packet has."""
_EXACT, _ROUNDS = 3, 12
"""Rounds before intervals are widened, and before those that still grow become any word."""
_NESTED = 2
"""How often facts are handed on to block arguments, so how many loops deep."""
_OPPOSITE = {"eq": "ne", "ne": "eq"} | {
    s + a: s + b for s in "us" for a, b in (("lt", "ge"), ("ge", "lt"), ("le", "gt"), ("gt", "le"))
}
_SWAPPED = {"eq": "eq", "ne": "ne"} | {
    s + a: s + b for s in "us" for a, b in (("lt", "gt"), ("gt", "lt"), ("le", "ge"), ("ge", "le"))
}


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that holds, with the value on its left side."""

    predicate: str
    other: SSAValue


@dataclass(frozen=True, slots=True)
class Within:
    """So many bytes from the address on end at `end` or before."""

    size: int
    end: SSAValue


@dataclass(frozen=True, slots=True)
class Hit:
    """The address of a map value is not null."""


Fact = Compared | Within | Hit


class Ranges:
    """The answer for one region."""

    def __init__(self, region: Region, effects: LayoutEffects) -> None:
        self.tree = DominatorTree(region)
        self._versions = MemoryVersions(self.tree, effects)
        self._ranges: dict[SSAValue, Range] = {}
        self._twins: dict[SSAValue, tuple[SSAValue, int]] = {}
        self._incoming: dict[Block, list[tuple[Operation, int]]] = {block: [] for block in self.tree.rpo}
        for block in self.tree.rpo:
            if (last := block.last_op) is not None:
                for index, successor in enumerate(last.successors):
                    self._incoming[successor].append((last, index))
        for block in self.tree.rpo:
            self._find_twins(block)
        self._facts: dict[type[Fact], list[tuple[Block, SSAValue, Fact]]] = {Compared: [], Within: [], Hit: []}
        self._about: dict[SSAValue, list[tuple[Block, Fact]]] = {}
        self._collect()
        self._solve()

    # Questions

    def at(self, value: SSAValue, block: Block) -> Range:
        """What a value can be in a block."""
        found = self._narrowed(value, block, (), 2)
        return any_word(value) if found is None else found

    def root(self, value: SSAValue) -> tuple[SSAValue, int]:
        """Another address, and how many bytes beyond it this one always is."""
        offset = 0
        while True:
            owner = value.owner
            if isinstance(owner, packet.OffsetOp):
                value, offset = owner.ptr, offset + owner.off.data
            elif value in self._twins:
                value, more = self._twins[value]
                offset += more
            else:
                return value, offset

    def holding(self, block: Block, kind: type[Fact]) -> Iterator[tuple[SSAValue, Fact]]:
        """The facts of a kind that hold in a block; those about addresses are about their `root`."""
        for place, value, fact in self._facts[kind]:
            if self.tree.dominates(place, block):
                yield value, fact

    def layout(self, op: Operation) -> Versions | None:
        """The version of the packet's layout that an operation sees; None for one that changes it."""
        return self._versions.of(op)

    # Facts

    def _collect(self) -> None:
        for block in self.tree.rpo:
            coming = self._incoming[block]
            if len(coming) == 1:
                for value, fact in self._learned(*coming[0]):
                    self._note(block, value, fact)
        for _ in range(_NESTED):
            for block in self.tree.rpo:
                for arg in block.args:
                    if isinstance(arg.type, packet.PtrType) and arg not in self._twins and self._incoming[block]:
                        self._guarded_before(arg)

    def _note(self, block: Block, value: SSAValue, fact: Fact) -> None:
        if not any(fact == known and value is about for _, about, known in self._facts[type(fact)] if _ is block):
            self._facts[type(fact)].append((block, value, fact))
            self._about.setdefault(value, []).append((block, fact))

    def _guarded_before(self, arg: BlockArgument) -> None:
        """What guards say of all that an argument can be: a loop's condition may stand at its end."""
        sizes: dict[SSAValue, int] | None = None
        for terminator, index in self._incoming[arg.owner]:
            root, offset = self.root(successor_operands(terminator, index)[arg.index])
            if root is arg and not offset:
                continue
            assert terminator.parent is not None
            here: dict[SSAValue, int] = {}
            for fact in self._holding(root, terminator.parent, list(self._learned(terminator, index))):
                if isinstance(fact, Within):
                    here[fact.end] = max(fact.size - offset, here.get(fact.end, 0))
            sizes = here if sizes is None else {e: min(n, here[e]) for e, n in sizes.items() if e in here}
        for end, size in (sizes or {}).items():
            above = end.owner.parent if isinstance(end.owner, Operation) else end.owner
            if size > 0 and above is not None and self.tree.strictly_dominates(above, arg.owner):
                self._note(arg.owner, arg, Within(size, end))

    def _learned(self, terminator: Operation, index: int) -> Iterator[tuple[SSAValue, Fact]]:
        """What an edge says."""
        if isinstance(terminator, cf.ConditionalBranchOp):
            yield from self._said(terminator.cond, index == 0)

    def _said(self, condition: SSAValue, holds: bool) -> Iterator[tuple[SSAValue, Fact]]:
        op = condition.owner
        if isinstance(op, arith.AndIOp | arith.OrIOp) and holds == isinstance(op, arith.AndIOp):
            yield from self._said(op.lhs, holds)
            yield from self._said(op.rhs, holds)
        elif isinstance(op, arith.XOrIOp) and constant_of(op.rhs) == 1:
            yield from self._said(op.lhs, not holds)
        elif isinstance(op, map.HitOp) and holds:
            yield op.value, Hit()
        elif isinstance(op, packet.GuardOp) and holds:
            root, offset = self.root(op.ptr)
            yield root, Within(op.size.data + offset, op.end)
        elif isinstance(op, arith.CmpiOp):
            predicate = PREDICATES[op.predicate.value.data]
            predicate = predicate if holds else _OPPOSITE[predicate]
            yield op.lhs, Compared(predicate, op.rhs)
            yield op.rhs, Compared(_SWAPPED[predicate], op.lhs)

    def _find_twins(self, block: Block) -> None:
        """Arguments of a block that are always the same distance from another one: of two addresses that go up together
        only one is in the loop's condition."""
        args = [arg for arg in block.args if isinstance(arg.type, packet.PtrType)]
        passed = [successor_operands(op, index) for op, index in self._incoming[block]]
        for number, twin in enumerate(args):
            for first in args[:number]:
                distances = {self._distance(first, twin, values) for values in passed} - {"kept"}
                if len(distances) == 1 and isinstance(distance := distances.pop(), int):
                    self._twins[twin] = (first, distance)
                    break

    def _distance(self, first: BlockArgument, twin: BlockArgument, passed: Sequence[SSAValue]) -> int | str:
        """How far an edge sets them apart."""
        a, at = self.root(passed[first.index])
        b, behind = self.root(passed[twin.index])
        if a is b:
            return behind - at
        return "kept" if a is first and b is twin and at == behind else "unknown"

    # Iteration

    def _solve(self) -> None:
        thresholds = self._thresholds()
        for arg in self.tree.rpo[0].args if self.tree.rpo else ():
            self._ranges[arg] = any_word(arg)
        changed, rounds = True, 0
        while changed:
            changed, rounds = False, rounds + 1
            for block in self.tree.rpo:
                for op in block.ops:
                    changed |= self._compute(op, block)
                last = block.last_op
                for index, (successor, values) in enumerate(edges(block)):
                    assert last is not None
                    said = list(self._learned(last, index)) if successor.args else []
                    for arg, value in zip(successor.args, values, strict=True):
                        found = self._narrowed(value, block, said, 2)
                        if found is not None:
                            found = self._seen_hit(found, block, said)
                            changed |= self._learn(arg, found, thresholds, rounds)

    def _seen_hit(self, found: Range, block: Block, said: Sequence[tuple[SSAValue, Fact]]) -> Range:
        """An address in a value that is known to be there may meet those in other values of its map."""
        base = found.base
        if not isinstance(base, SSAValue) or not isinstance(base.owner, map.LookupOp | map.LookupAtOp):
            return found
        if not any(isinstance(fact, Hit) for fact in self._holding(base, block, said)):
            return found
        return Range(Element(base.owner.symbol_prop("map")), found.low, found.high)

    def _compute(self, op: Operation, block: Block) -> bool:
        changed = False
        for result in op.results:
            found = self._transfer(op, result, lambda value: self._narrowed(value, block, (), 1))
            if found is not None:
                changed |= self._learn(result, found, (), 0)
        return changed

    def _learn(self, value: SSAValue, found: Range | _Unknown, thresholds: Sequence[int], rounds: int) -> bool:
        old = self._ranges.get(value)
        whole = any_word(value)
        if old == whole:
            return False
        new = None if isinstance(found, _Unknown) else found if old is None else hull(old, found)
        if new is not None and new != old and old is not None and rounds > _EXACT:
            new = _widened(old, new, thresholds) if rounds <= _ROUNDS else None
        if new is None or (new.base is None and new.high > whole.high):
            new = whole
        if new == old:
            return False
        self._ranges[value] = new
        return True

    def _thresholds(self) -> list[int]:
        """Where intervals stop growing: at what is compared with, and beside it."""
        found = {0, 1, 0xFF, 0xFFFF, LONGEST, 2 * LONGEST, mask(63), mask(64)}
        for block in self.tree.rpo:
            for op in block.ops:
                if isinstance(op, arith.CmpiOp):
                    constants = [c for c in _constants(op.operands) if c < FAR]
                    found.update(each for c in constants for each in (c - 1, c, c + 1))
        return sorted(found)

    def _narrowed(
        self, value: SSAValue, block: Block, said: Sequence[tuple[SSAValue, Fact]], depth: int
    ) -> Range | None:
        """A value's range by all that is known in a block; None while it has none. `said` holds there, too."""
        found = self._ranges.get(value)
        if found is None:
            return None
        owner = value.owner
        if depth and isinstance(owner, Operation) and (found.base is not None or type(owner) in THROUGH):
            again = self._transfer(owner, value, lambda part: self._narrowed(part, block, said, depth - 1))
            if isinstance(again, Range) and again.base == found.base:
                found = _meet(found, again.low, again.high)
        root, offset = (value, 0) if found.base is None else self.root(value)
        for fact in self._holding(root, block, said):
            if isinstance(fact, Compared) and found.base is None:
                found = self._compared(found, fact, width_of(value.type))
            elif isinstance(fact, Within):
                found = self._bounded(found, fact.size - offset, fact.end)
        return found

    def _holding(self, value: SSAValue, block: Block, said: Sequence[tuple[SSAValue, Fact]]) -> Iterator[Fact]:
        for place, fact in self._about.get(value, ()):
            if self.tree.dominates(place, block):
                yield fact
        for other, fact in said:
            if other is value:
                yield fact

    def _compared(self, found: Range, fact: Compared, width: int) -> Range:
        other = self._ranges.get(fact.other)
        if other is None or other.base is not None:
            return found
        predicate, sign = fact.predicate, 1 << (width - 1)
        if predicate[0] == "s":
            if other.high >= sign or (predicate in ("slt", "sle") and found.high >= sign):
                return found
            found = _meet(found, 0, sign - 1)
            predicate = "u" + predicate[1:]
        if predicate == "ne":
            if other.low != other.high:
                return found
            return _meet(found, found.low + (found.low == other.low), found.high - (found.high == other.low))
        low = {"eq": other.low, "ugt": other.low + 1, "uge": other.low}.get(predicate, found.low)
        high = {"eq": other.high, "ult": other.high - 1, "ule": other.high}.get(predicate, found.high)
        return _meet(found, low, high)

    def _bounded(self, found: Range, size: int, end: SSAValue) -> Range:
        """An address from which on so many bytes lie before the packet's end."""
        limit = self._ranges.get(end)
        if not isinstance(found.base, Start) or found.low < 0 or limit is None:
            return found
        if limit != Range(End(found.base.versions), 0, 0):
            return found
        return _meet(found, found.low, LONGEST - size)

    # Operations

    def _transfer(
        self, op: Operation, result: SSAValue, of: Callable[[SSAValue], Range | None]
    ) -> Range | _Unknown | None:
        """The range of an operation's result; None while that of an operand is not there yet."""
        match op:
            case packet.DataOp() | packet.EndOp() if "core" not in op.properties:
                versions = self._versions.of(op)
                kind = Start if isinstance(op, packet.DataOp) else End
                return UNKNOWN if versions is None else Range(kind(versions), 0, 0)
            case ebpf.FpOp():
                return Range(FRAME, 0, 0)
            case ebpf.AllocaOp():
                return Range(result, 0, 0)
            case map.LookupOp() | map.LookupAtOp() if isinstance(result.type, map.ValueType):
                return Range(result, 0, 0)
            case ebpf.LdSymOp() if isinstance(result.type, map.ValueType):  # global data are always there
                return Range(Element(op.symbol_prop("sym")), op.int_prop("offset"), op.int_prop("offset"))
        constant = constant_of(result)
        if constant is not None:
            return Range(None, constant, constant)
        rule = RULES.get(form_of(op))
        if rule is None or "core" in op.properties:
            return UNKNOWN
        operands: list[Range] = []
        for operand in op.operands:
            found = of(operand)
            if found is None:
                return None
            operands.append(found)
        computed = rule(op, operands)
        if computed is None or (
            computed.base is None and not 0 <= computed.low <= computed.high <= any_word(result).high
        ):
            return UNKNOWN
        return computed


class _Unknown:
    """Any word of the value's type."""


UNKNOWN = _Unknown()


class LayoutEffects:
    """Effects reduced to the packet's layout, which every other operation is taken to look at. `functions` are those
    that may be called, by name: they change it if something in them does."""

    def __init__(self, effects: EffectTable, functions: Mapping[str, ebpf.FuncOp]) -> None:
        self._effects = effects
        self._keeps: dict[str, bool] = dict.fromkeys(functions, True)
        while changed := [n for n, func in functions.items() if self._keeps[n] and any(_writes(self, func))]:
            self._keeps.update(dict.fromkeys(changed, False))

    def of(self, op: Operation) -> Effects:
        """Whether an operation changes where the packet begins or ends."""
        if isinstance(op, ebpf.CallLocalOp):
            return Effects(LAYOUT, LAYOUT * (not self._keeps.get(op.symbol_prop("callee"), False)))
        return Effects(LAYOUT, self._effects.of(op).writes & LAYOUT)


def _writes(effects: LayoutEffects, func: ebpf.FuncOp) -> Iterator[int]:
    """What the operations of a function change."""
    for block in func.body.blocks:
        for op in block.ops:
            yield effects.of(op).writes


def _constants(values: Sequence[SSAValue]) -> Iterator[int]:
    """Those of some values that are constants."""
    for value in values:
        if (constant := constant_of(value)) is not None:
            yield constant


def _meet(found: Range, low: int, high: int) -> Range:
    """The part between two bounds; all of it where there is none, as control does not come there."""
    low, high = max(found.low, low), min(found.high, high)
    return Range(found.base, low, high) if low <= high else found


def _widened(old: Range, new: Range, thresholds: Sequence[int]) -> Range | None:
    """What has grown grows to the next threshold."""
    low, high = new.low, new.high
    if low < old.low:
        below = bisect_right(thresholds, low) - 1
        if below < 0:
            return None
        low = thresholds[below]
    if high > old.high:
        above = bisect_left(thresholds, high)
        if above == len(thresholds):
            return None
        high = thresholds[above]
    return Range(new.base, low, high) if new.base is None or (low > -FAR and high < FAR) else None
