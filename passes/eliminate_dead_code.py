"""`eliminate-dead-code`: remove what nothing depends on."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import erase_unreachable, set_successor_operands, successor_operands
from fsir.analysis.effects import EffectTable
from fsir.passes._rewrite import raised_functions


@dataclass(frozen=True)
class EliminateDeadCodePass(ModulePass):
    """Remove operations whose results reach no effect, block arguments alike, and unreachable blocks.

    What may go is what `fsir.analysis.effects` calls removable: arithmetic, loads (verified code cannot fault), guards,
    lookups in maps where looking up changes nothing.  A lookup in an LRU map stays, since it keeps its entry alive, and
    so do random numbers. Values that only keep each other alive around a loop go, too. Control flow is not changed.
    """

    name = "eliminate-dead-code"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            erase_unreachable(func.body)
            remove_dead(func.body, effects)


def remove_dead(region: Region, effects: EffectTable) -> int:
    """Remove dead operations and block arguments (the entry's stay) from a region. Gives the number removed."""
    blocks = list(region.blocks)
    live = _live(blocks, effects)
    for block in blocks:
        _drop_operands(block, live)
    removed = 0
    for block in blocks:
        for op in reversed(list(block.ops)):
            if op not in live:
                block.erase_op(op)
                removed += 1
    for block in blocks[1:]:
        for arg in reversed(block.args):
            if arg not in live:
                block.erase_arg(arg)
                removed += 1
    return removed


def _live(blocks: list[Block], effects: EffectTable) -> set[Operation | BlockArgument]:
    """The operations and block arguments that some effect, or the path taken, depends on."""
    live: set[Operation | BlockArgument] = set(blocks[0].args) if blocks else set()
    feeding: dict[BlockArgument, list[SSAValue]] = {}
    work: list[SSAValue] = []
    for block in blocks:
        for op in block.ops:
            if not op.successors:
                if not effects.of(op).removable:
                    live.add(op)
                    work += op.operands
                continue
            live.add(op)
            passed = 0
            for index, successor in enumerate(op.successors):
                values = successor_operands(op, index)
                passed += len(values)
                for value, arg in zip(values, successor.args, strict=True):
                    feeding.setdefault(arg, []).append(value)
            work += op.operands[: len(op.operands) - passed]
    while work:
        value = work.pop()
        if isinstance(value, BlockArgument):
            if value not in live:
                live.add(value)
                work += feeding.get(value, ())
        elif (op := value.owner) not in live:
            assert isinstance(op, Operation)
            live.add(op)
            work += op.operands
    return live


def _drop_operands(block: Block, live: set[Operation | BlockArgument]) -> None:
    """Let go of what dead operations and dead block arguments of successors use."""
    for op in block.ops:
        if op not in live:
            op.operands = []
    terminator = block.last_op
    for index, successor in enumerate(terminator.successors if terminator is not None else ()):
        assert terminator is not None
        values = successor_operands(terminator, index)
        kept = [v for v, arg in zip(values, successor.args, strict=True) if arg in live]
        if len(kept) < len(values):
            set_successor_operands(terminator, index, kept)
