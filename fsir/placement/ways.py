"""What happens on the ways from an operation to a block."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import successors


def happens_between(start: Operation, block: Block, matters: Callable[[Operation], bool]) -> bool:
    """Whether, on some way from behind `start` to the beginning of `block` that does not come by `start` again, there
    is an operation that matters."""
    assert start.parent is not None
    seen: set[tuple[Block, bool]] = set()
    work: list[tuple[Block, Operation | None, bool]] = [(start.parent, start.next_op, False)]
    while work:
        inside, op, found = work.pop()
        while op is not None and op is not start:
            found = found or matters(op)
            op = op.next_op
        if op is start:
            continue
        for target in successors(inside):
            if target is block and found:
                return True
            if (target, found) not in seen:
                seen.add((target, found))
                work.append((target, target.first_op, found))
    return False
