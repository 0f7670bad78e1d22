"""Values saved in front of calls, on each way that has some, and not before.

A value that lives across calls stays in a register that calls destroy for as long as there was no call, and goes on in
a second node, which is copied from it right before the first call of each way. Where ways with and without calls meet,
it is copied back. If no register is left for the second node either, it becomes a slot: saved before the calls and
loaded after them, which ways without calls do not pay for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.ir import Operation

from fsir.regalloc.model import CALLER_SAVED, CodeBlock, Copies, Insn, MachineCode


@dataclass(slots=True)
class Lifetime:
    """Where a value is made (block and step) and the blocks at whose start it is live; `uses` are blocks and steps."""

    home: int
    made: int
    entered: set[int]
    uses: list[tuple[int, int]]
    last: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, at in self.uses:
            self.last[index] = max(at, self.last.get(index, -1))

    def leaves(self, block: CodeBlock) -> bool:
        """Whether the value is live at the end of a block."""
        return any(successor in self.entered for successor in block.succs)

    def blocks(self) -> list[int]:
        """The blocks in which it is live somewhere, in a fixed order."""
        return sorted({self.home, *self.entered})

    def span(self, block: CodeBlock) -> range:
        """The steps of a block after which it is live, or that use it last."""
        start = self.made + 1 if block.index == self.home else 0
        return range(start, len(block.steps) if self.leaves(block) else self.last.get(block.index, -1) + 1)


def save_at_calls(code: MachineCode, node: int, life: Lifetime) -> int | None:
    """Let a value with one definition live in a second node from the first call of each way on; gives that node. None,
    and nothing is changed, if there is no call, or nothing between the definition and the only place to save."""
    calls = {index: found for index in life.blocks() if (found := _crossed(code.blocks[index], life)) is not None}
    if not calls:
        return None
    saved = _saved_at_start(code, life, calls)
    places = {index: at for index, at in calls.items() if not saved[index]}
    if list(places) == [life.home] and places[life.home] <= life.made + 1:
        return None
    second = code.node(code.hint[node], code.origin[node])
    restored = False
    for index in life.blocks():
        block = code.blocks[index]
        restored |= _rewrite(code, block, life, (node, second), saved, places.get(index))
    if restored:
        code.joins.add(node)
    if len(places) > 1:
        code.joins.add(second)
    return second


def _crossed(block: CodeBlock, life: Lifetime) -> int | None:
    """The step of a block before which to save: that of the first call that the value outlives, with its copies."""
    span = life.span(block)
    end = len(block.steps) if life.leaves(block) else span.stop - 1
    for at in range(span.start, end):
        step = block.steps[at]
        if isinstance(step, Insn) and step.clobbers & CALLER_SAVED:
            return before(block, at)
    return None


def _saved_at_start(code: MachineCode, life: Lifetime, calls: dict[int, int]) -> dict[int, bool]:
    """Whether all ways to the start of each block have saved the value."""
    saved = dict.fromkeys(life.blocks(), True)
    saved[life.home] = False
    again = True
    while again:
        again = False
        for index in life.entered:
            if saved[index] and not all(saved[p] or p in calls for p in code.blocks[index].preds):
                saved[index] = False
                again = True
    return saved


def _rewrite(
    code: MachineCode, block: CodeBlock, life: Lifetime, pair: tuple[int, int], saved: dict[int, bool], save: int | None
) -> bool:
    """Use the second node where the value is saved, and copy it back at the end where successors expect the first.
    Gives whether they do."""
    node, second = pair
    start = 0 if saved[block.index] else save
    if start is None:
        return False
    for index, at in life.uses:
        if index == block.index and at >= start and not (save is not None and _is_copies_of_call(block, save, at)):
            step = block.steps[at]
            if isinstance(step, Copies):
                step.pairs = [(d, second if s == node else s) for d, s in step.pairs]
            else:
                step.uses = [second if n == node else n for n in step.uses]
    expected = [s for s in block.succs if s in life.entered and not saved[s]]
    if expected:
        at = before(block, len(block.steps) - 1)
        block.steps.insert(at, Copies([(node, second)], _operation(block, at)))
    if save is not None:
        block.steps.insert(save, Copies([(second, node)], _operation(block, save)))
    return bool(expected)


def _is_copies_of_call(block: CodeBlock, save: int, at: int) -> bool:
    """Whether the step at `at` is that in front of which the value is saved, and so can read the first node still."""
    return at == save and isinstance(block.steps[at], Copies)


def _operation(block: CodeBlock, at: int) -> Operation | None:
    step = block.steps[at]
    return step.at if isinstance(step, Copies) else step.op


def before(block: CodeBlock, at: int) -> int:
    """The step in front of which to insert something that comes before the instruction at `at` and its copies."""
    return at - 1 if at > 0 and isinstance(block.steps[at - 1], Copies) else at
