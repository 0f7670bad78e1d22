"""Which nodes must not share a register, and which registers a node must not have.

Two nodes interfere where one is defined while the other is live, unless both hold the same value there (they are
copies of one origin). Registers of the machine are no nodes of the graph: `forbidden` is a bit set of them per node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fsir.analysis.liveness import bits, solve_backward
from fsir.regalloc.model import FIRST, FP, CodeBlock, Copies, Kind, MachineCode


@dataclass(slots=True)
class Graph:
    """Interference, and what colouring wants to know of each node besides. `live_out` is per block, by index;
    `arguments` are the nodes that need a block argument in each block."""

    adjacent: list[set[int]]
    forbidden: list[int]
    cost: list[float]
    live_out: list[set[int]]
    arguments: list[list[int]]
    copies: list[tuple[float, int, int]] = field(default_factory=list)
    """Copies between nodes in registers, destinations and sources of the machine included, with weights."""


def interference(code: MachineCode) -> Graph:
    """Build the graph. Copies whose destination is dead are dropped from the code."""
    count = len(code.kind)
    live_in, live_out = _solve(code)
    arguments = _arguments(code, live_in)
    graph = Graph(
        [set() for _ in range(count)],
        [0] * count,
        [0.0] * count,
        [set(bits(mask)) for mask in live_out],
        arguments,
    )
    for block in code.blocks:
        live = _scan(code, graph, block, set(graph.live_out[block.index]))
        for node in arguments[block.index]:
            _conflict(graph, node, live, node)
    return graph


def _solve(code: MachineCode) -> tuple[list[int], list[int]]:
    used, defined = [], []
    for block in code.blocks:
        up: set[int] = set()
        own: set[int] = set()
        for step in block.steps:
            if isinstance(step, Copies):
                sources, results = [s for _, s in step.pairs], [d for d, _ in step.pairs]
            else:
                sources, results = step.uses, step.defs
            up.update(node for node in sources if node not in own)
            own.update(results)
        used.append(_mask(code, up))
        defined.append(_mask(code, own))
    order = list(reversed(code.order))
    return solve_backward(used, defined, [block.succs for block in code.blocks], order)


def _mask(code: MachineCode, nodes: set[int]) -> int:
    kept = [node for node in nodes if node >= FIRST and code.kind[node] is Kind.REGISTER]
    buffer = bytearray(max(kept, default=0) // 8 + 1)
    for node in kept:
        buffer[node >> 3] |= 1 << (node & 7)
    return int.from_bytes(buffer, "little")


def _arguments(code: MachineCode, live_in: list[int]) -> list[list[int]]:
    """For each block the nodes with several definitions that meet there."""
    frontier = _frontiers(code)
    defining: dict[int, set[int]] = {}
    for block in code.blocks:
        for step in block.steps:
            for node in [d for d, _ in step.pairs] if isinstance(step, Copies) else step.defs:
                if node in code.joins and code.kind[node] is Kind.REGISTER:
                    defining.setdefault(node, set()).add(block.index)
    result: list[list[int]] = [[] for _ in code.blocks]
    for node, blocks in defining.items():
        work, placed = list(blocks), set[int]()
        while work:
            for block_index in frontier[work.pop()]:
                if block_index not in placed and live_in[block_index] >> node & 1:
                    placed.add(block_index)
                    work.append(block_index)
                    result[block_index].append(node)
    for nodes in result:
        nodes.sort()
    return result


def _frontiers(code: MachineCode) -> list[set[int]]:
    frontier: list[set[int]] = [set() for _ in code.blocks]
    for block in code.blocks:
        if len(block.preds) < 2:
            continue
        for runner in block.preds:
            while runner != block.idom and block.index not in frontier[runner]:
                frontier[runner].add(block.index)
                runner = code.blocks[runner].idom
    return frontier


def _scan(code: MachineCode, graph: Graph, block: CodeBlock, live: set[int]) -> set[int]:
    """Walk a block backwards from what is live at its end; gives what is live at its start."""
    weight = block.weight
    for step in reversed(block.steps):
        if isinstance(step, Copies):
            _scan_copies(code, graph, step, live, weight)
            continue
        for node in step.defs:
            _conflict(graph, node, live, node)
            graph.cost[node] += weight
        live.difference_update(step.defs)
        if step.clobbers:
            for node in live:
                if node >= FIRST:
                    graph.forbidden[node] |= step.clobbers
        for node in step.uses:
            if node != FP:
                live.add(node)
                graph.cost[node] += weight
    return live


def _scan_copies(code: MachineCode, graph: Graph, step: Copies, live: set[int], weight: float) -> None:
    kind, origin = code.kind, code.origin
    step.pairs = [(d, s) for d, s in step.pairs if d < FIRST or d in live or kind[d] is Kind.SLOT]
    for node, source in step.pairs:
        if kind[node] is not Kind.REGISTER:
            continue
        in_register = kind[source] is Kind.REGISTER
        _conflict(graph, node, live, origin[source] if in_register else -1, origin)
        if in_register and source != FP:
            graph.copies.append((weight, node, source))
    live.difference_update([node for node, _ in step.pairs])
    for node, source in step.pairs:
        graph.cost[node] += weight
        if kind[source] is Kind.REGISTER and source != FP:
            live.add(source)
            graph.cost[source] += weight


def _conflict(graph: Graph, node: int, live: set[int], same: int, origin: list[int] | None = None) -> None:
    """Let `node`, defined here, interfere with all of `live` but itself and, given `origin`, the copies of `same`."""
    adjacent, forbidden = graph.adjacent, graph.forbidden
    for other in live:
        if other == node or (origin is not None and origin[other] == same):
            continue
        if node < FIRST:
            if other >= FIRST:
                forbidden[other] |= 1 << node
        elif other < FIRST:
            forbidden[node] |= 1 << other
        else:
            adjacent[node].add(other)
            adjacent[other].add(node)
