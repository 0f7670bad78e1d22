"""What happens on the ways from an operation, or the beginning of a block, to a block."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import successors


def happens_between(
    start: Operation | Block, block: Block, matters: Callable[[Operation], bool], by: Block | None = None
) -> bool:
    """Whether, on some way from behind `start` to the beginning of `block` that does not come by `start` again, there
    is an operation that matters. `by`: only on ways whose last block is this one."""
    seen: set[tuple[Block, bool]] = set()
    work: list[tuple[Block, Operation | None, bool]]
    if isinstance(start, Block):
        work = [(start, start.first_op, False)]
    else:
        assert start.parent is not None
        work = [(start.parent, start.next_op, False)]
    while work:
        inside, op, found = work.pop()
        while op is not None and op is not start:
            found = found or matters(op)
            op = op.next_op
        if op is not None:
            continue
        for target in successors(inside):
            if target is block and found and by in (None, inside):
                return True
            if target is not start and (target, found) not in seen:
                seen.add((target, found))
                work.append((target, target.first_op, found))
    return False
