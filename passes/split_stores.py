"""The pass `split-stores`: pieces of keys are stored where they are known."""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import predecessors
from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import (
    AllocaOp,
    AluRIOp,
    AluRROp,
    CastOp,
    FpOp,
    FuncOp,
    JaOp,
    LddwOp,
    LdSymOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
    UnaryOp,
    functions,
    insn,
)

_PURE = (AllocaOp, AluRROp, AluRIOp, UnaryOp, CastOp, FpOp, MovRROp, MovRIOp, LddwOp, LdSymOp)


class SplitStores(ModulePass):
    """Where jumps pass a value to a block that only stores it into an `ebpf.alloca`, store it before the jumps.

    A constant is then stored as such: on that way, nothing has to bring it into a register. Done where at most one
    store more is made than constants go away, and as many ways gain as pay with an instruction of length.
    """

    name = "split-stores"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Split the stores of all functions that are not allocated."""
        for func in functions(op):
            if not (func.is_raw() or func.is_allocated()):
                _split(func)


def _split(func: FuncOp) -> None:
    tree: DominatorTree | None = None
    for block, edges in predecessors(func.body).items():
        jumps = [op for op, _ in edges]
        if len(edges) < 2 or not all(isinstance(op, JaOp) for op in jumps):
            continue
        for arg in list(block.args):
            store = _only_store(arg)
            if store is None:
                continue
            passed = [op.operands[arg.index] for op in jumps]
            constants = sum(_constant(value) is not None for value in passed)
            if len(passed) - constants - 1 <= constants > 0:
                tree = tree or DominatorTree(func.body)
                _store_before(tree, store, jumps, passed)


def _only_store(arg: BlockArgument) -> StxOp | None:
    """The store of a block argument in its block, if nothing else uses it and the store may as well come before."""
    work: list[SSAValue] = [arg]
    found: Operation | None = None
    while work:
        for use in work.pop().uses:
            if isinstance(use.operation, CastOp):
                work.append(use.operation.res)
            elif found is None and isinstance(use.operation, StxOp) and use.index == 1:
                found = use.operation
            else:
                return None
    if not isinstance(found, StxOp) or found.parent is not arg.block or not isinstance(found.base.owner, AllocaOp):
        return None
    before = found.prev_op
    while before is not None:
        if not isinstance(before, _PURE) and not _is_apart(before, found):
            return None
        before = before.prev_op
    return found


def _is_apart(op: Operation, store: StxOp) -> bool:
    """Whether an operation is a store into an object, to other bytes."""
    if not isinstance(op, StxOp | StOp) or not isinstance(op.base.owner, AllocaOp):
        return False
    start, other = store.off.data, op.off.data
    ends = start + store.row.width // 8, other + op.row.width // 8
    return op.base is not store.base or ends[0] <= other or ends[1] <= start


def _constant(value: SSAValue) -> int | None:
    """The constant that a value is, where a store instruction can hold it."""
    owner = value.owner
    while isinstance(owner, CastOp):
        owner = owner.value.owner
    return owner.imm.data if isinstance(owner, MovRIOp) and "core" not in owner.properties else None


def _store_before(tree: DominatorTree, store: StxOp, jumps: list[Operation], passed: list[SSAValue]) -> None:
    """Store what is passed before each of the jumps instead."""
    _make_available(tree, store.base.owner, [op.parent for op in jumps if op.parent is not None])
    name = store.row.name.replace("stx", "st")
    for jump, value in zip(jumps, passed, strict=True):
        constant = _constant(value)
        if constant is None:
            new: Operation = insn(store.row.name, [store.base, value], off=store.off.data)
        else:
            new = insn(name, [store.base], off=store.off.data, imm=constant)
        new.location = store.location
        assert jump.parent is not None
        jump.parent.insert_op_before(new, jump)
    assert store.parent is not None
    store.parent.erase_op(store)


def _make_available(tree: DominatorTree, alloca: Operation | Block, blocks: list[Block]) -> None:
    """Move an object to where it comes before the ends of all of the blocks."""
    assert isinstance(alloca, AllocaOp) and alloca.parent is not None
    home = tree.common_dominator([alloca.parent, *blocks])
    if home is not None and home is not alloca.parent:
        last = home.last_op
        assert last is not None
        alloca.parent.detach_op(alloca)
        home.insert_op_before(alloca, last)
