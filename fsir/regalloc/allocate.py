"""The allocator: build, then interference, coalescing and colouring until all classes have registers, then emit."""

from __future__ import annotations

from collections.abc import Callable
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
from fsir.regalloc.spill import spill
from fsir.regalloc.split import Splitter

_MAX_ROUNDS = 60


@dataclass(frozen=True)
class Allocation:
    """A new body; how many 8-byte instruction slots it takes, how many stack slots were added and ranges cut."""

    body: Region
    size: int
    spill_slots: int
    cuts: int


def allocate(func: FuncOp) -> Allocation:
    """Allocate a virtual function, without changing it. Raises AllocationError when that is impossible.

    Coalescing as much as possible may ask too much of the registers, and cutting live ranges may cost more copies than
    it saves. Where one of these was at work, the function is allocated again without it: with only those copies
    coalesced whose ends shared a register originally, and without cuts. The shortest result is taken.
    """
    best: Allocation | None = None
    failure: AllocationError | None = None
    for hinted_only, cuts in ((False, True), (True, True), (False, False)):
        try:
            found = _Attempt(func, hinted_only, cuts).run()
        except AllocationError as error:
            failure = error
            continue
        if best is None or found.size < best.size:
            best = found
        if not found.spill_slots and not found.cuts:
            break
    if best is None:
        assert failure is not None
        raise failure
    return best


class _Attempt:
    def __init__(self, func: FuncOp, hinted_only: bool, cuts: bool = True) -> None:
        self.func = func
        self.cuts = cuts
        self.hinted_only = hinted_only
        self.code: MachineCode = build(func)
        localise(self.code)
        drop_repeated(self.code)
        self.blocked: set[tuple[int, int]] = set()
        self.splitter = Splitter(self.code, self.blocked)
        self.first: Graph | None = None
        """The graph before any spill, with all values whole: it says which stack slots can be shared."""

    def run(self) -> Allocation:
        code = self.code
        for _ in range(_MAX_ROUNDS):
            graph = interference(code)
            classes = coalesce(code, _copy(graph), self.blocked, self.hinted_only)
            if make_again(code, self.apart(classes)):
                graph = interference(code)
                classes = coalesce(code, _copy(graph), self.blocked, self.hinted_only)
            colouring = colour(code, graph, classes)
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
        failed = [leader for leader in colouring.failed if colouring.cost[leader] > 0]
        if not (self.cuts and failed):
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
        if self.first is None:
            self.first = graph
        spill(self.code, groups)

    def finish(self, graph: Graph, classes: Classes, colouring: Colouring) -> Allocation:
        slots = self.share_slots()
        body, spills_below = emit(self.code, graph, classes, colouring.colour, slots)
        drop_redundant(body, spills_below)
        return Allocation(body, _size(body), max(slots.values(), default=-1) + 1, len(self.splitter.done) // 2)

    def share_slots(self) -> dict[int, int]:
        """A number for each spill slot; slots whose values are never live together get the same."""
        members: dict[int, set[int]] = {}
        for node, slot in self.code.slot.items():
            members.setdefault(slot, set()).add(node)
        numbers: dict[int, int] = {}
        if self.first is None:
            return numbers
        adjacent, known = self.first.adjacent, len(self.first.adjacent)
        for slot, nodes in members.items():
            whole = [node for node in nodes if node < known]  # the others are reloads
            taken = {n for other, n in numbers.items() if any(adjacent[node] & members[other] for node in whole)}
            numbers[slot] = next(n for n in range(len(members)) if n not in taken)
        return numbers


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
