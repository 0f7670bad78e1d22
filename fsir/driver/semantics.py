"""`--verify-semantics`: after each pass, the programs do what they did before it.

The packets and maps come from `fsir.run.coverage`, found once on the module as it is before the first pass. Then every
pass is checked against the one before: same verdicts, bytes, metadata, redirects and maps, in the interpreter, at
whatever level the code is, with garbage in the bits that are unspecified.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Operation

from fsir.dialects.ebpf import FuncOp, InsnOp, functions
from fsir.driver.diagnostics import Diagnostic, Severity, current, place_of

if TYPE_CHECKING:
    from fsir.interp.branches import Branches
    from fsir.interp.engine import Contents, InterpProgram
    from fsir.interp.results import Difference, PacketResult
    from fsir.run.coverage import Case

LISTED = 8


class BehaviourChanged(Exception):
    """A program does something else than before; the message says on which packet. `op` is the function."""

    def __init__(self, op: Operation | None, message: str) -> None:
        super().__init__(message)
        self.op = op


@dataclass
class _Program:
    """A program that is checked: its cases, and the maps that it had from the start."""

    name: str
    cases: Sequence[Case]
    maps: frozenset[str]
    sizes: dict[str, int]


class SemanticsCheck:
    """Checks one run of a pipeline: `start` before the first pass, then `before` and `after` around each."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._module: ModuleOp | None = None
        self._before: ModuleOp | None = None
        self._programs: list[_Program] = []

    def start(self, module: ModuleOp) -> None:
        """Find packets for every program of the module, and say what they do not reach."""
        self._module = module
        for func in functions(module):
            if func.type_name is not None and func.anonymous is None:
                self._explore(module, func)

    def before(self, module: ModuleOp) -> None:
        """Remember what the next pass is given."""
        if module is self._module and self._programs:
            self._before = module.clone()

    def after(self, module: ModuleOp) -> None:
        """Raise BehaviourChanged unless the programs still do the same."""
        if module is not self._module or self._before is None:
            return
        for program in self._programs:
            for case in program.cases:
                self._compare(program, case, self._before, module)

    def _explore(self, module: ModuleOp, func: FuncOp) -> None:
        from fsir.interp.codegen_link import Sources
        from fsir.interp.engine import HOOKS, ExecutionError, InterpProgram, SelectionError
        from fsir.interp.engine_maps import missing_sizes
        from fsir.interp.map_base import MapError
        from fsir.run.coverage import explore, global_data

        if func.type_name not in HOOKS:
            _note(func, f"{func.symbol} is not checked: a {func.type_name} program takes no packets")
            return
        sizes, sources = missing_sizes(module), Sources()

        def opened(maps: Contents, branches: Branches) -> InterpProgram:
            return InterpProgram(module, func.symbol, maps=maps, map_sizes=sizes, branches=branches, sources=sources)

        try:
            found = explore(opened, global_data(module), self.seed, solve=True)
        except (ExecutionError, SelectionError, MapError) as error:
            _note(func, f"{func.symbol} is not checked: {error}")
            return
        if not found.cases:
            _note(func, f"{func.symbol} is not checked: no packet runs to its end in the interpreter")
            return
        packets = sum(len(case.packets) for case in found.cases)
        states = len(found.cases)
        ways = f"{found.sides - len(found.open)} of {found.sides + len(found.impossible)} ways out of branches"
        proven = f"{len(found.impossible)} proven impossible, {len(found.open)} open{_listed(found.open)}"
        _note(func, f"{func.symbol}: {packets} packets from {states} states of the maps take {ways}; {proven}")
        with _open(module, func.symbol, found.cases[0], sizes) as program:
            names = frozenset(program.dump_maps())
        self._programs.append(_Program(func.symbol, found.cases, names, sizes))

    def _compare(self, program: _Program, case: Case, old: ModuleOp, new: ModuleOp) -> None:
        difference = _difference(program, case, old, new)
        if difference is None:
            return
        packet, alone, what = _first(program, case, old, new) or (case.packets[-1], False, difference)
        earlier = case.packets.index(packet)
        after = f" after {earlier} others" if earlier and not alone else ""
        func = next((func for func in functions(new) if func.symbol == program.name), None)
        error = BehaviourChanged(func, f"{program.name} differs on packet {packet.hex()}{after}: {what}")
        if case.maps:
            error.add_note(f"the maps held {json.dumps(case.maps)}")
        raise error


def _difference(program: _Program, case: Case, old: ModuleOp, new: ModuleOp) -> str | None:
    """What is different at the first packet at which something is, or in the maps at the end; None for nothing."""
    from fsir.interp.engine import ExecutionError, SelectionError
    from fsir.interp.map_base import MapError
    from fsir.interp.results import compare
    from fsir.run.coverage import clock

    left = _open(old, program.name, case, program.sizes)
    try:
        right = _open(new, program.name, case, program.sizes, poison=not _is_selected(new))
        for index, packet in enumerate(case.packets):
            a, b = (_result(p, index, packet, clock(index)) for p in (left, right))
            difference = compare([a], [b], {}, {})
            if difference is not None:
                return _told(difference)
    except (ExecutionError, SelectionError, MapError) as error:
        return f"it cannot be run any more: {error}"
    theirs = right.dump_maps()
    added = theirs.keys() - program.maps
    difference = compare([], [], left.dump_maps(), theirs, ignore_maps=added)
    return None if difference is None else f"{difference.where}, {_told(difference)}"


def _first(program: _Program, case: Case, old: ModuleOp, new: ModuleOp) -> tuple[bytes, bool, str] | None:
    """The first packet of a case that makes a difference, whether it does so alone, and which."""
    from fsir.run.coverage import Case

    for end, packet in enumerate(case.packets, 1):
        alone = _difference(program, Case(case.maps, (packet,)), old, new)
        if alone is not None:
            return packet, True, alone
        sequence = _difference(program, Case(case.maps, case.packets[:end]), old, new)
        if sequence is not None:
            return packet, False, sequence
    return None


def _result(program: InterpProgram, index: int, packet: bytes, clock_ns: int) -> PacketResult:
    from fsir.interp.results import PacketResult

    out = program.run(packet, clock_ns=clock_ns)
    return PacketResult(index, out.verdict, out.data, out.meta, program.machine.hook, out.redirect)


def _open(module: ModuleOp, name: str, case: Case, sizes: dict[str, int], poison: bool = False) -> InterpProgram:
    from fsir.interp.engine import InterpProgram

    return InterpProgram(module, name, maps=case.maps, map_sizes=sizes, poison=poison)


def _is_selected(module: ModuleOp) -> bool:
    """Whether instructions were selected for narrow values: lowering knows then what stands above them, and relies
    on it (docs/lowering.md)."""
    return any(
        isinstance(op, InsnOp) and any(isinstance(r.type, IntegerType) and r.type.width.data < 64 for r in op.results)
        for op in module.walk()
    )


def _told(difference: Difference) -> str:
    return f"{difference.what} differ: {difference.left} before and {difference.right} after"


def _listed(sides: Sequence[tuple[Operation, int]]) -> str:
    """The ways out of branches that were not taken: by source line where there is one, with what they ask about."""
    from fsir.run.reasons import deciding_helpers

    if not sides:
        return ""
    places: dict[str, None] = {}
    for op, side in sides:
        helpers = deciding_helpers(op) if len(places) <= LISTED else []
        asked = f", by {' and '.join(helpers)}" if helpers else ""
        places.setdefault(f"{_where(op)} ({'taken' if side == 0 else 'not taken'}{asked})")
    more = f" and {len(places) - LISTED} more" if len(places) > LISTED else ""
    return f": {', '.join(list(places)[:LISTED])}{more}"


def _where(op: Operation) -> str:
    place = place_of(op)
    return str(place) if str(place) else op.name


def _note(func: FuncOp, message: str) -> None:
    diagnostics = current()
    diagnostics.emit(Diagnostic(Severity.NOTE, place_of(func, diagnostics.input_name), message))
