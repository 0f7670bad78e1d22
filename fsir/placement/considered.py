"""The placements that were weighed, each with what it is predicted to do: so that the user sees why this one.

All of it on each target, the one chosen, and the best others that the search came by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fsir.driver.diagnostics import place_of
from fsir.placement.decide import Chooser, Decision, Program
from fsir.placement.stopping import INF, Plan, Stages
from fsir.placement.targets import stages_of

OTHERS = 3
"""Runner-ups that are told of, of plans that differ from each other by more than `_SAME`."""
_SAME = 1.005


@dataclass(frozen=True)
class Considered:
    """`loads` are nanoseconds per arriving packet by target, `busiest` those of the busiest set of cores, per core;
    `handed` is the share of packets that leave the first target, `cuts` the places. `why_not`: it is impossible."""

    name: str
    loads: tuple[float, ...] = ()
    busiest: float = INF
    handed: float = 0.0
    cuts: tuple[str, ...] = ()
    why_not: str | None = None
    chosen: bool = False

    @property
    def mpps(self) -> float:
        """Millions of packets per second."""
        return 1000.0 / self.busiest


def considered(chooser: Chooser, programs: Sequence[Program], decision: Decision) -> list[Considered]:
    """The placements of a decision, the chosen one first. Runner-ups only where there is one program."""
    stages = Stages(*stages_of(chooser.targets))
    found = [_told("chosen", programs, [placed.plan for placed in decision.placed], stages, True)]
    for t, target in enumerate(chooser.targets):
        found.append(_all_on(chooser, programs, t, f"all on {target.name}", stages))
    if len(programs) == 1:
        worse = found[0].busiest * _SAME
        for plan in decision.placed[0].plan.others:
            other = _told("", programs, [plan], stages)
            if other.busiest > worse and sum(not each.name for each in found) < OTHERS:
                worse = other.busiest * _SAME
                found.append(other)
    return [each if each.name else Considered("other", *_fields(each)) for each in found]


def _fields(each: Considered) -> tuple[tuple[float, ...], float, float, tuple[str, ...]]:
    return each.loads, each.busiest, each.handed, each.cuts


def _told(
    name: str, programs: Sequence[Program], plans: Sequence[Plan], stages: Stages, chosen: bool = False
) -> Considered:
    loads = [sum(by_plan) for by_plan in zip(*(plan.loads for plan in plans), strict=True)]
    handed, cuts = 0.0, dict[str, None]()
    for program, plan in zip(programs, plans, strict=True):
        for t, hands in enumerate(plan.hands):
            for n in sorted(hands & plan.visits[t].keys()):
                cuts[str(place_of(program.graph.pieces[n].entries[0].first_op))] = None
                handed += plan.visits[t][n] / len(programs) if t == 0 else 0.0
    return Considered(name, tuple(loads), stages.busiest(loads), handed, tuple(cuts), None, chosen)


def _all_on(chooser: Chooser, programs: Sequence[Program], t: int, name: str, stages: Stages) -> Considered:
    """Everything on target number t; the targets before it hand every packet over as it comes."""
    reasons = [str(r) for p in programs for piece in p.why_not for r in piece[t]]
    if reasons:
        return Considered(name, why_not=reasons[0])
    targets = chooser.targets
    loads = [0.0] * len(targets)
    for program in programs:
        first = chooser.problem(program).nodes[0]
        for before in range(t):
            send, receive = first.hand[before]
            sender = targets[before]
            arrival = sender.costs["arrival"] if before == 0 else 0.0
            loads[before] += send if send < INF else sender.send + arrival
            loads[before + 1] += receive if receive < INF else targets[before + 1].receive
        loads[t] += targets[0].costs["arrival"] if t == 0 else 0.0
        for number in range(len(program.graph.pieces)):
            loads[t] += program.run[number][t] * program.graph.arrivals(number)
    return Considered(name, tuple(loads), stages.busiest(loads), 1.0 if t else 0.0)


__all__ = ["Considered", "considered"]
