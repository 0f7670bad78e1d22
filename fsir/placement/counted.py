"""Splitting a loop by count: a copy of it that runs so many rounds, and the loop itself for what goes beyond.

    before ──▶ head ──▶ …body… ─┐         before ──▶ count ──▶ head' ──▶ …body'… ─┐
                ▲               │                     │  ▲                        │
                └───────────────┘                     │  └────── rounds + 1 ──────┘
                                                      ▼ after `bound` rounds
                                                     head ──▶ …body… (as before)

The copy has a bound, so the kernel can run it; a packet that needs more rounds can be handed over in front of the loop,
with the state that its head takes. Both leave the loop for the same blocks, which take values of either. Where loops
inside have no bound either, each gets one in the copy, beyond which it goes on in the original: that is then entered at
their heads, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Loop:
    """A loop to be counted: its head, and all its blocks."""

    head: Block
    blocks: frozenset[Block]


def loops_to_count(func: FuncOp, piece: Piece, limit: int) -> list[Loop]:
    """The loop of a piece and those inside that have no bound; none where one of them is entered at several blocks, or
    with the program."""
    if not piece.is_loop or len(piece.entries) != 1 or piece.entries[0] is func.entry:
        return []
    tree = DominatorTree(func.body)
    found = [Loop(piece.entries[0], frozenset(piece.blocks))]
    for loop in found:  # grows
        for members in components(loop.blocks, _without(loop.head)):
            inside = frozenset(members)
            if loop.head in inside or (len(members) == 1 and members[0] not in successors(members[0])):
                continue
            heads = [b for b in members if not inside.issuperset(tree.predecessors(b))]
            try:
                work_of(members, heads, tree, limit)
            except Unbounded:
                if len(heads) != 1:
                    return []
                found.append(Loop(heads[0], inside))
    return found


def _without(head: Block) -> Callable[[Block], list[Block]]:
    """The successors of blocks, apart from one."""
    return lambda block: [each for each in successors(block) if each is not head]


def split_by_count(func: FuncOp, loops: Sequence[Loop], bound: int) -> None:
    """Put a copy of a loop, the first one, in front of it, in which it and each of the others, which are inside, runs
    at most `bound` rounds at a time."""
    outer = loops[0]
    sources = {loop: predecessors(func.body)[loop.head] for loop in loops}
    entering = [(op, index) for op, index in sources[outer] if op.parent not in outer.blocks]
    order = [block for block in func.body.blocks if block in outer.blocks]
    shared = _used_elsewhere(order, each=len(loops) > 1)
    blocks, values = _copied(func, order, outer.head)
    zero = constant(0)
    for loop in loops:
        again = {blocks[op.parent] for op, _ in sources[loop] if op.parent in loop.blocks}
        count, following = _counting(func, blocks[loop.head], loop.head, bound)
        for op, index in predecessors(func.body)[blocks[loop.head]]:
            if op.parent is not count:
                _redirect(op, index, count, following if op.parent in again else zero.result)
        if loop is outer:
            for op, index in entering:
                _redirect(op, index, count, zero.result)
    zero.location = entering[0][0].location
    func.entry.insert_op_before(zero, next(iter(func.entry.ops)))
    definitions = {value: {_home(values[value]): values[value]} for value in shared}
    needed = {value: _needing(func, value, {_home(value), *others}) for value, others in definitions.items()}
    repair(func.body, definitions, lambda value, block: block in needed[value])


def _counting(func: FuncOp, copy: Block, head: Block, bound: int) -> tuple[Block, SSAValue]:
    """A block in front of the head's copy that goes there so many times, and then to the head itself; and the number of
    rounds to come to it with again."""
    count = Block(arg_types=[*(arg.type for arg in head.args), i64])
    func.body.insert_block_before(count, copy)
    for old, new in zip(head.args, count.args, strict=False):
        new.name_hint = old.name_hint
    rounds = count.args[-1]
    rounds.name_hint = "rounds"
    one, most = constant(1), constant(bound)
    following = arith.AddiOp(rounds, one.result)
    more = compare("ult", rounds, most.result)
    state = list(count.args[:-1])
    branch = conditional(more.result, (copy, state), (head, state))
    branch.attributes[TAKEN] = ArrayAttr([IntAttr(bound), IntAttr(1)])  # few packets need more
    made: tuple[Operation, ...] = (one, most, following, more, branch)
    for op in made:
        if head.first_op is not None:
            op.location = head.first_op.location
        count.add_op(op)
    return count, following.result


def _used_elsewhere(blocks: Collection[Block], each: bool) -> list[SSAValue]:
    """The values of a loop that blocks after it use, other than by being passed to them; `each`: that another block
    uses, in the loop or after it."""
    own = [value for block in blocks for value in (*block.args, *(r for op in block.ops for r in op.results))]
    inside = set(blocks)
    return [
        value
        for value in own
        if any(use.operation.parent not in ({_home(value)} if each else inside) for use in value.uses)
    ]


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


__all__ = ["Loop", "loops_to_count", "split_by_count"]
