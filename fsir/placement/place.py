"""From a raised module to a placed one: the steps of `decompose`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

from fsir.analysis.effects import EffectTable
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.packet import CtxType
from fsir.dialects.placement import PartOp
from fsir.driver.diagnostics import fail, place_of, warning
from fsir.placement.access import MapAccesses
from fsir.placement.assemble import Assembler
from fsir.placement.considered import considered
from fsir.placement.costs import Costs
from fsir.placement.counted import loops_to_count, split_by_count
from fsir.placement.crossing import Crossing, Crossings, Impossible
from fsir.placement.cuts import CutFailed, PartCuts, final_cuts
from fsir.placement.decide import OBJECTIVES, Chooser, Decision, NoPlacement, Program
from fsir.placement.feasible import Rules
from fsir.placement.graph import FlowGraph
from fsir.placement.order import keep_order
from fsir.placement.prepare import copy_joins, join_ways, separate_verdicts, separate_ways, split_where
from fsir.placement.profile import ProfileError, attach, detach, read
from fsir.placement.spills import unspill_addresses
from fsir.placement.symbols import LEVELS
from fsir.placement.targets import Target, load_all

ORDERS = ("keep", "relaxed")
MOST_ROUNDS = 8192
"""Of a loop that is split by count: the kernel's verifier follows no more jumps."""
_INNER = re.compile(r"xdp(\.frags)?[/_](devmap|cpumap)")
"""Sections of programs that run on packets which the kernel has redirected already."""


@dataclass(frozen=True)
class Options:
    """The options of `decompose`."""

    targets: tuple[str, ...]
    objective: str = "throughput"
    cut_at: tuple[str, ...] = ()
    on_failure: str = "aborted"
    program: str | None = None
    profile: str | None = None
    verify: bool = False
    loop_bound: int = 0
    order: str = "keep"


def place(ctx: Context, module: ModuleOp, options: Options) -> Decision:
    """Place the XDP programs of a module. Raises FailedAt where there is no placement, TargetError for targets."""
    targets = load_all(options.targets)
    _check(module, options)
    frequencies = _attach_profile(module, options)
    programs = _programs(module, options, targets)
    functions = {op.symbol: op for op in module.body.block.ops if isinstance(op, FuncOp)}
    wanted = {func: blocks_at(func, options.cut_at) for func in programs}
    if options.cut_at and not any(wanted.values()):
        fail(programs[0], f"cut-at={','.join(options.cut_at)}: there is no such line or block in a program")
    for func in programs:
        unspill_addresses(module, func)
        _prepare(func, targets)
    rules = Rules(module, MapAccesses(module, functions.values()), functions)
    for func in programs:
        _split_loops(func, rules, targets, options.loop_bound)
        _split_blocks(func, rules, targets)
        wanted[func].intersection_update(func.body.blocks)
    accesses = MapAccesses(module, functions.values())
    ways = {func: separate_ways(func, accesses) for func in programs}
    rules = Rules(module, accesses, functions)
    costs = Costs(accesses.declarations, functions)
    staying = [f for f in functions.values() if f.type_name is not None and f not in programs and not f.is_raw()]
    chooser = Chooser(targets, rules, costs, accesses, options.objective, staying)
    effects = EffectTable(module)
    once = [target.kind for target in targets] == ["xdp", "af-xdp"]
    graphs = {func: FlowGraph(func, accesses.declarations) for func in programs}
    crossings = {func: Crossings(graph, accesses, effects, only_handoff=once) for func, graph in graphs.items()}
    examined = [_examine(func, chooser, crossings[func], wanted[func], ways[func]) for func in programs]
    keep = options.order == "keep"
    decision, cuts = _decide(chooser, examined, effects, keep)
    if options.verify:
        from fsir.placement.verified import Verifier

        verifier = Verifier(ctx, module)
        while not verifier.accepts(decision, cuts):
            decision, cuts = _decide(chooser, examined, effects, keep)
    _warn_of_other_cuts(decision)
    decision.alternatives = chooser.alternatives(examined)
    decision.frequencies = frequencies
    decision.compared = considered(chooser, examined, decision)
    Assembler(module, decision, options.on_failure).run(cuts)
    _join_ways(module)
    detach(module)
    return decision


def _warn_of_other_cuts(decision: Decision) -> None:
    """Say where packets are handed over before they come to a cut that was asked for."""
    for placed in decision.placed:
        graph = placed.program.graph
        made = placed.plan.hands[0] & placed.plan.visits[0].keys() if placed.plan.hands else frozenset()
        asked = {graph.piece_of[block]: block for block in placed.program.must_cut}
        if not asked or made.intersection(asked):
            continue
        why = f" ({decision.shared_reasons[0]})" if decision.shared_reasons else ""
        block = next(iter(asked.values()))
        warning(block.first_op, f"cut-at: no packet comes here on {decision.targets[0].name}, it is left before{why}")


def _check(module: ModuleOp, options: Options) -> None:
    if any(isinstance(op, PartOp) for op in module.body.block.ops):
        fail(module, "the module is placed already; decompose takes one that is not")
    if options.objective not in OBJECTIVES:
        fail(module, f"objective={options.objective}: there are {', '.join(OBJECTIVES)}")
    if not 0 <= options.loop_bound <= MOST_ROUNDS:
        fail(module, f"loop-bound={options.loop_bound}: from 1 to {MOST_ROUNDS} rounds, or 0 for none")
    if options.order not in ORDERS:
        fail(module, f"order={options.order}: there are {', '.join(ORDERS)}")
    if options.on_failure not in ("aborted", "drop", "pass"):
        fail(module, f"on-failure={options.on_failure}: there are aborted, drop, pass")


def _attach_profile(module: ModuleOp, options: Options) -> str:
    """Where the frequencies come from."""
    if options.profile is None:
        return "static estimate"
    try:
        found = read(options.profile)
        attach(module, found)
    except ProfileError as error:
        fail(module, str(error))
    return str(found)


def is_placed(func: FuncOp) -> bool:
    """Whether `decompose` places a function: XDP programs, but those that the kernel runs for redirected packets."""
    return func.type_name == "xdp" and not _INNER.match(func.section.data)


def _programs(module: ModuleOp, options: Options, targets: list[Target]) -> list[FuncOp]:
    found = [op for op in module.body.block.ops if isinstance(op, FuncOp) and is_placed(op)]
    if not found:
        other = next((op for op in module.body.block.ops if isinstance(op, FuncOp) and op.type_name), module)
        fail(other, "there is no XDP program to place (others, and those of device and CPU maps, stay in the kernel)")
    names = ", ".join(func.symbol for func in found)
    if options.program is not None:
        found = [func for func in found if func.symbol == options.program]
        if not found:
            fail(module, f"program={options.program}: there is no such XDP program; there are: {names}")
    elif len(found) > 1 and targets[0].kind == "p4":
        fail(module, f"a NIC runs one program, and there are {names}; choose one with program=NAME")
    for func in found:
        if func.is_raw() or func.is_allocated():
            fail(func, f"'{func.symbol}' is machine code; run the pass raise before decompose")
        if [type(arg.type) for arg in func.entry.args] != [CtxType]:
            fail(func, f"'{func.symbol}' takes other arguments than the context; run the pass raise before decompose")
    return found


def _prepare(func: FuncOp, targets: list[Target]) -> None:
    if any(target.kind == "p4" for target in targets):
        copy_joins(func)
    separate_verdicts(func)


def _split_loops(func: FuncOp, rules: Rules, targets: list[Target], bound: int) -> None:
    """Split by count the loops that the kernel cannot bound."""
    for target in targets[:-1] if bound > 0 else ():
        if target.kind != "xdp":
            continue
        for piece in FlowGraph(func, rules.accesses.declarations).pieces:
            unbounded = rules.is_unbounded(piece, func, target)
            if unbounded and (loops := loops_to_count(func, piece, target.limits["iterations"])):
                split_by_count(func, loops, bound)


def _split_blocks(func: FuncOp, rules: Rules, targets: list[Target]) -> None:
    """Make cuts possible wherever a target but the last has to stop."""
    stops = {
        op: frozenset(target.name for target in targets[:-1] if rules.stops(op, target))
        for block in func.body.blocks
        for op in block.ops
    }
    split_where(func, stops.__getitem__)


def blocks_at(func: FuncOp, places: Iterable[str], option: str = "cut-at") -> set[Block]:
    """The blocks that an option names: by number, or those with code of a line that are reached from other lines."""
    blocks = list(func.body.blocks)
    found: set[Block] = set()
    for place_name in places:
        number = place_name.removeprefix("bb")
        if not number.isdigit():
            fail(func, f"{option}={place_name}: a source line, or a block as it is numbered when printed (bb12)")
        if place_name.startswith("bb"):
            found.update(blocks[int(number) : int(number) + 1])
        else:
            found.update(_blocks_of_line(func, int(number)))
    return found


def _blocks_of_line(func: FuncOp, line: int) -> set[Block]:
    from fsir.analysis.dominance import DominatorTree

    tree = DominatorTree(func.body)
    here = [b for b in tree.rpo if any(place_of(op).line == line for op in b.ops)]
    return {b for b in here if not any(other is not b and tree.dominates(other, b) for other in here)}


def _join_ways(module: ModuleOp) -> None:
    """Take out the blocks that were there to be cut in front of."""
    for part in [op for op in module.body.block.ops if isinstance(op, PartOp)]:
        for func in [op for op in part.body.block.ops if isinstance(op, FuncOp)]:
            join_ways(func)


def _examine(
    func: FuncOp, chooser: Chooser, crossings: Crossings, cuts: set[Block], ways: Mapping[Block, Sequence[Block]]
) -> Program:
    """`ways` are the blocks to cut in front of instead, where a block in `cuts` cannot be cut in front of."""
    graph = crossings.graph
    for block in cuts:
        piece = graph.pieces[graph.piece_of[block]]
        if block not in piece.entries:
            fail(block.first_op, "cut-at: this is inside of a loop, which can only be cut at its entry")
    program = chooser.examine(func, crossings)
    program.must_cut = frozenset(cuts)
    if len(chooser.targets) > 1:
        program.must_cut = frozenset(
            b for block in cuts for b in _possible(program, chooser, block, ways.get(block, ()))
        )
    forced = chooser.rules.symbols.forced(func)
    for t, target in enumerate(chooser.targets):
        if forced is not None and forced != target.name and LEVELS.get(forced) != target.level:
            program.forbid(t, f"'{func.symbol}' is tagged to run on {forced}")
    return program


def _possible(program: Program, chooser: Chooser, block: Block, ways: Sequence[Block]) -> Sequence[Block]:
    """Where to cut so that all is handed over that comes to a block."""
    graph = program.graph
    outside = [way for way in ways if graph.piece_of.get(way, graph.piece_of[block]) != graph.piece_of[block]]
    for possible in [block], outside:
        try:
            for each in possible:
                chooser.crossings(program, graph.piece_of[each], 0)
        except Impossible as error:
            why = str(error)
            continue
        if possible:
            return possible
    fail(block.first_op, f"cut-at: the program cannot be cut here: {why}")


def _decide(
    chooser: Chooser, programs: list[Program], effects: EffectTable, keep: bool
) -> tuple[Decision, list[list[PartCuts]]]:
    """The placement and its cuts; a cut that cannot carry what a later one needs is given up, and all thought over.
    `keep`: the order of packets is kept where it matters."""

    def fits(t: int, crossing: Crossing) -> str | None:
        sender = chooser.targets[t]
        size = crossing.size(sender.transport)
        return f"{size} bytes would have to be carried" if size > sender.header_limit else None

    while True:
        try:
            decision = chooser.decide(programs)
        except NoPlacement as error:
            fail(error.func, f"'{error.func.symbol}': {error}")
        try:
            cuts = [final_cuts(placed, fits) for placed in decision.placed]
        except CutFailed as error:
            for program in programs:
                if error.program is program:
                    program.uncuttable.add((error.piece, error.target))
            continue
        for placed, parts in zip(decision.placed, cuts, strict=True):
            others = [other for other in decision.placed if other is not placed]
            keep_order(chooser, placed, parts, effects, others, fits, keep)
        return decision, cuts


__all__ = ["Options", "blocks_at", "is_placed", "place"]
