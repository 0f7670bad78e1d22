"""What is known of a function's scalars: how many bits they need, and which of them are addresses in disguise."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.ir import BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.packet import EndType, MetaType, PtrType

_ROUNDS = 3
_PACKET = (PtrType, EndType, MetaType)


class Scalars:
    """`bits(value)`: an integer, or the distance of a packet address from the packet's start, is below 2**bits (64 for
    a distance that may be negative). `is_address(value)`: an integer depends on where something lies in memory, so that
    its number means nothing elsewhere; a difference of two packet addresses is no such value."""

    def __init__(self, func: FuncOp) -> None:
        self._bits: dict[SSAValue, int] = {}
        self._addresses: set[SSAValue] = set()
        tree = DominatorTree(func.body)
        incoming: dict[BlockArgument, list[SSAValue]] = {}
        for block in tree.rpo:
            for target, values in edges(block):
                for arg, value in zip(target.args, values, strict=True):
                    incoming.setdefault(arg, []).append(value)
        for number in range(_ROUNDS + 1):
            if not self._sweep(tree, incoming, widen=number == _ROUNDS):
                break
        else:
            while self._sweep(tree, incoming, widen=True):
                pass

    def bits(self, value: SSAValue) -> int:
        """How many bits the value needs, at most those of its type."""
        return self._bits.get(value, width_of(value))

    def is_address(self, value: SSAValue) -> bool:
        """Whether an integer was made of an address."""
        return value in self._addresses

    def _sweep(self, tree: DominatorTree, incoming: dict[BlockArgument, list[SSAValue]], widen: bool) -> bool:
        changed = False
        for block in tree.rpo:
            for arg in block.args:
                sources = incoming.get(arg, [])
                known = [self._bits[v] for v in sources if v in self._bits]
                bits = max(known, default=width_of(arg)) if sources else width_of(arg)
                if widen and bits > self._bits.get(arg, 0):
                    bits = width_of(arg)
                changed |= self._learn(arg, bits, any(v in self._addresses for v in sources))
            for op in block.ops:
                for result in op.results:
                    if isinstance(result.type, IntegerType | PtrType):
                        changed |= self._learn(result, self._bits_of(op), self._makes_address(op))
        return changed

    def _learn(self, value: SSAValue, bits: int, address: bool) -> bool:
        if not isinstance(value.type, IntegerType | PtrType):
            return False
        bits = min(max(bits, self._bits.get(value, 0)), width_of(value))
        changed = self._bits.get(value) != bits
        self._bits[value] = bits
        if address and isinstance(value.type, IntegerType) and value not in self._addresses:
            self._addresses.add(value)
            changed = True
        return changed

    def _bits_of(self, op: Operation) -> int:
        rule = _RULES.get(type(op))
        if rule is not None:
            return rule(op, [self.bits(v) for v in op.operands])
        if isinstance(op, ebpf.UnaryOp) and op.row.op in ("be", "le", "bswap"):
            return op.row.width
        if isinstance(op, ebpf.InsnOp) and op.row.width == 32 and isinstance(op, _ALU):
            return 32
        return width_of(op.results[0])

    def _makes_address(self, op: Operation) -> bool:
        difference = isinstance(op, ebpf.AluRROp) and op.row.op == "sub"
        if difference and all(isinstance(v.type, _PACKET) for v in op.operands):
            return False
        if any(v in self._addresses for v in op.operands):
            return isinstance(op, (*_ALU, ebpf.CastOp)) or op.name.startswith("arith.")
        if isinstance(op, (*_ALU, ebpf.CastOp)):
            return any(not isinstance(v.type, IntegerType) for v in op.operands)
        return False


_ALU = (ebpf.AluRROp, ebpf.AluRIOp, ebpf.UnaryOp, ebpf.MovRROp, ebpf.MovRIOp)


def width_of(value: SSAValue) -> int:
    """The bits of an integer's type; 64 for any other word."""
    if isinstance(value.type, IntegerType):
        width: int = value.type.width.data
        return width
    return 64


def _constant(op: Operation, bits: list[int]) -> int:
    assert isinstance(op, arith.ConstantOp)
    if not isinstance(op.value, IntegerAttr):
        return width_of(op.result)
    number: int = op.value.value.data & ((1 << width_of(op.result)) - 1)
    return number.bit_length()


def _right(op: Operation) -> int | None:
    """The constant on the right of a binary operation."""
    owner = op.operands[1].owner
    if isinstance(owner, arith.ConstantOp) and isinstance(owner.value, IntegerAttr):
        value: int = owner.value.value.data
        return value
    return None


def _shift_left(op: Operation, bits: list[int]) -> int:
    amount = _right(op)
    return 64 if amount is None or amount < 0 else bits[0] + amount


def _shift_right(op: Operation, bits: list[int]) -> int:
    amount = _right(op)
    return bits[0] if amount is None or amount < 0 else max(0, bits[0] - amount)


def _remainder(op: Operation, bits: list[int]) -> int:
    divisor = _right(op)
    return bits[0] if divisor is None or divisor <= 0 else min(bits[0], (divisor - 1).bit_length())


def _quotient(op: Operation, bits: list[int]) -> int:
    divisor = _right(op)
    return bits[0] if divisor is None or divisor <= 0 else max(0, bits[0] - divisor.bit_length() + 1)


def _sign_extend(op: Operation, bits: list[int]) -> int:
    return bits[0] if bits[0] < width_of(op.operands[0]) else 64


def _displaced(op: Operation, bits: list[int]) -> int:
    assert isinstance(op, packet.OffsetOp)
    off = op.int_prop("off")
    return 64 if off < 0 else max(bits[0], off.bit_length()) + 1


_RULES: dict[type[Operation], Callable[[Operation, list[int]], int]] = {
    arith.ConstantOp: _constant,
    arith.ExtUIOp: lambda op, bits: bits[0],
    arith.ExtSIOp: _sign_extend,
    arith.TruncIOp: lambda op, bits: bits[0],
    arith.AndIOp: lambda op, bits: min(bits),
    arith.OrIOp: lambda op, bits: max(bits),
    arith.XOrIOp: lambda op, bits: max(bits),
    arith.AddiOp: lambda op, bits: max(bits) + 1,
    arith.MuliOp: lambda op, bits: sum(bits),
    arith.ShLIOp: _shift_left,
    arith.ShRUIOp: _shift_right,
    arith.RemUIOp: _remainder,
    arith.DivUIOp: _quotient,
    arith.SelectOp: lambda op, bits: max(bits[1:]),
    packet.LoadOp: lambda op, bits: width_of(op.results[0]),
    packet.DataOp: lambda op, bits: 0,
    packet.OffsetOp: _displaced,
    packet.AdvanceOp: lambda op, bits: max(bits) + 1,
}
