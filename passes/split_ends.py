"""`split-ends`: an end of its own for each verdict that is known early."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.dialects import ebpf, packet
from fsir.passes._rewrite import constant, constant_of, raised_functions, replace

Edge = tuple[Operation, int]


@dataclass(frozen=True)
class SplitEndsPass(ModulePass):
    """Give every constant that several branches return a block that returns it.

    Branches that lead to one common end of the function must have the verdict in its register before they are taken,
    and the path that goes on has computed it for nothing. With an end of its own, which costs two instructions once,
    the verdict is made only where it is returned. Constants that only one branch returns stay where they are; so
    do those that come by jumps, which end up with an `exit` of their own anyway.
    """

    name = "split-ends"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            split_ends(func.body)


def split_ends(region: Region) -> None:
    """Split the blocks of a region that do nothing but return an argument."""
    incoming = predecessors(region)
    for block in list(region.blocks):
        end = block.first_op
        if isinstance(end, packet.VerdictOp | ebpf.ExitOp) and block is not region.blocks.first and _returns_arg(block):
            _split(block, end, incoming[block])


def _returns_arg(block: Block) -> bool:
    """Whether a block, which begins with its end, has one argument and returns it."""
    end = block.last_op
    return len(block.args) == 1 and end is not None and list(end.operands) == [block.args[0]]


def _split(block: Block, end: Operation, incoming: list[Edge]) -> None:
    """Give the constants that a block returns ends of their own, and then, if only jumps are left, all of them."""
    type_ = block.args[0].type
    region = block.parent
    if not isinstance(type_, IntegerType) or region is None:
        return
    branches: defaultdict[int, list[Edge]] = defaultdict(list)
    jumps: list[Operation] = []
    others = 0
    for terminator, index in incoming:
        known = constant_of(successor_operands(terminator, index)[0])
        if isinstance(terminator, cf.BranchOp):
            jumps.append(terminator)
        elif known is None:
            others += 1
        else:
            branches[known].append((terminator, index))
    for known, edges in branches.items():
        if len(edges) == 1:
            others += 1
            continue
        own = Block()
        region.insert_block_after(own, block)
        made = constant(known, type_)
        own.add_ops([made, _end_like(end, made.result)])
        made.location = end.location
        for terminator, index in edges:
            terminator.successors[index] = own
            set_successor_operands(terminator, index, [])
    for jump in jumps:
        value = jump.operands[0]
        falls_through = jump.parent is block.prev_block
        if not others or (constant_of(value) is not None and not falls_through):
            replace(jump, [_end_like(end, value)])


def _end_like(end: Operation, value: SSAValue) -> Operation:
    return type(end).create(operands=[value], properties=dict(end.properties), location=end.location)
