"""How often blocks run, by rules of thumb."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.ir import Block

from fsir.analysis.dominance import DominatorTree, successors

_FACTOR = 4.0
_DEEPEST = 5
_LEAVING = 0.2
"""How often control leaves a loop where it can."""


def block_weights(tree: DominatorTree) -> dict[Block, float]:
    """A weight for each reachable block, the same for all ways of a branch: 1.0 outside of loops, four times as much
    in each natural loop."""
    depth = dict.fromkeys(tree.rpo, 0)
    for body in _loops(tree).values():
        for block in body:
            depth[block] += 1
    return {block: _FACTOR ** min(level, _DEEPEST) for block, level in depth.items()}


def block_frequencies(tree: DominatorTree) -> dict[Block, float]:
    """How often each reachable block runs for one run of the function: both ways of a branch are as likely, except that
    loops are rather gone on with than left."""
    loops = _loops(tree)
    within: dict[Block, list[set[Block]]] = {}
    for body in loops.values():
        for block in body:
            within.setdefault(block, []).append(body)
    found: dict[Block, float] = {}
    for block in tree.rpo:
        arriving = 1.0 if tree.rpo_number(block) == 0 else 0.0
        for predecessor in tree.predecessors(block):
            if predecessor in found:
                arriving += found[predecessor] * _likelihood(predecessor, block, within.get(predecessor, []))
        found[block] = min(arriving * (_FACTOR if block in loops else 1.0), _FACTOR**_DEEPEST)
    return found


def _likelihood(block: Block, successor: Block, loops: list[set[Block]]) -> float:
    """How likely control goes from a block in these loops to this one of its successors."""
    ways = list(successors(block))
    inner = [all(way in body for body in loops) for way in ways]
    if all(inner) or not any(inner):
        return ways.count(successor) / len(ways)
    stays = all(successor in body for body in loops)
    share = ways.count(successor) / inner.count(stays)
    return share * (1.0 - _LEAVING if stays else _LEAVING)


def _loops(tree: DominatorTree) -> dict[Block, set[Block]]:
    """The natural loops: the blocks of each, by its header."""
    return {header: _body(tree, header, latches) for header, latches in _latches(tree)}


def _latches(tree: DominatorTree) -> Iterator[tuple[Block, list[Block]]]:
    found: dict[Block, list[Block]] = {}
    for block in tree.rpo:
        for successor in successors(block):
            if tree.dominates(successor, block):
                found.setdefault(successor, []).append(block)
    yield from found.items()


def _body(tree: DominatorTree, header: Block, latches: list[Block]) -> set[Block]:
    body = {header}
    work = list(latches)
    while work:
        block = work.pop()
        if block not in body:
            body.add(block)
            work.extend(p for p in tree.predecessors(block) if tree.is_reachable(p))
    return body
