"""From a virtual `ebpf` function to nodes and steps, every constraint of the machine made explicit.

What nothing needs is left out: operations without effect whose results reach no instruction, and blocks that cannot be
reached. Moves and casts are copies; the frame pointer is node 10 wherever it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TypeGuard, cast

from xdsl.dialects.builtin import UnknownLoc
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.traits import SymbolTable

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.frame_addresses import called_frame_addresses
from fsir.dialects.ebpf import (
    AluRIOp,
    AluRROp,
    AtomicFetchOp,
    BranchOp,
    CallKfuncOp,
    CallLocalOp,
    CallOp,
    CallxOp,
    CastOp,
    CmpxchgOp,
    EbpfOp,
    EndOp,
    ExitOp,
    FallthroughOp,
    FpOp,
    FuncOp,
    InsnOp,
    JccRIOp,
    JccRROp,
    LdAbsOp,
    LddwOp,
    LdIndOp,
    LdSymOp,
    MovRIOp,
    MovRROp,
    UnaryOp,
    UndefOp,
    reg_index,
)
from fsir.regalloc.frequency import block_frequencies
from fsir.regalloc.known_constants import constant_of, known_after
from fsir.regalloc.model import CALLER_SAVED, FIRST, FP, AllocationError, CodeBlock, Copies, Insn, MachineCode

_PURE = (AluRROp, AluRIOp, UnaryOp, MovRROp, MovRIOp, LddwOp, LdSymOp, FpOp, UndefOp, CastOp)
_COMMUTATIVE = frozenset({"add", "mul", "or", "and", "xor"})
_HINT = re.compile(r"r(\d)(?:_\d+)*")


def entry_registers(func: FuncOp) -> list[int]:
    """The machine register of each argument of the function's entry block."""
    fixed = [reg_index(arg.type) for arg in func.entry.args]
    if all(register is not None for register in fixed):
        return cast("list[int]", fixed)
    return list(range(1, len(fixed) + 1))


def build(func: FuncOp, length: float = 0.0, found: bool = True) -> MachineCode:
    """The function's code for allocation. `length` is the share of an instruction's weight that does not depend on how
    often it is executed. With `found`, constants that a branch found in a register are returned from there. Raises
    AllocationError for what is not virtual `ebpf` code."""
    return _Builder(func, length, found).build()


def is_template(op: Operation) -> bool:
    """Whether the operation can be repeated anywhere for the same value: constants, addresses of symbols and of the
    frame. An instruction that the loader patches for this place (CO-RE) cannot."""
    if "core" in op.properties:
        return False
    if isinstance(op, AluRIOp):
        return op.row.op == "add" and op.row.width == 64 and isinstance(op.lhs.owner, FpOp)
    return isinstance(op, MovRIOp | LddwOp | LdSymOp | UndefOp)


def _is_result(value: SSAValue) -> bool:
    """Whether a value is nothing but returned: no pass of the kernel's verifier has to know that it is a constant."""
    return all(
        isinstance(use.operation, ExitOp) or (isinstance(use.operation, CastOp) and _is_result(use.operation.res))
        for use in value.uses
    )


def _is_fork_to_one(op: Operation) -> TypeGuard[JccRROp | JccRIOp]:
    return isinstance(op, JccRROp | JccRIOp) and op.then_block is op.else_block


def _differ(op: BranchOp, index: int) -> bool:
    """Whether the two edges of a branch pass different values to argument number `index`."""
    return op.successor_operands(0)[index] is not op.successor_operands(1)[index]


def _is_move(op: Operation) -> bool:
    return isinstance(op, CastOp) or (isinstance(op, MovRROp) and op.row.op == "mov" and op.row.width == 64)


class _Builder:
    def __init__(self, func: FuncOp, length: float, found: bool) -> None:
        self.func = func
        self.length = length
        self.found = found
        self.tree = DominatorTree(func.body)
        self.incoming = {
            block: [(op, i) for op, i in edges if op.parent is not None and self.tree.is_reachable(op.parent)]
            for block, edges in predecessors(func.body).items()
        }
        self.code = MachineCode(func, entry_registers(func))
        self.nodes: dict[SSAValue, int] = {}
        self.joins: dict[BlockArgument, int] = {}
        self.number: dict[Block, int] = {}
        self.deciding: set[Operation] = set()
        """Branches with both edges to one block that pass it different values."""
        self.needed = self.find_needed()
        for block, edges in self.incoming.items():
            self.incoming[block] = [(op, i) for op, i in edges if not (i and self.is_no_branch(op))]
        self.last_here: dict[SSAValue, Operation] = {}
        self.last_use: dict[SSAValue, Operation] = {}

    # --- what is needed at all ---------------------------------------------------------------------------------------

    def find_needed(self) -> set[SSAValue]:
        """The values that reach an instruction with an effect."""
        needed: set[SSAValue] = set()
        work: list[SSAValue] = []
        for block in self.tree.rpo:
            for op in block.ops:
                if not isinstance(op, EbpfOp):
                    raise AllocationError(f"'{op.name}' is not machine code: it has to be lowered first")
                if isinstance(op, BranchOp):
                    if not _is_fork_to_one(op):
                        work.extend(op.fixed_operands())
                elif not isinstance(op, _PURE):
                    work.extend(op.operands)
        while work:
            value = work.pop()
            if value in needed:
                continue
            needed.add(value)
            if isinstance(value, BlockArgument):
                for op, i in self.incoming[value.block]:
                    work.append(successor_operands(op, i)[value.index])
                    if _is_fork_to_one(op) and op not in self.deciding and _differ(op, value.index):
                        self.deciding.add(op)
                        work.extend(op.fixed_operands())
            elif isinstance(value.owner, Operation):
                work.extend(value.owner.operands)
        return needed

    def is_no_branch(self, op: Operation) -> bool:
        """Whether a conditional jump goes on in the same way whatever it finds."""
        return _is_fork_to_one(op) and op not in self.deciding

    # --- blocks ------------------------------------------------------------------------------------------------------

    def build(self) -> MachineCode:
        self.make_blocks()
        for block in self.tree.rpo:
            for arg in block.args:
                self.nodes[arg] = self.value_node(arg)
                if arg in self.needed and self.is_join(block):
                    self.joins[arg] = self.code.node(self.code.hint[self.nodes[arg]])
        for block in self.tree.rpo:
            self.fill(block)
        for code_block in self.code.blocks:
            self.connect(code_block)
        self.code.joins.update(self.joins.values())
        return self.code

    def is_join(self, block: Block) -> bool:
        """Whether arguments of the block come from several edges."""
        return len(self.incoming[block]) > 1 or (block is self.func.entry and bool(self.incoming[block]))

    def make_blocks(self) -> None:
        """Blocks in layout order, with one on every second edge of a branch to a join: copies for the first edge of a
        branch come before the branch, those for the second after it."""
        weights = {b: self.length + (1 - self.length) * f for b, f in block_frequencies(self.tree).items()}
        blocks = self.code.blocks
        entry = self.func.entry
        if self.incoming[entry]:
            blocks.append(CodeBlock(0, None, 1.0))
        self.between: dict[Block, int] = {}
        for block in self.func.body.blocks:
            if not self.tree.is_reachable(block):
                continue
            self.number[block] = len(blocks)
            blocks.append(CodeBlock(len(blocks), block, weights[block]))
            last = block.last_op
            assert last is not None
            second = last.successors[1] if len(last.successors) == 2 and not self.is_no_branch(last) else None
            if second and self.is_join(second) and any(arg in self.needed for arg in second.args):
                self.between[block] = len(blocks)
                blocks.append(CodeBlock(len(blocks), None, weights[block] * 0.5))
        if self.incoming[entry]:
            self.code.order.append(0)
            blocks[0].succs = [self.number[entry]]
        for block in self.tree.rpo:
            index = self.number[block]
            self.code.order.append(index)
            last = block.last_op
            assert last is not None
            targets = last.successors[:1] if self.is_no_branch(last) else last.successors
            blocks[index].succs = [self.number[s] for s in targets]
            if block in self.between:
                self.code.order.append(self.between[block])
                blocks[self.between[block]].succs = [blocks[index].succs[1]]
                blocks[index].succs[1] = self.between[block]
            above = self.tree.idom(block)
            if above is not None:
                blocks[index].idom = self.number[above]
        if self.incoming[entry]:
            blocks[self.number[entry]].idom = 0
        for block, index in self.between.items():
            blocks[index].idom = self.number[block]
        for code_block in blocks:
            for successor in code_block.succs:
                blocks[successor].preds.append(code_block.index)

    def fill(self, block: Block) -> None:
        """The steps of a block, up to and including the terminator, without the copies to its successors."""
        code_block = self.code.blocks[self.number[block]]
        steps = code_block.steps
        first = next((op for op in block.ops if not isinstance(op.location, UnknownLoc)), block.first_op)
        args = [arg for arg in block.args if arg in self.needed]
        if self.is_join(block):
            code_block.joins = [self.joins[arg] for arg in args]
            pairs = [(self.nodes[arg], self.joins[arg]) for arg in args]
        elif block is self.func.entry:
            pairs = [(self.nodes[arg], self.code.entry_registers[arg.index]) for arg in args]
        else:
            ((terminator, index),) = self.incoming[block]
            passed = successor_operands(terminator, index)
            pairs = [(self.nodes[arg], self.operand(passed[arg.index])) for arg in args]
        if pairs:
            steps.append(Copies(pairs, first))
        self.find_last_uses(block)
        for op in block.ops:
            if self.is_no_branch(op):
                steps.append(Insn(None, [], []))
            elif not isinstance(op, _PURE) or any(result in self.needed for result in op.results):
                self.add(op, steps)

    def find_last_uses(self, block: Block) -> None:
        """The operations that use values last in this block; for values used nowhere else, these after which they are
        dead."""
        self.last_here = {operand: op for op in block.ops for operand in op.operands}
        self.last_use = dict(self.last_here)
        for value in list(self.last_use):
            if any(use.operation.parent is not block for use in value.uses) or isinstance(
                self.last_use[value], BranchOp
            ):
                del self.last_use[value]

    def connect(self, code_block: CodeBlock) -> None:
        """Append the copies to the arguments of successors, and the fallthrough of an added block."""
        if code_block.source is None:
            self.connect_added(code_block)
            return
        terminator = code_block.source.last_op
        assert terminator is not None
        if not terminator.successors:
            return
        last = code_block.steps.pop()
        target = terminator.successors[0]
        if self.is_join(target):
            pairs = self.edge_pairs(terminator, 0, code_block)
            if pairs:
                code_block.steps.append(Copies(pairs, terminator))
        code_block.steps.append(last)

    def connect_added(self, code_block: CodeBlock) -> None:
        if code_block.index == 0:
            entry = self.func.entry
            args = [arg for arg in entry.args if arg in self.needed]
            pairs = [(self.joins[arg], self.code.entry_registers[arg.index]) for arg in args]
            at = entry.first_op
        else:
            source = self.code.blocks[code_block.preds[0]].source
            assert source is not None
            at = source.last_op
            assert at is not None
            pairs = self.edge_pairs(at, 1, code_block)
        if pairs:
            code_block.steps.append(Copies(pairs, at))
        code_block.steps.append(Insn(None, [], []))

    def edge_pairs(self, terminator: Operation, index: int, code_block: CodeBlock) -> list[tuple[int, int]]:
        passed = successor_operands(terminator, index)
        args = [arg for arg in terminator.successors[index].args if arg in self.needed]
        pairs = [(self.joins[arg], self.operand(passed[arg.index])) for arg in args]
        if self.found and (found := known_after(terminator, index)) is not None:
            for number, arg in enumerate(args):
                join, source = pairs[number]
                template = self.code.template[source]
                maker = self.code.makers.get(template)
                if maker is not None and constant_of(maker) == found[1] and _is_result(arg):
                    self.code.known[code_block.index, join] = template
                    pairs[number] = (join, self.operand(found[0]))
        return pairs

    # --- nodes -------------------------------------------------------------------------------------------------------

    def value_node(self, value: SSAValue) -> int:
        return self.code.node(_hint_of(value))

    def operand(self, value: SSAValue) -> int:
        """The node of a value, which is defined already: blocks are visited in an order that dominance allows."""
        owner = value.owner
        if isinstance(owner, FpOp):
            return FP
        if isinstance(owner, CastOp) or (_is_move(owner) if isinstance(owner, Operation) else False):
            assert isinstance(owner, Operation)
            if self.operand(owner.operands[0]) == FP:
                return FP
        return self.nodes[value]

    def result(self, value: SSAValue, origin: int | None = None, template: int = 0) -> int:
        number = self.code.node(_hint_of(value), origin, template)
        self.nodes[value] = number
        return number

    # --- operations --------------------------------------------------------------------------------------------------

    def add(self, op: Operation, steps: list[Insn | Copies]) -> None:
        if is_template(op):
            template = self.code.template_node(op)
            steps.append(Copies([(self.result(op.results[0], template=template), template)], op))
            return
        if isinstance(op, FpOp):
            return
        if _is_move(op):
            source = self.operand(op.operands[0])
            if self.code.template[source]:
                self.nodes[op.results[0]] = source  # a copy of a constant is the constant
            elif source != FP:
                steps.append(Copies([(self.result(op.results[0], self.code.origin[source]), source)], op))
            return
        for form, handler in _HANDLERS.items():
            if isinstance(op, form):
                handler(self, op, steps)
                return
        if not isinstance(op, InsnOp | FallthroughOp | EndOp):
            raise AllocationError(f"'{op.name}' cannot be allocated: it has to be lowered first")
        fixed = op.fixed_operands()
        uses = [self.operand(value) for value in fixed]
        steps.append(Insn(op, uses, [self.result(r) for r in op.results]))

    def two_address(self, op: AluRROp | AluRIOp | UnaryOp, steps: list[Insn | Copies]) -> None:
        operands = [self.operand(value) for value in op.operands]
        if isinstance(op, AluRROp) and self.swaps(op):
            operands.reverse()
        res = self.result(op.results[0])
        steps.append(Copies([(res, operands[0])], op))
        steps.append(Insn(op, [res, *operands[1:]], [res], tied=True))

    def swaps(self, op: AluRROp) -> bool:
        """Whether to exchange the operands, so that the result takes the register of one that dies here. An address
        that the verifier might look for in the wrong frame then stays first."""
        if op.row.op not in _COMMUTATIVE or op.lhs is op.rhs or isinstance(op.rhs.owner, FpOp):
            return False
        if op.row.name == "add" and op.lhs in self.frame_addresses:
            return False
        hint = _hint_of(op.res)
        hinted = [hint is not None and hint == _hint_of(value) for value in (op.lhs, op.rhs)]
        if hinted == [True, False] and self.last_here[op.lhs] is op:
            return False
        dies = [self.last_use.get(value) is op for value in (op.lhs, op.rhs)]
        if dies[0] != dies[1]:
            return dies[1]
        return all(dies) and hinted == [False, True]

    @cached_property
    def frame_addresses(self) -> set[SSAValue]:
        return called_frame_addresses(self.func)

    def atomic_fetch(self, op: AtomicFetchOp, steps: list[Insn | Copies]) -> None:
        base, value = self.operand(op.base), self.operand(op.value)
        res = self.result(op.res)
        steps.append(Copies([(res, value)], op))
        steps.append(Insn(op, [base, res], [res], tied=True))

    def cmpxchg(self, op: CmpxchgOp, steps: list[Insn | Copies]) -> None:
        steps.append(Copies([(0, self.operand(op.expected))], op))
        steps.append(Insn(op, [self.operand(op.base), 0, self.operand(op.value)], [0]))
        self.take_result(op, steps)

    def call(self, op: Operation, steps: list[Insn | Copies]) -> None:
        fixed = [self.operand(op.operands[0])] if isinstance(op, CallxOp) else []
        arguments = op.operands[len(fixed) :]
        registers = self.argument_registers(op)
        if len(registers) < len(arguments):
            raise AllocationError(f"'{op.name}' has {len(arguments)} arguments, the callee takes {len(registers)}")
        registers = registers[: len(arguments)]
        if arguments:
            pairs = [(r, self.operand(value)) for r, value in zip(registers, arguments, strict=True)]
            steps.append(Copies(pairs, op))
        steps.append(Insn(op, [*fixed, *registers], [0], CALLER_SAVED))
        self.take_result(op, steps)

    def argument_registers(self, op: Operation) -> list[int]:
        if isinstance(op, CallLocalOp):
            table = op.get_toplevel_object()
            callee = SymbolTable.lookup_symbol(table, op.callee) if isinstance(table, Operation) else None
            if isinstance(callee, FuncOp) and callee.is_raw():
                raise AllocationError(f"the arguments of {callee.symbol} are not known, its code is not understood")
        return [1, 2, 3, 4, 5]

    def legacy_load(self, op: LdAbsOp | LdIndOp, steps: list[Insn | Copies]) -> None:
        steps.append(Copies([(6, self.operand(op.context))], op))
        others = [self.operand(value) for value in op.operands[1:]]
        steps.append(Insn(op, [6, *others], [0], CALLER_SAVED))
        self.take_result(op, steps)

    def exit(self, op: ExitOp, steps: list[Insn | Copies]) -> None:
        if op.value is None:
            steps.append(Insn(op, [], []))
            return
        steps.append(Copies([(0, self.operand(op.value))], op))
        steps.append(Insn(op, [0], []))

    def take_result(self, op: Operation, steps: list[Insn | Copies]) -> None:
        value = op.results[0]
        if value in self.needed:
            steps.append(Copies([(self.result(value), 0)], op))


_HANDLERS = cast(
    "dict[type[Operation], Callable[[_Builder, Operation, list[Insn | Copies]], None]]",
    {
        AluRROp: _Builder.two_address,
        AluRIOp: _Builder.two_address,
        UnaryOp: _Builder.two_address,
        AtomicFetchOp: _Builder.atomic_fetch,
        CmpxchgOp: _Builder.cmpxchg,
        CallOp: _Builder.call,
        CallLocalOp: _Builder.call,
        CallKfuncOp: _Builder.call,
        CallxOp: _Builder.call,
        LdAbsOp: _Builder.legacy_load,
        LdIndOp: _Builder.legacy_load,
        ExitOp: _Builder.exit,
    },
)


def _hint_of(value: SSAValue) -> int | None:
    """The register that a value had where it comes from, as its name says: `r6`, `r6_12`. Casts of a value are the
    value: what has no name of its own goes by theirs, or by that of what it is a cast of."""
    fixed = reg_index(value.type)
    if fixed is not None:
        return fixed
    source = value
    while (found := _named(source)) is None and isinstance(source.owner, CastOp):
        source = source.owner.value
    if found is not None:
        return found
    return next((found for use in value.uses if (found := _named_cast(use.operation)) is not None), None)


def _named(value: SSAValue) -> int | None:
    match = _HINT.fullmatch(value.name_hint) if value.name_hint else None
    return int(match[1]) if match else None


def _named_cast(op: Operation) -> int | None:
    return _named(op.res) if isinstance(op, CastOp) else None


assert FIRST == FP + 1
