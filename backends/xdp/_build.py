"""Building machine operations in the place of raised ones; shared by the lowering passes of this backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import OPS, CastOp, FuncOp, functions, int_attr


def virtual_functions(module: ModuleOp) -> list[FuncOp]:
    """The functions that lowering works on: those that are not machine code already."""
    return [func for func in functions(module) if not func.is_raw() and not func.is_allocated()]


def fits(value: int) -> bool:
    """Whether a signed value is a 32-bit immediate."""
    return -(1 << 31) <= value < 1 << 31


def signed(value: int, width: int = 64) -> int:
    """The value of `width` bits as a signed number."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def constant_of(value: SSAValue) -> int | None:
    """The signed value of an `arith.constant`, also behind extensions and truncations; None for anything else."""
    op = value.owner
    if not isinstance(value.type, IntegerType):
        return None
    width = value.type.width.data
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
        number: int = op.value.value.data
        return signed(number, width)
    if isinstance(op, arith.TruncIOp | arith.ExtSIOp):
        inner = constant_of(op.input)
        return None if inner is None else signed(inner, width)
    if isinstance(op, arith.ExtUIOp):
        inner = constant_of(op.input)
        return None if inner is None else inner & (1 << width_of(op.input.type)) - 1
    return None


def width_of(type_: Attribute) -> int:
    """The width in bits of a word's type; addresses have 64."""
    return type_.width.data if isinstance(type_, IntegerType) else 64


def _insn(name: str, operands: Sequence[SSAValue], results: list[Attribute], fields: Mapping[str, int]) -> Operation:
    properties: dict[str, Attribute] = {field: int_attr(value) for field, value in fields.items()}
    return OPS[name].create(operands=operands, result_types=results, properties=properties)


class Builder:
    """Inserts operations before `op`, which they are going to replace."""

    def __init__(self, op: Operation) -> None:
        self.op = op
        block = op.parent
        assert block is not None
        self.block: Block = block

    def add(self, op: Operation) -> Operation:
        """Insert an operation."""
        op.location = self.op.location
        self.block.insert_op_before(op, self.op)
        return op

    def insn(
        self, name: str, operands: Sequence[SSAValue] = (), result: Attribute | None = None, **fields: int
    ) -> SSAValue:
        """Insert an instruction with a result (of type `result`, i64 by default)."""
        return self.add(_insn(name, operands, [i64 if result is None else result], fields)).results[0]

    def effect(self, name: str, operands: Sequence[SSAValue], **fields: int) -> None:
        """Insert an instruction without result."""
        self.add(_insn(name, operands, [], fields))

    def cast(self, value: SSAValue, type_: Attribute) -> SSAValue:
        """The same word as another type."""
        if value.type == type_:
            return value
        return self.add(CastOp.create(operands=[value], result_types=[type_])).results[0]

    def number(self, value: int) -> SSAValue:
        """A 64-bit constant."""
        if fits(value):
            return self.insn("movi", imm=value)
        if 0 <= value < 1 << 32:
            return self.insn("movi32", imm=signed(value, 32))
        return self.insn("lddw", imm=value & (1 << 64) - 1)

    def address(self, base: SSAValue, off: int) -> tuple[SSAValue, int]:
        """Base and offset for a memory instruction, which has 16 bits for the offset."""
        if -0x8000 <= off < 0x8000:
            return base, off
        return self.insn("addi", [base], base.type, imm=off), 0

    def load(self, base: SSAValue, off: int, type_: Attribute, width: int | None = None) -> SSAValue:
        """Load a value of this type, or of `width` bits, with the operation's CO-RE relocation."""
        base, off = self.address(base, off)
        result = self.insn(f"ldx{width or width_of(type_)}", [base], type_, off=off)
        self._relocate(result.owner)
        return result

    def store(self, base: SSAValue, off: int, value: SSAValue, immediate: bool = True) -> None:
        """Store a value, a constant that fits as an immediate unless there are none; with the operation's CO-RE
        relocation."""
        base, off = self.address(base, off)
        number, width = constant_of(value), width_of(value.type)
        if immediate and number is not None and fits(number):
            self._relocate(self.add(_insn(f"st{width}", [base], [], {"off": off, "imm": number})))
        else:
            self._relocate(self.add(_insn(f"stx{width}", [base, value], [], {"off": off})))

    def _relocate(self, access: Operation | Block) -> None:
        if "core" in self.op.properties:
            assert isinstance(access, Operation)
            access.properties["core"] = self.op.properties["core"]

    def finish(self, result: SSAValue | None = None) -> None:
        """Remove the operation, its result replaced by `result`."""
        if result is not None:
            old = self.op.results[0]
            if result.name_hint is None:
                result.name_hint = old.name_hint
            old.replace_all_uses_with(self.cast(result, old.type))
        self.block.erase_op(self.op)


Rules = Mapping[type[Operation], Callable[[Builder, FuncOp], None]]


def apply_rules(func: FuncOp, rules: Rules) -> None:
    """Apply the rule for each operation of the function to those that have one, dominators first."""
    for block in DominatorTree(func.body).rpo:
        for op in list(block.ops):
            rule = rules.get(type(op))
            if rule is not None:
                rule(Builder(op), func)


def drop_dead(ops: Iterable[Operation]) -> None:
    """Erase operations without uses, which must have no effect."""
    for op in ops:
        if op.parent is not None and not any(result.first_use for result in op.results):
            op.parent.erase_op(op)


__all__ = [
    "Builder",
    "Rules",
    "apply_rules",
    "constant_of",
    "drop_dead",
    "fits",
    "signed",
    "virtual_functions",
    "width_of",
]
