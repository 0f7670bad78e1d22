"""The allocated function as operations: a new body, with every value in its register.

A node is followed through the blocks by the SSA value that holds it; one with several definitions gets a block argument
where they meet. Copies between nodes in one register are nothing but a name.
"""

from __future__ import annotations

from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from fsir.analysis.frame_limit import frame_limit
from fsir.analysis.frame_use import FRAME_SIZE, frame_depth
from fsir.dialects.ebpf import BranchOp, FallthroughOp, FpOp, FuncOp, insn, reg
from fsir.dialects.ebpf.base import SEGMENTS, segments
from fsir.regalloc.coalesce import Classes
from fsir.regalloc.constants import small_immediate
from fsir.regalloc.interference import Graph
from fsir.regalloc.model import FIRST, FP, AllocationError, CodeBlock, Copies, Insn, Kind, MachineCode
from fsir.regalloc.moves import SLOT, sequence


def emit(
    code: MachineCode, graph: Graph, classes: Classes, colours: dict[int, int], slots: dict[int, int]
) -> tuple[Region, int]:
    """The new body, and the frame offset below which there are only spills. `slots` numbers the stack slots. Raises
    AllocationError when the frame is too small."""
    emitter = _Emitter(code, graph, classes, colours, slots)
    return emitter.run(), emitter.lowest_own


def spills_below(func: FuncOp) -> int:
    """The frame offset below which there are spills only: a multiple of 8."""
    return -((frame_depth(func) + 7) // 8 * 8)


class _Emitter:
    def __init__(
        self,
        code: MachineCode,
        graph: Graph,
        classes: Classes,
        colours: dict[int, int],
        slots: dict[int, int],
    ) -> None:
        self.code, self.graph = code, graph
        self.place = list(range(len(code.kind)))
        for node in range(FIRST, len(code.kind)):
            if code.kind[node] is Kind.REGISTER:
                self.place[node] = colours[classes.of(node)]
            elif code.kind[node] is Kind.SLOT:
                self.place[node] = SLOT + slots[code.slot[node]]
        self.spare_slot = SLOT + max(slots.values(), default=-1) + 1
        self.lowest_own = -FRAME_SIZE
        """Frame offset below which there are only spills; known once there is one."""
        self.limit = 0
        self.values: dict[int, SSAValue] = {}
        self.at_end: list[dict[int, SSAValue]] = [{} for _ in code.blocks]
        self.blocks = [self.make_block(block) for block in code.blocks]
        self.frame: SSAValue | None = None
        self.out: list[Operation] = []

    def make_block(self, block: CodeBlock) -> Block:
        if block.index == 0:
            return Block(arg_types=[reg(r) for r in self.code.entry_registers])
        return Block(arg_types=[reg(self.place[node]) for node in self.graph.arguments[block.index]])

    def run(self) -> Region:
        for index in self.code.order:
            block = self.code.blocks[index]
            self.enter(block)
            self.out = []
            lives = self.lives(block)
            for step, live in zip(block.steps, reversed(lives), strict=True):
                if isinstance(step, Copies):
                    self.copies(step, live)
                else:
                    self.insn(block, step)
            self.blocks[index].add_ops(self.out)
            live_out = self.graph.live_out[index]
            self.at_end[index] = {n: self.values[n] for n in self.code.joins if n in live_out}
        if self.frame is not None:
            entry = self.blocks[0]
            first = entry.first_op
            assert first is not None and isinstance(self.frame.owner, Operation)
            entry.insert_op_before(self.frame.owner, first)
        return Region(self.blocks)

    def enter(self, block: CodeBlock) -> None:
        if block.index == 0:
            for register, arg in zip(self.code.entry_registers, self.blocks[0].args, strict=True):
                self.values[register] = arg
            return
        self.values.update(self.at_end[block.idom])
        for node, arg in zip(self.graph.arguments[block.index], self.blocks[block.index].args, strict=True):
            self.values[node] = arg

    def lives(self, block: CodeBlock) -> list[set[int]]:
        """What is live after each step, the last step first; empty for instructions, which do not ask."""
        live = set(self.graph.live_out[block.index])
        kind = self.code.kind
        result: list[set[int]] = []
        for step in reversed(block.steps):
            if isinstance(step, Copies):
                result.append(set(live))
                live.difference_update([d for d, _ in step.pairs])
                live.update(s for _, s in step.pairs if kind[s] is Kind.REGISTER and s != FP)
            else:
                result.append(set())
                live.difference_update(step.defs)
                live.update(node for node in step.uses if node != FP)
        return result

    # --- steps -------------------------------------------------------------------------------------------------------

    def insn(self, block: CodeBlock, step: Insn) -> None:
        operands = [self.value(node) for node in step.uses]
        if step.op is None or isinstance(step.op, BranchOp):
            self.branch(block, step.op, operands)
            return
        op = step.op
        results = [reg(self.place[node]) for node in step.defs]
        new = type(op).create(
            operands=operands,
            result_types=results or [reg(0)] * len(op.results),
            properties=dict(op.properties),
            attributes=dict(op.attributes),
            location=op.location,
        )
        self.out.append(new)
        for node, result in zip(step.defs, new.results, strict=False):
            self.values[node] = result

    def branch(self, block: CodeBlock, op: BranchOp | None, operands: list[SSAValue]) -> None:
        targets = [self.blocks[s] for s in block.succs]
        passed = [[self.values[node] for node in self.graph.arguments[s]] for s in block.succs]
        everything = [*operands, *(value for group in passed for value in group)]
        if op is None:
            place = self.ends_at(block)
            self.out.append(FallthroughOp.create(operands=everything, successors=targets, location=place))
            return
        properties: dict[str, Attribute] = dict(op.properties)
        if len(targets) > 1:
            properties[SEGMENTS] = segments(*[1] * len(operands), *map(len, passed))
        new = type(op).create(
            operands=everything,
            properties=properties,
            attributes=dict(op.attributes),
            successors=targets,
            location=op.location,
        )
        self.out.append(new)

    def ends_at(self, block: CodeBlock) -> LocationAttr | None:
        """Where the branch is that a block ends with; an added block belongs to that of the one before."""
        source = block.source or (self.code.blocks[block.preds[0]].source if block.preds else None)
        return source.last_op.location if source is not None and source.last_op is not None else None

    def value(self, node: int) -> SSAValue:
        if node == FP:
            return self.frame_pointer()
        return self.values[node]

    def frame_pointer(self) -> SSAValue:
        if self.frame is None:
            self.frame = FpOp.create(result_types=[reg(FP)]).res
        return self.frame

    def copies(self, step: Copies, live: set[int]) -> None:
        """Bring the pairs into sequence; a destination whose register holds the value already takes its name."""
        kind, place = self.code.kind, self.place
        destinations = {node for node, _ in step.pairs}
        holders = {place[node]: node for node in live if node not in destinations}
        wanted: dict[int, int | None] = {}
        makers: dict[int, int] = {}
        held: dict[int, SSAValue] = {}
        result: dict[int, SSAValue] = {}
        for node, source in step.pairs:
            at = place[node]
            if kind[source] is Kind.TEMPLATE:
                wanted[at], makers[at] = None, source
                continue
            if kind[source] is Kind.REGISTER:
                held[place[source]] = self.value(source)
            if at in holders and at < SLOT:
                result[at] = self.values[holders[at]]
            else:
                wanted[at] = place[source]
                if at == place[source] and at < SLOT:
                    result[at] = held[at]
        busy = 0
        for register in holders:
            busy |= 1 << register
        for at, source_place in sequence(wanted, busy, self.spare_slot):
            new = self.make(makers[at], at, step) if source_place is None else self.move(at, source_place, held, step)
            if new is not None:
                held[at] = result[at] = new
        for node in destinations:
            if place[node] < SLOT:
                self.values[node] = result[place[node]]

    def move(self, at: int, source: int, held: dict[int, SSAValue], step: Copies) -> SSAValue | None:
        if at >= SLOT:
            self.append(insn("stx64", [self.frame_pointer(), held[source]], off=self.offset(at)), step)
            return None
        if source >= SLOT:
            op = insn("ldx64", [self.frame_pointer()], reg(at), off=self.offset(source))
        else:
            op = insn("mov", [held[source]], reg(at))
        return self.append(op, step).results[0]

    def make(self, template: int, at: int, step: Copies) -> SSAValue | None:
        """Make a constant in a register or, if it is small, in a slot."""
        maker = self.code.makers[template]
        if at >= SLOT:
            imm = small_immediate(self.code, template)
            assert imm is not None
            self.append(insn("st64", [self.frame_pointer()], off=self.offset(at), imm=imm), step)
            return None
        operands: list[SSAValue] = []
        if maker.operands:
            operands = [self.append(insn("mov", [self.frame_pointer()], reg(at)), step).results[0]]
        new = type(maker).create(
            operands=operands,
            result_types=[reg(at)],
            properties=dict(maker.properties),
            attributes=dict(maker.attributes),
            location=maker.location,
        )
        self.out.append(new)
        return new.results[0]

    def append(self, op: Operation, step: Copies) -> Operation:
        if step.at is not None:
            op.location = step.at.location
        self.out.append(op)
        return op

    def offset(self, place: int) -> int:
        """Frame offset of a slot, below what the function itself uses."""
        if not self.limit:
            self.limit = frame_limit(self.code.func)
            self.lowest_own = spills_below(self.code.func)
        offset = self.lowest_own - 8 * (place - SLOT + 1)
        if -offset > self.limit:
            raise AllocationError(f"{-offset} bytes of stack are needed, {self.limit} are left for this function")
        return offset
