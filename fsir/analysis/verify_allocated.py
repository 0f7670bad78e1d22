"""The invariant of allocated functions, which ordinary SSA rules do not imply.

At each use of `v : !ebpf.reg<rN>`, `v` must be the last definition of rN on every path. This is a forward dataflow
with one slot per register: results and block arguments define, calls clobber r0–r5, r10 is only ever `ebpf.frame`.
With it go the rules of the machine: two-address ties, the registers that calls and exits use, and, for code that is
to be written as it stands, the order of blocks.

A function that is not allocated is not looked at; of one that is, every value must be. Blocks that cannot be
reached are checked for layout and registers' presence only, since no path says what their registers hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.calls import CALL_INSTRUCTIONS, CALLER_SAVED, CLOBBERING
from fsir.analysis.cfg import successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.verify_dominance import InvalidOperation
from fsir.dialects.ebpf import (
    AluRIOp,
    AluRROp,
    AtomicFetchOp,
    CallxOp,
    CmpxchgOp,
    ExitOp,
    FallthroughOp,
    FpOp,
    FuncOp,
    JccRIOp,
    JccRROp,
    LdAbsOp,
    LdIndOp,
    MayGotoOp,
    UnaryOp,
    functions,
    reg_index,
)

_TWO_WAY = (JccRROp, JccRIOp, MayGotoOp)

Slots = list[SSAValue | None]


def verify_allocated_module(module: ModuleOp, layout: bool = True) -> None:
    """`verify_allocated` for every function."""
    for func in functions(module):
        verify_allocated(func, layout)


def verify_allocated(func: FuncOp, layout: bool = True) -> None:
    """Raise `InvalidOperation` for the first violation in `func`; `layout` asks for the order of blocks as well."""
    if not func.is_allocated():
        return
    for block in func.body.blocks:
        for arg in block.args:
            if reg_index(arg.type) is None:
                raise InvalidOperation(func, f"block argument of type {arg.type} among allocated values")
        for op in block.ops:
            _check_registers(op)
        if layout:
            _check_layout(func, block)
    _Dataflow(func).run()


def _check_registers(op: Operation) -> None:
    """The rules that concern one operation alone: types, ties, fixed registers."""
    for value in (*op.operands, *op.results):
        index = reg_index(value.type)
        if index is None:
            raise InvalidOperation(op, f"value of type {value.type} in an allocated function")
    for result in op.results:
        if (reg_index(result.type) == 10) != isinstance(op, FpOp):
            raise InvalidOperation(op, "r10 is the frame pointer: only ebpf.frame defines it, and nothing else")
    tied: SSAValue | None = None
    if isinstance(op, AluRROp | AluRIOp | UnaryOp):
        tied = op.operands[0]
    elif isinstance(op, AtomicFetchOp):
        tied = op.value
    if tied is not None and reg_index(tied.type) != reg_index(op.results[0].type):
        raise InvalidOperation(op, f"result in {op.results[0].type}, but it shares the register of {tied.type}")
    if isinstance(op, CLOBBERING):
        _expect(op, op.results, (0,), "result")
    if isinstance(op, CALL_INSTRUCTIONS):
        arguments = op.operands[1:] if isinstance(op, CallxOp) else op.operands
        registers = [reg_index(arg.type) for arg in arguments]
        if registers != sorted(set(registers) & {1, 2, 3, 4, 5}):  # type: ignore[type-var]
            raise InvalidOperation(op, "arguments of a call are in different registers of r1 to r5, ascending")
    elif isinstance(op, ExitOp):
        _expect(op, op.operands, (0,), "operand")
    elif isinstance(op, CmpxchgOp):
        _expect(op, [op.expected, op.res], (0, 0), "expected value and result")
    elif isinstance(op, LdAbsOp | LdIndOp):
        _expect(op, op.operands[:1], (6,), "context")


def _expect(op: Operation, values: Sequence[SSAValue], registers: Sequence[int], what: str) -> None:
    for value, register in zip(values, registers, strict=False):
        if reg_index(value.type) != register:
            raise InvalidOperation(op, f"{what} in {value.type}, must be in r{register}")


def _check_layout(func: FuncOp, block: Block) -> None:
    last = block.last_op
    if isinstance(last, FallthroughOp):
        following = last.successors[0]
    elif isinstance(last, _TWO_WAY):
        following = last.successors[1]
    else:
        return
    if block.next_block is not following:
        raise InvalidOperation(last, "the block that it falls through to is not the next one in layout")


class _Dataflow:
    def __init__(self, func: FuncOp) -> None:
        self.func = func
        self.tree = DominatorTree(func.body)
        self.out: dict[Block, Slots] = {}

    def run(self) -> None:
        order = self.tree.rpo
        changed = True
        while changed:
            changed = False
            for block in order:
                state = self._at_entry(block)
                for op in block.ops:
                    _define(op, state)
                if self.out.get(block) != state:
                    self.out[block] = state
                    changed = True
        for block in order:
            self._check(block, self._at_entry(block))

    def _at_entry(self, block: Block) -> Slots:
        """The last definition of each register where all paths known so far agree, else None."""
        incoming = [self.out[p] for p in self.tree.predecessors(block) if p in self.out]
        if block is self.func.entry:
            incoming.append([None] * 11)
        state = list(incoming[0])
        for other in incoming[1:]:
            state = [a if a is b else None for a, b in zip(state, other, strict=True)]
        for arg in block.args:
            register = reg_index(arg.type)
            assert register is not None
            state[register] = arg
        return state

    def _check(self, block: Block, state: Slots) -> None:
        for op in block.ops:
            for index, operand in enumerate(op.operands):
                register = reg_index(operand.type)
                assert register is not None
                if state[register] is not operand and not isinstance(operand.owner, FpOp):
                    raise InvalidOperation(op, f"operand #{index} is no longer what r{register} holds here")
            _define(op, state)
        last = block.last_op
        if last is None:
            return
        for number, successor in enumerate(last.successors):
            passed = successor_operands(last, number)
            if len(passed) != len(successor.args):
                raise InvalidOperation(last, f"passes {len(passed)} values to {len(successor.args)} block arguments")
            for value, arg in zip(passed, successor.args, strict=True):
                if value.type != arg.type:
                    raise InvalidOperation(last, f"passes {value.type} to a block argument in {arg.type}")


def _define(op: Operation, state: Slots) -> None:
    if isinstance(op, CLOBBERING):
        for register in CALLER_SAVED:
            state[register] = None
    for result in op.results:
        defined = reg_index(result.type)
        assert defined is not None
        state[defined] = result
