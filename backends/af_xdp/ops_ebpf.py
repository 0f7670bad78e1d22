"""The `ebpf` dialect in C: one rule per form of the ISA table, and the operations that are no instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from xdsl.ir import Operation, SSAValue

from fsir.analysis.libraries import Parameter, Prototype
from fsir.backends.af_xdp.access import atomic_at, load, store
from fsir.backends.af_xdp.alu import BINARY, COMPARE, UNARY
from fsir.backends.af_xdp.capabilities import supported_helper
from fsir.backends.af_xdp.writer import (
    CONDITIONS,
    GOTOS,
    M64,
    NEEDS,
    PURE,
    RULES,
    Emitter,
    Needs,
    Rule,
    literal,
    operand,
    plus,
    rule,
)
from fsir.dialects import ebpf
from fsir.dialects.map import ValueType
from fsir.driver.diagnostics import fail
from fsir.interp.helpers import HELPERS, ReturnKind
from fsir.isa import OPCODES, Form, Opcode

FormRule = Callable[[Opcode, ebpf.InsnOp, Emitter], None]

_SHIFTS = frozenset({"lsh", "rsh", "arsh"})


def _alu_rr(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    a, b = e.wide(op.operands[0]), e.use(op.operands[1])
    e.set(op.results[0], BINARY[row.op, row.width].format(a=a, b=b), row.width)


def _alu_ri(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    imm = op.int_prop("imm")
    a = e.wide(op.operands[0])
    template = BINARY[row.op, row.width]
    if row.op in _SHIFTS:
        template = template.replace(f"({{b}} & {row.width - 1})", "{b}").replace(f"{{b}} & {row.width - 1}", "{b}")
        b = str(imm & (row.width - 1))
    elif row.op == "add" and imm < 0:
        template, b = BINARY["sub", row.width], str(-imm)
    elif row.op in ("sdiv", "smod"):
        b = operand(str(imm))
    else:
        b = literal(imm & ((1 << row.width) - 1))
    e.set(op.results[0], template.format(a=a, b=b), row.width)


def _unary(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.set(op.results[0], UNARY[row.op, row.width].format(a=e.wide(op.operands[0])), row.width)


def _mov_ri(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.set(op.results[0], literal(op.int_prop("imm") & ((1 << row.width) - 1)))


def _lddw(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    if op.int_prop("pseudo"):
        fail(op, f"lddw with pseudo source {op.int_prop('pseudo')}: only the kernel knows what it means")
    e.set(op.results[0], literal(op.int_prop("imm") & M64))


def _ldx(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    loaded = load(op, op.operands[0], op.int_prop("off"), row.width, e)
    # A 32-bit load from the context gives a packet pointer, so the result is not cut to the width of the load.
    e.set(op.results[0], f"fs_sext({loaded}, {row.width})" if row.signed else loaded)
    if row.form is Form.LOAD_ACQ:
        e.line("__atomic_thread_fence(__ATOMIC_ACQUIRE);")


def _stx(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    if row.form is Form.STORE_REL:
        e.line("__atomic_thread_fence(__ATOMIC_RELEASE);")
    store(op, op.operands[0], op.int_prop("off"), row.width, e.use(op.operands[1]), e)


def _st(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    value = literal(op.int_prop("imm") & ((1 << row.width) - 1))
    store(op, op.operands[0], op.int_prop("off"), row.width, value, e)


def _atomic(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    at = atomic_at(op, op.operands[0], op.int_prop("off"), row.width, e)
    e.line(f"fs_atomic_{row.op}{row.width}(run, {at}, {e.use(op.operands[1])});")


def _atomic_fetch(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    at = atomic_at(op, op.operands[0], op.int_prop("off"), row.width, e)
    kind = row.op.removeprefix("fetch_")
    e.set(op.results[0], f"fs_atomic_{kind}{row.width}(run, {at}, {e.use(op.operands[1])})")


def _cmpxchg(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    at = atomic_at(op, op.operands[0], op.int_prop("off"), row.width, e)
    expected, value = (e.use(value) for value in op.operands[1:])
    e.set(op.results[0], f"fs_atomic_cmpxchg{row.width}(run, {at}, {expected}, {value})")


def _call(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    number = op.int_prop("helper")
    if (reason := supported_helper(number)) is not None:
        fail(op, f"{reason}; place this code in the kernel")
    helper = HELPERS[number]
    count = 5 if helper.variadic else len(helper.args)
    slots = arguments(list(op.operands), 5)
    missing = [n + 1 for n in range(len(helper.args)) if slots[n] is None]
    if missing:
        fail(op, f"{helper.c_name} is called without its argument {missing[0]}")
    args = ["0" if value is None else e.use(value) for value in slots[:count]]
    call = f"fs_bpf_{helper.name}({', '.join(('run', *args))})"
    if helper.returns is ReturnKind.VOID:
        e.line(f"{call};")
        e.set(op.results[0], "0")
    else:
        e.set(op.results[0], call)


def arguments(operands: list[SSAValue], count: int) -> list[SSAValue | None]:
    """What a call passes in r1, r2 …: by register where operands carry one, else by position."""
    slots: list[SSAValue | None] = [None] * count
    for position, value in enumerate(operands):
        register = ebpf.reg_index(value.type)
        slot = position if register is None else register - 1
        if slot < count:
            slots[slot] = value
    return slots


def _call_local(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    name, params = e.function(op, op.symbol_prop("callee"))
    slots = arguments(list(op.operands), 5)
    args = ["run"]
    for position, param in enumerate(params):
        register = ebpf.reg_index(param.type)
        value = slots[position if register is None else register - 1]
        if value is None:
            fail(op, f"'{op.symbol_prop('callee')}' is called without its argument {position + 1}")
        args.append(e.use(value))
    e.set(op.results[0], f"{name}({', '.join(args)})")


def _call_kfunc(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    if "callee" not in op.properties:
        fail(op, f"kernel function with BTF id {op.int_prop('imm')} cannot be called on AF_XDP")
    found = e.library_function(op, op.symbol_prop("callee"))
    slots = arguments(list(op.operands), len(found.parameters))
    words: list[str] = []
    for number, value in enumerate(slots, 1):
        if value is None:
            fail(op, f"'{found.name}' is called without its argument {number}")
        words.append(e.wide(value))
    args = [_library_argument(op, found, index, words, slots, e) for index in range(len(slots))]
    call = f"{found.name}({', '.join(args)})"
    if found.result is None:
        e.line(f"{call};")
        e.set(op.results[0], "0")
    else:
        e.set(op.results[0], f"(uint64_t)(int64_t){call}" if found.result.signed else f"(uint64_t){call}")


def _library_argument(
    op: Operation, of: Prototype, index: int, words: list[str], slots: list[SSAValue | None], e: Emitter
) -> str:
    """An argument for a function of a library: an integer in its width, or bytes that are the program's own."""
    parameter, value = of.parameters[index], slots[index]
    if not parameter.is_pointer:
        return f"({c_integer(parameter)})({words[index]})"
    assert value is not None
    if parameter.writable and isinstance(value.type, ValueType):
        for name in value.type.names:
            e.map_writable(op, name)
    size = str(parameter.size)
    if parameter.size is None:
        size = f"(uint{of.parameters[index + 1].bits}_t)({words[index + 1]})"
    return f"fs_buffer(run, {words[index]}, {size}, {'true' if parameter.writable else 'false'})"


def c_integer(parameter: Parameter) -> str:
    """The C type of an integer."""
    return f"{'' if parameter.signed else 'u'}int{parameter.bits}_t"


def c_prototype(of: Prototype) -> str:
    """The declaration of a library's function."""
    types = [("void *" if p.writable else "const void *") if p.is_pointer else c_integer(p) for p in of.parameters]
    result = "void" if of.result is None else c_integer(of.result)
    return f"extern {result} {of.name}({', '.join(types) or 'void'});"


def _callx(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    slots = arguments(list(op.operands[1:]), 4)
    args = [e.use(op.operands[0]), *("0" if value is None else e.use(value) for value in slots)]
    e.set(op.results[0], f"fs_call(run, {', '.join(args)})")


def _exit(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    e.leave(e.use(op.operands[0]) if op.operands else "0")


def _socket_filter(row: Opcode, op: ebpf.InsnOp, e: Emitter) -> None:
    fail(op, f"{row.name} is for socket filters; an XDP program cannot have it")


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
    Form.LD_ABS: _socket_filter,
    Form.LD_IND: _socket_filter,
    Form.CALL: _call,
    Form.CALL_LOCAL: _call_local,
    Form.CALL_KFUNC: _call_kfunc,
    Form.CALLX: _callx,
    Form.EXIT: _exit,
}
_PURE_FORMS = {Form.ALU_RR, Form.ALU_RI, Form.UNARY, Form.MOV_RR, Form.MOV_RI, Form.LDDW}
_NEEDS = dict.fromkeys((Form.LDX, Form.STX, Form.ST, Form.LOAD_ACQ, Form.STORE_REL, Form.EXIT), Needs.NOTHING) | (
    dict.fromkeys((Form.ATOMIC, Form.ATOMIC_FETCH, Form.CMPXCHG), Needs.RUN)
)


def _row_rule(row: Opcode, form_rule: FormRule) -> Rule:
    return lambda op, e: form_rule(row, cast(ebpf.InsnOp, op), e)


def _jump_rule(row: Opcode) -> Callable[[Operation, Emitter], str]:
    def compare(op: Operation, e: Emitter) -> str:
        assert isinstance(op, ebpf.BranchOp)
        first, *rest = op.fixed_operands()
        fixed = [e.wide(first), *map(e.use, rest)]
        if row.form is Form.JCC_RI:
            imm = op.int_prop("imm")
            is_signed = row.op.startswith("js") and row.op != "jset"
            fixed.append(operand(str(imm)) if is_signed else literal(imm & ((1 << row.width) - 1)))
        return COMPARE[row.op, row.width].format(a=fixed[0], b=fixed[1])

    return compare


for _row in OPCODES:
    if _row.form in FORM_RULES:
        RULES[f"ebpf.{_row.name}"] = _row_rule(_row, FORM_RULES[_row.form])
        if _row.form in _PURE_FORMS:
            PURE.add(f"ebpf.{_row.name}")
        elif _row.form in _NEEDS:
            NEEDS[f"ebpf.{_row.name}"] = _NEEDS[_row.form]
    elif _row.form in (Form.JCC_RR, Form.JCC_RI):
        CONDITIONS[f"ebpf.{_row.name}"] = _jump_rule(_row)
    elif _row.form is Form.JA:
        GOTOS.add(f"ebpf.{_row.name}")
GOTOS.add("ebpf.fallthrough")
CONDITIONS["ebpf.may_goto"] = lambda op, e: "fs_budget_spent(run)"
NEEDS["ebpf.may_goto"] = Needs.RUN


@rule("ebpf.ld_sym", pure=True, needs=Needs.RUN)
def _ld_sym(op: Operation, e: Emitter) -> None:
    assert isinstance(op, ebpf.LdSymOp)
    e.set(op.res, e.symbol(op))


@rule("ebpf.frame", "ebpf.alloca", pure=True, needs=Needs.RUN)
def _frame(op: Operation, e: Emitter) -> None:
    offset = e.frame_offset(op.results[0])
    assert offset is not None
    e.set(op.results[0], plus(e.frame_pointer(), offset))


@rule("ebpf.undef", pure=True)
def _undef(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], "0")


@rule("ebpf.cast", pure=True)
def _cast(op: Operation, e: Emitter) -> None:
    e.set(op.results[0], e.wide(op.operands[0]))


@rule("ebpf.end", needs=Needs.RUN)
def _end(op: Operation, e: Emitter) -> None:
    e.line('fs_fail(run, "control ran off the end of the function");')


@rule("ebpf.raw")
def _raw(op: Operation, e: Emitter) -> None:
    fail(op, "these bytes are no instruction; the function cannot be compiled")
