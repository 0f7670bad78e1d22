"""Dominator tree of a region.

Built once, in O(edges · log blocks) whatever the shape of the graph, and valid until the region's blocks
or edges change; nothing here updates a tree after a rewrite. Dominance *of values* (same-block order,
nested regions) is the business of `fsir.analysis.verify_dominance`.

The algorithm is the simple version of Lengauer and Tarjan, "A Fast Algorithm for Finding Dominators in a
Flowgraph" (TOPLAS 1979). The shorter iteration over reverse postorder (Cooper, Harvey, Kennedy) is
quadratic on the commonest shape of a packet program: a long chain of guards which all jump to shared exits.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.ir import Block, Region


class DominatorTree:
    """Immediate dominators, reverse postorder and predecessors of the blocks of `region`.

    The entry is the region's first block. Blocks that cannot be reached from it have no place in the tree:
    `is_reachable` is false, `idom` is None, `children` is empty. A region without blocks gives an empty tree.
    """

    rpo: list[Block]
    """The reachable blocks in reverse postorder: every block before its successors, back edges aside."""

    def __init__(self, region: Region) -> None:
        self._predecessors: dict[Block, list[Block]] = {block: [] for block in region.blocks}
        for block in self._predecessors:
            for successor in dict.fromkeys(successors(block)):
                self._predecessors[successor].append(block)

        entry = region.first_block
        preorder, parent, self.rpo = ([], [], []) if entry is None else _depth_first(entry)
        self._number = {block: i for i, block in enumerate(self.rpo)}
        self._idom = dict(_immediate_dominators(preorder, parent, self._predecessors))

        self._children: dict[Block, list[Block]] = {block: [] for block in self.rpo}
        for block in self.rpo:
            if (parent_block := self._idom.get(block)) is not None:
                self._children[parent_block].append(block)
        self._interval = self._number_tree()
        self._frontier: dict[Block, list[Block]] | None = None

    def is_reachable(self, block: Block) -> bool:
        """Whether control can come from the entry to `block`."""
        return block in self._number

    def rpo_number(self, block: Block) -> int:
        """The position of the reachable `block` in `rpo`; KeyError for an unreachable one."""
        return self._number[block]

    def idom(self, block: Block) -> Block | None:
        """The immediate dominator; None for the entry and for unreachable blocks."""
        return self._idom.get(block)

    def children(self, block: Block) -> list[Block]:
        """The blocks that `block` immediately dominates, in reverse postorder. Not to be modified."""
        return self._children.get(block, [])

    def predecessors(self, block: Block) -> list[Block]:
        """The blocks with an edge to `block`, each once, in layout order, **unreachable ones included**."""
        return self._predecessors[block]

    def dominates(self, a: Block, b: Block) -> bool:
        """Whether every path from the entry to `b` goes through `a`; a block dominates itself.

        As in MLIR, an unreachable block is dominated by every block and dominates no reachable one.
        """
        inside = self._interval.get(b)
        if a is b or inside is None:
            return True
        around = self._interval.get(a)
        return around is not None and around[0] <= inside[0] and inside[1] <= around[1]

    def strictly_dominates(self, a: Block, b: Block) -> bool:
        """`dominates(a, b)` for two different blocks."""
        return a is not b and self.dominates(a, b)

    def common_dominator(self, blocks: Iterable[Block]) -> Block | None:
        """The deepest block that dominates all reachable blocks of `blocks`; None when there are none."""
        nearest: Block | None = None
        for block in blocks:
            if not self.is_reachable(block):
                continue
            nearest = block if nearest is None else nearest
            while not self.dominates(nearest, block):
                above = self._idom[nearest]
                assert above is not None  # the entry dominates every reachable block
                nearest = above
        return nearest

    def dominance_frontier(self, block: Block) -> list[Block]:
        """The blocks where the dominance of `block` ends: it dominates a predecessor but not, strictly, them.

        Computed for the whole region on the first call (the result itself can be quadratic in size).
        """
        if self._frontier is None:
            self._frontier = self._compute_frontiers()
        return self._frontier.get(block, [])

    def iterated_frontier(self, blocks: Iterable[Block]) -> list[Block]:
        """Where a variable that is assigned in `blocks` needs a block argument, in reverse postorder."""
        found: set[Block] = set()
        work = list(blocks)
        while work:
            for block in self.dominance_frontier(work.pop()):
                if block not in found:
                    found.add(block)
                    work.append(block)
        return sorted(found, key=self._number.__getitem__)

    def _number_tree(self) -> dict[Block, tuple[int, int]]:
        """For each block the preorder numbers (first, last) that its subtree covers."""
        order: list[Block] = []
        stack = self.rpo[:1]
        while stack:
            block = stack.pop()
            order.append(block)
            stack.extend(reversed(self._children[block]))
        last: dict[Block, int] = {}
        interval: dict[Block, tuple[int, int]] = {}
        for i in range(len(order) - 1, -1, -1):
            children = self._children[order[i]]
            last[order[i]] = last[children[-1]] if children else i
            interval[order[i]] = (i, last[order[i]])
        return interval

    def _compute_frontiers(self) -> dict[Block, list[Block]]:
        frontier: dict[Block, list[Block]] = {block: [] for block in self.rpo}
        for join in self.rpo:
            stop = self._idom[join]
            for runner in self._predecessors[join]:
                if not self.is_reachable(runner):
                    continue
                at: Block | None = runner
                while at is not None and at is not stop:
                    # Runners that meet go up together, so that a repeated join can only be the last entry.
                    if frontier[at] and frontier[at][-1] is join:
                        break
                    frontier[at].append(join)
                    at = self._idom[at]
        return frontier


def successors(block: Block) -> tuple[Block, ...]:
    """The successors that the last operation of `block` names, repeated edges included; () without one."""
    last = block.last_op
    return () if last is None else tuple(last.successors)


def _depth_first(entry: Block) -> tuple[list[Block], list[int], list[Block]]:
    """Preorder, the preorder number of each block's parent in the search tree, and reverse postorder."""
    number = {entry: 0}
    preorder, parent, postorder = [entry], [0], list[Block]()
    stack = [(0, iter(successors(entry)))]
    while stack:
        current, remaining = stack[-1]
        for block in remaining:
            if block not in number:
                number[block] = len(preorder)
                stack.append((number[block], iter(successors(block))))
                preorder.append(block)
                parent.append(current)
                break
        else:
            stack.pop()
            postorder.append(preorder[current])
    postorder.reverse()
    return preorder, parent, postorder


def _immediate_dominators(
    preorder: list[Block], parent: list[int], predecessors: dict[Block, list[Block]]
) -> Iterable[tuple[Block, Block | None]]:
    """Lengauer–Tarjan over preorder numbers; yields (block, its immediate dominator, None for the entry)."""
    count = len(preorder)
    number = {block: i for i, block in enumerate(preorder)}
    semi = list(range(count))
    idom = [0] * count
    ancestor = [-1] * count  # the forest of processed vertices; -1 is a root
    label = list(range(count))  # the vertex of least semidominator on the compressed path to the root
    bucket: list[list[int]] = [[] for _ in range(count)]

    def evaluate(vertex: int) -> int:
        """The vertex with the least semidominator on the path from `vertex` to below its forest root."""
        path = []
        at = vertex
        while ancestor[at] >= 0 and ancestor[ancestor[at]] >= 0:
            path.append(at)
            at = ancestor[at]
        for below in reversed(path):
            above = ancestor[below]
            if semi[label[above]] < semi[label[below]]:
                label[below] = label[above]
            ancestor[below] = ancestor[above]
        return label[vertex]

    for w in range(count - 1, 0, -1):
        for predecessor in predecessors[preorder[w]]:
            if (v := number.get(predecessor)) is not None:
                semi[w] = min(semi[w], semi[evaluate(v)])
        bucket[semi[w]].append(w)
        ancestor[w] = parent[w]
        for v in bucket[parent[w]]:
            u = evaluate(v)
            idom[v] = u if semi[u] < semi[v] else parent[w]
        bucket[parent[w]].clear()
    if count:
        yield preorder[0], None
    for w in range(1, count):
        if idom[w] != semi[w]:
            idom[w] = idom[idom[w]]
        yield preorder[w], preorder[idom[w]]
