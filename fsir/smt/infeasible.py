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

if TYPE_CHECKING:
    from fsir.smt.solve import Solver

Side = tuple[Operation, int]

MOST_BLOCKS = 1200
"""Functions with more are not looked at."""
QUESTIONS = 200
"""The most questions that z3 gets for a program."""


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
    def __init__(self, terms: FunctionTerms) -> None:
        from fsir.smt.solve import Solver

        self.terms = terms
        self.solver: Solver = Solver()
        self.dead: set[Side] = set()

    def ask(self, sides: Sequence[Side], most: int) -> tuple[int, list[Side]]:
        """How many questions were asked, and which of the sides are impossible."""
        order = {block: number for number, block in enumerate(self.terms.tree.rpo)}
        asked = 0
        for branch, side in sorted(sides, key=lambda s: order.get(s[0].parent, 0) if s[0].parent else 0):
            block = branch.parent
            edge = self.terms.edges.get((branch, side))
            if block is None or edge is None:
                continue
            if isinstance(edge, int):
                if not edge:
                    self.dead.add((branch, side))
            elif self._unreachable(block):
                self.dead.add((branch, side))
            elif asked < most:
                asked += 1
                if self.solver.impossible([edge, *self.terms.defining(edge)]):
                    self.dead.add((branch, side))
        return asked, [side for side in sides if side in self.dead]

    def _unreachable(self, block: Block) -> bool:
        """Whether all edges into a block are known to be impossible."""
        incoming = self.terms.incoming[block]
        return bool(incoming) and all(edge in self.dead for edge in incoming)


__all__ = ["Infeasible", "Side"]
