"""Loops that end after a number of rounds that can be computed, as the kernel's verifier wants them.

A loop is bounded when running it on constants alone ends: what its head is passed from outside is constant, an exit
condition that is met on every round depends on that only, and it holds after at most so many rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects import ebpf

Env = dict[SSAValue, int]

_ARITH: dict[type[Operation], Callable[[int, int], int]] = {
    arith.AddiOp: lambda a, b: a + b,
    arith.SubiOp: lambda a, b: a - b,
    arith.MuliOp: lambda a, b: a * b,
    arith.AndIOp: lambda a, b: a & b,
    arith.OrIOp: lambda a, b: a | b,
    arith.XOrIOp: lambda a, b: a ^ b,
    arith.ShLIOp: lambda a, b: a << b,
    arith.ShRUIOp: lambda a, b: a >> b,
}
_MACHINE: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}
_COMPARE: tuple[Callable[[int, int], bool], ...] = (
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
)
_PREDICATES = (0, 1, 2, 3, 4, 5, 2, 3, 4, 5)  # of arith.cmpi; 2 to 5 are signed
_JUMPS = {"jeq": 0, "jne": 1, "jlt": 2, "jle": 3, "jgt": 4, "jge": 5, "jslt": 2, "jsle": 3, "jsgt": 4, "jsge": 5}


class Unbounded(Exception):
    """No bound was found for the loop with this head."""

    def __init__(self, head: Block):
        super().__init__("loop without a bound")
        self.head = head


def work_of(blocks: Collection[Block], entries: Collection[Block], tree: DominatorTree, limit: int) -> int:
    """An upper bound of the operations that one pass through a loop with these blocks executes. Raises Unbounded for a
    loop (it, or one inside) that may run more than `limit` rounds."""
    heads = list(entries)
    if len(heads) != 1:
        raise Unbounded(heads[0])
    rounds = _rounds(set(blocks), heads[0], tree, limit)
    total = 0
    for members in components(blocks, lambda b: [s for s in successors(b) if s is not heads[0]]):
        inside = set(members)
        if len(members) == 1 and members[0] not in successors(members[0]):
            total += sum(1 for _ in members[0].ops)
        elif members == [heads[0]]:
            total += sum(1 for _ in heads[0].ops)
        else:
            inner = [b for b in members if not inside.issuperset(tree.predecessors(b))]
            total += work_of(members, inner, tree, limit)
    return total * rounds


def _rounds(blocks: set[Block], head: Block, tree: DominatorTree, limit: int) -> int:
    incoming = [(source, values) for source in tree.predecessors(head) for t, values in edges(source) if t is head]
    latches = [(source, list(values)) for source, values in incoming if source in blocks]
    starts = [list(values) for source, values in incoming if source not in blocks]
    exits = [b for b in blocks if _leaves(b, blocks) and all(tree.dominates(b, latch) for latch, _ in latches)]
    if any(isinstance(b.last_op, ebpf.MayGotoOp) for b in exits):
        return limit
    if not starts or not exits:
        raise Unbounded(head)
    return max(_simulate(head, start, [values for _, values in latches], exits, blocks, limit) for start in starts)


def _leaves(block: Block, blocks: set[Block]) -> bool:
    return any(s not in blocks for s in successors(block))


def _simulate(
    head: Block,
    start: list[SSAValue],
    latches: list[list[SSAValue]],
    exits: Iterable[Block],
    blocks: set[Block],
    limit: int,
) -> int:
    env = _known(head, [start], {})
    for rounds in range(1, limit + 1):
        for block in exits:
            taken = _taken(block, env)
            if taken is not None and successors(block)[taken] not in blocks:
                return rounds
        following = _known(head, latches, env)
        if not following or following == env:
            break
        env = following
    raise Unbounded(head)


def _known(head: Block, passed: list[list[SSAValue]], env: Env) -> Env:
    """The arguments of a loop's head for which every edge passes the same computable value."""
    result: Env = {}
    for index, arg in enumerate(head.args):
        values = {evaluate(each[index], env) for each in passed}
        if len(values) == 1 and (value := values.pop()) is not None:
            result[arg] = value
    return result


def _taken(block: Block, env: Env) -> int | None:
    """The successor that a block's terminator takes, if it can be computed."""
    last = block.last_op
    if isinstance(last, cf.ConditionalBranchOp):
        condition = last.cond.owner
        if not isinstance(condition, arith.CmpiOp) or not isinstance(condition.predicate, IntegerAttr):
            return None
        number = condition.predicate.value.data
        holds = _compare(condition.lhs, condition.rhs, _PREDICATES[number], 2 <= number <= 5, env)
        return None if holds is None else int(not holds)
    if isinstance(last, ebpf.JccRIOp) and last.row.op in _JUMPS and last.row.width == 64:
        a = evaluate(last.lhs, env)
        if a is None:
            return None
        b, signed = last.imm.data & (1 << 64) - 1, last.row.op[1] == "s"
        a, b = (_signed(a, 64), _signed(b, 64)) if signed else (a, b)
        return int(not _COMPARE[_JUMPS[last.row.op]](a, b))
    return None


def _compare(lhs: SSAValue, rhs: SSAValue, relation: int, signed: bool, env: Env) -> bool | None:
    a, b = evaluate(lhs, env), evaluate(rhs, env)
    if a is None or b is None:
        return None
    if signed:
        assert isinstance(lhs.type, IntegerType)
        width = lhs.type.width.data
        a, b = _signed(a, width), _signed(b, width)
    return _COMPARE[relation](a, b)


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


_DEPTH = 200
"""Operations on the way from a value to constants; what is further from them counts as unknown."""


def evaluate(value: SSAValue, env: Env) -> int | None:
    """The unsigned value of a scalar that depends on constants and `env` only, else None."""
    return _evaluate(value, env, {}, _DEPTH)


def _evaluate(value: SSAValue, env: Env, known: dict[SSAValue, int | None], depth: int) -> int | None:
    if value in env:
        return env[value]
    if value not in known:
        known[value] = _computed(value, env, known, depth - 1) if depth else None
    return known[value]


def _computed(value: SSAValue, env: Env, known: dict[SSAValue, int | None], depth: int) -> int | None:
    op = value.owner
    if not isinstance(op, Operation) or not isinstance(value.type, IntegerType):
        return None
    width: int = value.type.width.data
    mask = (1 << width) - 1
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        return int(op.value.value.data) & mask
    if isinstance(op, ebpf.MovRIOp):
        imm: int = op.imm.data
        return imm & mask & ((1 << op.row.width) - 1)
    if isinstance(op, arith.ExtUIOp | arith.TruncIOp):
        inner = _evaluate(op.operands[0], env, known, depth)
        return None if inner is None else inner & mask
    if isinstance(op, arith.ExtSIOp) and isinstance(op.input.type, IntegerType):
        inner = _evaluate(op.input, env, known, depth)
        return None if inner is None else _signed(inner, op.input.type.width.data) & mask
    rule = _ARITH.get(type(op))
    if rule is not None:
        a, b = (_evaluate(operand, env, known, depth) for operand in op.operands)
        return None if a is None or b is None else int(rule(a, b)) & mask
    if isinstance(op, ebpf.AluRIOp) and op.row.width == 64 and op.row.op in _MACHINE:
        a = _evaluate(op.lhs, env, known, depth)
        return None if a is None else int(_MACHINE[op.row.op](a, op.imm.data & mask)) & mask
    return None
