"""What only some ways need is done on these ways: copies, constants, spills and reloads of allocated code.

`sink_stores` and `passes/_sink_copies.py` move such an instruction to one place, behind which all its uses are. Here it
is written several times, once on each way that needs it: a way that does not is one instruction shorter, and none takes
more. As the code gets longer, this is for code that has room and is too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import Block, Operation, Region, SSAValue

from fsir.analysis.calls import CALLER_SAVED, CLOBBERING
from fsir.analysis.cfg import erase_unreachable, predecessors
from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects.ebpf import (
    AluRROp,
    BranchOp,
    ExitOp,
    JccRIOp,
    JccRROp,
    LddwOp,
    LdSymOp,
    LdxOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
    reg_index,
)
from fsir.isa import INSN_SIZE
from fsir.object.encode import size_of
from fsir.regalloc.rename import keep_after, registers_live_out
from fsir.regalloc.sink_stores import blocks_between, live_slots, spill_slot

_COPIES = (MovRROp, MovRIOp, LddwOp, LdSymOp)

_Key = tuple[str, int]
_Use = tuple[Operation, int]
"""An operand: of which operation, and its number."""


@dataclass(frozen=True)
class _Place:
    """Where to write an instruction, and the uses that it is for: at the start of a block, or on an edge to an end of
    the function, which is written there again."""

    block: Block
    uses: tuple[_Use, ...] = ()
    edge: tuple[Operation, int] | None = None


@dataclass(frozen=True)
class _Plan:
    places: tuple[_Place, ...] = ()
    spares: bool = False
    """Whether some way goes without the instruction."""


@dataclass(frozen=True)
class _Moving:
    """What is to be moved: an instruction, and the registers and slots (negative) that must stay as they are until it
    is executed. `slot` is where it stores."""

    op: Operation
    keeps: frozenset[int]
    slot: int | None


def sink_on_ways(region: Region, spills_below: int, room: int, apart: bool = False) -> int:
    """Move what some way does not need to the ways that do, as long as that makes it no more than `room` slots longer.
    Frame offsets below `spills_below` are accessed by spills only. With `apart`, results of ways to an end are set on
    these ways even if all ways need them: their register is free for longer. Gives the number of instructions moved."""
    return _Sinking(region, spills_below, room, apart).run()


class _Sinking:
    def __init__(self, region: Region, spills_below: int, room: int, apart: bool) -> None:
        self.region, self.spills_below, self.room, self.apart = region, spills_below, room, apart
        self.tree = DominatorTree(region)
        self.incoming = predecessors(region)
        self.live = live_slots(region, spills_below)
        self.registers: dict[Block, set[int]] | None = None
        """Those live at the end of blocks, until something is moved."""
        self.ends: dict[_Key, Block] = {}
        """Ends of the function that set a constant, by that."""
        for block in region.blocks:
            first = block.first_op
            if isinstance(first, MovRIOp) and isinstance(first.next_op, ExitOp) and (key := _key(first)) is not None:
                self.ends.setdefault(key, block)

    def refresh(self, moving: _Moving, plan: _Plan) -> None:
        """Find out again what a move changed."""
        self.registers = None
        if any(place.edge is not None for place in plan.places):
            self.tree = DominatorTree(self.region)
            self.incoming = predecessors(self.region)
        if moving.slot is not None or len(self.live) != len(self.region.blocks):
            self.live = live_slots(self.region, self.spills_below)

    def run(self) -> int:
        moved = 0
        for block in list(self.tree.rpo):
            branch = block.last_op
            if isinstance(branch, JccRROp | JccRIOp) and branch.then_block is not branch.else_block:
                moved += self.block(block)
        erase_unreachable(self.region)
        return moved

    def block(self, block: Block) -> int:
        """Move instructions out of a block, the last first."""
        moved = 0
        changed: set[int] = set()
        for op in reversed(list(block.ops)):
            moving = self.movable(op)
            plan = self.plan_of(moving, changed) if moving is not None else None
            if plan is not None and self.pays(plan) and (growth := self.growth(op, plan)) <= self.room:
                assert moving is not None
                in_the_way = moving.keeps & changed
                live_out = self.live_out(block) if in_the_way else set[int]()
                if all(keep_after(op, register, live_out) for register in in_the_way):
                    self.room -= growth
                    following = list(block.ops)[list(block.ops).index(op) + 1 :]
                    self.write(moving, plan)
                    self.refresh(moving, plan)
                    moved += 1
                    changed = set().union(*map(self.touched, following))
                    continue
            changed |= self.touched(op)
        return moved

    def live_out(self, block: Block) -> set[int]:
        """The registers that hold something at the end of a block which is needed after it."""
        if self.registers is None:
            self.registers = registers_live_out(self.region)
        return self.registers[block]

    def pays(self, plan: _Plan) -> bool:
        return plan.spares or (self.apart and any(place.edge is not None for place in plan.places))

    def movable(self, op: Operation) -> _Moving | None:
        slot = spill_slot(op, self.spills_below)
        if "core" in op.properties or not (slot is not None or isinstance(op, _COPIES)):
            return None
        registers = {register for v in (*op.operands, *op.results) if (register := reg_index(v.type)) is not None}
        keeps = frozenset(registers if slot is None else {*registers, slot})
        return _Moving(op, keeps, slot if isinstance(op, StxOp | StOp) else None)

    def growth(self, op: Operation, plan: _Plan) -> int:
        """How many instruction slots longer a plan makes the code."""
        size = size_of(op) // INSN_SIZE
        edges = sum(place.edge is not None for place in plan.places)
        key = _key(op)
        ends = edges if key is None else int(edges > 0 and key not in self.ends)
        return size * (len(plan.places) - edges - 1) + (size + 1) * ends

    # --- where -------------------------------------------------------------------------------------------------------

    def plan_of(self, moving: _Moving, changed: set[int]) -> _Plan | None:
        """Where to write an instruction instead; None if it has to stay. `changed` is what the block changes or
        stores to after it."""
        op = moving.op
        block = op.parent
        assert block is not None
        if moving.slot is not None:
            return None if moving.slot in changed else self.behind(moving, block, ())
        if any(register < 0 for register in moving.keeps & changed):
            return None
        own, elsewhere = self.divided(_uses_of(op.results[0]), block)
        if own and not (op.name == "ebpf.mov" and all(map(_reads_any_register, own))):
            return None
        return self.behind(moving, block, elsewhere) if elsewhere else None

    def at(self, moving: _Moving, block: Block, uses: Sequence[_Use]) -> _Plan:
        """Where to write an instruction that is needed at the start of a block, or behind it."""
        here = _Plan((_Place(block, tuple(uses)),))
        own, elsewhere = self.divided(uses, block)
        if own or any(self.touched(op) & moving.keeps for op in block.ops):
            return here
        deeper = self.behind(moving, block, elsewhere)
        return deeper if deeper is not None and self.pays(deeper) else here

    def behind(self, moving: _Moving, block: Block, uses: Sequence[_Use]) -> _Plan | None:
        """Where to write it behind the end of a block; None if that is not possible on all ways that need it."""
        terminator = block.last_op
        assert terminator is not None
        left = set(uses)
        places: list[_Place] = []
        spares = False
        unneeded: list[Block] = []
        for index, following in enumerate(terminator.successors):
            passed = {use for use in left if use[0] is terminator and _edge_of(use) == index}
            alone = len(self.incoming[following]) == 1
            inside = {use for use in left if alone and self.tree.dominates(following, _block_of(use))} - passed
            left -= passed | inside
            if passed:
                if inside or not _is_end(following):
                    return None
                places.append(_Place(block, tuple(passed), (terminator, index)))
            elif inside or (moving.slot is not None and moving.slot in self.live[following]):
                if not alone or any(reg_index(arg.type) in moving.keeps for arg in following.args):
                    return None
                plan = self.at(moving, following, tuple(inside))
                places += plan.places
                spares |= plan.spares
            else:
                unneeded.append(following)
        if left:
            meeting, behind = self.behind_meeting(moving, block, tuple(left))
            if behind is None:
                return None
            places += behind.places
            spares |= behind.spares
            unneeded = [each for each in unneeded if _ends_without(each, meeting)]
        return _Plan(tuple(places), spares or bool(unneeded)) if places else None

    def behind_meeting(self, moving: _Moving, block: Block, uses: Sequence[_Use]) -> tuple[Block | None, _Plan | None]:
        """Where to write it for uses to which several ways lead from the end of a block: behind where they meet."""
        meeting = self.tree.common_dominator([_block_of(use) for use in uses])
        if meeting is None or not self.tree.strictly_dominates(block, meeting):
            return None, None
        between = blocks_between(self.tree, block, meeting)
        if between is None or any(reg_index(arg.type) in moving.keeps for arg in meeting.args):
            return None, None
        for each in between:
            if any(self.touched(op) & moving.keeps for op in each.ops):
                return None, None
            if any(reg_index(arg.type) in moving.keeps for arg in each.args):
                return None, None
        return meeting, self.at(moving, meeting, uses)

    def divided(self, uses: Sequence[_Use], block: Block) -> tuple[list[_Use], list[_Use]]:
        """The uses by a block's own operations; all others, among them what its end passes on."""
        own = [u for u in uses if u[0].parent is block and _edge_of(u) is None]
        taken = set(own)
        return own, [u for u in uses if u not in taken]

    def touched(self, op: Operation) -> set[int]:
        """The registers that an operation writes, and the slot that it stores to; if it loads, that too."""
        slot = spill_slot(op, self.spills_below)
        found = {slot} if slot is not None else set[int]()
        found |= {register for result in op.results if (register := reg_index(result.type)) is not None}
        return found | CALLER_SAVED if isinstance(op, CLOBBERING) else found

    # --- moving ------------------------------------------------------------------------------------------------------

    def write(self, moving: _Moving, plan: _Plan) -> None:
        """Write an instruction where a plan says, instead of where it is."""
        op = moving.op
        for place in plan.places:
            if place.edge is not None:
                self.end_again(op, *place.edge)
                continue
            copy, first = op.clone(), place.block.first_op
            assert first is not None
            place.block.insert_op_before(copy, first)
            for user, index in place.uses:
                user.operands[index] = copy.results[0]
        for result in op.results:
            for user, index in _uses_of(result):
                user.operands[index] = op.operands[0]
        assert op.parent is not None
        op.parent.erase_op(op)

    def end_again(self, op: Operation, terminator: Operation, index: int) -> None:
        """Write an instruction on an edge to an end: before an end of its own, or of all that set this constant."""
        assert isinstance(terminator, BranchOp)
        key = _key(op)
        end = self.ends.get(key) if key is not None else None
        if end is None:
            copy, last = op.clone(), terminator.successors[index].last_op
            assert last is not None
            given: dict[SSAValue, SSAValue] = dict(zip(op.results, copy.results, strict=True))
            passed = zip(terminator.successors[index].args, terminator.successor_operands(index), strict=True)
            there: dict[SSAValue, SSAValue] = {arg: given.get(value, value) for arg, value in passed}
            last = last.clone()
            last.operands = [there.get(value, value) for value in last.operands]
            self.region.add_block(end := Block([copy, last]))
            if key is not None:
                self.ends[key] = end
        terminator.set_successor_operands(index, ())
        following = list(terminator.successors)
        following[index] = end
        terminator.successors = following


def _key(op: Operation) -> _Key | None:
    """What ends that set the same constant have in common; None for what is no constant of the result."""
    if isinstance(op, MovRIOp) and reg_index(op.res.type) == 0 and "core" not in op.properties:
        return op.name, op.imm.data
    return None


def _uses_of(value: SSAValue) -> list[_Use]:
    return [(use.operation, use.index) for use in value.uses]


def _block_of(use: _Use) -> Block:
    block = use[0].parent
    assert block is not None
    return block


def _edge_of(use: _Use) -> int | None:
    """The number of the successor that a use passes the value to."""
    op, place = use
    if not isinstance(op, BranchOp):
        return None
    place -= len(op.operands) - sum(len(op.successor_operands(index)) for index in range(len(op.successors)))
    for index in range(len(op.successors)):
        if 0 <= place < len(op.successor_operands(index)):
            return index
        place -= len(op.successor_operands(index))
    return None


def _ends_without(block: Block, avoided: Block | None) -> bool:
    """Whether some way from the start of a block to an end does not lead through another."""
    work, seen = [block], {avoided}
    while work:
        found = work.pop()
        if found in seen:
            continue
        seen.add(found)
        following = successors(found)
        if not following:
            return True
        work.extend(following)
    return False


def _is_end(block: Block) -> bool:
    """Whether a block is nothing but an exit."""
    return isinstance(block.first_op, ExitOp)


def _reads_any_register(use: _Use) -> bool:
    """Whether an operation could as well read another register."""
    op, index = use
    return isinstance(op, LdxOp | StxOp | StOp | MovRROp | JccRROp | JccRIOp) or (
        isinstance(op, AluRROp) and index == 1
    )
