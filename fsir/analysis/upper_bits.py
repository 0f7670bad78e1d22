"""How many low bits of a machine register a value may occupy; the bits above are surely zero.

`arith.extui` costs nothing where they are. The answer is about *registers*: operations narrower than a word are taken
as the XDP backend selects them (32-bit instructions for all of up to 32 bits, which clear the upper half; immediates
zero-extended), so that a value of type i8 may well occupy more than 8 bits. An optimistic forward analysis over any
mix of levels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.ir import Attribute, Operation, Region, SSAValue

from fsir.analysis.cfg import edges
from fsir.dialects import ebpf, map, packet

WORD = 64


class UpperBits:
    """The bits that the values of `region` may occupy. Values made later are as wide as their operation says."""

    def __init__(self, region: Region) -> None:
        self._bits: dict[SSAValue, int] = {}
        passed: defaultdict[SSAValue, list[SSAValue]] = defaultdict(list)
        entry = region.first_block
        work: list[SSAValue] = []
        for block in region.blocks:
            for arg in block.args:
                self._bits[arg] = WORD if block is entry else 0
                work.append(arg)
            for op in block.ops:
                for result in op.results:
                    self._bits[result] = 0
            for successor, values in edges(block):
                for value, arg in zip(values, successor.args, strict=True):
                    passed[value].append(arg)
        for block in region.blocks:
            for op in block.ops:
                self._visit(op, work)
        while work:
            value = work.pop()
            for arg in passed[value]:
                self._raise(arg, self._bits[value], work)
            for use in value.uses:
                self._visit(use.operation, work)

    def of(self, value: SSAValue) -> int:
        """The number of low bits that may be other than zero, 0 to 64."""
        known = self._bits.get(value)
        if known is not None:
            return known
        owner = value.owner
        return self._of_result(owner) if isinstance(owner, Operation) else WORD

    def copy(self, value: SSAValue, of: SSAValue) -> None:
        """Note that `value` is the same word as `of`."""
        self._bits[value] = self.of(of)

    def _visit(self, op: Operation, work: list[SSAValue]) -> None:
        if op.results:
            self._raise(op.results[0], self._of_result(op), work)

    def _raise(self, value: SSAValue, bits: int, work: list[SSAValue]) -> None:
        if bits > self._bits[value]:
            self._bits[value] = bits
            work.append(value)

    def _of_result(self, op: Operation) -> int:
        rule = _RULES.get(type(op)) or _RULES.get(ebpf.form_of(op))
        return min(rule(self, op), WORD) if rule is not None else WORD


Rule = Callable[[UpperBits, Operation], int]


def _width(type_: Attribute) -> int:
    return type_.width.data if isinstance(type_, IntegerType) else WORD


def _register_width(op: Operation) -> int:
    """The width of the instruction that computes the result."""
    return 32 if _width(op.results[0].type) <= 32 else WORD


def _constant(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, arith.ConstantOp)
    if not isinstance(op.value, IntegerAttr):
        return WORD
    number: int = op.value.value.data
    return (number & (1 << _width(op.result.type)) - 1).bit_length()


def _constant_operand(op: Operation) -> int | None:
    owner = op.operands[1].owner
    if isinstance(owner, arith.ConstantOp) and isinstance(owner.value, IntegerAttr):
        number: int = owner.value.value.data
        return number
    return None


def _loaded(bits: UpperBits, op: Operation) -> int:
    return _width(op.results[0].type)


def _fetched(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.LdAbsOp | ebpf.LdIndOp)
    return op.row.width


def _and(bits: UpperBits, op: Operation) -> int:
    return min(bits.of(op.operands[0]), bits.of(op.operands[1]), _register_width(op))


def _or(bits: UpperBits, op: Operation) -> int:
    return min(max(bits.of(op.operands[0]), bits.of(op.operands[1])), _register_width(op))


def _add(bits: UpperBits, op: Operation) -> int:
    return min(max(bits.of(op.operands[0]), bits.of(op.operands[1])) + 1, _register_width(op))


def _multiply(bits: UpperBits, op: Operation) -> int:
    return min(bits.of(op.operands[0]) + bits.of(op.operands[1]), _register_width(op))


def _shift_left(bits: UpperBits, op: Operation) -> int:
    amount = _constant_operand(op)
    width = _register_width(op)
    return width if amount is None else min(bits.of(op.operands[0]) + amount, width)


def _shift_right(bits: UpperBits, op: Operation) -> int:
    """Operands narrower than 32 bits are cleared above first."""
    amount = _constant_operand(op) or 0
    from_bits = min(bits.of(op.operands[0]), _width(op.results[0].type))
    return max(from_bits - amount, 0)


def _divide(bits: UpperBits, op: Operation) -> int:
    return min(bits.of(op.operands[0]), _width(op.results[0].type))


def _whole(bits: UpperBits, op: Operation) -> int:
    return _register_width(op)


def _same(bits: UpperBits, op: Operation) -> int:
    return bits.of(op.operands[0])


def _zero_extended(bits: UpperBits, op: Operation) -> int:
    return min(bits.of(op.operands[0]), _width(op.operands[0].type))


def _sign_extended(bits: UpperBits, op: Operation) -> int:
    known = bits.of(op.operands[0])
    return known if known < _width(op.operands[0].type) else WORD


def _chosen(bits: UpperBits, op: Operation) -> int:
    return max(bits.of(op.operands[1]), bits.of(op.operands[2]))


def _one(bits: UpperBits, op: Operation) -> int:
    return 1


# --- machine instructions --------------------------------------------------------------------------------------------


def _alu(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.AluRROp)
    rule = {"and": _and, "or": _or, "xor": _or}.get(op.row.op)
    return min(rule(bits, op) if rule is not None else WORD, op.row.width)


def _alu_immediate(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.AluRIOp)
    if op.core is not None:
        return op.row.width
    imm: int = op.imm.data
    width = op.row.width
    operand = min(bits.of(op.lhs), width)
    if op.row.op == "and" and imm >= 0:
        return min(operand, imm.bit_length())
    if op.row.op == "rsh":
        return max(operand - (imm & width - 1), 0)
    if op.row.op == "lsh":
        return min(operand + (imm & width - 1), width)
    if op.row.op in ("or", "xor") and imm >= 0:
        return max(operand, imm.bit_length())
    return width


def _byte_order(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.UnaryOp)
    return op.row.width


def _move(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.MovRROp)
    if op.row.signed:
        return op.row.width
    return min(bits.of(op.value), op.row.width)


def _move_immediate(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.InsnOp)
    if "pseudo" in op.properties or "core" in op.properties:
        return WORD
    return (op.int_prop("imm") & (1 << op.row.width) - 1).bit_length()


def _load(bits: UpperBits, op: Operation) -> int:
    assert isinstance(op, ebpf.LdxOp)
    return WORD if op.row.signed else op.row.width


def _fetch(bits: UpperBits, op: Operation) -> int:
    """What an atomic operation of 32 bits gives has zeros above."""
    assert isinstance(op, ebpf.AtomicFetchOp)
    return op.row.width


_RULES: dict[type[Operation], Rule] = {
    arith.ConstantOp: _constant,
    arith.AddiOp: _add,
    arith.SubiOp: _whole,
    arith.MuliOp: _multiply,
    arith.AndIOp: _and,
    arith.OrIOp: _or,
    arith.XOrIOp: _or,
    arith.ShLIOp: _shift_left,
    arith.ShRUIOp: _shift_right,
    arith.ShRSIOp: _whole,
    arith.DivUIOp: _divide,
    arith.RemUIOp: _divide,
    arith.DivSIOp: _whole,
    arith.RemSIOp: _whole,
    arith.TruncIOp: _same,
    arith.ExtUIOp: _zero_extended,
    arith.ExtSIOp: _sign_extended,
    arith.SelectOp: _chosen,
    arith.CmpiOp: _one,
    packet.GuardOp: _one,
    map.HitOp: _one,
    packet.LoadOp: _loaded,
    packet.FetchOp: _loaded,
    packet.FetchAtOp: _loaded,
    ebpf.LdAbsOp: _fetched,
    ebpf.LdIndOp: _fetched,
    packet.CtxLoadOp: _loaded,
    map.LoadOp: _loaded,
    ebpf.CastOp: _same,
    ebpf.AluRROp: _alu,
    ebpf.AluRIOp: _alu_immediate,
    ebpf.UnaryOp: _byte_order,
    ebpf.MovRROp: _move,
    ebpf.MovRIOp: _move_immediate,
    ebpf.LddwOp: _move_immediate,
    ebpf.LdxOp: _load,
    ebpf.AtomicFetchOp: _fetch,
}
