"""SSA form again after values got further definitions.

When control can come to a block by a new way on which a value was made differently, uses of the value must take
whichever definition reaches them: block arguments are added where definitions meet (at the iterated dominance frontier,
only where the value is live).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xdsl.ir import Block, BlockArgument, Region, SSAValue

from fsir.analysis.cfg import set_successor_operands, successor_operands
from fsir.analysis.dominance import DominatorTree


class Undefined(Exception):
    """A use can be reached without any definition: the caller's mistake."""


def repair(
    region: Region,
    definitions: Mapping[SSAValue, Mapping[Block, SSAValue]],
    live_in: Callable[[SSAValue, Block], bool],
) -> None:
    """Let every use of the values in `definitions` see the definition that reaches it.

    `definitions[v]` gives other definitions of v: in a block, valid at its end; these blocks do not use v themselves.
    `live_in(v, block)` says whether a block needs v on entry, in the graph as it is now (more is allowed). Unreachable
    blocks are not looked at. Raises Undefined.
    """
    tree = DominatorTree(region)
    for value, others in definitions.items():
        _Repair(tree, value, others, live_in).run()


class _Repair:
    def __init__(
        self,
        tree: DominatorTree,
        value: SSAValue,
        others: Mapping[Block, SSAValue],
        live_in: Callable[[SSAValue, Block], bool],
    ) -> None:
        self.tree, self.value, self.live_in = tree, value, live_in
        self.home = value.owner if isinstance(value, BlockArgument) else value.owner.parent_block()
        self.at_end: dict[Block, SSAValue] = dict(others)
        if self.home is not None and tree.is_reachable(self.home):
            self.at_end[self.home] = value
        self.args: dict[Block, BlockArgument] = {}

    def run(self) -> None:
        uses = [(use.operation, use.index) for use in self.value.uses]
        for block in self.tree.iterated_frontier(self.at_end):
            if self.live_in(self.value, block) and block is not self.home:
                arg = block.insert_arg(self.value.type, len(block.args))
                arg.name_hint = self.value.name_hint
                self.args[block] = arg
        for op, index in uses:
            block = op.parent_block()
            assert block is not None
            if self.tree.is_reachable(block) and block is not self.home:
                op.operands[index] = self.reaching(block)
        for block in self.args:  # after the uses: passing a value moves a terminator's other operands
            self._pass_to(block)

    def _pass_to(self, block: Block) -> None:
        for source in self.tree.predecessors(block):
            terminator = source.last_op
            assert terminator is not None
            for index, successor in enumerate(terminator.successors):
                if successor is block:
                    reaches = self.tree.is_reachable(source)
                    value = self.reaching_end(source) if reaches else self.value
                    set_successor_operands(terminator, index, [*successor_operands(terminator, index), value])

    def reaching(self, block: Block) -> SSAValue:
        """The definition that holds on entry to a block."""
        at: Block | None = block
        while at is not None:
            if at in self.args:
                return self.args[at]
            at = self.tree.idom(at)
            if at is not None and at in self.at_end:
                return self.at_end[at]
        raise Undefined(f"no definition of {self.value} reaches {block}")

    def reaching_end(self, block: Block) -> SSAValue:
        """The definition that holds at the end of a block."""
        return self.at_end[block] if block in self.at_end else self.reaching(block)


__all__ = ["Undefined", "repair"]
