"""Which bits of every value are known, and which edges are ever taken.

Sparse conditional constant propagation (Wegman and Zadeck, TOPLAS 1991) over known bits (`fsir.analysis.bits`) rather
than over constants: optimistic, so that a loop or an edge never taken does not spoil what is known.  Linear in the size
of the function, up to the number of bits of a word.

A comparison that bounds an address or a size counts as undecided unless its operands are constants: the verifier needs
it (see `address_inputs`).
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith, cf
from xdsl.ir import Block, Operation, Region, SSAValue

from fsir.analysis import bits as known
from fsir.analysis.address_inputs import address_inputs
from fsir.analysis.bits import UNKNOWN, Bits
from fsir.analysis.cfg import successor_operands
from fsir.analysis.evaluate import JUMPS, PREDICATES, evaluate, width_of
from fsir.dialects import ebpf, map
from fsir.dialects.ebpf import form_of


class KnownBits:
    """The answer for one region. Values that a rewrite adds are made known with `visit`."""

    def __init__(self, region: Region) -> None:
        self.addresses = address_inputs(region)
        self._bits: dict[SSAValue, Bits] = {}
        self._edges: set[tuple[Operation, int]] = set()
        self._reached: set[Block] = set()
        self._todo_edges: list[tuple[Operation, int]] = []
        self._todo_values: list[SSAValue] = []
        entry = region.blocks.first
        if entry is not None:
            for arg in entry.args:
                self._bits[arg] = UNKNOWN
            self._enter(entry)
            self._run()

    def of(self, value: SSAValue) -> Bits:
        """The known bits of a value; nothing is known of one that is never computed."""
        return self._bits.get(value, UNKNOWN)

    def constant(self, value: SSAValue) -> int | None:
        """The value, when all its bits are known."""
        return known.value_of(self.of(value), width_of(value.type))

    def possible(self, value: SSAValue) -> int:
        """The mask of the bits that may be set: the greatest value it may have is at most this."""
        return known.largest(self.of(value), width_of(value.type))

    def is_reached(self, block: Block) -> bool:
        """Whether control may come to a block."""
        return block in self._reached

    def is_taken(self, terminator: Operation, index: int) -> bool:
        """Whether control may leave a block by this edge."""
        return (terminator, index) in self._edges

    def visit(self, op: Operation) -> None:
        """Take note of an operation that was inserted, after those of its operands."""
        for result in op.results:
            self._bits[result] = self._compute(op) or UNKNOWN

    def _run(self) -> None:
        while self._todo_edges or self._todo_values:
            while self._todo_edges:
                self._flow(*self._todo_edges.pop())
            if self._todo_values:
                value = self._todo_values.pop()
                for use in value.uses:
                    op = use.operation
                    if op.parent in self._reached:
                        self._visit(op)
                        if op.successors:
                            self._pass(op, value)

    def _enter(self, block: Block) -> None:
        self._reached.add(block)
        for op in block.ops:
            self._visit(op)

    def _visit(self, op: Operation) -> None:
        if op.successors:
            for index in self._taken(op):
                if (op, index) not in self._edges:
                    self._edges.add((op, index))
                    self._todo_edges.append((op, index))
        elif op.results:
            computed = self._compute(op)
            if computed is not None:
                for result in op.results:
                    self._learn(result, computed)

    def _flow(self, terminator: Operation, index: int) -> None:
        """An edge was found to be taken."""
        block = terminator.successors[index]
        for value, arg in zip(successor_operands(terminator, index), block.args, strict=True):
            if value in self._bits:
                self._learn(arg, self._bits[value])
        if block not in self._reached:
            self._enter(block)

    def _pass(self, terminator: Operation, value: SSAValue) -> None:
        """A value that a terminator may pass on has changed."""
        for index, block in enumerate(terminator.successors):
            if (terminator, index) in self._edges:
                for passed, arg in zip(successor_operands(terminator, index), block.args, strict=True):
                    if passed is value:
                        self._learn(arg, self._bits[value])

    def _learn(self, value: SSAValue, found: Bits) -> None:
        """A value may have these bits, too."""
        old = self._bits.get(value)
        new = found if old is None else known.join(old, found)
        if new != old:
            self._bits[value] = new
            self._todo_values.append(value)

    def _compute(self, op: Operation) -> Bits | None:
        """The bits of an operation's result, None while an operand has no value yet."""
        operands: list[Bits] = []
        for operand in op.operands:
            found = self._bits.get(operand)
            if found is None:
                return None
            operands.append(found)
        if len(op.results) != 1:
            return UNKNOWN
        width = width_of(op.results[0].type)
        words = [known.value_of(o, width_of(v.type)) for o, v in zip(operands, op.operands, strict=True)]
        if None not in words and not isinstance(op, map.HitOp):
            value = evaluate(op, [word for word in words if word is not None])
            if value is not None:
                return known.constant(value, width)
        rule = _RULES.get(form_of(op))
        return rule(self, op, operands) if rule is not None else UNKNOWN

    def _taken(self, op: Operation) -> list[int]:
        """The numbers of the successors that a terminator may go to, as far as is known."""
        if len(op.successors) < 2:
            return [0]
        if isinstance(op, cf.ConditionalBranchOp):
            condition = self._bits.get(op.cond)
            if condition is None:
                return []
            value = known.value_of(condition, 1)
            return [0, 1] if value is None else [1 - value]
        if isinstance(op, ebpf.JccRROp | ebpf.JccRIOp):
            return self._jump(op)
        return list(range(len(op.successors)))

    def _jump(self, op: ebpf.JccRROp | ebpf.JccRIOp) -> list[int]:
        own = [op.operands[0]] if isinstance(op, ebpf.JccRIOp) else list(op.operands[:2])
        found = [self._bits.get(value) for value in own]
        if None in found:
            return []
        if op.row.op not in JUMPS or any(width_of(value.type) != 64 for value in own) or "core" in op.properties:
            return [0, 1]
        width = op.row.width
        sides = [known.truncate(side, width) for side in found if side is not None]
        if isinstance(op, ebpf.JccRIOp):
            sides.append(known.constant(op.imm.data & known.mask(width), width))
        holds = self._decide(JUMPS[op.row.op], own, sides, width)
        return [0, 1] if holds is None else [0 if holds else 1]

    def _decide(self, predicate: str, operands: list[SSAValue], sides: list[Bits], width: int) -> bool | None:
        """The outcome of a comparison where it is known, and not what the verifier takes a bound from."""
        bounding = any(value in self.addresses and self.constant(value) is None for value in operands)
        return None if bounding else known.compare(predicate, sides[0], sides[1], width)


Rule = Callable[[KnownBits, Operation, list[Bits]], Bits]


def _binary(name: str) -> Rule:
    transfer = known.BINARY[name]

    def rule(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
        return transfer(operands[0], operands[1], width_of(op.results[0].type))

    return rule


def _cmpi(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    assert isinstance(op, arith.CmpiOp)
    predicate = PREDICATES[op.predicate.value.data]
    if op.lhs is op.rhs:
        return known.constant(int(predicate in ("eq", "ule", "uge", "sle", "sge")), 1)
    holds = solver._decide(predicate, [op.lhs, op.rhs], operands, width_of(op.lhs.type))
    return UNKNOWN if holds is None else known.constant(int(holds), 1)


def _select(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    chosen = known.value_of(operands[0], 1)
    return known.join(operands[1], operands[2]) if chosen is None else operands[2 - chosen]


def _extui(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    return known.extend(operands[0], width_of(op.operands[0].type), width_of(op.results[0].type))


def _extsi(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    return known.extend(operands[0], width_of(op.operands[0].type), width_of(op.results[0].type), signed=True)


def _trunci(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    return known.truncate(operands[0], width_of(op.results[0].type))


def _is_whole(op: Operation) -> bool:
    return "core" not in op.properties and all(width_of(value.type) == 64 for value in op.operands)


def _machine(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    """A binary operation of the ISA; the 32-bit ones clear the upper half."""
    assert isinstance(op, ebpf.AluRROp | ebpf.AluRIOp)
    width = op.row.width
    transfer = known.BINARY.get(op.row.op)
    if not _is_whole(op):
        return UNKNOWN
    if transfer is None:
        return known.at_most(known.mask(width), 64)
    if isinstance(op, ebpf.AluRIOp):
        rhs = known.constant(op.imm.data & known.mask(width), width)
    else:
        rhs = known.truncate(operands[1], width)
    return known.extend(transfer(known.truncate(operands[0], width), rhs, width), width, 64)


def _machine_unary(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    assert isinstance(op, ebpf.UnaryOp | ebpf.MovRROp)
    width, name = op.row.width, op.row.op
    if not _is_whole(op):
        return UNKNOWN
    if name in ("be", "bswap"):
        return known.swap_bytes(operands[0], width, 64)
    if name == "le":
        return known.extend(known.truncate(operands[0], width), width, 64)
    if name == "mov":
        return known.extend(known.truncate(operands[0], width), width, 64)
    return known.at_most(known.mask(width), 64)


def _machine_load(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    assert isinstance(op, ebpf.LdxOp)
    return UNKNOWN if op.row.signed else known.at_most(known.mask(op.row.width), 64)


def _cast(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    same = width_of(op.operands[0].type) == width_of(op.results[0].type)
    return operands[0] if same else UNKNOWN


def _hit(solver: KnownBits, op: Operation, operands: list[Bits]) -> Bits:
    """Global data is always there."""
    assert isinstance(op, map.HitOp)
    return known.constant(1, 1) if isinstance(op.value.owner, ebpf.LdSymOp) else UNKNOWN


_RULES: dict[type[Operation], Rule] = {
    arith.AddiOp: _binary("add"),
    arith.SubiOp: _binary("sub"),
    arith.MuliOp: _binary("mul"),
    arith.AndIOp: _binary("and"),
    arith.OrIOp: _binary("or"),
    arith.XOrIOp: _binary("xor"),
    arith.ShLIOp: _binary("lsh"),
    arith.ShRUIOp: _binary("rsh"),
    arith.ShRSIOp: _binary("arsh"),
    arith.DivUIOp: _binary("div"),
    arith.RemUIOp: _binary("mod"),
    arith.CmpiOp: _cmpi,
    arith.SelectOp: _select,
    arith.ExtUIOp: _extui,
    arith.ExtSIOp: _extsi,
    arith.TruncIOp: _trunci,
    ebpf.AluRROp: _machine,
    ebpf.AluRIOp: _machine,
    ebpf.UnaryOp: _machine_unary,
    ebpf.MovRROp: _machine_unary,
    ebpf.LdxOp: _machine_load,
    ebpf.CastOp: _cast,
    map.HitOp: _hit,
}
