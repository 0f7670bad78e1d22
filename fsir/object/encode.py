"""SSA to machine code: the instructions of one function in allocated-register form. Inverse of `lift.py`.

Calls by distance and addresses by section symbol depend on where functions end up; those immediates are left for the
exporter, which finds them through `Code.refs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from xdsl.dialects.builtin import DictionaryAttr, FileLineColLoc, IntAttr, NameLoc, StringAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from fsir import isa
from fsir.dialects.ebpf import (
    CastOp,
    EndOp,
    FallthroughOp,
    FpOp,
    FuncOp,
    InsnOp,
    LdSymOp,
    RawOp,
    UndefOp,
    reg_index,
)
from fsir.isa import Form, Insn
from fsir.object.code import UNDEFINED, Code, Ref
from fsir.object.elf import R_BPF_64_32, R_BPF_64_64

_SILENT = (FpOp, UndefOp, FallthroughOp, EndOp, CastOp)
_PLACE = re.compile(r"\+0x([0-9a-f]+)$")  # section and offset, as lifting names instructions without a line

_Fields = dict[str, int]


def size_of(op: Operation) -> int:
    """Bytes of code that an operation emits; 0 for those that are no instruction."""
    if isinstance(op, LdSymOp):
        return 2 * isa.INSN_SIZE
    if isinstance(op, InsnOp):
        return isa.INSN_SIZE * op.row.slots
    return isa.INSN_SIZE if isinstance(op, RawOp) else 0


def instruction_count(func: FuncOp) -> int:
    """Length of a function's machine code in 8-byte slots."""
    return sum(size_of(op) for block in func.body.blocks for op in block.ops) // isa.INSN_SIZE


class NotEncodable(VerifyException):
    """An operation that no machine code can be made of as it is."""

    def __init__(self, op: Operation, message: str) -> None:
        super().__init__(message)
        self.op = op


def encode(func: FuncOp) -> Code:
    """The machine code of a function. Raises NotEncodable where it is not ready for it: an unallocated value, an
    operation of another level, a block that is not where its predecessor falls through to, a jump too far."""
    starts: dict[Block, int] = {}
    at = 0
    for block in func.body.blocks:
        starts[block] = at
        for op in block.ops:
            at += size_of(op)
    code = Code(b"")
    data = bytearray()
    for block in func.body.blocks:
        for op in block.ops:
            try:
                _encode_op(op, starts, code, data)
            except VerifyException as error:
                raise NotEncodable(op, str(error)) from error
    code.data = bytes(data)
    return code


def _encode_op(op: Operation, starts: dict[Block, int], code: Code, data: bytearray) -> None:
    offset = len(data)
    if isinstance(op, RawOp):
        data += bytes.fromhex(op.bytes.data)
        if op.sym is not None:
            via = op.via.data if op.via is not None else ""
            code.refs[offset] = Ref(op.sym.root_reference.data, via, op.int_prop("reloc_type"))
    elif isinstance(op, LdSymOp):
        fields = {"dst": _register(op.res), "src": op.int_prop("pseudo")}
        fields |= {"imm": op.int_prop("imm"), "imm_hi": op.int_prop("imm_hi")}
        code.refs[offset] = _symbol_ref(op)
        data += _pack(isa.LDDW, op, fields)
    elif isinstance(op, InsnOp):
        data += _pack(op.row, op, _FIELDS[op.row.form](op, starts, offset))
        if op.row.form in (Form.CALL_LOCAL, Form.CALL_KFUNC) and "callee" in op.properties:
            code.refs[offset] = _call_ref(op)
    elif not isinstance(op, _SILENT):
        raise VerifyException(f"{op.name} is no machine instruction; lower the function first (-p lower-to-xdp)")
    if isinstance(op, _SILENT):
        _check_layout(op, starts, offset)
    else:
        _attach(op, code, offset)


def _attach(op: Operation, code: Code, offset: int) -> None:
    location: Attribute = op.location
    if isinstance(location, NameLoc):
        if offset == 0 and (place := _PLACE.search(location.desc.data)):
            code.start = int(place[1], 16)
        location = location.location
    if isinstance(location, FileLineColLoc):
        code.lines[offset] = (location.filename.data, location.line.data, location.column.data)
    core = op.properties.get("core")
    if isinstance(core, DictionaryAttr):
        fields = core.data
        code.cores[offset] = (
            cast(IntAttr, fields["type"]).data,
            cast(StringAttr, fields["access"]).data,
            cast(IntAttr, fields["kind"]).data,
        )


def _check_layout(op: Operation, starts: dict[Block, int], offset: int) -> None:
    if isinstance(op, FallthroughOp) and starts[op.successors[0]] != offset:
        raise VerifyException("ebpf.fallthrough to a block that does not come next; lay the blocks out first")


def _symbol_ref(op: LdSymOp) -> Ref:
    target = op.sym.root_reference.data
    place = op.int_prop("offset") if op.offset is not None else None
    return Ref(target, op.via.data if op.via is not None else target, R_BPF_64_64, place)


def _call_ref(op: InsnOp) -> Ref:
    target = op.symbol_prop("callee")
    via = cast(StringAttr, op.properties["via"]).data if "via" in op.properties else ""
    undefined = op.row.form is Form.CALL_KFUNC
    return Ref(target, via, R_BPF_64_32 if via else 0, UNDEFINED if undefined else None)


def _pack(row: isa.Opcode, op: Operation, fields: _Fields) -> bytes:
    values = {"dst": 0, "src": row.src or 0, "off": row.off or 0, "imm": row.imm or 0, "imm_hi": 0} | fields
    unused = op.properties.get("unused")
    if isinstance(unused, DictionaryAttr):
        values |= {name: cast(IntAttr, value).data for name, value in unused.data.items()}
    if not -0x8000 <= values["off"] < 0x8000:
        raise VerifyException(f"{row.name}: offset {values['off']} does not fit 16 bits")
    values["imm"], values["imm_hi"] = _signed32(values["imm"]), _signed32(values["imm_hi"])
    return isa.encode(Insn(row.code, **values))


def _signed32(value: int) -> int:
    if not -0x80000000 <= value <= 0xFFFFFFFF:
        raise VerifyException(f"immediate {value} does not fit 32 bits")
    return value - (1 << 32) if value > 0x7FFFFFFF else value


def _register(value: SSAValue) -> int:
    index = reg_index(value.type)
    if index is None:
        raise VerifyException(f"{value.type} has no register; allocate registers first (-p allocate-registers)")
    return index


def _dst_src(op: InsnOp) -> _Fields:
    return {"dst": _register(op.operands[0]), "src": _register(op.operands[1]), "off": op.int_prop("off")}


def _jump(op: InsnOp, starts: dict[Block, int], offset: int, fields: _Fields) -> _Fields:
    """Add the distance to the first successor; the second must be what comes next."""
    if len(op.successors) == 2 and starts[op.successors[1]] != offset + isa.INSN_SIZE:
        raise VerifyException(f"{op.name}: the else block does not come next; lay the blocks out first")
    distance = (starts[op.successors[0]] - offset) // isa.INSN_SIZE - 1
    return fields | {"imm" if op.row.name == "gotol" else "off": distance}


def _lddw(op: InsnOp) -> _Fields:
    value = op.int_prop("imm")
    return {
        "dst": _register(op.results[0]),
        "src": op.int_prop("pseudo"),
        "imm": value & 0xFFFFFFFF,
        "imm_hi": value >> 32 & 0xFFFFFFFF,
    }


def _call_local(op: InsnOp) -> _Fields:
    return {"src": isa.PSEUDO_CALL, "imm": -1}


def _call_kfunc(op: InsnOp) -> _Fields:
    pseudo = op.int_prop("pseudo") or isa.PSEUDO_KFUNC_CALL
    return {"src": pseudo, "imm": op.int_prop("imm"), "off": op.int_prop("off")}


# Fields by form. A two-address instruction encodes the register that result and first operand share.
_FIELDS: dict[Form, Callable[[InsnOp, dict[Block, int], int], _Fields]] = {
    Form.ALU_RR: lambda op, s, o: (
        {"dst": _register(op.results[0]), "src": _register(op.operands[1])} | _tied(op, op.operands[0])
    ),
    Form.ALU_RI: lambda op, s, o: (
        {"dst": _register(op.results[0]), "imm": op.int_prop("imm")} | _tied(op, op.operands[0])
    ),
    Form.UNARY: lambda op, s, o: {"dst": _register(op.results[0])} | _tied(op, op.operands[0]),
    Form.MOV_RR: lambda op, s, o: {"dst": _register(op.results[0]), "src": _register(op.operands[0])},
    Form.MOV_RI: lambda op, s, o: {"dst": _register(op.results[0]), "imm": op.int_prop("imm")},
    Form.LDDW: lambda op, s, o: _lddw(op),
    Form.LDX: lambda op, s, o: {
        "dst": _register(op.results[0]),
        "src": _register(op.operands[0]),
        "off": op.int_prop("off"),
    },
    Form.STX: lambda op, s, o: _dst_src(op),
    Form.ST: lambda op, s, o: {
        "dst": _register(op.operands[0]),
        "off": op.int_prop("off"),
        "imm": op.int_prop("imm"),
    },
    Form.ATOMIC: lambda op, s, o: _dst_src(op),
    Form.ATOMIC_FETCH: lambda op, s, o: _dst_src(op) | _tied(op, op.operands[1]),
    Form.CMPXCHG: lambda op, s, o: {
        "dst": _register(op.operands[0]),
        "src": _register(op.operands[2]),
        "off": op.int_prop("off"),
    },
    Form.LOAD_ACQ: lambda op, s, o: {
        "dst": _register(op.results[0]),
        "src": _register(op.operands[0]),
        "off": op.int_prop("off"),
    },
    Form.STORE_REL: lambda op, s, o: _dst_src(op),
    Form.LD_ABS: lambda op, s, o: {"imm": op.int_prop("imm")},
    Form.LD_IND: lambda op, s, o: {"src": _register(op.operands[1]), "imm": op.int_prop("imm")},
    Form.JA: lambda op, s, o: _jump(op, s, o, {}),
    Form.JCC_RR: lambda op, s, o: _jump(op, s, o, {"dst": _register(op.operands[0]), "src": _register(op.operands[1])}),
    Form.JCC_RI: lambda op, s, o: _jump(op, s, o, {"dst": _register(op.operands[0]), "imm": op.int_prop("imm")}),
    Form.MAY_GOTO: lambda op, s, o: _jump(op, s, o, {}),
    Form.CALL: lambda op, s, o: {"imm": op.int_prop("helper")},
    Form.CALL_LOCAL: lambda op, s, o: _call_local(op),
    Form.CALL_KFUNC: lambda op, s, o: _call_kfunc(op),
    Form.CALLX: lambda op, s, o: {"dst": _register(op.operands[0])},
    Form.EXIT: lambda op, s, o: {},
}


def _tied(op: InsnOp, operand: SSAValue) -> _Fields:
    """Check that the result has the register of the operand that it overwrites."""
    if _register(op.results[0]) != _register(operand):
        raise VerifyException(
            f"{op.name}: result in r{_register(op.results[0])}, overwritten operand in r{_register(operand)}"
        )
    return {}
