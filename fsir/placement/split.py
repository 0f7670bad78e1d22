"""A placement as IR: each target's part gets a copy of the function, reduced to what runs there.

Where the packet is handed over in front of a block, the sender's copy jumps to a block that ends in
`placement.handoff` instead; the receiver's copy starts with `placement.resume`, and a block for each resume point
takes the carried values, makes the others again, and goes on. SSA form is repaired afterwards, for control now comes to
blocks by ways that the original did not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from xdsl.dialects import cf
from xdsl.dialects.builtin import IntegerType, SymbolRefAttr, UnknownLoc, i32, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import erase_block_arg, erase_unreachable, predecessors
from fsir.analysis.ssa_repair import repair
from fsir.dialects import ebpf, packet
from fsir.dialects import map as maps
from fsir.dialects.ebpf import FuncOp, insn, int_attr
from fsir.dialects.packet import CtxType, EndType, PtrType
from fsir.dialects.placement import AcceptOp, CarriedOp, HandoffOp, ResumeOp
from fsir.passes._rewrite import compare, conditional, constant, extend, truncate
from fsir.placement.crossing import Crossing, Field, Step
from fsir.placement.gates import add_gates, ticket_values
from fsir.placement.order import Order

ABORTED = 0


@dataclass(frozen=True)
class ResumePoint:
    """A way into a part: the cut, and its number in the bundle."""

    number: int
    crossing: Crossing
    counted: bool = False
    """Whether packets that are handed over here are counted, as long as they are in flight."""


@dataclass
class Split:
    """What one part's copy of a function does besides running: `leaves` by the block in front of which it hands over,
    `enters` the resume points where it takes over. `starts` says whether packets begin there, `resumes` whether they
    come from another part. `order` is kept with what is handed over."""

    part: str
    starts: bool
    resumes: bool
    leaves: dict[Block, tuple[str, ResumePoint]] = field(default_factory=dict)
    enters: list[ResumePoint] = field(default_factory=list)
    order: Order | None = None
    restart: tuple[str, ResumePoint] | None = None
    """Where packets are handed over that would overtake others."""


class _Copy:
    """A function being cut; `blocks` and `values` map the original's to the copy's, `leaving` a block to the one that
    hands over in front of it."""

    def __init__(self, func: FuncOp) -> None:
        self.original = func
        self.blocks: dict[Block, Block] = {}
        self.values: dict[SSAValue, SSAValue] = {}
        self.leaving: dict[Block, Block] = {}
        copied = func.clone(self.values, self.blocks)
        assert isinstance(copied, FuncOp)
        self.func: FuncOp = copied
        self.region = copied.body

    def front(self, original: Block) -> Block:
        """Where control goes that comes to a block."""
        return self.leaving.get(original) or self.blocks[original]


def build(func: FuncOp, split: Split, live_in: Mapping[Block, Set[SSAValue]]) -> FuncOp:
    """The copy of `func` for one part. `live_in` holds, for the blocks that control comes to in this part, what is
    live on entry, the block's own arguments aside."""
    copy = _Copy(func)
    if split.leaves or split.resumes:  # the original code is not what this does
        copy.func.properties.pop("original", None)
    for block, (to, point) in split.leaves.items():
        _leave(copy, block, to, point, split.order)
    if split.order is not None and split.restart is not None:
        _add_gates(copy, split.order, *split.restart)
    if split.resumes:
        _enter(copy, split, live_in)
    _pass_what_is_used(copy)
    erase_unreachable(copy.region)
    simplify_block_args(copy.region)
    return copy.func


# --- the sender ------------------------------------------------------------------------------------------------------


def _leave(copy: _Copy, original: Block, to: str, point: ResumePoint, order: Order | None) -> None:
    """Redirect control from a block to the handoff of a resume point."""
    block = copy.blocks[original]
    leaving = copy.leaving[original] = Block(arg_types=[arg.type for arg in block.args])
    if block is copy.func.entry:
        copy.region.insert_block_before(leaving, block)
    else:
        copy.region.insert_block_after(leaving, block)
    for terminator, index in predecessors(copy.region)[block]:
        terminator.successors[index] = leaving
    own = dict(zip(original.args, leaving.args, strict=True))
    for old, new in own.items():
        new.name_hint = old.name_hint
    values = copy.values | own
    ctx = _context(copy.func.entry)
    ops: list[Operation] = []
    carried = [_field_value(each, values, ctx, ops) for each in point.crossing.fields]
    if point.counted:
        assert order is not None
        carried += ticket_values(order, values, ops)
    ops.append(_handoff(ctx, carried, to, point))
    _place(leaving, ops, original)


def _pass_what_is_used(copy: _Copy) -> None:
    """Handoffs take no values that they do not carry: what they are may not be known in this part."""
    incoming = predecessors(copy.region)
    for leaving in copy.leaving.values():
        for arg in reversed(leaving.args):
            if not arg.uses:
                erase_block_arg(leaving, arg.index, incoming[leaving])


def _handoff(ctx: SSAValue, carried: Sequence[SSAValue], to: str, point: ResumePoint) -> HandoffOp:
    properties: dict[str, Attribute] = {"resume": int_attr(point.number), "to": SymbolRefAttr(to)}
    return HandoffOp.create(operands=[ctx, *carried], properties=properties)


def _add_gates(copy: _Copy, order: Order, to: str, point: ResumePoint) -> None:
    """Hand packets over as they came that would overtake others."""
    ctx = _context(copy.func.entry)

    def hand_over(slot: SSAValue, at: Block) -> Block:
        leaving = Block()
        copy.region.add_block(leaving)
        ops: list[Operation] = []
        carried = ticket_values(order, copy.values, ops, slot)
        ops.append(_handoff(ctx, carried, to, point))
        _place(leaving, ops, at)
        return leaving

    add_gates(copy.region, order, copy.blocks, copy.values, ctx, hand_over)


def _context(entry: Block) -> SSAValue:
    return next(arg for arg in entry.args if isinstance(arg.type, CtxType))


def _field_value(each: Field, values: Mapping[SSAValue, SSAValue], ctx: SSAValue, ops: list[Operation]) -> SSAValue:
    """The value of a field; the operations that make it are appended to `ops`."""
    to = IntegerType(each.width)
    if each.kind == "stack":
        frame = ebpf.FpOp.create(result_types=[ebpf.FramePointerType()])
        ops += [frame, insn(f"ldx{each.width}", [frame.res], i64, off=each.at)]
        return _resized(ops[-1].results[0], to, ops)
    assert each.value is not None
    value = values[each.value]
    if each.kind == "scalar":
        return _resized(value, to, ops)
    if each.kind == "key":
        load = packet.LoadOp if isinstance(value.type, PtrType) else maps.LoadOp
        ops.append(load.create(operands=[value], result_types=[to], properties={"off": int_attr(0)}))
        return ops[-1].results[0]
    data = packet.DataOp.create(operands=[ctx], result_types=[PtrType()])
    ops += [data, insn("sub", [value, data.res], i64)]
    return _resized(ops[-1].results[0], to, ops)


def _resized(value: SSAValue, to: IntegerType, ops: list[Operation]) -> SSAValue:
    """A scalar in another width: the upper bits cut off, or zero."""
    assert isinstance(value.type, IntegerType)
    have, want = value.type.width.data, to.width.data
    if have != want:
        ops.append(truncate(value, to) if have > want else extend(value, to))
        return ops[-1].results[0]
    return value


def _place(block: Block, ops: Sequence[Operation], like: Block) -> None:
    """Add operations at the end of a block, with the location of the code they stand for, if they have none."""
    location = next((op.location for op in like.ops if not isinstance(op.location, UnknownLoc)), None)
    for op in ops:
        if location is not None and isinstance(op.location, UnknownLoc):
            op.location = location
        block.add_op(op)


# --- the receiver ----------------------------------------------------------------------------------------------------


def _enter(copy: _Copy, split: Split, live_in: Mapping[Block, Set[SSAValue]]) -> None:
    old_entry = copy.func.entry
    entry = Block(arg_types=[arg.type for arg in old_entry.args])
    for old, new in zip(old_entry.args, entry.args, strict=True):
        new.name_hint = old.name_hint
        old.replace_all_uses_with(new)
    copy.region.insert_block_before(entry, old_entry)
    ctx = _context(entry)
    definitions: dict[SSAValue, dict[Block, SSAValue]] = {}
    landing: list[tuple[int, Block]] = []
    for point in split.enters:
        first, last, made = _land(copy, point, ctx)
        landing.append((point.number, first))
        for value in live_in[point.crossing.block]:
            if value in made:
                definitions.setdefault(copy.values[value], {})[last] = made[value]
    _dispatch(copy, entry, old_entry if split.starts else None, ctx, landing)
    needs = {copy.front(block): {copy.values[v] for v in values} for block, values in live_in.items()}
    repair(copy.region, definitions, lambda value, block: value in needs.get(block, ()))


def _dispatch(
    copy: _Copy, entry: Block, start: Block | None, ctx: SSAValue, landing: Sequence[tuple[int, Block]]
) -> None:
    """From the entry to the block of the resume point with which the packet came; no other is known."""
    resume = ResumeOp.create(operands=[ctx], result_types=[i32])
    entry.add_op(resume)
    block = entry
    after = entry
    if not landing:
        entry.add_op(cf.BranchOp.create(successors=[_abort(copy, entry)]))
    for position, (number, target) in enumerate(landing):
        if position == len(landing) - 1 and start is None:
            otherwise = _abort(copy, after)
        elif position == len(landing) - 1:
            assert start is not None
            otherwise = start
        else:
            otherwise = Block()
            copy.region.insert_block_after(otherwise, after)
            after = otherwise
        number_op = constant(number, i32)
        test = compare("eq", resume.res, number_op.result)
        arguments = list(entry.args) if otherwise is start else []
        block.add_ops([number_op, test, conditional(test.result, (target, []), (otherwise, arguments))])
        block = otherwise


def _abort(copy: _Copy, after: Block, like: Block | None = None) -> Block:
    """A block that ends the program: what must not happen did, at the code of `like`."""
    block = Block()
    copy.region.insert_block_after(block, after)
    verdict = constant(ABORTED)
    _place(block, [verdict, packet.VerdictOp.create(operands=[verdict.result])], like or block)
    return block


def _land(copy: _Copy, point: ResumePoint, ctx: SSAValue) -> tuple[Block, Block, dict[SSAValue, SSAValue]]:
    """The block of a resume point: (first, last block, the values made, by the original's)."""
    crossing = point.crossing
    block = first = Block()
    copy.region.insert_block_after(block, copy.func.entry)
    ops: list[Operation] = []
    fields: list[SSAValue] = []
    for index, each in enumerate(crossing.fields):
        carried = CarriedOp.create(
            operands=[ctx],
            result_types=[IntegerType(each.width)],
            properties={"resume": int_attr(point.number), "index": int_attr(index)},
        )
        carried.res.name_hint = re.sub(r"[^\w$.-]+", "_", each.name).strip("_")  # eth.h_source[3] is no name
        ops.append(carried)
        fields.append(carried.res)
    ops.append(AcceptOp.create(operands=[ctx], properties={"resume": int_attr(point.number)}))
    rebuild = _Rebuild(copy, ctx, fields, ops)
    for each, carried_value in zip(crossing.fields, fields, strict=True):
        if each.kind == "stack":
            rebuild.stack(each, carried_value)
    for step in crossing.steps:
        rebuild.step(step)
    conditions = rebuild.conditions(crossing)
    _place(block, ops, crossing.block)
    for condition in conditions:
        checked = condition[-1].results[0]
        following = Block()
        copy.region.insert_block_after(following, block)
        branch = conditional(checked, (following, []), (_abort(copy, following, crossing.block), []))
        _place(block, [*condition, branch], crossing.block)
        block = following
    passed, undefined = rebuild.arguments(crossing.block)
    target = copy.front(crossing.block)
    _place(block, [*undefined, cf.BranchOp.create(operands=passed, successors=[target])], crossing.block)
    return first, block, rebuild.made


class _Rebuild:
    """Makes values on arrival."""

    def __init__(self, copy: _Copy, ctx: SSAValue, fields: list[SSAValue], ops: list[Operation]) -> None:
        self.copy, self.ctx, self.fields, self.ops = copy, ctx, fields, ops
        self.made: dict[SSAValue, SSAValue] = {}

    def value(self, value: SSAValue) -> SSAValue:
        return self.ctx if isinstance(value.type, CtxType) else self.made[value]

    def add(self, op: Operation) -> SSAValue:
        self.ops.append(op)
        return op.results[0]

    def stack(self, each: Field, value: SSAValue) -> None:
        """Put carried bytes back on the stack."""
        frame = self.add(ebpf.FpOp.create(result_types=[ebpf.FramePointerType()]))
        self.ops.append(insn(f"stx{each.width}", [frame, _resized(value, i64, self.ops)], off=each.at))

    def step(self, step: Step) -> None:
        """Make one value."""
        value = step.value
        if step.key:
            assert step.repeat is not None
            made = self._lookup(step.repeat, [self._piece(piece, bits) for piece, bits in step.key], value)
        elif step.field is None:
            assert step.repeat is not None
            operands = {v: self.value(v) for v in step.repeat.operands}
            made = self.add(step.repeat.clone(operands))
        elif step.repeat is not None:
            made = self._lookup(step.repeat, [self.fields[step.field]], value)
        elif isinstance(value.type, IntegerType):
            made = _resized(self.fields[step.field], value.type, self.ops)
        else:
            data = self.add(packet.DataOp.create(operands=[self.ctx], result_types=[PtrType()]))
            by = _resized(self.fields[step.field], i64, self.ops)
            made = self.add(packet.AdvanceOp.create(operands=[data, by], result_types=[value.type]))
        if made.name_hint is None:
            made.name_hint = value.name_hint
        self.made[value] = made

    def _piece(self, piece: SSAValue | int, bits: int) -> SSAValue:
        """A part of a key, in so many bits."""
        if isinstance(piece, int):
            return self.add(constant(piece, IntegerType(bits)))
        return _resized(self.value(piece), IntegerType(bits), self.ops)

    def _lookup(self, op: Operation, key: Sequence[SSAValue], value: SSAValue) -> SSAValue:
        assert isinstance(op, maps.LookupOp | maps.LookupAtOp)
        properties: dict[str, Attribute] = {"map": op.map, "key_count": int_attr(len(key))}
        return self.add(maps.LookupOp.create(operands=key, result_types=[value.type], properties=properties))

    def arguments(self, block: Block) -> tuple[list[SSAValue], list[Operation]]:
        """What to pass to a block; what nothing needs is undefined."""
        passed: list[SSAValue] = []
        undefined: list[Operation] = []
        for arg in block.args:
            if not isinstance(arg.type, CtxType) and arg not in self.made:
                undefined.append(ebpf.UndefOp.create(result_types=[arg.type]))
                passed.append(undefined[-1].results[0])
            else:
                passed.append(self.value(arg))
        return passed, undefined

    def conditions(self, crossing: Crossing) -> list[list[Operation]]:
        """The checks of what was proven before the cut: operations, the last one's result says whether it holds."""
        found: list[list[Operation]] = []
        known = next((v for v in self.made.values() if isinstance(v.type, EndType)), None)
        for address, size in crossing.guards:
            end = known or self.add(packet.EndOp.create(operands=[self.ctx], result_types=[EndType()]))
            known = end
            guard = packet.GuardOp.create(
                operands=[self.made[address], end],
                result_types=[IntegerType(1)],
                properties={"size": int_attr(size)},
            )
            found.append([guard])
        for value, low, high in crossing.bounds:
            number = self.made[value]
            assert isinstance(number.type, IntegerType)
            for predicate, limit in (("uge", low), ("ule", high)):
                if predicate == "ule" or limit:
                    bound = constant(limit, number.type)
                    found.append([bound, compare(predicate, number, bound.result)])
        found += [
            [maps.HitOp.create(operands=[self.made[value]], result_types=[IntegerType(1)])] for value in crossing.hits
        ]
        return found


__all__ = ["ResumePoint", "Split", "build"]
