"""`raise-stack`: stack slots become values."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith
from xdsl.dialects.builtin import ModuleOp, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.frame import Access, Callees, Frame, How, declared_maps
from fsir.analysis.frame_slots import FrameSlots, Slot, stored_constant
from fsir.dialects import ebpf, map
from fsir.dialects.ebpf import FuncOp, insn, int_attr
from fsir.passes._rewrite import constant, extend, integer, raised_functions, replace, truncate


@dataclass(frozen=True)
class RaiseStackPass(ModulePass):
    """Turn bytes of the stack frame into SSA values where everything that touches them is known.

    Loads give the value last stored, with block arguments where paths meet; a map operation whose key (and value) are
    wholly made of such bytes takes them as operands: `map.lookup_at` becomes `map.lookup`. The stores go. What a
    helper, a static function or a callback reads or writes through an address stays in memory, and a function that lets
    go of an address keeps its frame.
    """

    name = "raise-stack"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        maps = declared_maps(op)
        callees = Callees(op, maps)
        for func in raised_functions(op):
            frame = Frame(func, maps, callees)
            if frame.escaped is None and frame.accesses:
                _Promotion(func, frame).run()


class _Promotion:
    def __init__(self, func: FuncOp, frame: Frame) -> None:
        self.func, self.frame = func, frame
        self.slots = FrameSlots(frame)
        self.tree = DominatorTree(func.body)
        self.by_op: dict[Operation, list[Access]] = {}
        for access in frame.accesses:
            self.by_op.setdefault(access.op, []).append(access)
        self.live: dict[Block, set[int]] = {}
        self.incoming = predecessors(func.body)
        self.leaving: dict[Block, dict[int, SSAValue]] = {}

    def run(self) -> None:
        while True:
            self.find_live()
            unwritten = self.live[self.func.entry]
            if not unwritten:
                break
            self.slots.forget(unwritten)
        if not any(self.slots.slots):
            return
        for block in self.tree.rpo:
            if len(self.incoming[block]) > 1:
                self.add_args(block)
        for block in self.tree.rpo:
            self.rewrite(block)
        simplify_block_args(self.func.body)

    def find_live(self) -> None:
        """The slots whose content on entry to a block is read later."""
        self.live = {block: set() for block in self.tree.rpo}
        again = True
        while again:
            again = False
            for block in reversed(self.tree.rpo):
                live: set[int] = set()
                terminator = block.last_op
                for successor in terminator.successors if terminator is not None else ():
                    live |= self.live[successor]
                for op in reversed(list(block.ops)):
                    for access in self.by_op.get(op, ()):
                        numbers = {i for i in self.slots.covered(access) if self.slots.slots[i] is not None}
                        live = live - numbers if access.how is How.STORE else live | numbers
                if live != self.live[block]:
                    self.live[block] = live
                    again = True

    def slot(self, number: int) -> Slot:
        slot = self.slots.slots[number]
        assert slot is not None
        return slot

    def add_args(self, block: Block) -> None:
        for number in sorted(self.live[block]):
            arg = block.insert_arg(self.slot(number).type, len(block.args))
            arg.name_hint = f"fp{-self.slot(number).start}"

    def entering(self, block: Block) -> dict[int, SSAValue]:
        """What is in the live slots on entry: block arguments, or what the one predecessor leaves there."""
        live = sorted(self.live[block])
        if len(self.incoming[block]) > 1:
            first = len(block.args) - len(live)
            return {number: block.args[first + i] for i, number in enumerate(live)}
        if not self.incoming[block]:
            return {}
        before = self.incoming[block][0][0].parent
        assert before is not None
        return {number: self.leaving[before][number] for number in live}

    def rewrite(self, block: Block) -> None:
        content = self.entering(block)
        for op in list(block.ops):
            accesses = self.by_op.get(op)
            if accesses:
                self.access(op, accesses, content)
        self.leaving[block] = content
        terminator = block.last_op
        assert terminator is not None
        for index, successor in enumerate(terminator.successors):
            if len(self.incoming[successor]) > 1 and self.live[successor]:
                passed = [content[number] for number in sorted(self.live[successor])]
                set_successor_operands(terminator, index, [*successor_operands(terminator, index), *passed])

    def access(self, op: Operation, accesses: list[Access], content: dict[int, SSAValue]) -> None:
        how = accesses[0].how
        if how is How.STORE:
            self.store(op, accesses[0], content)
        elif how is How.LOAD and self.slots.promoted(accesses[0]) is not None:
            assert isinstance(op, ebpf.LdxOp)
            _load(op, content[self.slots.covered(accesses[0])[0]])
        elif how is How.KEY and all(self.slots.promoted(access) is not None for access in accesses):
            pieces = [
                [(content[i], self.slot(i)) for i in self.slots.covered(access)]
                for access in sorted(accesses, key=lambda a: a.operand)
            ]
            _take_values(op, pieces)

    def store(self, op: Operation, access: Access, content: dict[int, SSAValue]) -> None:
        """Note what the store puts into promoted slots; drop it when there are no others."""
        value = stored_constant(op)
        covered = self.slots.covered(access)
        for number in covered:
            slot = self.slots.slots[number]
            if slot is None:
                continue
            if value is None:
                assert isinstance(op, ebpf.StxOp)
                content[number] = op.value
            else:
                content[number] = _constant_piece(op, value, slot, slot.start - access.start)
        if self.slots.promoted(access) is not None:
            block = op.parent
            assert block is not None
            block.erase_op(op)


def _constant_piece(store: Operation, value: int, slot: Slot, distance: int) -> SSAValue:
    """The bytes of a stored constant that fall into a slot, as a word."""
    piece = value >> 8 * distance & ((1 << 8 * slot.size) - 1)
    block = store.parent
    assert block is not None
    if slot.type == i64:
        new: Operation = constant(piece)
    elif piece < 1 << 31:
        new = insn("movi", result=slot.type, imm=piece)
    else:
        new = insn("lddw", result=slot.type, imm=piece)
    new.location = store.location
    block.insert_op_before(new, store)
    return new.results[0]


def _load(op: ebpf.LdxOp, value: SSAValue) -> None:
    """Replace a load by the word stored there, cut to the width of the load."""
    ops: list[Operation] = []
    width, signed = op.row.width, op.row.signed
    if width < 64 and value.type == i64:
        ops = [cut := truncate(value, integer(width)), extend(cut.results[0], signed=signed)]
    elif width < 64:
        ops = _cut_word(value, width, signed)
    result = ops[-1].results[0] if ops else value
    if result.type != op.res.type:
        ops.append(ebpf.CastOp.create(operands=[result], result_types=[op.res.type]))
        result = ops[-1].results[0]
    if ops:
        replace(op, ops)
    else:
        replace(op, [], value)


def _cut_word(value: SSAValue, width: int, signed: bool) -> list[Operation]:
    """Zero- or sign-extend the low bits of a word with machine operations."""
    if signed:
        up = insn("lshi", [value], value.type, imm=64 - width)
        return [up, insn("arshi", [up.results[0]], value.type, imm=64 - width)]
    if width == 32:
        return [insn("mov32", [value], value.type)]
    return [insn("andi", [value], value.type, imm=(1 << width) - 1)]


_VALUE_FORMS: dict[type[Operation], type[Operation]] = {
    map.LookupAtOp: map.LookupOp,
    map.UpdateAtOp: map.UpdateOp,
    map.DeleteAtOp: map.DeleteOp,
}


def _take_values(op: Operation, pieces: list[list[tuple[SSAValue, Slot]]]) -> None:
    """Replace a map operation by the one that takes its key, and value, as operands."""
    before: list[Operation] = []
    operands = [_piece(value, slot, before) for group in pieces for value, slot in group]
    properties = {"map": op.properties["map"], "key_count": int_attr(len(pieces[0]))}
    if isinstance(op, map.UpdateAtOp):
        properties["value_count"] = int_attr(len(pieces[1]))
        operands.append(op.flags)
    new = _VALUE_FORMS[type(op)].create(operands=operands, result_types=[op.results[0].type], properties=properties)
    replace(op, [*before, new])


def _piece(value: SSAValue, slot: Slot, before: list[Operation]) -> SSAValue:
    """The slot's bytes of a stored word, as an integer of the slot's width."""
    word: SSAValue[Attribute] = value
    if word.type != i64:
        before.append(ebpf.CastOp.create(operands=[word], result_types=[i64]))
        word = before[-1].results[0]
    if slot.size == 8:
        return word
    if isinstance(word.owner, arith.ExtUIOp) and word.owner.input.type == integer(8 * slot.size):
        return word.owner.input
    before.append(truncate(word, integer(8 * slot.size)))
    return before[-1].results[0]
