"""How often blocks run, by a rule of thumb: each natural loop around a block multiplies by four."""

from __future__ import annotations

from xdsl.ir import Block

from fsir.analysis.dominance import DominatorTree, successors

_FACTOR = 4.0
_DEEPEST = 5


def block_weights(tree: DominatorTree) -> dict[Block, float]:
    """A weight for each reachable block; 1.0 outside of loops."""
    depth = dict.fromkeys(tree.rpo, 0)
    latches: dict[Block, list[Block]] = {}
    for block in tree.rpo:
        for successor in successors(block):
            if tree.dominates(successor, block):
                latches.setdefault(successor, []).append(block)
    for header, sources in latches.items():
        body = {header}
        work = list(sources)
        while work:
            block = work.pop()
            if block not in body:
                body.add(block)
                work.extend(p for p in tree.predecessors(block) if tree.is_reachable(p))
        for block in body:
            depth[block] += 1
    return {block: _FACTOR ** min(level, _DEEPEST) for block, level in depth.items()}
