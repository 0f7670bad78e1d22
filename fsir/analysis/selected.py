"""Which header stands where control has come to: how programs tell headers apart by their type fields.

The function is walked once for each number that a type field may be. Branches on it are decided, however it got there
(flags that are joined and tested, switches, ranges, another byte order); branches on anything else go both ways. A
block to which only the numbers of one protocol lead is where that protocol follows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from xdsl.dialects import arith, cf
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.evaluate import JUMPS, compare, evaluate, width_of
from fsir.analysis.header_lengths import number_of
from fsir.analysis.protocols import one_of
from fsir.dialects import ebpf
from fsir.dialects.ebpf.types import WordType

_DEPTH = 24
"""Operations between a value and a condition that are looked through."""
_BLOCKS = 200_000
"""Blocks that are visited for a function before no more choices are followed."""

Owner = SSAValue | str
Place = tuple[Owner, int]
"""A base address, or the name of one, and an offset from it."""
_Reached = Block | tuple[Block, int]
"""A block, or the way from one to its successor of a number."""
_Edge = tuple[Block, list[tuple[BlockArgument, SSAValue]]]


@dataclass(frozen=True)
class Choice:
    """What is at a place depends on a type field of `size` bytes: `parts` are the values that hold bytes of it, by the
    number (in network order) of each of their bytes, the lowest first."""

    place: Place
    following: Mapping[int, str]
    size: int
    parts: Mapping[SSAValue, tuple[int, ...]]

    def values(self, number: int) -> dict[SSAValue, int]:
        """What the values are when the field is this number."""
        network = number.to_bytes(self.size, "big")
        return {v: sum(network[at] << 8 * i for i, at in enumerate(order)) for v, order in self.parts.items()}

    def others(self) -> list[int]:
        """Numbers that stand for all that no protocol has: the bounds, one between, and what the function asks for."""
        top = (1 << 8 * self.size) - 1
        asked = {number for value in self.parts for number in _compared(value) if number <= top}
        asked |= {int.from_bytes(number.to_bytes(self.size, "big"), "little") for number in asked}
        return sorted({0, top, top * 3 // 5} | asked - self.following.keys() - {0})[:16]


class Selected:
    """The choices of one function: made where their fields are known (`add`), and what they come to (`at`)."""

    def __init__(self, tree: DominatorTree) -> None:
        self.tree = tree
        self.left = _BLOCKS
        self.graph = _Graph()
        self._from: defaultdict[tuple[Place, int], list[Block]] = defaultdict(list)
        self._found: defaultdict[_Reached, list[tuple[Place, str]]] = defaultdict(list)

    def add(self, choice: Choice, block: Block) -> None:
        """From this block on, a field says what is at a place."""
        key = choice.place, id(choice.following)
        if self.left <= 0 or any(self.tree.dominates(before, block) for before in self._from[key]):
            return
        self._from[key].append(block)
        by_protocol: defaultdict[str, set[_Reached]] = defaultdict(set)
        for number, protocol in choice.following.items():
            by_protocol[protocol] |= self._reached(block, choice.values(number))
        rest: set[_Reached] = set()
        for number in choice.others():
            if number not in choice.following:
                rest |= self._reached(block, choice.values(number))
        for found in set[_Reached]().union(*by_protocol.values()) - rest - {block}:
            name = one_of({protocol for protocol, reached in by_protocol.items() if found in reached})
            if name is not None and self.tree.dominates(block, found if isinstance(found, Block) else found[0]):
                self._found[found].append((choice.place, name))

    def at(self, place: _Reached) -> list[tuple[Place, str]]:
        """What is known in a block, or on the way from one to its successor of a number, by the choices that were added
        before."""
        return self._found[place]

    def _reached(self, start: Block, known: Mapping[SSAValue, int]) -> set[_Reached]:
        walk = _Walk(known, self.graph)
        reached = walk.run(start)
        self.left -= walk.visits
        return reached | walk.edges


def _compared(value: SSAValue) -> Iterator[int]:
    """The numbers that a value, extended, joined or reordered, is compared with."""
    seen, work = {value}, [value]
    while work:
        for use in work.pop().uses:
            op = use.operation
            if isinstance(op, arith.CmpiOp):
                number = number_of(op.rhs)
                if number is not None:
                    yield number
            elif not op.successors:
                new = [result for result in op.results if result not in seen]
                seen.update(new)
                work += new


class _Graph:
    """Where blocks lead, and with which words: looked up once for all walks."""

    def __init__(self) -> None:
        self._edges: dict[Block, list[_Edge]] = {}
        self._later: dict[BlockArgument, set[Block]] = {}

    def edges(self, block: Block) -> list[_Edge]:
        """The successors of a block, each with its arguments that are no addresses and what they are passed."""
        if block not in self._edges:
            self._edges[block] = [
                (target, [(a, v) for a, v in zip(target.args, values, strict=True) if not isinstance(a.type, WordType)])
                for target, values in edges(block)
            ]
        return self._edges[block]

    def later(self, arg: BlockArgument) -> set[Block]:
        """The blocks whose ends depend on an argument, directly or not."""
        if arg not in self._later:
            found: set[Block] = set()
            work: list[SSAValue] = [arg]
            seen = set(work)
            while work:
                for use in work.pop().uses:
                    op = use.operation
                    if op.successors and op.parent is not None:
                        found.add(op.parent)
                    new = [result for result in op.results if result not in seen]
                    seen.update(new)
                    work += new
            self._later[arg] = found
        return self._later[arg]


def blocks_reached(start: Block, known: Mapping[SSAValue, int]) -> set[Block]:
    """The blocks that control may come to from `start` on, given these values, unsigned and as wide as their types."""
    return _Walk(known, _Graph()).run(start)


def number_in(value: SSAValue) -> int | None:
    """The number that a value is, computed from constants alone."""
    return _Walk({}, _Graph()).number(value)


class _Walk:
    def __init__(self, known: Mapping[SSAValue, int], graph: _Graph) -> None:
        self.known, self.graph = known, graph
        self.args: dict[BlockArgument, int | None] = {}
        """What block arguments are on the ways found so far; None for several numbers."""
        self.visits = 0
        self.edges: set[tuple[Block, int]] = set()
        """The ways from blocks to their successors that were found."""

    def run(self, start: Block) -> set[Block]:
        reached, work = {start}, [start]
        while work:
            block = work.pop()
            self.visits += 1
            taken = self.taken(block)
            for index, (successor, passed) in enumerate(self.graph.edges(block)):
                if taken not in (None, index):
                    continue
                self.edges.add((block, index))
                changed = [arg for arg, value in passed if self.meet(arg, value)]
                if successor not in reached:
                    reached.add(successor)
                    work.append(successor)
                for arg in changed:
                    work += [other for other in self.graph.later(arg) if other in reached]
        return reached

    def meet(self, arg: BlockArgument, value: SSAValue) -> bool:
        """A block argument may be this, too; whether that is new."""
        number = self.number(value)
        if arg not in self.args:
            self.args[arg] = number
            return True
        if self.args[arg] is None or self.args[arg] == number:
            return False
        self.args[arg] = None
        return True

    def taken(self, block: Block) -> int | None:
        """The number of the successor that a block goes on to; None where that is not known."""
        op = block.last_op
        if isinstance(op, cf.ConditionalBranchOp):
            condition = self.number(op.cond)
            return None if condition is None else 0 if condition else 1
        if isinstance(op, ebpf.JccRIOp | ebpf.JccRROp) and op.row.op in JUMPS and op.row.width == 64:
            if width_of(op.lhs.type) != 64:
                return None
            left = self.number(op.lhs)
            right = op.imm.data & ((1 << 64) - 1) if isinstance(op, ebpf.JccRIOp) else self.number(op.rhs)
            if left is not None and right is not None and "core" not in op.properties:
                return 0 if compare(JUMPS[op.row.op], left, right, 64) else 1
        return None

    def number(self, value: SSAValue, depth: int = _DEPTH) -> int | None:
        """The number that a value is; None where that is not known."""
        if value in self.known:
            return self.known[value]
        if isinstance(value, BlockArgument):
            return self.args.get(value)
        op = value.owner
        assert isinstance(op, Operation)
        if isinstance(op, arith.ConstantOp):
            return evaluate(op, ())
        if not depth or not op.operands or len(op.results) != 1:
            return evaluate(op, ()) if isinstance(op, ebpf.MovRIOp | ebpf.LddwOp) else None
        operands = []
        for operand in op.operands:
            number = self.number(operand, depth - 1)
            if number is None:
                return None
            operands.append(number)
        return evaluate(op, operands)
