"""Random virtual `ebpf` functions, and two evaluators: by SSA value, and by machine register.

The register evaluator is how allocated code really runs: operations read and write eleven registers, calls leave
garbage in r1–r5. Both give what a program does: its calls with their arguments, and its result.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.dialects.ebpf import (
    UNALLOCATED,
    BranchOp,
    CallOp,
    ExitOp,
    FpOp,
    FuncOp,
    InsnOp,
    MayGotoOp,
    UndefOp,
    branch,
    insn,
    jump,
    reg_index,
)

MASK = (1 << 64) - 1
FRAME = 1 << 40
_ALU = ("add", "sub", "mul", "xor", "or", "and")
_TESTS = ("jeq", "jne", "jgt", "jge", "jlt", "jle", "jsgt", "jslt", "jset")


class Program:
    """One random function; `width` bounds how many values are kept in play, and so the register pressure."""

    def __init__(self, seed: int, width: int = 12, budget: int = 40) -> None:
        self.rng = random.Random(seed)
        self.width, self.budget = width, budget
        self.blocks: list[Block] = []
        self.exit_block = Block(arg_types=[UNALLOCATED])
        self.exit_block.add_op(insn("exit", [self.exit_block.args[0]]))
        entry = self.new_block(self.rng.randrange(4))
        values: list[SSAValue] = list(entry.args)
        frame = self.add(entry, FpOp.create(result_types=[UNALLOCATED]))
        self.frame = frame
        values.append(self.add(entry, insn("movi", (), UNALLOCATED, imm=7)))
        last, values = self.sequence(entry, values, 3)
        last.add_op(jump(self.exit_block, [self.pick(values)]))
        self.func = FuncOp.build_func("f", "xdp", Region([*self.blocks, self.exit_block]))
        self.module = ModuleOp([self.func])

    def new_block(self, arg_count: int = 0) -> Block:
        block = Block(arg_types=[UNALLOCATED] * arg_count)
        self.blocks.append(block)
        return block

    def add(self, block: Block, op: Operation) -> SSAValue:
        block.add_op(op)
        result = op.results[0]
        if self.rng.random() < 0.5:
            result.name_hint = f"r{self.rng.randrange(10)}"
        return result

    def pick(self, values: Sequence[SSAValue]) -> SSAValue:
        return self.rng.choice(values)

    def straight(self, block: Block, values: list[SSAValue]) -> None:
        rng = self.rng
        for _ in range(rng.randrange(1, 6)):
            self.budget -= 1
            kind = rng.randrange(10)
            if kind < 3:
                name = rng.choice(_ALU)
                new = self.add(block, insn(name, [self.pick(values), self.pick(values)], UNALLOCATED))
            elif kind < 5:
                new = self.add(
                    block, insn(rng.choice(_ALU) + "i", [self.pick(values)], UNALLOCATED, imm=rng.randrange(-9, 9))
                )
            elif kind == 5:
                new = self.add(block, insn("movi", (), UNALLOCATED, imm=rng.randrange(-3, 4)))
            elif kind == 6:
                new = self.add(block, insn("mov", [self.pick(values)], UNALLOCATED))
            elif kind == 7:
                args = [self.pick([*values, self.frame]) for _ in range(rng.randrange(6))]
                new = self.add(block, insn("call", args, UNALLOCATED, helper=rng.randrange(1, 9)))
            elif kind == 8:
                offset = -8 * rng.randrange(1, 5)
                block.add_op(insn("stx64", [self.frame, self.pick(values)], off=offset))
                new = self.add(block, insn("ldx64", [self.frame], UNALLOCATED, off=-8))
            else:
                slot = self.add(block, insn("addi", [self.frame], UNALLOCATED, imm=-16))
                new = self.add(block, insn("ldx64", [slot], UNALLOCATED, off=0))
            values.append(new)
            if len(values) > self.width:
                del values[rng.randrange(len(values))]

    def test(
        self, values: Sequence[SSAValue], then: tuple[Block, list[SSAValue]], other: tuple[Block, list[SSAValue]]
    ) -> Operation:
        name = self.rng.choice(_TESTS)
        if self.rng.random() < 0.5:
            return branch(name + "i", [self.pick(values)], then, other, imm=self.rng.randrange(-5, 6))
        return branch(name, [self.pick(values), self.pick(values)], then, other)

    def sequence(self, block: Block, values: list[SSAValue], depth: int) -> tuple[Block, list[SSAValue]]:
        while self.budget > 0:
            self.straight(block, values)
            shape = self.rng.randrange(5)
            if shape == 0 or not depth:
                break
            build = (self.guard, self.diamond, self.diamond, self.loop)[shape - 1]
            block, values = build(block, values, depth)
        return block, values

    def guard(self, block: Block, values: list[SSAValue], depth: int) -> tuple[Block, list[SSAValue]]:
        verdict = self.pick(values)
        if self.rng.random() < 0.7:
            verdict = self.add(block, insn("movi", (), UNALLOCATED, imm=self.rng.randrange(3)))
        following = self.new_block()
        edges = [(self.exit_block, [verdict]), (following, list[SSAValue]())]
        self.rng.shuffle(edges)
        block.add_op(self.test(values, *edges))
        return following, values

    def diamond(self, block: Block, values: list[SSAValue], depth: int) -> tuple[Block, list[SSAValue]]:
        sides: list[tuple[Block, list[SSAValue]]] = []
        count = self.rng.randrange(4)
        join = Block(arg_types=[UNALLOCATED] * count)
        entries: list[tuple[Block, list[SSAValue]]] = []
        for _ in range(2):
            if self.rng.random() < 0.3:
                entries.append((join, [self.pick(values) for _ in range(count)]))
                continue
            side = self.new_block()
            entries.append((side, []))
            sides.append(self.sequence(side, list(values), depth - 1))
        block.add_op(self.test(values, *entries))
        for end, inner in sides:
            end.add_op(jump(join, [self.pick(inner) for _ in range(count)]))
        self.blocks.append(join)
        return join, [*values, *join.args][-self.width :]

    def loop(self, block: Block, values: list[SSAValue], depth: int) -> tuple[Block, list[SSAValue]]:
        count = self.rng.randrange(1, 5)
        header = Block(arg_types=[UNALLOCATED] * (count + 1))
        self.blocks.append(header)
        zero = self.add(block, insn("movi", (), UNALLOCATED, imm=0))
        block.add_op(jump(header, [zero, *(self.pick(values) for _ in range(count))]))
        counter, *carried = header.args
        end, inner = self.sequence(header, [*values, *carried], depth - 1)
        following = Block(arg_types=[UNALLOCATED] * self.rng.randrange(3))
        following_values = [self.pick([*inner, *carried]) for _ in following.args]
        next_counter = self.add(end, insn("addi", [counter], UNALLOCATED, imm=1))
        # Carried values are permuted, which takes exchanges, or replaced.
        again = [self.pick([*carried, *carried, self.pick(inner)]) for _ in carried]
        if self.rng.random() < 0.5:
            again = [*carried[1:], carried[0]]
        edges = ((header, [next_counter, *again]), (following, following_values))
        if self.rng.random() < 0.5:
            end.add_op(branch("jlti", [next_counter], *edges, imm=3))
        else:
            end.add_op(branch("jgei", [next_counter], edges[1], edges[0], imm=3))
        self.blocks.append(following)
        return following, [*values, *carried, *following.args][-self.width :]


# --- meaning ---------------------------------------------------------------------------------------------------------


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _alu(op: str, a: int, b: int) -> int:
    result = {"add": a + b, "sub": a - b, "mul": a * b, "xor": a ^ b, "or": a | b, "and": a & b}[op]
    return result & MASK


def _holds(op: str, a: int, b: int) -> bool:
    sa, sb = _signed(a), _signed(b)
    return {
        "jeq": a == b,
        "jne": a != b,
        "jgt": a > b,
        "jge": a >= b,
        "jlt": a < b,
        "jle": a <= b,
        "jsgt": sa > sb,
        "jsge": sa >= sb,
        "jslt": sa < sb,
        "jsle": sa <= sb,
        "jset": bool(a & b),
    }[op]


class Run:
    """Evaluates a function; `by_register` reads and writes machine registers instead of SSA values."""

    def __init__(self, func: FuncOp, args: Sequence[int], by_register: bool, fuel: int = 20_000) -> None:
        self.by_register, self.fuel = by_register, fuel
        self.registers: list[int | None] = [None] * 10 + [FRAME]
        self.values: dict[SSAValue, int] = {}
        self.memory: dict[int, int] = {}
        self.trace: list[tuple[int, ...]] = []
        for value, arg in zip(func.entry.args, args, strict=False):
            self.write(value, arg)
        block: Block | None = func.entry
        while block is not None:
            block = self.block(block)

    def read(self, value: SSAValue) -> int:
        if not self.by_register:
            return self.values[value]
        register = reg_index(value.type)
        assert register is not None
        content = self.registers[register]
        assert content is not None, f"r{register} is read before it is written"
        return content

    def write(self, value: SSAValue, content: int) -> None:
        if self.by_register:
            register = reg_index(value.type)
            assert register is not None and register != 10
            self.registers[register] = content & MASK
        else:
            self.values[value] = content & MASK

    def block(self, block: Block) -> Block | None:
        for op in block.ops:
            self.fuel -= 1
            assert self.fuel > 0, "the program does not end"
            if isinstance(op, BranchOp):
                return self.leave(op)
            if isinstance(op, ExitOp):
                assert op.value is not None
                self.trace.append((-1, self.read(op.value)))
                return None
            self.execute(op)
        raise AssertionError("a block without terminator")

    def leave(self, op: BranchOp) -> Block:
        index = 0
        if len(op.successors) == 2:
            assert isinstance(op, InsnOp) and not isinstance(op, MayGotoOp)
            operands = [self.read(value) for value in op.fixed_operands()]
            if "imm" in op.properties:
                operands.append(op.int_prop("imm") & MASK)
            index = 0 if _holds(op.row.op, *operands) else 1
        target = op.successors[index]
        if not self.by_register:
            passed = [self.read(value) for value in successor_operands(op, index)]
            for arg, content in zip(target.args, passed, strict=True):
                self.write(arg, content)
        return target

    def execute(self, op: Operation) -> None:
        if isinstance(op, UndefOp):
            if not self.by_register:
                self.write(op.res, 0)
            return
        if isinstance(op, FpOp):
            if not self.by_register:
                self.write(op.res, FRAME)
            return
        assert isinstance(op, InsnOp)
        operands = [self.read(value) for value in op.operands]
        if isinstance(op, CallOp):
            self.trace.append((op.helper.data, *operands))
            if self.by_register:
                self.registers[0:6] = [0xDEAD0000 + r for r in range(6)]
            self.write(op.res, hash((op.helper.data, len(self.trace), *operands)))
            return
        name, form = op.row.op, op.row.name
        if name == "ldx":
            address = operands[0] + op.int_prop("off")
            self.write(op.results[0], self.memory.get(address & MASK, 0))
        elif name in ("stx", "st"):
            address = operands[0] + op.int_prop("off")
            self.memory[address & MASK] = operands[1] if name == "stx" else op.int_prop("imm") & MASK
        elif form == "movi" or form == "lddw":
            self.write(op.results[0], op.int_prop("imm"))
        elif form == "mov":
            self.write(op.results[0], operands[0])
        else:
            right = operands[1] if len(operands) == 2 else op.int_prop("imm") & MASK
            self.write(op.results[0], _alu(name, operands[0], right))
