"""Sides of branches that no input takes, whatever the packet, the maps and the global data hold.

    proven = Infeasible(module).among(sides)

Each function by itself, as one formula over all its ways: registers, the frame's bytes, and which edges are taken.
Whatever is not understood (other memory, results of helpers, what a loop does) is unknown, so that what z3 refutes no
run can do. Known besides: a frame's bytes hold what was stored last, `data_end` is not before `data` (XDP: 14 bytes
behind it), an array has every index below its size, and an address is not null. Maps have the sizes that they are
declared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation

from fsir.dialects import ebpf
from fsir.dialects.ebpf import functions
from fsir.smt.function_terms import FunctionTerms, Irreducible, Passed
from fsir.smt.terms import Value

if TYPE_CHECKING:
    from fsir.smt.solve import Solver

Side = tuple[Operation, int]

MOST_BLOCKS = 1200
"""Functions with more are not looked at."""
QUESTIONS = 200
"""The most questions that z3 gets for a program."""
EFFORT = 100_000
"""What it may spend on one."""


class Infeasible:
    """The answers for one module, which must not change meanwhile."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module
        self._terms: dict[ebpf.FuncOp, FunctionTerms | None] = {}
        self._passed = Passed(module)

    def among(self, sides: Iterable[Side], questions: int = QUESTIONS) -> list[Side]:
        """Those of the sides that nothing takes."""
        wanted = list(sides)
        by_function: dict[ebpf.FuncOp, list[Side]] = {}
        for branch, side in wanted:
            func = branch.parent_op()
            if isinstance(func, ebpf.FuncOp):
                by_function.setdefault(func, []).append((branch, side))
        found: list[Side] = []
        for func in self._passed.callers_first(functions(self._module)):
            terms = self._of(func)
            if terms is None or func not in by_function:
                continue
            asked, proven = _Questions(terms).ask(by_function[func], questions)
            questions -= asked
            found += proven
        return [side for side in wanted if side in set(found)]

    def _of(self, func: ebpf.FuncOp) -> FunctionTerms | None:
        if func not in self._terms:
            small = len(func.body.blocks) <= MOST_BLOCKS and not func.is_raw()
            self._terms[func] = None
            try:
                self._terms[func] = FunctionTerms(func, self._module, self._passed) if small else None
            except Irreducible:
                small = False
            if not small:
                self._passed.give_up(func)
        return self._terms[func]


class _Questions:
    """What is asked of one function: of a branch with one side open, that side; of one with both, whether control comes
    to it, if the block that dominates it was not asked in vain."""

    def __init__(self, terms: FunctionTerms) -> None:
        from fsir.smt.solve import Solver

        self.terms = terms
        self.solver: Solver = Solver(EFFORT)
        self.dead: set[Side] = set()
        self.asked = 0
        self._in_vain: set[Block] = set()

    def ask(self, sides: Sequence[Side], most: int) -> tuple[int, list[Side]]:
        """How many questions were asked, and which of the sides are impossible."""
        of_branch: dict[Operation, list[int]] = {}
        for branch, side in sides:
            of_branch.setdefault(branch, []).append(side)
        for block in self.terms.tree.rpo:
            last = block.last_op
            if last not in of_branch:
                continue
            ways = [(last, side) for side in of_branch[last]]
            if self._unreachable(block, len(ways) == 2 and self.asked < most):
                self.dead.update(ways)
                continue
            self.dead.update(way for way in ways if self._is_zero(way))
            if len(ways) == 1 and self._refuted(self.terms.edges[ways[0]], most):
                self.dead.add(ways[0])
        return self.asked, [side for side in sides if side in self.dead]

    def _unreachable(self, block: Block, ask: bool) -> bool:
        """Whether control never comes to a block."""
        incoming = self.terms.incoming[block]
        if incoming and all(edge in self.dead or self._is_zero(edge) for edge in incoming):
            return True
        above = self.terms.tree.idom(block)
        if above in self._in_vain:
            self._in_vain.add(block)
            return False
        if not ask or not incoming:
            return False
        if self._refuted(self.terms.reached[block], self.asked + 1):
            return True
        self._in_vain.add(block)
        return False

    def _is_zero(self, edge: Side) -> bool:
        term = self.terms.edges[edge]
        return isinstance(term, int) and not term

    def _refuted(self, term: Value, most: int) -> bool:
        """Whether this is never true."""
        if isinstance(term, int):
            return not term
        if self.asked >= most:
            return False
        self.asked += 1
        return self.solver.impossible([term, *self.terms.defining(term)])


__all__ = ["Infeasible", "Side"]
