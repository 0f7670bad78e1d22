"""Splitting a loop by count: a copy of it that runs so many rounds, and the loop itself for what goes beyond.

    before ──▶ head ──▶ …body… ─┐         before ──▶ count ──▶ head' ──▶ …body'… ─┐
                ▲               │                     │  ▲                        │
                └───────────────┘                     │  └────── rounds + 1 ──────┘
                                                      ▼ after `bound` rounds
                                                     head ──▶ …body… (as before)

The copy has a bound, so the kernel can run it; a packet that needs more rounds can be handed over in front of the loop,
with the state that its head takes. Both leave the loop for the same blocks, which take values of either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from xdsl.dialects import arith
from xdsl.dialects.builtin import ArrayAttr, IntAttr, i64
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import predecessors, set_successor_operands, successor_operands
from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.ssa_repair import repair
from fsir.dialects.ebpf import FuncOp
from fsir.passes._rewrite import compare, conditional, constant
from fsir.placement.graph import Piece
from fsir.placement.loops import Unbounded, work_of
from fsir.placement.profile import TAKEN


def can_count(func: FuncOp, piece: Piece, limit: int) -> bool:
    """Whether a loop can be split by count: it is entered at one block, and the loops inside have bounds."""
    if not piece.is_loop or len(piece.entries) != 1 or piece.entries[0] is func.entry:
        return False
    (head,) = piece.entries
    tree = DominatorTree(func.body)
    for members in components(piece.blocks, lambda b: [s for s in successors(b) if s is not head]):
        inside = set(members)
        if head in inside or (len(members) == 1 and members[0] not in successors(members[0])):
            continue
        try:
            work_of(members, [b for b in members if not inside.issuperset(tree.predecessors(b))], tree, limit)
        except Unbounded:
            return False
    return True


def split_by_count(func: FuncOp, piece: Piece, bound: int) -> None:
    """Put a copy of a loop in front of it that runs at most `bound` rounds."""
    (head,) = piece.entries
    inside = set(piece.blocks)
    outside_uses = _used_outside(piece.blocks, inside)
    entering = [(op, index) for op, index in predecessors(func.body)[head] if op.parent not in inside]
    blocks, values = _copied(func, piece.blocks, head)
    count = Block(arg_types=[*(arg.type for arg in head.args), i64])
    func.body.insert_block_before(count, blocks[head])
    for old, new in zip(head.args, count.args, strict=False):
        new.name_hint = old.name_hint
    rounds = count.args[-1]
    rounds.name_hint = "rounds"
    one, most, zero = constant(1), constant(bound), constant(0)
    following = arith.AddiOp(rounds, one.result)
    more = compare("ult", rounds, most.result)
    state = list(count.args[:-1])
    branch = conditional(more.result, (blocks[head], state), (head, state))
    branch.attributes[TAKEN] = ArrayAttr([IntAttr(bound), IntAttr(1)])  # few packets need more
    made: tuple[Operation, ...] = (one, most, following, more, branch)
    for op in made:
        if head.first_op is not None:
            op.location = head.first_op.location
        count.add_op(op)
    for op, index in predecessors(func.body)[blocks[head]]:
        if op.parent is not count:
            _redirect(op, index, count, following.result)
    zero.location = branch.location
    func.entry.insert_op_before(zero, next(iter(func.entry.ops)))
    for op, index in entering:
        _redirect(op, index, count, zero.result)
    definitions = {value: {_home(values[value]): values[value]} for value in outside_uses}
    needed = {value: _needing(func, value, {_home(value), *others}) for value, others in definitions.items()}
    repair(func.body, definitions, lambda value, block: block in needed[value])


def _used_outside(blocks: Collection[Block], inside: Collection[Block]) -> list[SSAValue]:
    """The values of a loop that blocks after it use, other than by being passed to them."""
    own = [value for block in blocks for value in (*block.args, *(r for op in block.ops for r in op.results))]
    return [value for value in own if any(use.operation.parent not in inside for use in value.uses)]


def _needing(func: FuncOp, value: SSAValue, defining: set[Block]) -> set[Block]:
    """The blocks that need a value, or another definition of it, on entry."""
    users = (use.operation.parent for use in value.uses)
    needing = {block for block in users if block is not None and block is not _home(value)}
    work = list(needing)
    sources = predecessors(func.body)
    while work:
        for op, _ in sources[work.pop()]:
            block = op.parent
            if block is not None and block not in defining and block not in needing:
                needing.add(block)
                work.append(block)
    return needing


def _copied(
    func: FuncOp, originals: Collection[Block], head: Block
) -> tuple[dict[Block, Block], Mapping[SSAValue, SSAValue]]:
    """Copies of blocks that lead to each other, and otherwise to where the originals do."""
    blocks = {block: Block(arg_types=[arg.type for arg in block.args]) for block in originals}
    values: dict[SSAValue, SSAValue] = {}
    for old, new in blocks.items():
        for arg, copied in zip(old.args, new.args, strict=True):
            copied.name_hint = arg.name_hint
            values[arg] = copied
        func.body.insert_block_before(new, head)
    clones: list[tuple[Operation, Operation]] = []
    for old, new in blocks.items():
        for op in old.ops:
            clone = op.clone(values, blocks)
            clone.location = op.location
            new.add_op(clone)
            clones.append((op, clone))
    for op, clone in clones:  # operands defined in blocks that were copied later
        for index, operand in enumerate(op.operands):
            if operand in values:
                clone.operands[index] = values[operand]
    return blocks, values


def _redirect(op: Operation, index: int, to: Block, rounds: SSAValue) -> None:
    """Let a branch go to the counting block, with the number of rounds so far."""
    set_successor_operands(op, index, [*successor_operands(op, index), rounds])
    op.successors[index] = to


def _home(value: SSAValue) -> Block:
    owner = value.owner
    block = owner if isinstance(owner, Block) else owner.parent
    assert block is not None
    return block


__all__ = ["can_count", "split_by_count"]
