"""Live ranges cut in two where calls begin to matter.

A value that lives across calls needs one of four registers. Often the calls are far from where it is made, or on some
paths only: cut in front of the first of them, it can stay where it is until then, and the register is free for others.
The cut is a copy. For the result of a call, or an argument of the function, it costs nothing: such a value had to be
copied away anyhow, only earlier.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fsir.regalloc.model import FIRST, CodeBlock, Copies, Insn, Kind, MachineCode
from fsir.regalloc.saves import Lifetime, before, save_at_calls


@dataclass(slots=True)
class _Range:
    """Where a node is made (block and step), used (blocks and steps), and live at the start of."""

    made: tuple[int, int] | None = None
    once: bool = True
    free: bool = False
    """Whether it starts as a copy of a machine register."""
    uses: list[tuple[int, int]] = field(default_factory=list)
    entered: set[int] = field(default_factory=set)


class Splitter:
    """Cuts ranges of one function. A node is cut once only, and its halves are `blocked` from coalescing."""

    def __init__(self, code: MachineCode, blocked: set[tuple[int, int]], late: bool = False) -> None:
        self.code, self.blocked, self.late = code, blocked, late
        self.done: set[int] = set()
        self.calls: dict[int, list[int]] = {}
        """The steps that are calls, by block, as far as asked for since the code last changed."""
        self.changed: set[int] = set()
        """The blocks with more steps than when the ranges were found."""

    def make_room(self, failed: Sequence[Collection[int]], around: Sequence[Collection[int]]) -> bool:
        """Cut where that may give a register to the `failed` classes, at no cost: values among their neighbours
        `around` (in the same order) that need theirs only where the class is dead; where there are none, values of the
        classes themselves and the other neighbours. False if nothing was cut."""
        ranges = _find_ranges(self.code)
        self.calls.clear()
        self.changed.clear()
        if self.late:
            saved = [self.save(ranges, node) for node in dict.fromkeys(n for group in failed for n in group)]
            return any(saved)
        elsewhere = False
        for members, neighbours in zip(failed, around, strict=True):
            needed = {index for node in members for index in _blocks(ranges, node)}
            for node in neighbours:
                elsewhere |= self.cut(ranges, node, needed)
        if elsewhere:
            return True
        candidates = [node for group in (*failed, *around) for node in group]
        cut = [self.cut(ranges, node) for node in dict.fromkeys(candidates)]
        return any(cut)

    def cut(self, ranges: dict[int, _Range], node: int, keep_out: Collection[int] = ()) -> bool:
        """Cut a node's range if that costs nothing; not if the second half is live in a block of `keep_out`."""
        code = self.code
        found = ranges.get(node)
        if found is None or found.made is None or not (found.once and found.free) or node in self.done:
            return False
        if not self.changed.isdisjoint(_blocks(ranges, node)):
            life = self.lifetime(node, found.made[0], found)
            found.made, found.uses = (life.home, life.made), life.uses
        place = self.place(found)
        if place is None:
            return False
        index, at = place
        if code.blocks[index].weight > code.blocks[found.made[0]].weight:
            return False
        if index in keep_out or any(block in keep_out and self.code.dominates(index, block) for block in found.entered):
            return False
        self.insert(found, node, index, at)
        return True

    def save_all(self) -> None:
        """Save every value that starts in a machine register at the calls that it outlives, before anything failed."""
        ranges = _find_ranges(self.code)
        for node, found in ranges.items():
            if found.free:
                self.save(ranges, node)

    def save(self, ranges: dict[int, _Range], node: int) -> bool:
        """Let a node go on in another one from the first call of each way on; not if it does not live across calls."""
        found = ranges.get(node)
        if found is None or found.made is None or not found.once or node in self.done:
            return False
        second = save_at_calls(self.code, node, self.lifetime(node, found.made[0], found))
        if second is None:
            return False
        self.done |= {node, second}
        self.blocked |= {(second, node), (node, second)}
        self.calls.clear()
        return True

    def lifetime(self, node: int, home: int, found: _Range) -> Lifetime:
        """The range of a node as it is now: steps may have been inserted since it was found."""
        made, uses = 0, []
        for index in sorted({home, *(index for index, _ in found.uses)}):
            for at, step in enumerate(self.code.blocks[index].steps):
                pairs = step.pairs if isinstance(step, Copies) else ()
                if node in (step.uses if isinstance(step, Insn) else [s for _, s in pairs]):
                    uses.append((index, at))
                if node in (step.defs if isinstance(step, Insn) else [d for d, _ in pairs]):
                    made = at
        return Lifetime(home, made, found.entered, uses)

    # --- where -------------------------------------------------------------------------------------------------------

    def place(self, found: _Range) -> tuple[int, int] | None:
        """The block and step in front of which to cut: before all calls that the value outlives, on every path."""
        calls = self.crossed(found)
        if not calls:
            return None
        assert found.made is not None
        index = -1
        for block in calls:
            index = block if index < 0 else self.code.common_dominator(index, block)
        again = True
        while again:  # where the value goes on both behind the cut and past it, the cut has to come before
            again = False
            for block in found.entered:
                outside = block == index or not self.code.dominates(index, block)
                if outside and any(self.code.dominates(index, p) for p in self.code.blocks[block].preds):
                    index = self.code.blocks[index].idom if block == index else self.code.common_dominator(index, block)
                    again = True
        at = calls.get(index)
        if at is None:
            at = before(self.code.blocks[index], len(self.code.blocks[index].steps) - 1)
        return None if (index, at) <= (found.made[0], found.made[1] + 1) and index == found.made[0] else (index, at)

    def crossed(self, found: _Range) -> dict[int, int]:
        """The first step of the first call, by block, that the value outlives."""
        code = self.code
        assert found.made is not None
        calls: dict[int, int] = {}
        last: dict[int, int] = {}
        for index, at in found.uses:
            last[index] = max(at, last.get(index, -1))
        for index in {found.made[0], *found.entered}:
            block = code.blocks[index]
            start = found.made[1] + 1 if index == found.made[0] else 0
            end = last.get(index, -1)
            if any(successor in found.entered for successor in block.succs):
                end = len(block.steps)
            steps = self.calls_in(block)
            number = bisect_left(steps, start)
            if number < len(steps) and steps[number] < end:
                calls[index] = before(block, steps[number])
        return calls

    def calls_in(self, block: CodeBlock) -> list[int]:
        """The steps of a block that are calls."""
        found = self.calls.get(block.index)
        if found is None:
            found = [at for at, step in enumerate(block.steps) if isinstance(step, Insn) and step.clobbers]
            self.calls[block.index] = found
        return found

    # --- the cut -----------------------------------------------------------------------------------------------------

    def insert(self, found: _Range, node: int, index: int, at: int) -> None:
        code = self.code
        second = code.node(code.hint[node], code.origin[node])
        self.done |= {node, second}
        self.blocked.add((second, node))
        for block, step_at in found.uses:
            if (block == index and step_at >= at) or (block != index and self.code.dominates(index, block)):
                step = code.blocks[block].steps[step_at]
                if isinstance(step, Copies):
                    step.pairs = [(d, second if s == node else s) for d, s in step.pairs]
                else:
                    step.uses = [second if n == node else n for n in step.uses]
        steps = code.blocks[index].steps
        following = steps[at]
        operation = following.at if isinstance(following, Copies) else following.op
        steps.insert(at, Copies([(second, node)], operation))
        self.calls.pop(index, None)
        self.changed.add(index)


def _blocks(ranges: dict[int, _Range], node: int) -> set[int]:
    """The blocks in which a node is live somewhere."""
    found = ranges.get(node)
    if found is None:
        return set()
    return found.entered | {index for index, _ in found.uses} | ({found.made[0]} if found.made else set())


def _find_ranges(code: MachineCode) -> dict[int, _Range]:
    """The ranges of all values that can be cut: neither constants, nor results of several definitions, nor reloads."""
    ranges: dict[int, _Range] = {}
    for block in code.blocks:
        for at, step in enumerate(block.steps):
            if isinstance(step, Copies):
                for node, source in step.pairs:
                    _use(code, ranges, source, block.index, at)
                    _make(code, ranges, node, block.index, at, source < FIRST)
            else:
                for node in step.uses:
                    _use(code, ranges, node, block.index, at)
                for node in step.defs:
                    _make(code, ranges, node, block.index, at, False, tied=step.tied)
    for found in ranges.values():
        _enter(code, found)
    return ranges


def _is_value(code: MachineCode, node: int) -> bool:
    return (
        node >= FIRST
        and code.kind[node] is Kind.REGISTER
        and not code.template[node]
        and node not in code.joins
        and node not in code.slot
        and node not in code.short
        and node not in code.tight
    )


def _use(code: MachineCode, ranges: dict[int, _Range], node: int, index: int, at: int) -> None:
    if _is_value(code, node):
        ranges.setdefault(node, _Range()).uses.append((index, at))


def _make(
    code: MachineCode, ranges: dict[int, _Range], node: int, index: int, at: int, free: bool, tied: bool = False
) -> None:
    if not _is_value(code, node):
        return
    found = ranges.setdefault(node, _Range())
    if found.made is not None and not (tied and found.made == (index, at - 1)):
        found.once = False
    found.made, found.free = (index, at), free


def _enter(code: MachineCode, found: _Range) -> None:
    """Find the blocks at whose start the value is live."""
    if found.made is None:
        return
    home = found.made[0]
    work = [index for index, _ in found.uses if index != home]
    while work:
        index = work.pop()
        if index not in found.entered:
            found.entered.add(index)
            work += [p for p in code.blocks[index].preds if p != home]
