"""The packet's end, loaded again in each block that asks for it, for functions that need more registers than there are.

`value-numbering` leaves one load of `data_end` for all guards. Kept over a long stretch it holds a register that others
would make better use of, and a load is no more than the reload of a spilled value. The beginning of the packet is
not loaded again: the verifier knows of that value how much was checked.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Use

from fsir.analysis.dominance import successors
from fsir.analysis.effects import LAYOUT, EffectTable
from fsir.dialects.ebpf import CallLocalOp, FuncOp, LdxOp, functions
from fsir.dialects.packet import CtxType, EndType


def remake_ends(func: FuncOp) -> int:
    """Load the packet's end where it is used, in blocks other than the one that does so, if nothing between may have
    moved it. Gives the number of loads made."""
    module = func.get_toplevel_object()
    if not isinstance(module, ModuleOp):
        return 0
    moves = _Moves(module)
    moving = {block for block in func.body.blocks if any(map(moves, block.ops))}
    loads = [op for block in func.body.blocks for op in block.ops if _is_end(op)]
    return sum(_remake(load, moving, moves) for load in loads)


def _is_end(op: Operation) -> bool:
    plain = isinstance(op, LdxOp) and "core" not in op.properties
    return plain and isinstance(op.results[0].type, EndType) and isinstance(op.operands[0].type, CtxType)


class _Moves:
    """Which operations may move the packet's end: of calls, those of functions that do, or that others may replace."""

    def __init__(self, module: ModuleOp) -> None:
        self._effects = EffectTable(module)
        self._functions = {func.symbol: func for func in functions(module)}
        self._known: dict[str, bool] = {}

    def __call__(self, op: Operation) -> bool:
        if isinstance(op, CallLocalOp):
            return self._function(op.callee.root_reference.data)
        return bool(self._effects.of(op).writes & LAYOUT)

    def _function(self, name: str) -> bool:
        if name not in self._known:
            self._known[name] = True  # what a recursive call does is not known
            func = self._functions.get(name)
            static = func is not None and func.bind is not None and func.bind.data == 0 and not func.is_raw()
            self._known[name] = not static or func is None or any(map(self, func.body.walk()))
        return self._known[name]


def _remake(load: Operation, moving: set[Block], moves: _Moves) -> int:
    home = load.parent
    assert home is not None
    later = load.next_op
    while later is not None:
        if moves(later):
            return 0
        later = later.next_op
    unsafe = _behind(_behind({home}) & moving) | moving
    users: dict[Block, list[Use]] = {}
    for use in load.results[0].uses:
        block = use.operation.parent
        if block is not None and block is not home and block not in unsafe:
            users.setdefault(block, []).append(use)
    for block, uses in users.items():
        again = load.clone()
        wanting = {use.operation for use in uses}
        block.insert_op_before(again, next(op for op in block.ops if op in wanting))
        for use in uses:
            use.operation.operands[use.index] = again.results[0]
    return len(users)


def _behind(blocks: set[Block]) -> set[Block]:
    """The blocks that some way leads to from the end of one of these."""
    seen: set[Block] = set()
    work = [following for block in blocks for following in successors(block)]
    while work:
        block = work.pop()
        if block not in seen:
            seen.add(block)
            work += successors(block)
    return seen
