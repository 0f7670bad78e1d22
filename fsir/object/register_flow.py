"""Where the content of every register comes from: what makes machine code SSA.

A source is one instruction, or several that meet at the beginning of a block, which makes an argument of the block.
Arguments are pruned by liveness.
"""

from __future__ import annotations

from collections.abc import Sequence

from fsir.isa import Form
from fsir.object.control_graph import CALLS, FP, ControlGraph, Node, Step, reverse_postorder

_ARGS = range(1, 6)


class RegisterFlow:
    """Fills in the operands of calls and exits, and for each block what is live at its beginning (`live_in`) and where
    that comes from (`entering`). `order` are the blocks so that, but for loops, predecessors come first; in
    `entry_defined` are the registers that have a content at the function's entry."""

    def __init__(self, graph: ControlGraph, arg_count: int | None) -> None:
        self.steps = graph.steps
        self.entry_defined = sum(1 << r for r in _ARGS[: 5 if arg_count is None else arg_count]) | 1 << FP
        nodes = graph.nodes
        self.order, roots = reverse_postorder(nodes)
        self._complete_uses(nodes, self.order, roots)
        self._find_live(nodes, self.order)
        self._find_sources(nodes, self.order, roots)

    def _complete_uses(self, nodes: list[Node], order: Sequence[int], roots: set[int]) -> None:
        """Find the registers surely defined before each step; they are the operands of calls and of `exit`."""
        out: dict[int, int] = {}
        changed = True
        while changed:
            changed = False
            for n in order:
                state = self._defined_before(nodes[n], n, out, roots)
                for i in nodes[n].steps:
                    state = _after(state, self.steps[i])
                if out.get(n) != state:
                    out[n] = state
                    changed = True
        for n in order:
            state = self._defined_before(nodes[n], n, out, roots)
            for i in nodes[n].steps:
                step = self.steps[i]
                if step.row.form in CALLS:
                    step.uses += tuple(r for r in _ARGS if state >> r & 1)
                elif step.row.form is Form.EXIT and state & 1:
                    step.uses = (0,)
                state = _after(state, step)

    def _defined_before(self, node: Node, n: int, out: dict[int, int], roots: set[int]) -> int:
        state = (1 << FP + 1) - 1
        for p in node.preds:
            state &= out.get(p, state)
        if n == 0:
            state &= self.entry_defined
        elif n in roots:
            state &= 1 << FP
        return state

    def _find_live(self, nodes: list[Node], order: Sequence[int]) -> None:
        """Registers whose content on entry to a block is read later (the frame pointer is always there)."""
        changed = True
        while changed:
            changed = False
            for n in reversed(order):
                live = 0
                for s in nodes[n].succs:
                    live |= nodes[s].live_in
                for i in reversed(nodes[n].steps):
                    step = self.steps[i]
                    live &= ~step.clobbers
                    if step.defines is not None:
                        live &= ~(1 << step.defines)
                    for r in step.uses:
                        live |= 1 << r
                live &= ~(1 << FP)
                if live != nodes[n].live_in:
                    nodes[n].live_in = live
                    changed = True

    def _find_sources(self, nodes: list[Node], order: Sequence[int], roots: set[int]) -> None:
        """Where each live-in register's content comes from."""
        for n in roots:
            for r in registers(nodes[n].live_in):
                argument = n == 0 and self.entry_defined >> r & 1
                nodes[n].entering[r] = ("arg", n) if nodes[n].preds or argument else None
        visited: set[int] = set()
        changed = True
        while changed:
            changed = False
            for n in order:
                node = nodes[n]
                for r in registers(node.live_in) if n not in roots else ():
                    if node.entering.get(r) == ("arg", n):
                        continue
                    met = {nodes[p].leaving.get(r) for p in node.preds if p in visited}
                    source = met.pop() if len(met) == 1 else ("arg", n)
                    if r not in node.entering or node.entering[r] != source:
                        node.entering[r] = source
                        changed = True
                leaving = dict(node.entering)
                for i in node.steps:
                    step = self.steps[i]
                    for r in registers(step.clobbers):
                        leaving[r] = None
                    if step.defines is not None:
                        leaving[step.defines] = i
                if leaving != node.leaving or n not in visited:
                    node.leaving = leaving
                    visited.add(n)
                    changed = True


def _after(state: int, step: Step) -> int:
    state &= ~step.clobbers
    return state if step.defines is None else state | 1 << step.defines


def registers(mask: int) -> list[int]:
    """The numbers of the registers in a mask."""
    return [r for r in range(FP) if mask >> r & 1]
