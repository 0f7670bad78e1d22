"""Where everything goes: the best cut of each program, subject to what targets can run, what can cross, and which maps
can be shared.

Maps couple the programs and their pieces. The search is branch and bound: the best cuts without regard to maps are a
lower bound; if two accesses of a map conflict there, one of them has to be elsewhere, and both possibilities are
explored, the cheapest first. The first solution without conflicts is the best one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from xdsl.ir import Block

from fsir.dialects.ebpf import FuncOp
from fsir.driver.diagnostics import place_of
from fsir.placement.access import ANY_MAP, Kind, MapAccesses
from fsir.placement.costs import Costs
from fsir.placement.crossing import Crossing, Crossings, Impossible
from fsir.placement.feasible import Reason, Rules
from fsir.placement.graph import FlowGraph
from fsir.placement.sharing import conflict
from fsir.placement.stopping import INF, Graph, Node, Plan, Stages, priced, solve, spread
from fsir.placement.targets import Target, load, stages_of

if TYPE_CHECKING:
    from fsir.placement.considered import Considered

OBJECTIVES = ("throughput", "cpu", "latency")
_SEARCH_LIMIT = 500
_UNWANTED = 1e6  # ns: the price of a cut that was not asked for, when cuts are, or that depends on the order of packets
_RARE = 1e-6  # times per packet, below which it does not matter how rare a cut is

Forbidden = frozenset[tuple[str, Target, Kind]]
Touches = dict[str, set[tuple[Target, Kind]]]


class NoPlacement(Exception):
    """A program cannot be placed; `func` is the one, and the message says why."""

    def __init__(self, func: FuncOp, message: str):
        super().__init__(message)
        self.func = func


@dataclass
class Program:
    """One program with everything that is known of it. `must_cut` are blocks in front of which the first target has to
    hand over; with any, other cuts are avoided."""

    func: FuncOp
    graph: FlowGraph
    crossings: Crossings
    run: list[list[float]]
    """By piece and target: nanoseconds, INF where impossible."""
    why_not: list[list[list[Reason]]]
    """By piece and target: the reasons for INF."""
    must_cut: frozenset[Block] = frozenset()
    uncuttable: set[tuple[int, int]] = field(default_factory=set)
    """Pieces and targets where a cut turned out to be impossible."""

    touches: dict[int, frozenset[tuple[str, Kind]]] = field(default_factory=dict)
    """Map accesses by piece, as far as asked for."""

    def forbid(self, target: int, why: str) -> None:
        """Keep all of it off a target."""
        for costs, reasons in zip(self.run, self.why_not, strict=True):
            costs[target] = INF
            reasons[target].append(Reason("", why))


@dataclass(frozen=True)
class Placed:
    """A program and its plan."""

    program: Program
    plan: Plan

    def runs(self, target: int) -> set[int]:
        """The pieces that run on a target."""
        return {n for n in self.plan.visits[target] if n not in self.plan.hands[target]}

    def refuse(self, piece: int, target: int, why: str) -> bool:
        """Keep a piece off a target where it runs, or handing over in front of it, where that is done; False where
        neither is."""
        if piece in self.plan.hands[target] and piece in self.plan.visits[target]:
            self.program.uncuttable.add((piece, target))
        elif piece in self.runs(target):
            place = str(place_of(self.program.graph.pieces[piece].entries[0].first_op))
            self.program.run[piece][target] = INF
            self.program.why_not[piece][target].append(Reason(place, why))
        else:
            return False
        return True


@dataclass(frozen=True)
class Alternative:
    """All of a program on one target: nanoseconds per packet there, or why that is impossible."""

    target: Target
    load: float
    why_not: str | None


@dataclass
class Decision:
    """The placement of all programs. `exact` is false where the search was cut short; `bound` is a lower bound of the
    sum of the programs' costs."""

    targets: list[Target]
    objective: str
    placed: list[Placed]
    exact: bool
    bound: float
    shared_reasons: list[str] = field(default_factory=list)
    """Conflicts between accesses of maps that kept pieces together."""

    alternatives: list[Alternative] = field(default_factory=list)
    frequencies: str = "static estimate"
    compared: list[Considered] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """The sum of the programs' costs, in nanoseconds per packet."""
        return sum(p.plan.cost for p in self.placed)


class Chooser:
    """Places the programs of a module on targets."""

    def __init__(
        self,
        targets: Sequence[Target],
        rules: Rules,
        costs: Costs,
        accesses: MapAccesses,
        objective: str,
        staying: Sequence[FuncOp] = (),
    ):
        """`staying` are programs of the kernel that are not placed; they touch maps, too."""
        self.targets, self.rules, self.costs, self.accesses = list(targets), rules, costs, accesses
        self.objective = objective
        self.stages = Stages(*stages_of(self.targets))
        kernel = kernel_of(self.targets)
        self.staying = staying
        self._staying: Touches = {}
        for func in staying:
            for name, kind, _ in accesses.of_function(func):
                self._staying.setdefault(name, set()).add((kernel, kind))

    def examine(self, func: FuncOp, crossings: Crossings, must_cut: frozenset[Block] = frozenset()) -> Program:
        """Cost and feasibility of each piece of a program on each target."""
        graph = crossings.graph
        run: list[list[float]] = []
        why_not: list[list[list[Reason]]] = []
        for number, piece in enumerate(graph.pieces):
            reasons = [self.rules.reasons(piece, func, target) for target in self.targets]
            arrivals = graph.arrivals(number) or 1.0
            costs = [
                INF
                if reasons[t]
                else sum(self.costs.block(b, target) * (graph.frequency[b] / arrivals or 1.0) for b in piece.blocks)
                for t, target in enumerate(self.targets)
            ]
            run.append(costs)
            why_not.append(reasons)
        return Program(func, graph, crossings, run, why_not, must_cut)

    def decide(self, programs: Sequence[Program]) -> Decision:
        """The best placement. Raises NoPlacement."""
        order = count()
        reasons: dict[str, None] = {}
        start: Forbidden = frozenset()
        plans, bound = self._solve(programs, start)
        queue = [(bound, next(order), start, plans)]
        seen = {start}
        for _ in range(_SEARCH_LIMIT):
            if not queue:
                raise NoPlacement(programs[0].func, "maps keep its parts apart: " + "; ".join(reasons))
            cost, _, forbidden, plans = heapq.heappop(queue)
            placed = [Placed(p, plan) for p, plan in zip(programs, plans, strict=True)]
            found = self._conflict(placed)
            if found is None:
                return Decision(self.targets, self.objective, placed, True, min(bound, cost), list(reasons))
            reason, *choices = found
            reasons[reason] = None
            for choice in choices:
                more = forbidden | {choice}
                if more in seen:
                    continue
                seen.add(more)
                try:
                    plans, cost = self._solve(programs, more)
                except NoPlacement:
                    continue
                heapq.heappush(queue, (cost, next(order), more, plans))
        return self._together(programs, bound, list(reasons))

    def alternatives(self, programs: Sequence[Program]) -> list[Alternative]:
        """What it would be to run everything on one target."""
        found = []
        for t, target in enumerate(self.targets):
            reasons = [str(r) for p in programs for piece in p.why_not for r in piece[t]]
            load = target.costs["arrival"] if t == 0 else self.targets[t - 1].send + target.receive
            for program in programs:
                for number in range(len(program.graph.pieces)):
                    load += program.run[number][t] * program.graph.arrivals(number)
            found.append(Alternative(target, load, reasons[0] if reasons else None))
        return found

    def _together(self, programs: Sequence[Program], bound: float, reasons: list[str]) -> Decision:
        """Everything that touches maps on one target: legal, and perhaps not the best."""
        best: Decision | None = None
        for only in self.targets:
            forbidden = frozenset(
                (name, target, kind)
                for target in self.targets
                for name in self.accesses.declarations
                for kind in Kind
                if target is not only
            )
            try:
                plans, cost = self._solve(programs, forbidden)
            except NoPlacement:
                continue
            if best is None or cost < best.cost:
                placed = [Placed(p, plan) for p, plan in zip(programs, plans, strict=True)]
                best = Decision(self.targets, self.objective, placed, False, bound, reasons)
        if best is None:
            raise NoPlacement(programs[0].func, "maps keep its parts apart: " + "; ".join(reasons))
        return best

    def _solve(self, programs: Sequence[Program], forbidden: Forbidden) -> tuple[list[Plan], float]:
        plans: list[Plan] = []
        for program in programs:
            graph = self._graph(program, forbidden, search=True)
            plan = spread(graph, self.stages) if self.objective == "throughput" else solve(graph)
            if not plan.feasible:
                raise NoPlacement(program.func, self._explain(program))
            if self._avoids(program):
                stages = self.stages if self.objective == "throughput" else None
                plan = priced(self._graph(program, forbidden), plan, stages)
            plans.append(plan)
        return plans, sum(plan.cost for plan in plans)

    def problem(self, program: Program) -> Graph:
        """What has to be decided for one program, whatever the maps."""
        return self._graph(program, frozenset())

    def _graph(self, program: Program, forbidden: Forbidden, search: bool = False) -> Graph:
        """`search`: with prices that make other cuts be preferred to those that are not wanted."""
        nodes = []
        for number in range(len(program.graph.pieces)):
            run = list(program.run[number])
            for t, target in enumerate(self.targets):
                if forbidden and any((n, target, k) in forbidden for n, k in self.touches(program, number)):
                    run[t] = INF
            wanted = program.must_cut.intersection(program.graph.pieces[number].entries)
            avoid = search and not wanted
            hand = [self._hand(program, number, t, avoid) for t in range(len(self.targets) - 1)]
            if number == 0:
                arrival = self.targets[0].costs["arrival"]
                run[0] += arrival
                hand = [(hand[0][0] + arrival, hand[0][1]), *hand[1:]] if hand else hand
            if wanted:
                run[0] = INF
            nodes.append(Node(run, hand, program.graph.exits(number)))
        return Graph(nodes, len(self.targets))

    def _avoids(self, program: Program) -> bool:
        """Whether `_graph` has other prices to search with."""
        crossings = program.crossings
        return bool(program.must_cut) or any(crossings.held.decided(block) for block in crossings.tree.rpo)

    def _hand(self, program: Program, number: int, t: int, avoid: bool) -> tuple[float, float]:
        """What it costs to hand over in front of a piece, INF where that is impossible. `avoid`: much more where a cut
        is better not made."""
        if (number, t) in program.uncuttable:
            return INF, INF
        try:
            crossings = self.crossings(program, number, t)
        except Impossible:
            return INF, INF
        fields = max(len(crossing.fields) for crossing in crossings)
        extra = 0.0
        if avoid and (program.must_cut or any(crossing.decided for crossing in crossings)):
            extra = _UNWANTED / max(program.graph.arrivals(number), _RARE)
        sender, receiver = self.targets[t], self.targets[t + 1]
        per_field = sender.costs["memory"], receiver.costs["memory"]
        send = sender.send + fields * per_field[0] + extra
        receive = (receiver.receive if receiver.kind == "af-xdp" else sender.receive) + fields * per_field[1]
        return send, receive

    def crossings(self, program: Program, number: int, t: int) -> list[Crossing]:
        """The cuts in front of a piece, from target number t to the next. Raises Impossible."""
        sender = self.targets[t]
        found = []
        for block in program.graph.pieces[number].entries:
            crossing = program.crossings.plan(block)
            size = crossing.size(sender.transport)
            if size > sender.header_limit:
                raise Impossible(f"{size} bytes would have to be carried; {sender.name} can send {sender.header_limit}")
            again = self.rules.judge(crossing.redirect, self.targets[t + 1]) if crossing.redirect is not None else []
            if again:
                raise Impossible(f"the packet's way out was already chosen, which cannot be done again: {again[0]}")
            found.append(crossing)
        return found

    def touches(self, program: Program, number: int) -> frozenset[tuple[str, Kind]]:
        """The map accesses of a piece."""
        if number not in program.touches:
            blocks = program.graph.pieces[number].blocks
            accesses = (access for block in blocks for access in self.accesses.of_block(block))
            program.touches[number] = frozenset((name, kind) for name, kind, _ in accesses)
        return program.touches[number]

    def touched(self, placed: Sequence[Placed]) -> Touches:
        """Who touches which map how."""
        touches: Touches = {name: set(accesses) for name, accesses in self._staying.items()}
        for each in placed:
            for t, target in enumerate(self.targets):
                for number in each.runs(t):
                    for name, kind in self.touches(each.program, number):
                        touches.setdefault(name, set()).add((target, kind))
                for number in each.plan.hands[t] & each.plan.visits[t].keys():
                    for crossing in self.crossings(each.program, number, t):
                        for name in crossing.maps:
                            if not self.accesses.is_array(name):
                                touches.setdefault(name, set()).add((self.targets[t + 1], Kind.LOOKUP))
        return touches

    def _conflict(
        self, placed: Sequence[Placed]
    ) -> tuple[str, tuple[str, Target, Kind], tuple[str, Target, Kind]] | None:
        """Two accesses of a map that cannot be where they are, and why."""
        for name, accesses in sorted(self.touched(placed).items()):
            declaration = self.accesses.declarations.get(name)
            ordered = sorted(accesses, key=lambda a: (a[0].level, a[1]))
            for i, one in enumerate(ordered):
                for other in ordered[i:]:
                    if name == ANY_MAP and one[0] is other[0]:
                        continue
                    reason = (
                        conflict(declaration, one, other)
                        if declaration is not None
                        else "memory is accessed through an address of unknown kind"
                        if one[0] is not other[0]
                        else None
                    )
                    if reason is not None:
                        return reason, (name, *one), (name, *other)
        return None

    def _explain(self, program: Program) -> str:
        """Why there is no placement."""
        lines: list[str] = []
        for number, piece in enumerate(program.graph.pieces):
            if all(cost == INF for cost in program.run[number]):
                for t, target in enumerate(self.targets):
                    lines += [f"{target.name} cannot run it: {r}" for r in program.why_not[number][t][:1]]
                break
            if program.run[number][0] == INF or program.must_cut.intersection(piece.entries):
                for t in range(len(self.targets) - 1):
                    try:
                        self.crossings(program, number, t)
                    except Impossible as error:
                        lines += [str(r) for r in program.why_not[number][t][:1]]
                        lines.append(f"it cannot be handed over there: {error}")
        if not lines:  # something that has to go on meets something that cannot
            last = len(self.targets) - 1
            found = [r for reasons in program.why_not for r in reasons[last]]
            lines = [f"{self.targets[last].name} cannot run it: {r}" for r in found[:3]]
        return "there is no placement: " + "; ".join(dict.fromkeys(lines) or ["no cut satisfies all constraints"])


def kernel_of(among: Sequence[Target]) -> Target:
    """Where programs of the kernel run that are not placed."""
    return next((target for target in among if target.kind == "xdp"), None) or load("xdp")
