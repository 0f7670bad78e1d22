"""Small rewriting steps that the raising passes share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp, i1, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import UNALLOCATED, CastOp, FuncOp, functions
from fsir.dialects.ebpf.base import SEGMENTS, segments


def raised_functions(module: ModuleOp) -> Iterable[FuncOp]:
    """The functions of a module that are no machine code: those that raising and optimising work on."""
    return [func for func in functions(module) if not func.is_allocated() and not func.is_raw()]


def operations(func: FuncOp) -> Iterable[Operation]:
    """The operations of a function, definitions before uses (loops aside); safe against rewriting the one at hand."""
    for block in DominatorTree(func.body).rpo:
        yield from list(block.ops)


def replace(op: Operation, new: Sequence[Operation], result: SSAValue | None = None) -> None:
    """Put `new` in the place of `op`, `result` (by default the last one's) in the place of its result."""
    block = op.parent
    assert block is not None
    for inserted in new:
        inserted.location = op.location
        block.insert_op_before(inserted, op)
    if op.results:
        value = result if result is not None else new[-1].results[0]
        if value.name_hint is None:
            value.name_hint = op.results[0].name_hint
        op.results[0].replace_all_uses_with(value)
    block.erase_op(op)


def relocation_of(op: Operation) -> dict[str, Attribute]:
    """The CO-RE relocation that an operation has, as a property."""
    return {"core": op.properties["core"]} if "core" in op.properties else {}


def constant(value: int, type_: IntegerType = i64) -> arith.ConstantOp:
    """An `arith.constant` of this width; any integer is taken modulo the width."""
    width = type_.width.data
    value &= (1 << width) - 1
    if width > 1 and value >> (width - 1):
        value -= 1 << width
    return arith.ConstantOp.create(properties={"value": _number(value, type_)}, result_types=[type_])


@lru_cache(maxsize=4096)
def _number(value: int, type_: IntegerType) -> IntegerAttr[IntegerType]:
    """The attribute, checked once."""
    return IntegerAttr(value, type_)


def constant_of(value: SSAValue) -> int | None:
    """The unsigned value of an `arith.constant`, or None."""
    op = value.owner
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr) and isinstance(value.type, IntegerType):
        return int(op.value.value.data) & ((1 << int(value.type.width.data)) - 1)
    return None


def extend(value: SSAValue, to: IntegerType = i64, signed: bool = False) -> Operation:
    """`arith.extui` or `arith.extsi`."""
    cls = arith.ExtSIOp if signed else arith.ExtUIOp
    return cls.create(operands=[value], result_types=[to])


def truncate(value: SSAValue, to: IntegerType) -> Operation:
    """`arith.trunci`."""
    return arith.TruncIOp.create(operands=[value], result_types=[to])


def compare(predicate: str, lhs: SSAValue, rhs: SSAValue) -> arith.CmpiOp:
    """`arith.cmpi` by predicate name (eq, ne, slt, sle, sgt, sge, ult, ule, ugt, uge)."""
    number = _PREDICATES.index(predicate)
    return arith.CmpiOp.create(
        operands=[lhs, rhs], result_types=[i1], properties={"predicate": IntegerAttr(number, i64)}
    )


_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")


def conditional(
    condition: SSAValue, then: tuple[Block, Sequence[SSAValue]], otherwise: tuple[Block, Sequence[SSAValue]]
) -> cf.ConditionalBranchOp:
    """`cf.cond_br`."""
    return cf.ConditionalBranchOp.create(
        operands=[condition, *then[1], *otherwise[1]],
        successors=[then[0], otherwise[0]],
        properties={SEGMENTS: segments(1, len(then[1]), len(otherwise[1]))},
    )


def narrowed(word: SSAValue, width: int) -> tuple[list[Operation], SSAValue] | None:
    """The low bits of a scalar, or of a word of unknown kind, as an integer: the operations that cut it, and the value.
    None for an address of known kind, which is no number."""
    ops: list[Operation] = []
    if word.type == UNALLOCATED:
        ops.append(CastOp.create(operands=[word], result_types=[i64]))
        word = ops[-1].results[0]
    elif not is_integer(word.type, 64):
        return None
    if width < 64:
        ops.append(truncate(word, integer(width)))
        word = ops[-1].results[0]
    return ops, word


@cache
def integer(width: int) -> IntegerType:
    """The scalar type of a width in bits."""
    return IntegerType(width)


def is_integer(type_: Attribute, width: int | None = None) -> bool:
    """Whether a type is a scalar (of this width)."""
    return isinstance(type_, IntegerType) and (width is None or type_.width.data == width)
