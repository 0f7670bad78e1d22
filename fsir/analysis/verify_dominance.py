"""Checks that every use of a value is dominated by its definition, which xDSL's own verifier does not.

The rules are MLIR's: in a region with control flow the definition comes before the use in the same block, or
its block dominates the use's; a value of an enclosing region is visible inside if it is defined before the
operation that holds the inner region; the results of an operation are not visible inside its own regions.
Uses in unreachable blocks are not checked, and the body of `builtin.module` is a graph without an order.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.utils.exceptions import VerifyException

from fsir.analysis.dominance import DominatorTree


class InvalidOperation(VerifyException):
    """A verifier's complaint that knows its operation, so that a driver can say where it is."""

    def __init__(self, op: Operation, message: str) -> None:
        super().__init__(f"'{op.name}' {message}")
        self.op = op


def verify_dominance(module: Operation) -> None:
    """Raise `InvalidOperation` for the first operation of `module` that uses a value out of its scope."""
    scopes = _Scopes()
    for region in module.regions:
        scopes.check_region(region)


class _Scopes:
    """A walk in program order; the chain of open blocks is what the operation at hand sits in."""

    def __init__(self) -> None:
        self._done: set[Operation] = set()
        self._open_blocks: set[Block] = set()
        self._open_regions: dict[Region, tuple[DominatorTree | None, Block]] = {}

    def check_region(self, region: Region) -> None:
        first = region.first_block
        if first is None:
            return
        # The tree of a region with one block says nothing that the order of its operations does not.
        tree = DominatorTree(region) if first.next_block is not None else None
        for block in [first] if tree is None else tree.rpo:
            self._open_regions[region] = (tree, block)
            self._open_blocks.add(block)
            for op in block.ops:
                for index, operand in enumerate(op.operands):
                    if not self._is_visible(operand):
                        raise InvalidOperation(op, _explain(op, index, operand))
                for inner in op.regions:
                    self.check_region(inner)
                self._done.add(op)
            self._open_blocks.remove(block)
        del self._open_regions[region]

    def _is_visible(self, value: SSAValue) -> bool:
        owner = value.owner
        block = owner if isinstance(owner, Block) else owner.parent
        if block in self._open_blocks:
            return isinstance(owner, Block) or owner in self._done or _is_in_graph(block)
        if block is None or block.parent not in self._open_regions:
            return False
        tree, at = self._open_regions[block.parent]
        return tree is not None and tree.is_reachable(block) and tree.dominates(block, at)


def _is_in_graph(block: Block | None) -> bool:
    return block is not None and isinstance(block.parent_op(), ModuleOp)


def _explain(op: Operation, index: int, value: SSAValue) -> str:
    owner = value.owner
    name = f"operand #{index}" + (f" (%{value.name_hint})" if value.name_hint else "")
    if isinstance(owner, Block):
        return f"{name} is a block argument that does not dominate this use"
    if owner.parent is None:
        return f"{name} is defined by '{owner.name}', which is not part of the module"
    if owner.parent is op.parent:
        return f"{name} is used before its definition by '{owner.name}' in the same block"
    if owner.is_ancestor(op):
        return f"{name} is a result of the '{owner.name}' operation that this use is inside of"
    return f"{name} does not dominate this use: a path from the entry avoids its definition by '{owner.name}'"
