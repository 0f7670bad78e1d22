"""Liveness against its definition: a value is live where some path reads it before it is defined again."""

from __future__ import annotations

import random
from itertools import pairwise

from xdsl.ir import Block, Region, SSAValue

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.liveness import Liveness, bits
from fsir.dialects.ebpf import UNALLOCATED, branch, insn, jump


def _random_region(rng: random.Random, count: int) -> Region:
    """Blocks with random edges; every block uses values that dominate it."""
    blocks = [Block() for _ in range(count)]
    region = Region(blocks)
    edges = {b: rng.sample(blocks[1:], min(rng.choice((0, 1, 1, 2, 2)), count - 1)) for b in blocks}
    for a, b in pairwise(blocks):
        if not edges[a]:
            edges[a] = [b]
    conditions = {}
    for block in blocks:
        ops = [insn("movi", (), UNALLOCATED, imm=rng.randrange(9)) for _ in range(rng.randrange(1, 4))]
        block.add_ops(ops)
        conditions[block] = ops[-1].results[0]
        targets = edges[block]
        if len(targets) == 2:
            block.add_op(branch("jeqi", [ops[0].results[0]], (targets[0], []), (targets[1], []), imm=0))
        elif targets:
            block.add_op(jump(targets[0]))
        else:
            block.add_op(insn("exit", [ops[0].results[0]]))
    tree = DominatorTree(region)
    for block in blocks:
        for other in rng.sample(blocks, min(2, count)):
            if other is not block and tree.dominates(other, block):
                first = block.first_op
                assert first is not None
                block.insert_op_before(insn("add", [conditions[other], conditions[other]], UNALLOCATED), first)
    return region


def _live_in_by_search(region: Region, value: SSAValue, block: Block) -> bool:
    seen, work = set(), [block]
    while work:
        at = work.pop()
        if at in seen:
            continue
        seen.add(at)
        if value in at.args:
            continue
        used = any(value in op.operands for op in at.ops)
        if used and not any(value in op.results for op in at.ops):
            return True
        last = at.last_op
        if last is not None and not any(value in op.results for op in at.ops):
            work.extend(last.successors)
    return False


def test_against_search() -> None:
    rng = random.Random(7)
    for _ in range(40):
        region = _random_region(rng, rng.randrange(2, 12))
        live = Liveness(region)
        for block in region.blocks:
            expected = {v for v in live.values if _live_in_by_search(region, v, block)}
            assert set(live.values_of(live.live_in(block))) == expected
            last = block.last_op
            after: set[SSAValue] = set()
            for successor in last.successors if last else ():
                after |= {v for v in live.values if _live_in_by_search(region, v, successor)}
            assert set(live.values_of(live.live_out(block))) == after


def test_backward_walk_ends_at_live_in() -> None:
    region = _random_region(random.Random(3), 8)
    live = Liveness(region)
    for block in region.blocks:
        walked = list(live.backward(block))
        first, after = walked[-1]
        for result in first.results:
            after &= ~(1 << live.number[result])
        for operand in first.operands:
            after |= 1 << live.number[operand]
        assert after == live.live_in(block)


def test_bits_of_sparse_sets() -> None:
    for numbers in ([], [0], [63, 64, 65], [5, 1000, 70000]):
        assert list(bits(sum(1 << n for n in numbers))) == numbers
