"""What packets take with a new body of a function, beside what they took with its original code.

Where two bodies branch differently, lengths of paths cannot be compared (`paths`). So packets, and contents of maps,
are searched that take the original program through its branches (`fsir.run.coverage`, a short search), and each body
is run on them in the place of the original, everything else as it was. A packet for which the program does something
else than the original shows that the body is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Region

from fsir.analysis.program_types import programs_running
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.placement import PartOp
from fsir.interp.branches import Branches
from fsir.interp.codegen_link import Sources
from fsir.interp.engine import HOOKS, Contents, ExecutionError, InterpProgram, Outcome, SelectionError
from fsir.interp.engine_maps import missing_sizes
from fsir.interp.map_base import MapError
from fsir.object.original import original_body
from fsir.run.coverage import Case, clock, explore, global_data

_RUNS = 150
_STATES = 6
"""How much is searched: packets for the first state of the maps, and states."""
_BUDGET = 100_000
"""The most instructions that a packet may take to be measured."""


@dataclass(frozen=True)
class Measured:
    """`excess` is how many instructions the packet that loses most takes more (negative if all gain); `different` a
    packet on which the program does something else, None if there is none."""

    excess: int
    different: bytes | None = None


@dataclass(frozen=True)
class _Recorded:
    """A case, and what the original does with its packets."""

    case: Case
    outcomes: tuple[Outcome, ...]


class Measure:
    """Measures bodies for the functions of one module, whose originals are taken when the first is measured."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module
        self._reference: ModuleOp | None = None
        self._functions: dict[str, FuncOp] = {}
        self._running: dict[str, set[str]] = {}
        self._recorded: dict[str, list[_Recorded]] = {}
        self._sizes: dict[str, int] = {}
        self._sources = Sources()

    def __call__(self, func: FuncOp, body: Region) -> Measured | None:
        """How `body` of machine code, which is part of no function, does in the place of `func`. None if no packet
        shows it: the function is in no program that takes packets, or originals are missing."""
        if self._reference is None:
            self._reference = self._originals()
        place = self._functions.get(func.symbol)
        cases = [(name, case) for name in sorted(self._running.get(func.symbol, ())) for case in self._cases(name)]
        if place is None or not cases:
            return None
        self._sources.forget(body)
        old = place.detach_region(place.body)
        place.add_region(body)
        try:
            found = [self._run(name, recorded) for name, recorded in cases]
        finally:
            place.detach_region(body)
            place.add_region(old)
        different = next((measured.different for measured in found if measured.different is not None), None)
        return Measured(max(measured.excess for measured in found), different)

    def _originals(self) -> ModuleOp:
        """The module with all functions as they were; without functions if that is not known of all."""
        operations = list(self._module.body.block.ops)
        if any(isinstance(op, PartOp) for op in operations):
            return ModuleOp([])
        reference = ModuleOp([], dict(self._module.attributes))
        for op in operations:
            if not isinstance(op, FuncOp) or op.is_allocated():
                reference.body.block.add_op(op.clone())
            elif op.original is not None:
                reference.body.block.add_op(FuncOp.create(properties=dict(op.properties), regions=[original_body(op)]))
            else:
                return ModuleOp([])
        self._functions = {func.symbol: func for func in functions(reference)}
        self._running = programs_running(self._functions)
        self._sizes = missing_sizes(reference)
        return reference

    def _cases(self, name: str) -> list[_Recorded]:
        """Packets for a program, with what the original does; searched once. Nothing for one that takes no packets."""
        if name not in self._recorded:
            assert self._reference is not None
            takes_packets = self._functions[name].type_name in HOOKS
            try:
                found = self._search(name, self._reference) if takes_packets else []
            except (ExecutionError, MapError, SelectionError):
                found = []  # not to be interpreted, so that nothing is known of it
            self._recorded[name] = found
        return self._recorded[name]

    def _search(self, name: str, reference: ModuleOp) -> list[_Recorded]:
        def opened(maps: Contents, branches: Branches) -> InterpProgram:
            return self._opened(name, maps, branches)

        cases = explore(opened, global_data(reference), runs=_RUNS, states=_STATES).cases
        return [_Recorded(case, tuple(self._outcomes(name, case))) for case in cases]

    def _run(self, name: str, recorded: _Recorded) -> Measured:
        excess, packets = -_BUDGET, iter(recorded.case.packets)
        try:
            for before, after in zip(recorded.outcomes, self._outcomes(name, recorded.case), strict=True):
                packet = next(packets)
                if _behaviour(before) != _behaviour(after):
                    return Measured(excess, packet)
                excess = max(excess, after.instructions - before.instructions)
        except (ExecutionError, SelectionError):
            return Measured(excess, next(packets))
        return Measured(excess)

    def _outcomes(self, name: str, case: Case) -> Iterator[Outcome]:
        program = self._opened(name, case.maps, None)
        for index, packet in enumerate(case.packets):
            yield program.run(packet, clock_ns=clock(index))

    def _opened(self, name: str, maps: Contents, branches: Branches | None) -> InterpProgram:
        assert self._reference is not None
        return InterpProgram(
            self._reference,
            name,
            maps=maps,
            map_sizes=self._sizes,
            budget=_BUDGET,
            branches=branches,
            sources=self._sources,
        )


def _behaviour(outcome: Outcome) -> tuple[object, ...]:
    return outcome.verdict, outcome.data, outcome.meta, outcome.redirect
