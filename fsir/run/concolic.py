"""Packets and contents of maps that take sides of branches which changing bytes did not reach: solved for.

A packet that comes by such a branch is run with its input unknown (`fsir.interp.tracer`). What was asked before it, and
the other answer at the branch, is a question to z3; its model is the next packet, with its maps. All is counted, not
timed: a search gives the same every time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from xdsl.ir import Operation

from fsir.interp.branches import Branches
from fsir.interp.engine import Contents, ExecutionError, InterpProgram
from fsir.interp.traced import Step
from fsir.interp.tracer import Tracer
from fsir.run.solved_input import Numbers, solved_input
from fsir.smt.solve import Solver
from fsir.smt.terms import Term, operate

TRACES = 160
"""The most runs that are followed, for one program."""
QUESTIONS = 400
"""The most questions that are asked."""
EFFORT = 3_000_000
"""The most that they may take, in z3's unit of work."""
TRIES = {True: 3, False: 4}
"""How often a side is asked for: where the input shows at its branch, and where it does not."""
VISITS = 3
"""How many of a branch's turns in one run are tried, the last ones first."""
RELATED = 120
"""The most conditions that go with a question; with more, the oldest are left out."""
ROUNDS = 6
"""How often a question is asked without what contradicts it: the way to the branch need not stay the same."""
INDIRECT = 6
"""How many earlier answers are changed for a branch that nothing of the input shows at."""

Side = tuple[Operation, int]
Wish = tuple[Term, bool]
"""A condition, and whether it only keeps a number what it was."""
Opened = Callable[[Contents, Branches], InterpProgram]
Tried = Callable[[Contents, bytes], bool]


class Concolic:
    """`opened` gives the program to follow; `is_open` says whether a side is still to be taken; `tried` runs a packet
    on contents of the maps and says whether it took a side that none took before."""

    def __init__(self, opened: Opened, is_open: Callable[[Side], bool], tried: Tried) -> None:
        self._opened, self._is_open, self._tried = opened, is_open, tried
        self._tracer = Tracer()
        self._solver = Solver()
        self._asked: Counter[tuple[Side, bool]] = Counter()
        self._seen: set[tuple[str, bytes]] = set()
        self.questions = 0

    def search(self, starts: Iterable[tuple[Contents, bytes]]) -> Iterator[tuple[Contents, bytes]]:
        """What took new sides, beginning with runs that are known."""
        queue = deque(starts)
        for _ in range(TRACES):
            if not queue or self._spent():
                return
            maps, packet = queue.popleft()
            for found in self._around(maps, packet):
                queue.append(found)
                yield found

    def _around(self, maps: Contents, packet: bytes) -> Iterator[tuple[Contents, bytes]]:
        """Inputs that go the same way as this one up to a branch, and then the other."""
        tracer = self._tracer
        program = self._opened(maps, tracer)
        tracer.begin(packet)
        with suppress(ExecutionError):
            program.run(packet)
        steps, lookups, inputs = list(tracer.log.steps), dict(tracer.lookups), dict(tracer.inputs)
        visits: Counter[int] = Counter()
        for at, flipped in self._wanted(steps, visits):
            if self._spent():
                return
            model = self._solved(_conditions(steps[:at]), flipped)
            if model is None:
                continue
            made = solved_input(Numbers(model, inputs), lookups, maps, packet, program)
            if self._fresh(*made) and self._tried(*made):
                yield made

    def _wanted(self, steps: Sequence[Step], visits: Counter[int]) -> Iterator[tuple[int, Term]]:
        """Which steps to answer in the other way: those at branches with an open side, the last ones first; and those
        before branches that only look as if they did not depend on the input."""
        for at in range(len(steps) - 1, -1, -1):
            step = steps[at]
            if step.side is None:
                continue
            branch, side = self._tracer.ops[step.side // 2], step.side % 2
            other = branch, 1 - side
            visits[step.side] += 1
            if visits[step.side] > VISITS or not self._is_open(other):
                continue
            if step.term is not None:
                if self._may_ask(other, True):
                    yield at, _opposite(step)
            elif self._may_ask(other, False):
                for before in _loose(steps, at):
                    yield before, _opposite(steps[before])

    def _may_ask(self, side: Side, directly: bool) -> bool:
        self._asked[side, directly] += 1
        return self._asked[side, directly] <= TRIES[directly]

    def _spent(self) -> bool:
        return self.questions >= QUESTIONS or self._solver.spent >= EFFORT

    def _solved(self, conditions: Sequence[Wish], flipped: Term) -> dict[Any, int] | None:
        self.questions += 1
        related = _related(conditions, flipped)
        found = self._solver.model([flipped, *(condition for condition, _ in related)])
        return self._solver.relaxed(flipped, related, ROUNDS) if found is None else found

    def _fresh(self, maps: Contents, packet: bytes) -> bool:
        key = repr(sorted(maps.items())), packet
        fresh = key not in self._seen
        self._seen.add(key)
        return fresh


def _opposite(step: Step) -> Term:
    assert step.term is not None
    return _not(step.term) if step.holds else step.term


def _not(term: Term) -> Term:
    found = operate("eq", term, 0)
    assert isinstance(found, Term)
    return found


def _conditions(steps: Sequence[Step]) -> list[Wish]:
    """What was decided in these steps."""
    found: dict[Term, bool] = {}
    for step in steps:
        if step.term is not None:
            found.setdefault(step.term if step.holds else _not(step.term), step.pinned)
    return list(found.items())


def _related(conditions: Sequence[Wish], flipped: Term) -> list[Wish]:
    """The conditions that share unknowns with a term, directly or by way of others, in their order."""
    names = set(flipped.unknowns)
    chosen: set[int] = set()
    grew = True
    while grew:
        grew = False
        for number, (condition, _) in enumerate(conditions):
            if number not in chosen and names & condition.unknowns:
                names |= condition.unknowns
                chosen.add(number)
                grew = True
    return [conditions[number] for number in sorted(chosen)][-RELATED:]


def _loose(steps: Sequence[Step], at: int) -> list[int]:
    """Steps before a branch that may decide what it sees although its numbers do not show it: the last ones."""
    found = []
    for before in range(at - 1, -1, -1):
        if steps[before].term is not None and not steps[before].pinned:
            found.append(before)
            if len(found) == INDIRECT:
                break
    return found
