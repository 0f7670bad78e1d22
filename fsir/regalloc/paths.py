"""Two bodies of machine code side by side: how many more instructions some path takes in one of them.

Both are followed from the entry, a branch of one against the branch of the other that decides the same, as far as what
the jumps compare says (`x > 5` is `x >= 6`, and the opposite of `x <= 5`). Code that branches differently cannot be
compared. The answer is for choosing between allocations: nothing that is wrong follows from a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import Block, Operation, Region

from fsir.dialects.ebpf import JccRIOp, JccRROp
from fsir.object.encode import size_of

_SIDES = {
    "jeq": 0,
    "jlt": 0,
    "jle": 0,
    "jslt": 0,
    "jsle": 0,
    "jne": 1,
    "jgt": 1,
    "jge": 1,
    "jsgt": 1,
    "jsge": 1,
    "jset": 1,
}
"""Which of the two edges is which, for comparisons with constants: those with the same number are taken together."""
_OPPOSITE = {"jeq": "jne", "jgt": "jle", "jge": "jlt", "jsgt": "jsle", "jsge": "jslt"}
_OPPOSITE |= {b: a for a, b in _OPPOSITE.items()}
_SWAPPED = {"jlt": "jgt", "jle": "jge", "jslt": "jsgt", "jsle": "jsge"}
_SWAPPED |= {b: a for a, b in _SWAPPED.items()}
_ENDLESS = float("inf")


@dataclass(slots=True)
class _Stretch:
    """What is executed from a block on to the next place where control divides or ends: `last` is the terminator."""

    cost: int
    last: Operation


class _Body:
    def __init__(self, region: Region) -> None:
        self.stretches: dict[Block, _Stretch | None] = {}
        self.costs = {block: sum(map(_cost, block.ops)) for block in region.blocks}

    def stretch(self, block: Block) -> _Stretch | None:
        """None where control goes around for ever."""
        if block not in self.stretches:
            self.stretches[block] = self.follow(block)
        return self.stretches[block]

    def follow(self, block: Block) -> _Stretch | None:
        cost, seen = 0, set[Block]()
        while block not in seen:
            seen.add(block)
            cost += self.costs[block]
            last = block.last_op
            assert last is not None
            if len(last.successors) != 1:
                return _Stretch(cost, last)
            block = last.successors[0]
        return None


def path_excess(before: Region, after: Region) -> float | None:
    """The number of instructions that the path that loses most takes more in `after` than in `before` (negative if all
    paths are shorter, infinite if every turn of a loop is longer); None if the two branch differently."""
    assert before.first_block is not None and after.first_block is not None
    bodies = _Body(before), _Body(after)
    start = before.first_block, after.first_block
    edges: dict[tuple[Block, Block], list[tuple[Block, Block]]] = {}
    own: dict[tuple[Block, Block], int] = {}
    work = [start]
    while work:
        pair = work.pop()
        if pair in edges:
            continue
        stretches = bodies[0].stretch(pair[0]), bodies[1].stretch(pair[1])
        if stretches[0] is None or stretches[1] is None:
            return None
        following = _matched(stretches[0].last, stretches[1].last)
        if following is None:
            return None
        edges[pair] = following
        own[pair] = stretches[1].cost - stretches[0].cost
        work += following
    return _longest(start, edges, own)


def _longest(
    start: tuple[Block, Block],
    edges: dict[tuple[Block, Block], list[tuple[Block, Block]]],
    own: dict[tuple[Block, Block], int],
) -> float:
    """The greatest sum of `own` along a way from `start` to an end."""
    order = _postorder(start, edges)
    order.reverse()
    reached: dict[tuple[Block, Block], int] = {start: 0}
    changed = True
    rounds = 0
    place = {pair: number for number, pair in enumerate(order)}
    # A way without a loop follows each edge against the order at most once, so that a longer one goes around in a loop.
    enough = 2 + sum(place[following] <= place[pair] for pair in order for following in edges[pair])
    while changed:
        changed = False
        for pair in order:
            at_end = reached.get(pair)
            if at_end is None:
                continue
            at_end += own[pair]
            for following in edges[pair]:
                if at_end > reached.get(following, at_end - 1):
                    reached[following] = at_end
                    changed = True
        rounds += 1
        if rounds > enough:
            return _ENDLESS
    return max((reached[pair] + own[pair] for pair in order if not edges[pair]), default=0)


def _postorder(
    start: tuple[Block, Block], edges: dict[tuple[Block, Block], list[tuple[Block, Block]]]
) -> list[tuple[Block, Block]]:
    seen = {start}
    stack = [(start, iter(edges[start]))]
    order: list[tuple[Block, Block]] = []
    while stack:
        pair, rest = stack[-1]
        following = next((f for f in rest if f not in seen), None)
        if following is None:
            order.append(pair)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(edges[following])))
    return order


def _matched(first: Operation, second: Operation) -> list[tuple[Block, Block]] | None:
    """The successors of two terminators in pairs; None if they do not decide the same."""
    if not first.successors or not second.successors:
        return [] if not first.successors and not second.successors else None
    crossed = _crossed(first, second)
    if crossed is None:
        return None
    a, b = first.successors, second.successors
    return [(a[0], b[1]), (a[1], b[0])] if crossed else [(a[0], b[0]), (a[1], b[1])]


def _crossed(first: Operation, second: Operation) -> bool | None:
    """Whether one of two branches is taken where the other is not; None if they have nothing to do with each other."""
    if isinstance(first, JccRIOp) and isinstance(second, JccRIOp):
        return _SIDES[first.row.op] != _SIDES[second.row.op]
    if isinstance(first, JccRROp | JccRIOp) and isinstance(second, JccRROp | JccRIOp):
        a, b = first.row.op, second.row.op
        if b in (a, _SWAPPED.get(a)):
            return False
        opposite = _OPPOSITE.get(a)
        return True if opposite is not None and b in (opposite, _SWAPPED.get(opposite)) else None
    return False if first.name == second.name else None


def _cost(op: Operation) -> int:
    return int(size_of(op) > 0)
