"""The `ebpf` dialect: what every instruction of the ISA table means, and the dialect's operations that are no
instructions. Rules are made per form of the table; the arithmetic itself is in `emit_alu`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from xdsl.ir import Operation, SSAValue

from fsir.dialects import ebpf
from fsir.interp import emit_alu
from fsir.interp.emit_base import (
    CONDITIONS,
    FREE,
    GOTOS,
    M64,
    RULES,
    Emitter,
    Parameter,
    Rule,
    address,
    condition,
    hexa,
    rule,
    width_of,
)
from fsir.interp.emit_packet import fetch
from fsir.interp.helpers import HELPERS
from fsir.isa import OPCODES, Form, Opcode

TAIL_CALL = 12
MAY_GOTO_BUDGET = 8 * 1024 * 1024
"""BPF_MAX_LOOPS: how often `may_goto` falls through in one packet."""

FormRule = Callable[[Opcode, ebpf.InsnOp, Emitter], None]


def _alu_rr(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    a, b = (e.word(value) for value in op.operands)
    e.set(op.results[0], emit_alu.BINARY[row.op, row.width].format(a=a, b=b), row.width)


def _alu_ri(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    b = emit_alu.immediate(row.op, row.width, op.int_prop("imm"))
    e.set(op.results[0], emit_alu.BINARY[row.op, row.width].format(a=e.word(op.operands[0]), b=b), row.width)


def _unary(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.set(op.results[0], emit_alu.UNARY[row.op, row.width].format(a=e.word(op.operands[0])), row.width)


def _mov_ri(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.set(op.results[0], hexa(op.int_prop("imm") & ((1 << row.width) - 1)))


def _lddw(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    if op.int_prop("pseudo"):
        e.line(f"unsupported('lddw with pseudo source {op.int_prop('pseudo')}: only the kernel knows its meaning')")
    e.set(op.results[0], hexa(op.int_prop("imm") & M64))


def _ldx(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    # A 32-bit load from the context gives a packet pointer, so the result's width is not that of the load.
    loaded = load(e, op.operands[0], op.int_prop("off"), row.width)
    if row.signed:
        sign = hex(1 << (row.width - 1))
        loaded = f"(({loaded} ^ {sign}) - {sign}) & {hex(M64)}"
    e.set(op.results[0], loaded, row.width if row.width < 32 and not row.signed else 64)


def _stx(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    store(e, op.operands[0], op.int_prop("off"), row.width, e.word(op.operands[1]))


def _st(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    store(e, op.operands[0], op.int_prop("off"), row.width, hexa(op.int_prop("imm") & ((1 << row.width) - 1)))


_MODIFY = {"add": "{old} + {value}", "or": "{old} | {value}", "and": "{old} & {value}", "xor": "{old} ^ {value}"}
_MODIFY["xchg"] = "{value}"


def modify(e: Emitter, at: str, width: int, op: str, value: str) -> None:
    """Read, modify and write back; the old value is in `old` afterwards."""
    e.line(f"at = {at}")
    e.line(f"old = {e.need('load', width)}(at)")
    e.line(f"{e.need('store', width)}(at, {_MODIFY[op].format(old='old', value=value)})")


def _atomic(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    modify(e, address(e.word(op.operands[0]), op.int_prop("off")), row.width, row.op, e.word(op.operands[1]))


def _atomic_fetch(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    kind = row.op.removeprefix("fetch_")
    modify(e, address(e.word(op.operands[0]), op.int_prop("off")), row.width, kind, e.word(op.operands[1]))
    e.set(op.results[0], "old", row.width)


def _cmpxchg(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    base, expected, value = (e.word(operand) for operand in op.operands)
    mask = "" if row.width == 64 else f" & {hex((1 << row.width) - 1)}"
    e.line(f"at = {address(base, op.int_prop('off'))}")
    e.line(f"old = {e.need('load', row.width)}(at)")
    # Written back even when unequal: the location must be writable either way.
    e.line(f"{e.need('store', row.width)}(at, {value} if old == {expected}{mask} else old)")
    e.set(op.results[0], "old", row.width)


def _ld_abs(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    fetch(op, str(op.int_prop("imm")), row.width, e)


def _ld_ind(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    fetch(op, f"{e.word(op.operands[1])} + {op.int_prop('imm')}", row.width, e)


def _call(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    number = op.int_prop("helper")
    args = e.call_operands(list(op.operands), 5)
    if number == TAIL_CALL:
        _tail_call(args, e)
        e.set(op.results[0], "0")
        return
    calls_back = number in HELPERS and HELPERS[number].calls_back
    if calls_back:
        e.save_state()
    e.set(op.results[0], e.call_helper(number, *args))
    if calls_back:
        e.restore_state()


def _tail_call(args: list[str], e: Emitter) -> None:
    e.count_helper(TAIL_CALL)
    e.line(f"target = {e.need('tail_call')}({args[1]}, {args[2]})")
    e.line("if target is not None:")
    e.line("    state[0] = n")
    e.line(f"    return enter_program(target, {args[0]}, depth)")


def _call_local(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    assert isinstance(op, ebpf.CallLocalOp)
    call_function(op, op.symbol_prop("callee"), list(op.operands), e)


def call_function(op: Operation, callee: str, operands: list[SSAValue], e: Emitter) -> None:
    """Call another function of the module: operands in registers are matched by register, others by position."""
    registers = [ebpf.reg_index(value.type) for value in operands]
    params = e.parameters(op, callee)
    if None in registers:
        given = {param.register: value for param, value in zip(params, operands, strict=False)}
    else:
        given = {index: value for index, value in zip(registers, operands, strict=True) if index is not None}
    arguments = "".join(f"{_argument(param, given.get(param.register), e)}, " for param in params)
    function = e.need("function", callee)
    e.save_state()
    e.set(op.results[0], f"{function}({arguments}depth + 1)")
    e.restore_state()


def _argument(param: Parameter, value: SSAValue | None, e: Emitter) -> str:
    """What is passed for a parameter; a register that is not written holds 0."""
    if value is None:
        return "0"
    if width_of(value.type) == param.width:
        return e.use(value)
    return f"{e.word(value)} & {hex((1 << param.width) - 1)}"


def _call_kfunc(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    name = op.symbol_prop("callee") if "callee" in op.properties else f"#{op.int_prop('imm')}"
    args = e.call_operands(list(op.operands), 5)
    e.line(f"calls[{name!r}] += 1")
    e.save_state()
    e.set(op.results[0], f"{e.need('kfunc', name)}(machine, {', '.join(args)})")
    e.restore_state()


def _callx(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.save_state()
    args = e.call_operands(list(op.operands[1:]), 5)
    e.set(op.results[0], f"{e.need('call_address')}({e.word(op.operands[0])}, {', '.join(args)})")
    e.restore_state()


def _exit(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.leave(e.word(op.operands[0]) if op.operands else "0")


FORM_RULES: dict[Form, FormRule] = {
    Form.ALU_RR: _alu_rr,
    Form.ALU_RI: _alu_ri,
    Form.UNARY: _unary,
    Form.MOV_RR: _unary,
    Form.MOV_RI: _mov_ri,
    Form.LDDW: _lddw,
    Form.LDX: _ldx,
    Form.STX: _stx,
    Form.ST: _st,
    Form.ATOMIC: _atomic,
    Form.ATOMIC_FETCH: _atomic_fetch,
    Form.CMPXCHG: _cmpxchg,
    Form.LOAD_ACQ: _ldx,
    Form.STORE_REL: _stx,
    Form.LD_ABS: _ld_abs,
    Form.LD_IND: _ld_ind,
    Form.CALL: _call,
    Form.CALL_LOCAL: _call_local,
    Form.CALL_KFUNC: _call_kfunc,
    Form.CALLX: _callx,
    Form.EXIT: _exit,
}


def _row_rule(row: Opcode, form_rule: FormRule) -> Rule:
    return lambda op, e: form_rule(row, cast(ebpf.InsnOp, op), e)


for _row in OPCODES:
    if _row.form in FORM_RULES:
        RULES[f"ebpf.{_row.name}"] = _row_rule(_row, FORM_RULES[_row.form])


# Jumps


def _jump_rule(row: Opcode) -> Callable[[Operation, Emitter], str]:
    def compare(op: Operation, e: Emitter) -> str:
        assert isinstance(op, ebpf.BranchOp)
        fixed = [e.word(value) for value in op.fixed_operands()]
        if row.form is Form.JCC_RI:
            fixed.append(emit_alu.immediate(row.op, row.width, op.int_prop("imm")))
        return emit_alu.COMPARE[row.op, row.width].format(a=fixed[0], b=fixed[1])

    return compare


for _row in OPCODES:
    if _row.form in (Form.JCC_RR, Form.JCC_RI):
        CONDITIONS[f"ebpf.{_row.name}"] = _jump_rule(_row)
    elif _row.form is Form.JA:
        GOTOS.add(f"ebpf.{_row.name}")
GOTOS.add("ebpf.fallthrough")
FREE |= {"ebpf.fallthrough", "ebpf.end", "ebpf.frame", "ebpf.undef", "ebpf.cast", "ebpf.alloca"}


@condition("ebpf.may_goto")
def _may_goto(op: Operation, e: Emitter) -> str:
    e.line("state[1] += 1")
    return f"state[1] > {MAY_GOTO_BUDGET}"


# What is not an instruction


@rule("ebpf.ld_sym")
def _ld_sym(op: Operation, e: Emitter) -> None:
    assert isinstance(op, ebpf.LdSymOp)
    e.set(op.res, e.need("symbol", op.symbol_prop("sym"), op.int_prop("offset")))


@rule("ebpf.frame")
def _frame(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.frame_pointer())


@rule("ebpf.undef")
def _undef(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], "0")


@rule("ebpf.cast")
def _cast(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.word(op.operands[0]))


@rule("ebpf.alloca")
def _alloca(op: Operation, e: Emitter) -> None:
    assert isinstance(op, ebpf.AllocaOp)
    e.set(op.res, e.alloca(op, op.int_prop("size")))


@rule("ebpf.end")
def _end(op: Operation, e: Emitter) -> None:
    e.line("unsupported('the code ends here: control ran off the end of the function')")


@rule("ebpf.raw")
def _raw(op: Operation, e: Emitter) -> None:
    e.line("unsupported('these bytes are no instruction')")


# Memory


def load(e: Emitter, base: SSAValue, offset: int, width: int) -> str:
    """An expression for the unsigned value at an address; within the own frame without a bounds check."""
    at = e.stack_offset(base)
    if at is not None and _in_frame(at + offset, width):
        start = 512 + at + offset
        return f"{e.stack_buffer()}[{start}]" if width == 8 else f"unpack{width}({e.stack_buffer()}, {start})[0]"
    return f"{e.need('load', width)}({address(e.word(base), offset)})"


def store(e: Emitter, base: SSAValue, offset: int, width: int, value: str) -> None:
    """Write the low `width` bits of a word."""
    at = e.stack_offset(base)
    if at is not None and _in_frame(at + offset, width):
        cut = value if width == 64 else f"{value} & {hex((1 << width) - 1)}"
        start = 512 + at + offset
        buffer = e.stack_buffer()
        e.line(f"{buffer}[{start}] = {cut}" if width == 8 else f"pack{width}({buffer}, {start}, {cut})")
    else:
        e.line(f"{e.need('store', width)}({address(e.word(base), offset)}, {value})")


def _in_frame(offset: int, width: int) -> bool:
    return offset >= -512 and offset + width // 8 <= 0


__all__ = ["call_function", "load", "modify", "store"]
