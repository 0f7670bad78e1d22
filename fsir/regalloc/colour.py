"""A register for each class: Chaitin's simplification with optimistic selection (Briggs), choosing by preference.

A class prefers, in this order of weight: registers that its remaining copies come from or go to, the registers that its
members had originally, and among equals one that its neighbours do not prefer.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass

from fsir.regalloc.coalesce import Classes
from fsir.regalloc.interference import Graph
from fsir.regalloc.model import ALLOCATABLE, CALLER_SAVED, FIRST, MachineCode

_ORDER = (1, 2, 3, 4, 5, 0, 6, 7, 8, 9)
_NEVER = float("inf")


@dataclass(slots=True)
class Colouring:
    """`colour` by class leader; `failed` are the leaders that found no register."""

    colour: dict[int, int]
    failed: list[int]
    cost: dict[int, float]


def colour(code: MachineCode, graph: Graph, classes: Classes, faith: float = 0.25, yielding: float = 1.0) -> Colouring:
    """Choose registers for all classes. `faith` is what the original register of each value is worth, `yielding` how
    much of what its neighbours prefer counts when a class chooses."""
    return _Colourer(code, graph, classes, faith, yielding).run()


class _Colourer:
    def __init__(self, code: MachineCode, graph: Graph, classes: Classes, faith: float, yielding: float) -> None:
        self.yielding = yielding
        self.code, self.classes = code, classes
        self.wishes: dict[int, dict[int, float]] = {leader: {} for leader in classes.members}
        self.partners: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self.colours: dict[int, int] = {}
        saved = self.saved_copies(graph)
        self.cost = {n: self.spill_cost(graph, members) - saved[n] for n, members in classes.members.items()}
        for leader, members in classes.members.items():
            for node in members:
                hint = code.hint[node]
                if hint is not None:
                    self.wish(leader, hint, faith / len(members))
        for weight, destination, source in graph.copies:
            if destination < FIRST:
                self.wish(classes.of(source), destination, weight)
            elif source < FIRST:
                self.wish(classes.of(destination), source, weight)
            else:
                a, b = classes.of(destination), classes.of(source)
                if a != b:
                    self.partners[a].append((weight, b))
                    self.partners[b].append((weight, a))

    def spill_cost(self, graph: Graph, members: list[int]) -> float:
        cost = 0.0
        for node in members:
            if node in self.code.tight:
                return _NEVER
            # A constant made again at each use costs no store.
            cost += graph.cost[node] * (0.6 if self.code.template[node] else 1.0)
        return cost

    def saved_copies(self, graph: Graph) -> dict[int, float]:
        """The copies, by class, that spilling it turns into the loads and stores that it costs: those from and to
        machine registers that it cannot have."""
        saved: dict[int, float] = defaultdict(float)
        for weight, destination, source in graph.copies:
            register, node = sorted((destination, source))
            if register < FIRST <= node:
                leader = self.classes.of(node)
                if self.classes.forbidden[leader] >> register & 1:
                    saved[leader] += weight
        return saved

    def wish(self, leader: int, register: int, weight: float) -> None:
        wishes = self.wishes[leader]
        wishes[register] = wishes.get(register, 0.0) + weight

    def run(self) -> Colouring:
        failed = []
        for leader in reversed(self.simplify()):
            register = self.choose(leader)
            if register is None:
                failed.append(leader)
            else:
                self.colours[leader] = register
        return Colouring(self.colours, failed, self.cost)

    def simplify(self) -> list[int]:
        """All classes in the order of their removal from the graph: those sure of a register whatever their neighbours
        get go first, those that gain least by their choice before others; when there are none, the one that is cheapest
        to spill per neighbour."""
        classes = self.classes
        degree = {leader: len(around) for leader, around in classes.adjacent.items()}
        width = {leader: (ALLOCATABLE & ~mask).bit_count() for leader, mask in classes.forbidden.items()}
        removed: set[int] = set()
        gain = {leader: self.gain(leader) for leader in degree}
        ready = [(gain[leader], leader) for leader in degree if degree[leader] < width[leader]]
        heapq.heapify(ready)
        waiting = [(self.cost[n] / (degree[n] + 1), degree[n], n) for n in degree if degree[n] >= width[n]]
        heapq.heapify(waiting)
        order: list[int] = []
        while len(order) < len(degree):
            if ready:
                _, leader = heapq.heappop(ready)
            else:
                _, at_degree, leader = heapq.heappop(waiting)
                if leader not in removed and at_degree != degree[leader]:
                    heapq.heappush(waiting, (self.cost[leader] / (degree[leader] + 1), degree[leader], leader))
                    continue
            if leader in removed:
                continue
            removed.add(leader)
            order.append(leader)
            for other in classes.adjacent[leader]:
                if other not in removed:
                    degree[other] -= 1
                    if degree[other] == width[other] - 1:
                        heapq.heappush(ready, (gain[other], other))
        return order

    def gain(self, leader: int) -> float:
        """What a class gains by the register that it prefers: those that gain most choose first."""
        forbidden = self.classes.forbidden[leader]
        wishes = [weight for register, weight in self.wishes[leader].items() if not forbidden >> register & 1]
        return max(wishes, default=0.0) + sum(weight for weight, _ in self.partners[leader])

    def choose(self, leader: int) -> int | None:
        classes = self.classes
        allowed = ALLOCATABLE & ~classes.forbidden[leader]
        penalty: dict[int, float] = {}
        for other in classes.adjacent[leader]:
            register = self.colours.get(other)
            if register is not None:
                allowed &= ~(1 << register)
                continue
            for wanted, weight in self.wishes[other].items():
                if not classes.forbidden[other] >> wanted & 1:
                    penalty[wanted] = penalty.get(wanted, 0.0) + weight * self.yielding
        if not allowed:
            return None
        score = dict(self.wishes[leader])
        for weight, partner in self.partners[leader]:
            register = self.colours.get(partner)
            if register is not None:
                score[register] = score.get(register, 0.0) + weight
            else:
                for wanted, strength in self.wishes[partner].items():
                    score[wanted] = score.get(wanted, 0.0) + 0.5 * min(weight, strength)
        best, best_score = None, -_NEVER
        for register in _ORDER:
            if allowed >> register & 1:
                value = score.get(register, 0.0) - penalty.get(register, 0.0)
                # Registers that survive calls are for those who need them.
                value -= 0.0 if CALLER_SAVED >> register & 1 else 0.01
                if value > best_score:
                    best, best_score = register, value
        return best
