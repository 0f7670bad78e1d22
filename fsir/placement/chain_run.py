"""From a raised module to one whose programs are chains: the steps of the pass `chain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

from fsir.analysis.effects import EffectTable
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.packet import CtxType
from fsir.driver.diagnostics import fail, remark
from fsir.kernel.errors import KernelUnavailable
from fsir.placement.access import MapAccesses
from fsir.placement.chain import CannotCut, Chain, ChainPlan
from fsir.placement.chain_build import CONTEXTS, NoPrototype, stack_problem
from fsir.placement.chain_choice import FOLLOWED, LENGTH, Chooser, split_stretches
from fsir.placement.chain_judge import Blame, lowered, refused, too_long
from fsir.placement.chain_turns import builder_for
from fsir.placement.crossing import Impossible
from fsir.placement.place import blocks_at
from fsir.placement.verified import NotTried


@dataclass(frozen=True)
class ChainOptions:
    """The options of `chain`."""

    at: tuple[str, ...] = ()
    max_instructions: int = 0
    verify: bool = False
    program: str | None = None


def chain(ctx: Context, module: ModuleOp, options: ChainOptions) -> None:
    """Make chains of the programs of a module. Raises FailedAt where one cannot be cut as wanted."""
    if not (options.at or options.max_instructions or options.verify):
        fail(module, "chain: say where to cut: at=LINES, max-instructions=N, or verify=true to ask the kernel")
    programs = _programs(module, options)
    wanted = {func: blocks_at(func, options.at, "at") for func in programs}
    if options.at and not any(wanted.values()):
        fail(programs[0], f"at={','.join(options.at)}: there is no such line or block in a program")
    for func in programs:
        if wanted[func] or options.max_instructions or options.verify:
            _Chaining(ctx, module, func, options).run(wanted[func])


def _programs(module: ModuleOp, options: ChainOptions) -> list[FuncOp]:
    programs = [op for op in module.body.block.ops if isinstance(op, FuncOp) and op.type_name in CONTEXTS]
    names = ", ".join(func.symbol for func in programs)
    if not programs:
        fail(module, f"there is no program to chain; those of the types {', '.join(CONTEXTS)} can be")
    if options.program is not None:
        programs = [func for func in programs if func.symbol == options.program]
        if not programs:
            fail(module, f"program={options.program}: there is no such program; there are: {names}")
    for func in programs:
        if func.is_raw() or func.is_allocated():
            fail(func, f"'{func.symbol}' is machine code; run the pass raise before chain")
        if [type(arg.type) for arg in func.entry.args] != [CtxType]:
            fail(func, f"'{func.symbol}' takes other arguments than the context; run the pass raise before chain")
    return programs


class _Chaining:
    """The work on one program: its links become shorter until they are good enough."""

    def __init__(self, ctx: Context, module: ModuleOp, func: FuncOp, options: ChainOptions) -> None:
        self.ctx, self.module, self.func, self.options = ctx, module, func, options
        self.cuts: set[Block] = set()

    def run(self, wanted: set[Block]) -> None:
        searching = bool(self.options.max_instructions or self.options.verify)
        if searching and not wanted:
            found = self._judge(None)
            if found is None:
                return
            if not found[1].gave_up:
                self._no_use(found[1])
        if searching:
            split_stretches(self.func)
        functions = {op.symbol: op for op in self.module.body.block.ops if isinstance(op, FuncOp)}
        accesses = MapAccesses(self.module, functions.values())
        try:
            self.chain = Chain(self.func, accesses, EffectTable(self.module), functions)
            self.chooser = Chooser(self.chain)
            self.cuts = set(wanted)
            plan = self.chain.plan(self.cuts)
            while searching and (blame := self._judge(plan)) is not None:
                plan = self._cut(plan, *blame)
            self._finish(plan)
        except (Impossible, NoPrototype) as error:
            fail(self.func, f"'{self.func.symbol}' cannot be chained: {error}")
        except CannotCut as error:
            fail(error.block.first_op, f"at: the program cannot be cut here: {error}")

    def _finish(self, plan: ChainPlan) -> None:
        links = builder_for(self.module, self.chain, plan).run()
        if problem := stack_problem(self.module, links):
            fail(links[0], f"'{links[0].symbol}' cannot be chained like this: {problem}")
        if len(links) > 1:
            remark(links[0], f"'{links[0].symbol}' is a chain of {len(links)} functions")

    def _cut(self, plan: ChainPlan, start: Block | None, blame: Blame) -> ChainPlan:
        """The plan with one more cut in the link to blame, or in the one that is most to follow and can be cut; or,
        where a cut made the kernel refuse its link, without that."""
        if blame.gave_up:
            by = LENGTH if blame.by_length else FOLLOWED
            links = list(plan.links.values())
            links = sorted(links, key=self.chooser.followed, reverse=True) if start is None else [plan.links[start]]
            for link in links:
                found = self.chooser.next_cut(self.cuts, link, by)
                if found is not None:
                    self.cuts.add(found[0])
                    return found[1]
            place = self.func if start is None else start.first_op
            fail(place, f"'{self.func.symbol}' cannot be chained: {blame.words}, and no further cut is left that helps")
        if start is None or start is self.func.entry or start not in self.cuts:
            self._no_use(blame)
        self.chooser.bad.add(start)
        self.cuts.discard(start)
        return self.chain.plan(self.cuts)

    def _no_use(self, blame: Blame) -> NoReturn:
        fail(self.func, f"the kernel's verifier refuses '{self.func.symbol}', which no cut changes: {blame.words}")

    def _judge(self, plan: ChainPlan | None) -> tuple[Block | None, Blame] | None:
        """The link that is not good enough yet, by its first block, and why; without a plan, the program as it is."""
        candidate = self.module.clone()
        starts = {self.func.symbol: self.func.entry}
        if plan is not None:
            builder = builder_for(candidate, self.chain, plan)
            builder.run()
            starts |= {name: block for block, name in builder.names.items()}
        functions = lowered(self.ctx, candidate)
        names, limit = list(starts), self.options.max_instructions
        blame = too_long(functions, names, limit) if limit else None
        if blame is None and self.options.verify:
            try:
                blame = refused(candidate, functions, names)
            except KernelUnavailable as error:
                fail(self.module, f"verify: {error}")
            except NotTried as error:
                fail(self.func, f"verify: the kernel cannot say whether it takes this: {error}")
        return None if blame is None else (starts.get(blame.name or ""), blame)


__all__ = ["ChainOptions", "chain"]
