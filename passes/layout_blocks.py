"""The pass `layout-blocks`: an order of blocks in which machine code can be written."""

from __future__ import annotations

from itertools import pairwise

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region
from xdsl.passes import ModulePass

from fsir.analysis.cfg import erase_unreachable
from fsir.dialects.ebpf import (
    OPS,
    BranchOp,
    FallthroughOp,
    FuncOp,
    InsnOp,
    JaOp,
    JccRIOp,
    JccRROp,
    MayGotoOp,
    functions,
    jump,
)
from fsir.dialects.ebpf.base import SEGMENTS, segments
from fsir.object.encode import instruction_count, size_of
from fsir.object.original import original_size
from fsir.passes._exits import share_exits
from fsir.passes._jumps import duplicate_exits, thread_jumps

_INVERSE = {
    "jeq": "jne",
    "jgt": "jle",
    "jge": "jlt",
    "jsgt": "jsle",
    "jsge": "jslt",
    "jne": "jeq",
    "jle": "jgt",
    "jlt": "jge",
    "jsle": "jsgt",
    "jslt": "jsge",
}
"""The comparison that holds when another does not; `jset` has none."""


class LayoutBlocks(ModulePass):
    """Order the blocks of `ebpf` functions so that each falls through to the next where it can.

    Unreachable blocks go, jumps to jumps are led to their end, conditions are inverted where that saves a jump, and
    what is left over gets an `ebpf.ja`. The order of blocks is kept as far as that costs no jump. Afterwards the else
    successor of a conditional jump and the successor of `ebpf.fallthrough` are the next block, as machine code needs
    it. Functions that keep their original code, and those with operations of other dialects, are left alone.
    """

    name = "layout-blocks"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lay out every function that needs it."""
        for func in functions(op):
            if not (func.is_raw() or func.keep is not None or _is_foreign(func)):
                layout_function(func)


def layout_function(func: FuncOp) -> None:
    """Bring the blocks of one function into order and complete its jumps; where it comes out longer than it was, with
    results set early."""
    lay_out(func.body)
    size = original_size(func)
    if size is None or instruction_count(func) <= size:
        return
    body = share_exits(func.body, _size_laid_out)
    if body is not func.body:
        old = func.detach_region(func.body)
        func.add_region(body)
        old.drop_all_references()


def _size_laid_out(body: Region) -> tuple[float, ...]:
    lay_out(body)
    return (sum(size_of(op) for block in body.blocks for op in block.ops),)


def lay_out(region: Region) -> None:
    """Bring the blocks of a body into order and complete its jumps."""
    thread_jumps(region)
    erase_unreachable(region)
    order = _order(list(region.blocks))
    _reorder(region, order)
    for block, following in pairwise([*order, None]):
        assert block is not None
        _complete(region, block, following)
    duplicate_exits(region)
    erase_unreachable(region)


def _is_foreign(func: FuncOp) -> bool:
    return any(
        block.last_op is not None and block.last_op.successors and not isinstance(block.last_op, BranchOp)
        for block in func.body.blocks
    )


# --- order -----------------------------------------------------------------------------------------------------------


def _order(blocks: list[Block]) -> list[Block]:
    """The original order, cut where control does not fall through and joined again where that saves a jump."""
    chain_of: dict[Block, list[Block]] = {blocks[0]: [blocks[0]]}
    for block, following in pairwise(blocks):
        if following in _continuations(block):
            chain_of[following] = chain_of[block]
            chain_of[following].append(following)
        else:
            chain_of[following] = [following]
    for block in blocks:
        chain = chain_of[block]
        if chain[-1] is not block:
            continue
        for target in _continuations(block):
            other = chain_of[target]
            if other is not chain and other[0] is target and target is not blocks[0]:
                chain.extend(other)
                for moved in other:
                    chain_of[moved] = chain
                break
    ordered = list({id(chain_of[block]): chain_of[block] for block in blocks}.values())
    return [block for chain in ordered for block in chain]


def _continuations(block: Block) -> list[Block]:
    """The blocks that may come right after `block` without a jump, the best first."""
    last = block.last_op
    if isinstance(last, JaOp | FallthroughOp):
        return [last.target]
    if isinstance(last, JccRROp | JccRIOp):
        return [last.else_block, last.then_block] if last.row.op in _INVERSE else [last.else_block]
    return [last.else_block] if isinstance(last, MayGotoOp) else []


def _reorder(region: Region, order: list[Block]) -> None:
    if order == list(region.blocks):
        return
    for block in order:
        region.detach_block(block)
    region.add_block(order)


# --- jumps -----------------------------------------------------------------------------------------------------------


def _complete(region: Region, block: Block, following: Block | None) -> None:
    """Give `block` the terminator that fits what comes after it."""
    last = block.last_op
    if isinstance(last, JaOp) and last.target is following:
        _replace(last, FallthroughOp.create(operands=list(last.args), successors=[following]))
    elif isinstance(last, FallthroughOp) and last.target is not following:
        _replace(last, jump(last.target, list(last.args)))
    elif isinstance(last, JccRROp | JccRIOp) and last.else_block is not following:
        if last.then_block is following and last.row.op in _INVERSE:
            _replace(last, _inverted(last))
        else:
            _detour(region, block, last)
    elif isinstance(last, MayGotoOp) and last.else_block is not following:
        _detour(region, block, last)


def _replace(old: Operation, new: Operation) -> None:
    block = old.parent
    assert block is not None
    new.location = old.location
    block.insert_op_before(new, old)
    block.erase_op(old)


def _inverted(op: JccRROp | JccRIOp) -> InsnOp:
    suffix = op.row.name[len(op.row.op) :]
    fixed, then_args, else_args = list(op.fixed_operands()), list(op.then_args), list(op.else_args)
    properties = dict(op.properties)
    properties[SEGMENTS] = segments(*[1] * len(fixed), len(else_args), len(then_args))
    return OPS[_INVERSE[op.row.op] + suffix].create(
        operands=[*fixed, *else_args, *then_args],
        properties=properties,
        attributes=dict(op.attributes),
        successors=[op.else_block, op.then_block],
    )


def _detour(region: Region, block: Block, last: JccRROp | JccRIOp | MayGotoOp) -> None:
    """Fall through to a new block that jumps to the else successor."""
    detour = Block([jump(last.else_block, list(last.else_args))])
    assert detour.last_op is not None
    detour.last_op.location = last.location
    region.insert_block_after(detour, block)
    last.set_successor_operands(1, ())
    last.successors = [last.then_block, detour]
