"""Small changes to a function that give placement more to choose from, and cost nothing where it runs as a whole.

- A verdict that depends on the path gets a block for each constant it can be: `PASS` and `DROP` have different costs.
- A block in the middle of which a target has to stop is split there: cuts are between blocks.
- Where what meets cannot be carried as one (addresses, a way out chosen on some ways), each way there gets a block of
  its own, in front of which a packet can be handed over with what comes by that way.
- Where addresses of different elements meet (one exit that counts in whichever counter), the block is copied for each:
  a pipeline has no addresses.
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import cf
from xdsl.dialects.builtin import IntegerType, i64
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import edges, erase_unreachable, predecessors, set_successor_operands, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.nullness import may_be_null
from fsir.dialects import map as maps
from fsir.dialects import packet
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import ValueType
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.passes._rewrite import constant
from fsir.placement.access import MapAccesses
from fsir.placement.held import Held
from fsir.placement.loops import evaluate

_COPIED_OPS = 24
_COPIES = 256


def separate_verdicts(func: FuncOp) -> None:
    """Give every constant that a verdict can be its own block, and every redirect its verdict."""
    for block in list(func.body.blocks):
        verdict = block.last_op
        if not isinstance(verdict, packet.VerdictOp) or block.first_op is not verdict or len(block.args) != 1:
            continue
        made: dict[int, Block] = {}
        for terminator, index in predecessors(func.body)[block]:
            passed = successor_operands(terminator, index)[0]
            value = _constant(passed, func, set())
            if isinstance(passed.owner, maps.RedirectOp) and isinstance(terminator, cf.BranchOp):
                _replace(terminator, packet.VerdictOp.create(operands=[passed]))
                continue
            if value is None or terminator.parent is block:
                continue
            if value not in made:
                made[value] = target = Block()
                func.body.insert_block_before(target, block)
                number = constant(value, i64)
                target.add_ops([number, packet.VerdictOp.create(operands=[number.result])])
                for op in target.ops:
                    op.location = verdict.location
            set_successor_operands(terminator, index, [])
            terminator.successors[index] = made[value]
    erase_unreachable(func.body)
    simplify_block_args(func.body)


def _replace(terminator: Operation, new: Operation) -> None:
    block = terminator.parent
    assert block is not None
    new.location = terminator.location
    block.erase_op(terminator)
    block.add_op(new)


def _constant(value: SSAValue, func: FuncOp, seen: set[SSAValue]) -> int | None:
    """The constant that a scalar is on all paths."""
    if not isinstance(value, BlockArgument) or value.owner is func.entry:
        return evaluate(value, {})
    seen.add(value)
    incoming = [successor_operands(op, i)[value.index] for op, i in predecessors(func.body)[value.owner]]
    found = {_constant(v, func, seen) for v in incoming if v not in seen}
    return found.pop() if len(found) == 1 else None


def split_where(func: FuncOp, stops: Callable[[Operation], frozenset[str]]) -> None:
    """Split blocks in front of each operation that a target cannot run which could run all before it in the block.
    `stops(op)` names the targets that cannot."""
    for block in list(func.body.blocks):
        op = block.first_op
        stopped: frozenset[str] = frozenset()
        while op is not None:
            following, here = op.next_op, stops(op)
            if here - stopped and op.prev_op is not None:
                block = _split_before(block, op)
            stopped |= here
            op = following


def _split_before(block: Block, op: Operation) -> Block:
    rest = block.split_before(op)
    block.add_op(cf.BranchOp.create(successors=[rest]))
    last = block.last_op
    assert last is not None
    last.location = op.location
    return rest


def copy_joins(func: FuncOp) -> None:
    """Copy small blocks that take an address as an argument, once for each way to them, as long as there are any."""
    budget = _COPIES
    again = True
    while again and budget > 0:
        again = False
        incoming = predecessors(func.body)
        for block in list(func.body.blocks):
            if len(incoming[block]) > 1 and _worth_copying(func, block):
                for terminator, index in incoming[block][1:]:
                    _copy_for(func, block, terminator, index)
                    budget -= 1
                again = True
                break
        simplify_block_args(func.body)


def separate_ways(func: FuncOp, accesses: MapAccesses) -> dict[Block, list[Block]]:
    """Put an empty block on each way to a block that takes an address which depends on the way, or where the packet's
    way out was chosen on some ways. These, by block."""
    made: dict[Block, list[Block]] = {}
    tree = DominatorTree(func.body)
    held = Held(tree, accesses)
    incoming = predecessors(func.body)
    for block in list(func.body.blocks):
        if block is func.entry or len(incoming[block]) < 2 or not tree.is_reachable(block):
            continue
        if not held.is_mixed(block) and not any(map(_is_of_a_way, block.args)):
            continue
        made[block] = []
        for terminator, index in incoming[block]:
            way = Block()
            way.add_op(cf.BranchOp.create(operands=successor_operands(terminator, index), successors=[block]))
            for op in way.ops:
                op.location = block.first_op.location if block.first_op is not None else terminator.location
            func.body.insert_block_before(way, block)
            set_successor_operands(terminator, index, [])
            terminator.successors[index] = way
            made[block].append(way)
    return made


def _is_of_a_way(arg: SSAValue) -> bool:
    """Whether what an argument is cannot be said of all ways alike: no number, and no distance into the packet."""
    if isinstance(arg.type, PtrType):
        return may_be_null(arg)
    return not isinstance(arg.type, IntegerType | CtxType | EndType | MetaType)


def join_ways(func: FuncOp) -> None:
    """Lead control past blocks that only jump on."""
    incoming = predecessors(func.body)
    for way in list(func.body.blocks):
        jump = way.last_op
        if way is func.entry or way.args or jump is not way.first_op or not isinstance(jump, cf.BranchOp):
            continue
        (target,) = jump.successors
        if target is way:
            continue
        for terminator, index in incoming[way]:
            set_successor_operands(terminator, index, list(jump.operands))
            terminator.successors[index] = target
            incoming[target].append((terminator, index))
        incoming[way] = []
    erase_unreachable(func.body)


def _worth_copying(func: FuncOp, block: Block) -> bool:
    takes_address = any(isinstance(arg.type, ValueType | PtrType) for arg in block.args)
    if not takes_address or block is func.entry or sum(1 for _ in block.ops) > _COPIED_OPS:
        return False
    if any(target is block for target, _ in edges(block)):
        return False
    own: list[SSAValue] = [*block.args, *(result for op in block.ops for result in op.results)]
    return all(use.operation.parent is block for value in own for use in value.uses)


def _copy_for(func: FuncOp, block: Block, terminator: Operation, index: int) -> None:
    copied = Block(arg_types=[arg.type for arg in block.args])
    values: dict[SSAValue, SSAValue] = dict(zip(block.args, copied.args, strict=True))
    for old, new in zip(block.args, copied.args, strict=True):
        new.name_hint = old.name_hint
    for op in block.ops:
        new_op = op.clone(values)
        new_op.location = op.location
        copied.add_op(new_op)
    func.body.insert_block_after(copied, block)
    terminator.successors[index] = copied


__all__ = ["copy_joins", "join_ways", "separate_verdicts", "separate_ways", "split_where"]
