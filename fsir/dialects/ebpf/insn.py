"""One operation per row of the ISA table, made from one class per instruction form.

`OPS["add"]` is the operation class `ebpf.add`; its `row` says which instruction it is.  Passes select by form
(`isinstance(op, AluRIOp)`) and by `op.row.op`, never by opcode number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, StringAttr, SymbolRefAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    successor_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import IsTerminator, Pure

from fsir import isa
from fsir.dialects.ebpf.base import BranchOp, InsnOp, int_attr, segments
from fsir.isa import Form


@irdl_op_definition
class AluRROp(InsnOp):
    """`dst = lhs op rhs`: result and lhs share one register. Division by zero gives 0, modulo by zero lhs; shifts
    use the low 5 or 6 bits of rhs; the 32-bit forms clear the upper half of the result."""

    name = "ebpf.alu_rr"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "%")
    lhs = operand_def()
    rhs = operand_def()
    res = result_def()
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()
    traits = traits_def(Pure())


@irdl_op_definition
class AluRIOp(InsnOp):
    """`dst = lhs op imm`, the 32-bit immediate sign-extended. Semantics of `AluRROp`."""

    name = "ebpf.alu_ri"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "#imm")
    lhs = operand_def()
    res = result_def()
    imm = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()
    traits = traits_def(Pure())


@irdl_op_definition
class UnaryOp(InsnOp):
    """`dst = op dst`: negation and byte order; operand and result share one register."""

    name = "ebpf.unary"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    value = operand_def()
    res = result_def()
    unused = opt_prop_def(DictionaryAttr)
    traits = traits_def(Pure())


@irdl_op_definition
class MovRROp(InsnOp):
    """`dst = src`, 32-bit moves zero-extend, `movsx` sign-extends from 8, 16 or 32 bits."""

    name = "ebpf.mov_rr"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    value = operand_def()
    res = result_def()
    unused = opt_prop_def(DictionaryAttr)
    traits = traits_def(Pure())


@irdl_op_definition
class MovRIOp(InsnOp):
    """`dst = imm`, sign-extended to 64 bits (`movi`) or zero-extended from 32 (`movi32`)."""

    name = "ebpf.mov_ri"
    FORMAT: ClassVar[tuple[str, ...]] = ("#imm",)
    res = result_def()
    imm = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()
    traits = traits_def(Pure())


@irdl_op_definition
class LddwOp(InsnOp):
    """`dst = imm`, a 64-bit constant, or with `pseudo` (RFC 9669 section 5.4) what the kernel makes of it."""

    name = "ebpf.lddw_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("#imm",)
    res = result_def()
    imm = prop_def(IntAttr)
    pseudo = opt_prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()
    traits = traits_def(Pure())


@irdl_op_definition
class LdxOp(InsnOp):
    """`dst = *(base + off)`: zero-extended, or sign-extended (`ldxs`)."""

    name = "ebpf.ldx_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]")
    base = operand_def()
    res = result_def()
    off = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()


@irdl_op_definition
class StxOp(InsnOp):
    """`*(base + off) = value`, little-endian, the low bytes of value."""

    name = "ebpf.stx_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%")
    base = operand_def()
    value = operand_def()
    off = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()


@irdl_op_definition
class StOp(InsnOp):
    """`*(base + off) = imm`, the immediate sign-extended to the width."""

    name = "ebpf.st_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "#imm")
    base = operand_def()
    off = prop_def(IntAttr)
    imm = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()


@irdl_op_definition
class AtomicOp(InsnOp):
    """`lock *(base + off) op= value`; `store_rel` stores with release order."""

    name = "ebpf.atomic_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%")
    base = operand_def()
    value = operand_def()
    off = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class AtomicFetchOp(InsnOp):
    """`result = *(base + off); *(base + off) op= value` at once; result and value share one register."""

    name = "ebpf.atomic_fetch_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%")
    base = operand_def()
    value = operand_def()
    res = result_def()
    off = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class CmpxchgOp(InsnOp):
    """`result = *(base + off); if result == expected: *(base + off) = value` at once; result and expected are r0."""

    name = "ebpf.cmpxchg_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%", ", ", "%")
    base = operand_def()
    expected = operand_def()
    value = operand_def()
    res = result_def()
    off = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class LdAbsOp(InsnOp):
    """Legacy socket-filter load: `r0 = ntoh(skb[imm])`, leaving the program with 0 when out of bounds; needs the
    context in r6 and clobbers r1–r5."""

    name = "ebpf.ld_abs_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#imm", "]")
    context = operand_def()
    res = result_def()
    imm = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class LdIndOp(InsnOp):
    """`r0 = ntoh(skb[index + imm])`; as `LdAbsOp`."""

    name = "ebpf.ld_ind_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "%", " + ", "#imm", "]")
    context = operand_def()
    index = operand_def()
    res = result_def()
    imm = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class JaOp(BranchOp, InsnOp):
    """Unconditional jump."""

    name = "ebpf.ja_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("^",)
    args = var_operand_def()
    target = successor_def()
    unused = opt_prop_def(DictionaryAttr)
    traits = traits_def(IsTerminator())


@irdl_op_definition
class JccRROp(BranchOp, InsnOp):
    """Jump to the first successor when `lhs cmp rhs`, else fall through to the second, the next block in layout."""

    name = "ebpf.jcc_rr"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "%", ", ", "^", ", ", "^")
    lhs = operand_def()
    rhs = operand_def()
    then_args = var_operand_def()
    else_args = var_operand_def()
    then_block = successor_def()
    else_block = successor_def()
    unused = opt_prop_def(DictionaryAttr)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    traits = traits_def(IsTerminator())


@irdl_op_definition
class JccRIOp(BranchOp, InsnOp):
    """Jump to the first successor when `lhs cmp imm`, else fall through to the second, the next block in layout."""

    name = "ebpf.jcc_ri"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "#imm", ", ", "^", ", ", "^")
    lhs = operand_def()
    then_args = var_operand_def()
    else_args = var_operand_def()
    then_block = successor_def()
    else_block = successor_def()
    imm = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    traits = traits_def(IsTerminator())


@irdl_op_definition
class MayGotoOp(BranchOp, InsnOp):
    """Jump to the first successor once the loop budget is used up, else fall through to the second."""

    name = "ebpf.may_goto_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("^", ", ", "^")
    then_args = var_operand_def()
    else_args = var_operand_def()
    then_block = successor_def()
    else_block = successor_def()
    unused = opt_prop_def(DictionaryAttr)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    traits = traits_def(IsTerminator())


@irdl_op_definition
class CallOp(InsnOp):
    """Call of helper number `helper` (uapi linux/bpf.h). Operands are those of r1–r5 that are surely defined, or after
    raising those that the helper's prototype takes."""

    name = "ebpf.call_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("#helper", "*")
    args = var_operand_def()
    res = result_def()
    helper = prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    core = opt_prop_def()


@irdl_op_definition
class CallLocalOp(InsnOp):
    """Call of another function of the object. `via` says how the object names the target: absent, by distance;
    `symbol`; or `section`, by section symbol and addend."""

    name = "ebpf.call_local_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("@callee", "*")
    args = var_operand_def()
    res = result_def()
    callee = prop_def(SymbolRefAttr)
    via = opt_prop_def(StringAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class CallKfuncOp(InsnOp):
    """Call of a kernel function: `callee` is an undefined symbol of the object; without relocation `imm` and `off`
    hold the BTF id and the module index."""

    name = "ebpf.call_kfunc_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("#imm", "*")
    args = var_operand_def()
    res = result_def()
    imm = prop_def(IntAttr)
    off = opt_prop_def(IntAttr)
    callee = opt_prop_def(SymbolRefAttr)
    via = opt_prop_def(StringAttr)
    pseudo = opt_prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class CallxOp(InsnOp):
    """Indirect call."""

    name = "ebpf.callx_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "*")
    target = operand_def()
    args = var_operand_def()
    res = result_def()
    unused = opt_prop_def(DictionaryAttr)


@irdl_op_definition
class ExitOp(InsnOp):
    """Return r0 from the function; without operand when r0 is not surely defined."""

    name = "ebpf.exit_form"
    FORMAT: ClassVar[tuple[str, ...]] = ("*",)
    value = opt_operand_def()
    unused = opt_prop_def(DictionaryAttr)
    traits = traits_def(IsTerminator())


FORMS: dict[Form, type[InsnOp]] = {
    Form.ALU_RR: AluRROp,
    Form.ALU_RI: AluRIOp,
    Form.UNARY: UnaryOp,
    Form.MOV_RR: MovRROp,
    Form.MOV_RI: MovRIOp,
    Form.LDDW: LddwOp,
    Form.LDX: LdxOp,
    Form.STX: StxOp,
    Form.ST: StOp,
    Form.ATOMIC: AtomicOp,
    Form.ATOMIC_FETCH: AtomicFetchOp,
    Form.CMPXCHG: CmpxchgOp,
    Form.LOAD_ACQ: LdxOp,
    Form.STORE_REL: AtomicOp,
    Form.LD_ABS: LdAbsOp,
    Form.LD_IND: LdIndOp,
    Form.JA: JaOp,
    Form.JCC_RR: JccRROp,
    Form.JCC_RI: JccRIOp,
    Form.MAY_GOTO: MayGotoOp,
    Form.CALL: CallOp,
    Form.CALL_LOCAL: CallLocalOp,
    Form.CALL_KFUNC: CallKfuncOp,
    Form.CALLX: CallxOp,
    Form.EXIT: ExitOp,
}


def _op_class(row: isa.Opcode) -> type[InsnOp]:
    base = FORMS[row.form]
    fields = {"name": f"ebpf.{row.name}", "ROW": row, "__doc__": base.__doc__, "__module__": __name__}
    return cast(type[InsnOp], type(f"{row.name.title().replace('_', '')}Op", (base,), fields))


OPS: dict[str, type[InsnOp]] = {row.name: _op_class(row) for row in isa.OPCODES}


def form_of(op: Operation) -> type[Operation]:
    """The class that passes select by: the form of an instruction, the class itself of any other operation."""
    return FORMS[op.row.form] if isinstance(op, InsnOp) else type(op)


def insn(
    mnemonic: str,
    operands: Sequence[SSAValue] = (),
    result: Attribute | None = None,
    *,
    sym: str | None = None,
    **fields: int,
) -> InsnOp:
    """Build a straight-line instruction: `insn("addi", [x], reg(1), imm=14)`; `sym` is the callee of a local call."""
    properties: dict[str, Attribute] = {name: int_attr(value) for name, value in fields.items()}
    if sym is not None:
        properties["callee"] = SymbolRefAttr(sym)
    return OPS[mnemonic].create(
        operands=operands, result_types=[] if result is None else [result], properties=properties
    )


def branch(
    mnemonic: str,
    operands: Sequence[SSAValue],
    then: tuple[Block, Sequence[SSAValue]],
    otherwise: tuple[Block, Sequence[SSAValue]],
    *,
    imm: int | None = None,
) -> InsnOp:
    """Build a conditional jump; `otherwise` must become the next block in layout before export."""
    properties: dict[str, Attribute] = {
        "operandSegmentSizes": segments(*[1] * len(operands), len(then[1]), len(otherwise[1]))
    }
    if imm is not None:
        properties["imm"] = int_attr(imm)
    return OPS[mnemonic].create(
        operands=[*operands, *then[1], *otherwise[1]],
        properties=properties,
        successors=[then[0], otherwise[0]],
    )


def jump(target: Block, args: Sequence[SSAValue] = (), mnemonic: str = "ja") -> InsnOp:
    """Build an unconditional jump."""
    return OPS[mnemonic].create(operands=args, successors=[target])
