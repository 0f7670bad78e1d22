"""Block arguments that carry nothing, and their removal.

An argument is *dead* when its value reaches no operation, and *redundant* when every predecessor passes the same value
(or the argument itself).  Machine code gives many of both: a register that is live on one path crosses every join.
"""

from __future__ import annotations

from collections import defaultdict

from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue

from fsir.analysis.cfg import edges, predecessors, set_successor_operands, successor_operands


def simplify_block_args(region: Region) -> int:
    """Remove the redundant and dead arguments of all blocks but the entry. Gives the number removed."""
    return _forward_redundant(region) + remove_dead_args(region)


def _forward_redundant(region: Region) -> int:
    """Replace arguments that stand for one value only. (A value of another type is not the same value.)"""
    incoming = predecessors(region)
    removed, again = 0, True
    while again:
        again = False
        for block, ways in incoming.items():
            if block is region.blocks.first or not ways or not block.args:
                continue
            passed = [list(successor_operands(op, i)) for op, i in ways]
            gone: list[BlockArgument] = []
            for arg in reversed(block.args):
                values = {row[arg.index] for row in passed} - {arg}
                if len(values) == 1 and (value := values.pop()).type == arg.type:
                    arg.replace_all_uses_with(value)
                    passed = [[value if other is arg else other for other in row] for row in passed]
                    gone.append(arg)
            if gone:
                _erase_args(block, gone, ways, passed)
                removed += len(gone)
                again = True
    return removed


def _erase_args(
    block: Block, gone: list[BlockArgument], ways: list[tuple[Operation, int]], passed: list[list[SSAValue]]
) -> None:
    """Remove arguments that nothing uses, the last one first, and what is passed to them: all of a block at once, for
    each change of what a terminator passes writes down all that it passes."""
    indices = {arg.index for arg in gone}
    for (op, i), row in zip(ways, passed, strict=True):
        set_successor_operands(op, i, [value for index, value in enumerate(row) if index not in indices])
    for arg in gone:
        block.erase_arg(arg)


def remove_dead_args(region: Region) -> int:
    """Remove arguments, but of the entry, whose value reaches nothing but other dead arguments."""
    live = _live_args(region)
    removed = 0
    for block in region.blocks:
        terminator = block.last_op
        for index, successor in enumerate(terminator.successors if terminator is not None else ()):
            assert terminator is not None
            values = successor_operands(terminator, index)
            kept = [v for v, arg in zip(values, successor.args, strict=True) if arg in live]
            if len(kept) < len(values):
                set_successor_operands(terminator, index, kept)
    for block in region.blocks:
        for arg in reversed(block.args) if block is not region.blocks.first else ():
            if arg not in live:
                block.erase_arg(arg)
                removed += 1
    return removed


def _live_args(region: Region) -> set[SSAValue]:
    """The entry's arguments, and those that reach an operation's own operand, directly or by way of others."""
    first = region.blocks.first
    live: set[SSAValue] = set(first.args) if first is not None else set()
    feeding: defaultdict[BlockArgument, list[SSAValue]] = defaultdict(list)
    work: list[SSAValue] = list(live)
    for block in region.blocks:
        for op in block.ops:
            operands = op.operands
            passed = 0
            if op is block.last_op:
                for successor, values in edges(block):
                    passed += len(values)
                    for value, arg in zip(values, successor.args, strict=True):
                        feeding[arg].append(value)
            work += operands[: len(operands) - passed] if passed else operands
    while work:
        value = work.pop()
        if isinstance(value, BlockArgument) and (value not in live or value in feeding):
            live.add(value)
            work += feeding.pop(value, ())
    return live
