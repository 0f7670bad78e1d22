"""A chain whose links are called in turn: for more links than functions can be under way at a time.

    program:  … state = {next, words}          link:  … words of the state
              call of the link if it is next,          … next = 0, its verdict; or
              for each link in the order of            … next, words of another link, return
              the flow graph; the last verdict

The state is memory on the program's stack, whose address each link takes. Every link returns before the next is called,
so that their stacks do not add up either. (Tail calls would need a map of programs, which every loader has to fill, and
another one for the state, and there are 33 at most.)
"""

from __future__ import annotations

from xdsl.dialects import cf
from xdsl.dialects.builtin import ModuleOp, i64
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.frame_use import frame_depth
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import UNALLOCATED, FramePointerType, FuncOp
from fsir.dialects.placement import HandoffOp
from fsir.passes._rewrite import compare, conditional, constant
from fsir.placement.chain import FRAMES, Chain, ChainPlan, call_depth, packed
from fsir.placement.chain_build import ChainBuilder, Prototypes, stack_problem, words_of
from fsir.placement.split import ResumePoint

_WORD = 8
_NEVER = {"xdp": 0, "sched_cls": 2, "sched_act": 2}
"""XDP_ABORTED, TC_ACT_SHOT: the verdict where there is no state. That is never so, but the verifier wants it asked."""


def builder_for(module: ModuleOp, chain: Chain, plan: ChainPlan) -> ChainBuilder:
    """Builds a planned chain by calls that nest, where the kernel takes so many and their stacks, else in turn. Raises
    NoPrototype."""
    functions = {op.symbol: op for op in module.body.block.ops if isinstance(op, FuncOp)}
    below = call_depth(functions, chain.func.symbol) - 1
    if plan.depth(chain.func.entry) + below <= FRAMES:
        trial = module.clone()
        if stack_problem(trial, ChainBuilder(trial, chain, plan).run()) is None:
            return ChainBuilder(module, chain, plan)
    return TurnBuilder(module, chain, plan)


class TurnBuilder(ChainBuilder):
    """See the module."""

    def __init__(self, module: ModuleOp, chain: Chain, plan: ChainPlan) -> None:
        super().__init__(module, chain, plan)
        taken = [words_of(packed(point.crossing.widths)) for point in self.points.values()]
        self.words = max(taken, default=0)
        self.calls = {block: Block(arg_types=[i64]) for block in self.points}
        self.area: SSAValue | None = None
        """The address of the state in the function that is built."""

    def _declare(self, prototypes: Prototypes, func: FuncOp) -> int:
        return prototypes.add_for_state(func.symbol, 1 + self.words)

    def _arrive(self, func: FuncOp, landing: Block, point: ResumePoint) -> list[SSAValue]:
        entry = func.entry
        self.area = state = entry.insert_arg(UNALLOCATED, 1)
        state.name_hint = "state"
        never = Block()
        func.body.add_block(never)
        verdict = constant(_NEVER[self.chain.func.type_name or "xdp"])
        never.add_ops([verdict, ebpf.insn("exit", [verdict.result])])
        head = Block()
        func.body.insert_block_before(head, landing)
        entry.add_op(ebpf.branch("jeqi", [state], (never, []), (head, []), imm=0))
        loads = [
            ebpf.insn("ldx64", [state], i64, off=_WORD * (1 + n))
            for n in range(words_of(packed(point.crossing.widths)))
        ]
        head.add_ops([*loads, cf.BranchOp.create(successors=[landing])])
        assert landing.first_op is not None
        for op in (*entry.ops, *never.ops, *head.ops):
            op.location = landing.first_op.location
        return [load.results[0] for load in loads]

    def _pass(self, op: HandoffOp, block: Block, words: list[SSAValue], is_program: bool) -> list[Operation]:
        zero, following = constant(0), constant(self.points[block].number)
        area, ops = self._state(op, is_program)
        padded = [following.result, *words, *[zero.result] * (self.words - len(words))]
        stores = [ebpf.insn("stx64", [area, word], off=_WORD * n) for n, word in enumerate(padded)]
        last: Operation
        if is_program:
            last = cf.BranchOp.create(operands=[zero.result], successors=[self.calls[block]])
        else:
            last = ebpf.insn("exit", [zero.result])
        return [*ops, zero, following, *stores, last]

    def _state(self, op: HandoffOp, is_program: bool) -> tuple[SSAValue, list[Operation]]:
        """The address of the state, and the operations that make it."""
        if not is_program:
            assert self.area is not None
            return self.area, []
        func = op.parent_op()
        assert isinstance(func, FuncOp)
        return self._in_frame(func)

    def _in_frame(self, func: FuncOp) -> tuple[SSAValue, list[Operation]]:
        if self.area is None:
            deep = -(-frame_depth(self.chain.func) // _WORD) * _WORD
            frame = ebpf.FpOp.create(result_types=[FramePointerType()])
            state = ebpf.insn("addi", [frame.res], FramePointerType(), imm=-(deep + _WORD * (1 + self.words)))
            first = func.entry.first_op
            assert first is not None
            for op in (frame, state):
                op.location = first.location
                func.entry.insert_op_before(op, first)
            self.area = state.results[0]
        return self.area, []

    def _leave(self, func: FuncOp, verdict: SSAValue) -> list[Operation]:
        assert self.area is not None
        zero = constant(0)
        return [zero, ebpf.insn("stx64", [self.area, zero.result], off=0), ebpf.insn("exit", [verdict])]

    def _conclude(self, func: FuncOp) -> None:
        """Call the links in turn, and end with what the last one said."""
        area, _ = self._in_frame(func)
        ctx = func.entry.args[0]
        end = Block(arg_types=[i64])
        end.add_op(packet.VerdictOp.create(operands=[end.args[0]]))
        places = list(self.points)
        tests = {block: Block(arg_types=[i64]) for block in places}
        for number, block in enumerate(places):
            after = tests[places[number + 1]] if number + 1 < len(places) else end
            test, here = tests[block], self.calls[block]
            following = ebpf.insn("ldx64", [area], i64, off=0)
            wanted = constant(self.points[block].number)
            is_next = compare("eq", following.results[0], wanted.result)
            so_far = [test.args[0]]
            branch = conditional(is_next.result, (here, so_far), (after, so_far))
            test.add_ops([following, wanted, is_next, branch])
            call = self.call(block, [ctx, area])
            here.add_ops([call, cf.BranchOp.create(operands=[call.results[0]], successors=[after])])
            func.body.add_block(test)
            func.body.add_block(here)
        func.body.add_block(end)
        first = func.entry.first_op
        assert first is not None
        for block in (*tests.values(), *self.calls.values(), end):
            for op in block.ops:
                op.location = first.location


__all__ = ["TurnBuilder", "builder_for"]
