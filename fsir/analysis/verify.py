"""The whole verifier: structure, each operation's own checks, and dominance.

Checks what xDSL's `ModuleOp.verify` checks, in time linear in the number of blocks (xDSL counts the blocks
of a region once per block), without recursion over blocks, and with errors that carry their operation.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import cf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, ErasedSSAValue, Operation, OpResult
from xdsl.traits import IsTerminator, NoTerminator
from xdsl.utils.exceptions import VerifyException

from fsir.analysis.cfg import successor_operands
from fsir.analysis.verify_definition import verify_definition
from fsir.analysis.verify_dominance import InvalidOperation, verify_dominance
from fsir.dialects.ebpf.base import BranchOp


def verify_module(module: Operation) -> None:
    """Raise `InvalidOperation` (a `VerifyException`) for the first thing wrong with `module`."""
    _verify_operation(module)
    verify_dominance(module)


def _verify_operation(root: Operation) -> None:
    """The structure and the own checks of `root` and of all that is nested in it, innermost first."""
    work = [(root, False)]
    while work:
        op, nested_done = work.pop()
        if op.regions and not nested_done:
            if isinstance(op, ModuleOp) and (op.body.first_block is None or op.body.first_block.next_block is not None):
                raise InvalidOperation(op, "holds one block, not several or none")
            work.append((op, True))
            nested: list[tuple[Operation, bool]] = []
            for region in op.regions:
                first = region.first_block
                single = first is not None and first.next_block is None
                for block in region.blocks:
                    if block.parent is not region:
                        raise InvalidOperation(op, "holds a block that does not name it as its parent")
                    _verify_block(op, block, single)
                    nested.extend((inner, False) for inner in block.ops)
            work.extend(reversed(nested))
            continue
        _verify_operands(op)
        is_branch = bool(op.successors)
        if is_branch:
            _verify_successors(op)
        try:
            verify_definition(op)
        except InvalidOperation:
            raise
        except VerifyException as error:
            raise InvalidOperation(op, f"does not verify: {error}") from error
        if is_branch:
            _verify_passed(op)


def _verify_block(parent: Operation, block: Block, single: bool) -> None:
    """That the operations know their block, and that the block ends as its region wants."""
    last = block.last_op
    for op in block.ops:
        if op.parent is not block:
            raise InvalidOperation(op, "does not name the block that it is in as its parent")
        if op is not last and op.successors:
            raise InvalidOperation(op, "has successors but is not the last operation of its block")
    if single and parent.has_trait(NoTerminator):
        return
    if last is None:
        raise InvalidOperation(parent, "holds an empty block: a block ends with a terminator")
    if not last.has_trait(IsTerminator):
        raise InvalidOperation(last, "ends its block but is not a terminator")


def _verify_operands(op: Operation) -> None:
    for index, operand in enumerate(op.operands):
        if type(operand) is not OpResult and isinstance(operand, ErasedSSAValue):
            raise InvalidOperation(op, f"operand #{index} is the result of an operation that was erased")


def _verify_successors(op: Operation) -> None:
    for index, successor in enumerate(op.successors):
        if op.parent is None or successor.parent is not op.parent.parent:
            raise InvalidOperation(op, f"successor #{index} is not a block of the same region")


def _verify_passed(op: Operation) -> None:
    """That what a branch passes on is what the arguments of the blocks are; xDSL does not look at this."""
    if not isinstance(op, BranchOp | cf.BranchOp | cf.ConditionalBranchOp):
        return
    for index, successor in enumerate(op.successors):
        given = [value.type for value in successor_operands(op, index)]
        taken = [arg.type for arg in successor.args]
        if given != taken:
            raise InvalidOperation(op, f"passes {_list(given)} to successor #{index}, whose block takes {_list(taken)}")


def _list(types: Sequence[Attribute]) -> str:
    return f"({', '.join(map(str, types))})"
