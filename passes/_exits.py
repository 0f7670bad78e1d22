"""Constants set early, so that blocks which only set them go away; for code that came out too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xdsl.ir import Block, Region, SSAValue

from fsir.analysis.calls import CLOBBERING
from fsir.analysis.cfg import predecessors
from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import (
    BranchOp,
    ExitOp,
    MovRIOp,
    jump,
    reg,
    reg_index,
)

_RESULT = 0
_MOST = 32
"""How many ends are tried, at most."""


def share_exits(region: Region, cost: Callable[[Region], tuple[float, ...]]) -> Region:
    """The body with the results of some ends set early, if that costs less: where blocks do nothing but exit with a
    constant, it is set before the branches that lead there, if the register of the result is free from there on, and
    they lead to the end of another block. One instruction less for each; one more to execute on the ways that go
    elsewhere. `cost` may change the bodies that it is given. The best ends go first."""
    least = cost(region)
    while True:
        found = [(cost(other), number, other) for number, other in enumerate(_with_some_early(region))]
        best = min(found, key=lambda item: item[:2], default=None)
        if best is None or best[0] >= least:
            return region
        least, _, region = best


def _with_some_early(region: Region) -> Iterator[Region]:
    """Copies of a body: each with one result set early, the last with all that can be."""
    ends = [index for index, block in enumerate(region.blocks) if _constant_end(block)]
    for index in ends[:_MOST]:
        copy = region.clone()
        if _set_early(copy, copy.blocks[index]):
            yield copy
    copy = region.clone()
    if sum(_constant_end(block) is not None and _set_early(copy, block) for block in list(copy.blocks)) > 1:
        yield copy


def _constant_end(block: Block) -> MovRIOp | None:
    first, last = block.first_op, block.last_op
    if isinstance(first, MovRIOp) and isinstance(last, ExitOp) and first.next_op is last and last.value is first.res:
        return first
    return None


def _set_early(region: Region, end: Block) -> bool:
    constant = _constant_end(end)
    assert constant is not None
    tree = DominatorTree(region)
    edges = [(op, i) for op, i in predecessors(region)[end] if op.parent is not None]
    sources = [op.parent for op, _ in edges if op.parent is not None]
    other = next((b for b in region.blocks if b is not end and isinstance(b.last_op, ExitOp)), None)
    home = tree.common_dominator(sources) if sources else None
    if home is None or other is None:
        return False
    between = _between(tree, home, sources)
    if any(_touches(block) for block in between) or not _is_free_after(region, home, between | {end}):
        return False
    terminator = home.last_op
    assert terminator is not None
    early = constant.clone()
    home.insert_op_before(early, terminator)
    shared = _shared_end(region, other)
    for op, index in edges:
        successors = list(op.successors)
        successors[index] = shared
        op.successors = successors
        assert isinstance(op, BranchOp)
        op.set_successor_operands(index, [early.results[0]])
    return True


def _shared_end(region: Region, block: Block) -> Block:
    """The exit at the end of a block as a block of its own."""
    last = block.last_op
    assert isinstance(last, ExitOp) and last.value is not None
    if last is block.first_op and last.value.owner is block and len(block.args) == 1:
        return block
    shared = Block(arg_types=[reg(_RESULT)])
    shared.add_op(
        type(last).create(operands=[shared.args[0]], properties=dict(last.properties), location=last.location)
    )
    region.insert_block_after(shared, block)
    onward = jump(shared, [last.value])
    onward.location = last.location
    block.insert_op_before(onward, last)
    block.erase_op(last)
    return shared


def _between(tree: DominatorTree, home: Block, sources: list[Block]) -> set[Block]:
    """The blocks on the ways from `home`, which is not one of them, to the sources."""
    found: set[Block] = set()
    work = [source for source in sources if source is not home]
    while work:
        block = work.pop()
        if block not in found:
            found.add(block)
            work += [p for p in tree.predecessors(block) if p is not home]
    return found


def _touches(block: Block) -> bool:
    """Whether a block uses or changes the register of the result."""
    return any(_is_result(arg) for arg in block.args) or any(
        isinstance(op, CLOBBERING) or any(map(_is_result, (*op.operands, *op.results))) for op in block.ops
    )


def _is_result(value: SSAValue) -> bool:
    return reg_index(value.type) == _RESULT


def _is_free_after(region: Region, home: Block, inside: set[Block]) -> bool:
    """Whether nothing reads the register at the end of `home`, or after it anywhere else than `inside`."""
    terminator = home.last_op
    if terminator is None or any(map(_is_result, terminator.operands)):
        return False
    live = dict.fromkeys(region.blocks, False)
    changed = True
    while changed:
        changed = False
        for block in region.blocks:
            if not live[block] and _reads_first(block, live):
                live[block] = changed = True
    leaving = {s for b in (home, *inside) if b.last_op is not None for s in b.last_op.successors} - inside
    return not any(live[block] for block in leaving)


def _reads_first(block: Block, live: dict[Block, bool]) -> bool:
    """Whether the register is read in a block, or after it, before it is written."""
    if any(map(_is_result, block.args)):
        return False
    for op in block.ops:
        if any(map(_is_result, op.operands)):
            return True
        if isinstance(op, CLOBBERING) or any(map(_is_result, op.results)):
            return False
    return block.last_op is not None and any(live[successor] for successor in block.last_op.successors)
