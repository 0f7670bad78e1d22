"""Structured control flow for an acyclic graph of blocks: `if` and `else`, without jumps.

A block with one way in stands where its predecessor branches to it.  One with several stands after the code of the
block that immediately dominates it; where some of the paths that get there have other blocks to go to, a flag says
whether it is meant.  Paths that end the program `return`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.ir import Block

from fsir.backends.p4.conditions import Condition
from fsir.backends.p4.evaluate import BlockCode, Edge, Statement
from fsir.backends.p4.names import Names

INDENT = "    "


@dataclass
class Code:
    """Lines, and whether none of their paths gets to what follows."""

    lines: list[str]
    ends: bool


class Structure:
    """Writes the blocks of one function. `text` gives the lines of a statement."""

    def __init__(
        self,
        entry: Block,
        code: dict[Block, BlockCode],
        text: Callable[[Statement], list[str]],
        names: Names,
    ) -> None:
        self.entry = entry
        self.code = code
        self.text = text
        self.names = names
        self.flags: dict[Block, str] = {}
        self.written: dict[Block, Code] = {}
        self.order = {block: index for index, block in enumerate(code)}
        self.ways_in: dict[Block, list[Block]] = {block: [] for block in code}
        for block, content in code.items():
            for edge in content.edges:
                self.ways_in[edge.target].append(block)
        self.merges = {block for block, ways in self.ways_in.items() if len(ways) > 1}
        self.idom = self._dominators()
        self.below: dict[Block, list[Block]] = {block: [] for block in code}
        for block in code:
            if block in self.merges:
                self.below[self.idom[block]].append(block)

    def write(self) -> list[str]:
        """The program's lines."""
        for block, merges in self.below.items():
            for position, merge in enumerate(merges):
                if self._needs_flag(block, merge, merges[position + 1 :]):
                    self.flags[merge] = self.names.new(f"at_bb{self.order[merge]}")
        # A block's code contains that of blocks after it only.
        for block in reversed(self.code):
            self.written[block] = self._block(block)
        lines = self.written[self.entry].lines
        return lines[:-1] if lines and lines[-1] == "return;" else lines

    def _dominators(self) -> dict[Block, Block]:
        """Immediate dominators; the blocks are in topological order already."""
        idom: dict[Block, Block] = {self.entry: self.entry}
        for block in self.code:
            if block is self.entry:
                continue
            nearest, *others = self.ways_in[block]
            for other in others:
                while nearest is not other:
                    if self.order[nearest] > self.order[other]:
                        nearest = idom[nearest]
                    else:
                        other = idom[other]
            idom[block] = nearest
        return idom

    def _block(self, block: Block) -> Code:
        """The code of a block and of all that it dominates."""
        content = self.code[block]
        lines = [line for statement in content.statements for line in self.text(statement)]
        if not content.edges:
            return Code([*lines, "return;"], True)
        if len(content.edges) == 1:
            inner = self._edge(content.edges[0])
        else:
            then, otherwise = (self._edge(edge) for edge in content.edges)
            inner = _choice(content.condition, then, otherwise)
        lines += inner.lines
        ends = inner.ends
        for merge in self.below[block]:
            after = self.written.pop(merge)
            flag = self.flags.get(merge)
            if flag is None:
                lines += after.lines
                ends = after.ends
            else:
                lines += [f"if ({flag}) {{", *_indented(after.lines), "}"]
                ends = False
        return Code(lines, ends)

    def _edge(self, edge: Edge) -> Code:
        target = edge.target
        if target in self.merges:
            flag = self.flags.get(target)
            return Code([*edge.assigns, *([f"{flag} = true;"] if flag else [])], False)
        inner = self.written.pop(target)
        return Code([*edge.assigns, *inner.lines], inner.ends)

    def _needs_flag(self, block: Block, merge: Block, later: list[Block]) -> bool:
        """Whether control can get to where `merge` is written, after the code of `block`, on its way elsewhere."""
        seen = {merge}
        work = [edge.target for edge in self.code[block].edges]
        while work:
            at = work.pop()
            if at in seen:
                continue
            seen.add(at)
            if at in later or not self._dominates(block, at):
                return True
            work += [edge.target for edge in self.code[at].edges]
        return False

    def _dominates(self, above: Block, below: Block) -> bool:
        while self.order[below] > self.order[above]:
            below = self.idom[below]
        return below is above


def _choice(condition: Condition, then: Code, otherwise: Code) -> Code:
    """`if`; what follows an alternative that ends needs no `else`."""
    if not then.lines and not otherwise.lines:
        return Code([], False)
    swap = otherwise.ends and (not then.ends or len(otherwise.lines) < len(then.lines))
    if not then.lines or swap:
        condition, then, otherwise = condition.negated(), otherwise, then
    lines = [f"if ({condition.text}) {{", *_indented(then.lines)]
    if then.ends or not otherwise.lines:
        return Code([*lines, "}", *otherwise.lines], otherwise.ends and then.ends)
    if _is_one_if(otherwise.lines):
        return Code([*lines, f"}} else {otherwise.lines[0]}", *otherwise.lines[1:]], then.ends and otherwise.ends)
    return Code([*lines, "} else {", *_indented(otherwise.lines), "}"], then.ends and otherwise.ends)


def _is_one_if(lines: list[str]) -> bool:
    """Whether these lines are a single `if` statement."""
    if not lines[0].startswith("if ("):
        return False
    closing = next(i for i, line in enumerate(lines) if line == "}")
    return closing == len(lines) - 1


def _indented(lines: list[str]) -> list[str]:
    return [INDENT + line if line else line for line in lines]
