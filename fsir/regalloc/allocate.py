"""The allocator: build, then interference, coalescing and colouring until all classes have registers, then emit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import Operation, Region

from fsir.dialects.ebpf import FuncOp, InsnOp, LdSymOp
from fsir.regalloc.build import build
from fsir.regalloc.coalesce import Classes, coalesce
from fsir.regalloc.colour import Colouring, colour
from fsir.regalloc.constants import drop_repeated, localise, make_again
from fsir.regalloc.emit import emit
from fsir.regalloc.interference import Graph, interference
from fsir.regalloc.model import ALLOCATABLE, FIRST, AllocationError, MachineCode
from fsir.regalloc.redundant import drop_redundant
from fsir.regalloc.sink_stores import sink_stores
from fsir.regalloc.slots import share_slots
from fsir.regalloc.spill import spill, with_joins
from fsir.regalloc.split import Splitter

_MAX_ROUNDS = 60


@dataclass(frozen=True)
class Allocation:
    """A new body; how many 8-byte instruction slots it takes, how many stack slots were added and ranges cut."""

    body: Region
    size: int
    spill_slots: int
    cuts: int


@dataclass(frozen=True)
class Way:
    """How to go about an allocation: coalesce all copies, or only those whose ends shared a register originally; cut
    live ranges; make constants anew for everything that gets them, or keep them as they come; by the `length` that
    an instruction costs however seldom it is executed (1: by length alone); by the `faith` in original registers: what
    it is worth that a value gets the one that it had; cut live ranges at all calls, `late`, rather than once, or all
    of them before anything else (`early_saves`); `yielding` to what the other values prefer by so much; with
    constants that branches `found` returned from where they are."""

    hinted_only: bool = False
    cuts: bool = True
    constants_apart: bool = True
    length: float = 0.3
    faith: float = 0.25
    late: bool = False
    early_saves: bool = False
    yielding: float = 1.0
    found: bool = True


WAYS = (
    Way(),
    Way(hinted_only=True),
    Way(found=False),
    Way(cuts=False),
    Way(late=True),
    Way(late=True, constants_apart=False),
    Way(late=True, hinted_only=True, constants_apart=False, faith=4.0),
    Way(late=True, found=False),
    Way(late=True, early_saves=True),
    Way(early_saves=True, constants_apart=False),
    Way(constants_apart=False),
    Way(hinted_only=True, constants_apart=False),
    Way(found=False, constants_apart=False),
    Way(hinted_only=True, constants_apart=False, faith=4.0),
    Way(constants_apart=False, faith=4.0),
    Way(faith=0.03),
    Way(constants_apart=False, faith=0.03),
    Way(yielding=0.1),
    Way(yielding=0.1, constants_apart=False),
    Way(yielding=0.1, late=True),
    Way(length=1.0),
    Way(length=1.0, found=False),
    Way(cuts=False, constants_apart=False),
)
"""What is tried, as long as nothing is good enough."""

_ENOUGH = 2
"""How many more are tried after the first good one, if it needs spills or cuts."""

_WORK = 30_000
"""How many operations to allocate, over all that is tried."""
_LEAST_WAYS = 3

Cost = tuple[float, ...]
"""What allocations are compared by: the smallest is best. The first number is 0 if that is good enough."""


def allocate(func: FuncOp, judge: Callable[[Allocation], Cost] | None = None, ways: Sequence[Way] = WAYS) -> Allocation:
    """Allocate a virtual function, without changing it. Raises AllocationError when that is impossible.

    No way to do it is best for all code: coalescing as much as possible may ask too much of the registers, cutting live
    ranges may cost more copies than it saves. So several are tried until one is good enough, and the best is taken:
    `judge` says what an allocation costs, and may change its body. Without it, all are good, and the shortest is best.
    """
    judge = judge or _plain_cost
    best: Allocation | None = None
    least: Cost = ()
    failure: AllocationError | None = None
    for number, way in enumerate(ways[: _most_ways(func)]):
        try:
            found = _Attempt(func, way).run()
        except AllocationError as error:
            failure = error
            continue
        cost = judge(found)
        if best is None or cost < least:
            best, least = found, cost
        if not least[0] and (number >= _ENOUGH or not (found.spill_slots or found.cuts)):
            break
    if best is None:
        assert failure is not None
        raise failure
    return best


def _most_ways(func: FuncOp) -> int:
    """How many ways may be tried: few for functions so large that each takes long."""
    size = sum(len(block.ops) for block in func.body.blocks)
    return max(_LEAST_WAYS, _WORK // max(size, 1))


def _plain_cost(found: Allocation) -> Cost:
    return 0.0, found.size


class _Attempt:
    def __init__(self, func: FuncOp, way: Way) -> None:
        self.func = func
        self.way = way
        self.code: MachineCode = build(func, way.length, way.found)
        localise(self.code, way.constants_apart)
        drop_repeated(self.code)
        self.blocked: set[tuple[int, int]] = set()
        self.splitter = Splitter(self.code, self.blocked, way.late)
        if way.early_saves:
            self.splitter.save_all()

    def run(self) -> Allocation:
        code = self.code
        for _ in range(_MAX_ROUNDS):
            graph = interference(code)
            classes = coalesce(code, _copy(graph), self.blocked, self.way.hinted_only)
            if make_again(code, self.apart(classes)):
                graph = interference(code)
                classes = coalesce(code, _copy(graph), self.blocked, self.way.hinted_only)
            colouring = colour(code, graph, classes, self.way.faith, self.way.yielding)
            if not colouring.failed:
                return self.finish(graph, classes, colouring)
            if not (self.take_apart(graph, classes, colouring) or self.split(classes, colouring)):
                self.spill(graph, classes, colouring)
        raise AllocationError(f"no allocation after {_MAX_ROUNDS} rounds")

    def apart(self, classes: Classes) -> Callable[[int, int], bool]:
        """Whether the destination of a copy cannot have the register of its source."""

        def is_apart(destination: int, source: int) -> bool:
            leader = classes.of(source)
            if destination < FIRST:
                return bool(classes.forbidden[leader] >> destination & 1)
            return classes.of(destination) != leader

        return is_apart

    def take_apart(self, graph: Graph, classes: Classes, colouring: Colouring) -> bool:
        """Block the coalescing of classes that found no register; False when none of them was coalesced."""
        failed = set(colouring.failed)
        before = len(self.blocked)
        for _, destination, source in graph.copies:
            a = classes.of(destination)
            if a in failed and a == classes.of(source):
                self.blocked.add((destination, source))
        return len(self.blocked) > before

    def split(self, classes: Classes, colouring: Colouring) -> bool:
        """Cut live ranges that keep registers from classes that found none; False when there is nothing to cut."""
        failed = [leader for leader in colouring.failed if colouring.cost[leader] > 0 or self.way.late]
        if not (self.way.cuts and failed):
            return False
        around = [[node for n in classes.adjacent[leader] for node in classes.members[n]] for leader in failed]
        return self.splitter.make_room([classes.members[leader] for leader in failed], around)

    def spill(self, graph: Graph, classes: Classes, colouring: Colouring) -> None:
        chosen: list[int] = []
        for leader in colouring.failed:
            if colouring.cost[leader] != float("inf"):
                chosen.append(leader)
                continue
            # A node that cannot be spilled: a neighbour makes room.
            allowed = ALLOCATABLE & ~classes.forbidden[leader]
            neighbours = [
                other
                for other in classes.adjacent[leader]
                if colouring.cost[other] != float("inf") and allowed & ~classes.forbidden[other]
            ]
            if not neighbours:
                raise AllocationError("an instruction needs more registers at once than there are")
            chosen.append(min(neighbours, key=lambda other: colouring.cost[other]))
        groups = [classes.members[leader] for leader in dict.fromkeys(chosen)]
        spill(self.code, with_joins(self.code, groups, graph.adjacent))

    def finish(self, graph: Graph, classes: Classes, colouring: Colouring) -> Allocation:
        slots = share_slots(self.code)
        body, spills_below = emit(self.code, graph, classes, colouring.colour, slots)
        drop_redundant(body, spills_below)
        sink_stores(body, spills_below)
        return Allocation(body, _size(body), max(slots.values(), default=-1) + 1, len(self.splitter.done) // 2)


def _copy(graph: Graph) -> Graph:
    """The graph with its own sets, as coalescing merges them in place."""
    return Graph(
        [set(around) for around in graph.adjacent],
        graph.forbidden,
        graph.cost,
        graph.live_out,
        graph.arguments,
        graph.copies,
    )


def _size(body: Region) -> int:
    return sum(_slots(op) for block in body.blocks for op in block.ops)


def _slots(op: Operation) -> int:
    if isinstance(op, LdSymOp):
        return 2
    return op.row.slots if isinstance(op, InsnOp) else 0
