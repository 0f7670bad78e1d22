"""The shape of a function as structured Python: which blocks are written inside their predecessor.

A block with one incoming edge is written where that edge leaves. The others, and the entry, are *heads*: each is one
arm of a dispatch on an integer. Arms end by returning or by choosing the next head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.ir import Block, Region


@dataclass
class Layout:
    """`heads` in reverse post-order, the entry first; `weight` is the number of blocks written with a block."""

    heads: list[Block]
    number: dict[Block, int]
    weight: dict[Block, int]
    loops: set[Block] = field(default_factory=set)
    """Heads that some edge returns to from later in the order: where a budget must be checked."""

    def is_head(self, block: Block) -> bool:
        """Whether control enters the block through the dispatch."""
        return block in self.number


def plan(region: Region) -> Layout:
    """The layout of a function's reachable blocks."""
    entry = region.blocks.first
    assert entry is not None
    order = _reverse_post_order(entry)
    position = {block: index for index, block in enumerate(order)}
    incoming: dict[Block, int] = dict.fromkeys(order, 0)
    loops: set[Block] = set()
    for block in order:
        for successor in _successors(block):
            incoming[successor] += 1
            if position[successor] <= position[block]:
                loops.add(successor)
    heads = [block for block in order if block is entry or incoming[block] > 1]
    number = {block: index for index, block in enumerate(heads)}
    weight = dict.fromkeys(order, 1)
    for block in reversed(order):
        for successor in _successors(block):
            if successor not in number:
                weight[block] += weight[successor]
    return Layout(heads, number, weight, loops)


def _successors(block: Block) -> Sequence[Block]:
    last = block.last_op
    return last.successors if last is not None else ()


def _reverse_post_order(entry: Block) -> list[Block]:
    """Reachable blocks, each before its successors except along back edges."""
    seen = {entry}
    order: list[Block] = []
    stack = [(entry, iter(_successors(entry)))]
    while stack:
        block, rest = stack[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(_successors(successor))))
                break
        else:
            stack.pop()
            order.append(block)
    order.reverse()
    return order
