"""The eBPF instruction set, as one table.

Every row of `OPCODES` describes one instruction of the ISA (RFC 9669 through cpu v4, with the load-acquire and
store-release, may-goto and address-space-cast additions of later kernels).  The decoder, the encoder, the dialect's
operations, the printer, the interpreter and the cost model all read this table; nothing else in the project knows an
opcode number.

This module knows nothing of ELF and nothing of IR: bytes in, `Insn` out, and back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

_WORD = struct.Struct("<BBhi")
INSN_SIZE = 8

# --- encodings (RFC 9669, section 3 and 4) ---------------------------------------------------------------------------
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)  # instruction class, low 3 bits
SRC_K, SRC_X = 0x00, 0x08  # second operand: immediate or register
_SIZE_BITS = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
_MODE_IMM, _MODE_ABS, _MODE_IND, _MODE_MEM, _MODE_MEMSX, _MODE_ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0

PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE = range(1, 7)
PSEUDO_CALL, PSEUDO_KFUNC_CALL = 1, 2


class Form(Enum):
    """How an instruction uses its fields; one operation class of the dialect per form."""

    ALU_RR = "dst = dst op src"
    ALU_RI = "dst = dst op imm"
    UNARY = "dst = op dst"
    MOV_RR = "dst = op src"
    MOV_RI = "dst = imm"
    LDDW = "dst = imm64 (two slots)"
    LDX = "dst = *(src + off)"
    STX = "*(dst + off) = src"
    ST = "*(dst + off) = imm"
    ATOMIC = "lock *(dst + off) op= src"
    ATOMIC_FETCH = "src = fetch(*(dst + off)), op= src"
    CMPXCHG = "r0 = cmpxchg(*(dst + off), r0, src)"
    LOAD_ACQ = "dst = load_acquire(src + off)"
    STORE_REL = "store_release(dst + off, src)"
    LD_ABS = "r0 = ntoh(skb[imm])"
    LD_IND = "r0 = ntoh(skb[src + imm])"
    JA = "pc += off"
    JCC_RR = "if dst cmp src: pc += off"
    JCC_RI = "if dst cmp imm: pc += off"
    MAY_GOTO = "if out of budget: pc += off"
    CALL = "r0 = helper imm(r1..r5)"
    CALL_LOCAL = "r0 = pc-relative call"
    CALL_KFUNC = "r0 = kernel function, BTF id imm"
    CALLX = "r0 = call *dst"
    EXIT = "return r0"


@dataclass(frozen=True, slots=True)
class Opcode:
    """One row of the table.

    name   mnemonic, also the operation's name in the `ebpf` dialect
    form   which fields it uses
    code   the opcode byte
    op     the operation proper, shared by all widths and operand kinds (`add`, `jgt`, `fetch_or` …)
    width  operand width in bits for ALU, jumps and memory
    signed sign-extending load or move
    src, off, imm   value that this field must have, where it selects the instruction
    """

    name: str
    form: Form
    code: int
    op: str
    width: int
    signed: bool = False
    src: int | None = None
    off: int | None = None
    imm: int | None = None

    @property
    def slots(self) -> int:
        """Size in 8-byte instruction slots."""
        return 2 if self.form is Form.LDDW else 1


@dataclass(frozen=True, slots=True)
class Insn:
    """The fields of one instruction; imm and off are signed, `imm_hi` is that of `lddw`'s second slot."""

    code: int
    dst: int
    src: int
    off: int
    imm: int
    imm_hi: int = 0


_ALU = {
    "add": 0x00,
    "sub": 0x10,
    "mul": 0x20,
    "div": 0x30,
    "or": 0x40,
    "and": 0x50,
    "lsh": 0x60,
    "rsh": 0x70,
    "mod": 0x90,
    "xor": 0xA0,
    "arsh": 0xC0,
}
_JCC = {
    "jeq": 0x10,
    "jgt": 0x20,
    "jge": 0x30,
    "jset": 0x40,
    "jne": 0x50,
    "jsgt": 0x60,
    "jsge": 0x70,
    "jlt": 0xA0,
    "jle": 0xB0,
    "jslt": 0xC0,
    "jsle": 0xD0,
}
_ATOMIC = {"add": 0x00, "or": 0x40, "and": 0x50, "xor": 0xA0}


def _alu_rows() -> list[Opcode]:
    rows: list[Opcode] = []
    for width, cls, suffix in ((64, ALU64, ""), (32, ALU, "32")):
        for op, bits in _ALU.items():
            # `off` selects signed division; the other operations leave it unused.
            off = 0 if op in ("div", "mod") else None
            rows.append(Opcode(op + suffix, Form.ALU_RR, bits | SRC_X | cls, op, width, off=off))
            rows.append(Opcode(f"{op}i{suffix}", Form.ALU_RI, bits | SRC_K | cls, op, width, off=off))
        for op in ("div", "mod"):
            rows.append(Opcode(f"s{op}{suffix}", Form.ALU_RR, _ALU[op] | SRC_X | cls, f"s{op}", width, off=1))
            rows.append(Opcode(f"s{op}i{suffix}", Form.ALU_RI, _ALU[op] | SRC_K | cls, f"s{op}", width, off=1))
        rows.append(Opcode("neg" + suffix, Form.UNARY, 0x80 | cls, "neg", width))
        rows.append(Opcode("mov" + suffix, Form.MOV_RR, 0xB0 | SRC_X | cls, "mov", width, off=0))
        rows.append(Opcode("movi" + suffix, Form.MOV_RI, 0xB0 | SRC_K | cls, "mov", width))
        for bits in (8, 16, 32):
            if bits < width:
                name = f"movsx{bits}{'_32' if width == 32 else ''}"
                rows.append(Opcode(name, Form.MOV_RR, 0xB0 | SRC_X | cls, f"movsx{bits}", width, signed=True, off=bits))
    rows.append(Opcode("addr_space_cast", Form.MOV_RR, 0xB0 | SRC_X | ALU64, "addr_space_cast", 64, off=1))
    for bits in (16, 32, 64):
        rows.append(Opcode(f"le{bits}", Form.UNARY, 0xD0 | SRC_K | ALU, "le", bits, imm=bits))
        rows.append(Opcode(f"be{bits}", Form.UNARY, 0xD0 | SRC_X | ALU, "be", bits, imm=bits))
        rows.append(Opcode(f"bswap{bits}", Form.UNARY, 0xD0 | SRC_K | ALU64, "bswap", bits, imm=bits))
    return rows


def _memory_rows() -> list[Opcode]:
    rows: list[Opcode] = []
    for size, bits in _SIZE_BITS.items():
        n = 8 * size
        rows.append(Opcode(f"ldx{n}", Form.LDX, _MODE_MEM | bits | LDX, "ldx", n))
        if size < 8:
            rows.append(Opcode(f"ldxs{n}", Form.LDX, _MODE_MEMSX | bits | LDX, "ldx", n, signed=True))
            rows.append(Opcode(f"ld_abs{n}", Form.LD_ABS, _MODE_ABS | bits | LD, "ld_abs", n))
            rows.append(Opcode(f"ld_ind{n}", Form.LD_IND, _MODE_IND | bits | LD, "ld_ind", n))
        rows.append(Opcode(f"stx{n}", Form.STX, _MODE_MEM | bits | STX, "stx", n))
        rows.append(Opcode(f"st{n}", Form.ST, _MODE_MEM | bits | ST, "st", n))
        atomic = _MODE_ATOMIC | bits | STX
        rows.append(Opcode(f"load_acq{n}", Form.LOAD_ACQ, atomic, "load_acq", n, imm=0x100))
        rows.append(Opcode(f"store_rel{n}", Form.STORE_REL, atomic, "store_rel", n, imm=0x110))
        if size < 4:
            continue
        for op, imm in _ATOMIC.items():
            rows.append(Opcode(f"atomic_{op}{n}", Form.ATOMIC, atomic, op, n, imm=imm))
            rows.append(Opcode(f"atomic_fetch_{op}{n}", Form.ATOMIC_FETCH, atomic, f"fetch_{op}", n, imm=imm | 1))
        rows.append(Opcode(f"atomic_xchg{n}", Form.ATOMIC_FETCH, atomic, "xchg", n, imm=0xE1))
        rows.append(Opcode(f"atomic_cmpxchg{n}", Form.CMPXCHG, atomic, "cmpxchg", n, imm=0xF1))
    return rows


def _jump_rows() -> list[Opcode]:
    rows: list[Opcode] = []
    for width, cls, suffix in ((64, JMP, ""), (32, JMP32, "32")):
        for op, bits in _JCC.items():
            rows.append(Opcode(op + suffix, Form.JCC_RR, bits | SRC_X | cls, op, width))
            rows.append(Opcode(f"{op}i{suffix}", Form.JCC_RI, bits | SRC_K | cls, op, width))
    rows += [
        Opcode("ja", Form.JA, 0x00 | JMP, "ja", 16),
        Opcode("gotol", Form.JA, 0x00 | JMP32, "ja", 32),
        Opcode("may_goto", Form.MAY_GOTO, 0xE0 | JMP, "may_goto", 16, src=0),
        Opcode("call", Form.CALL, 0x80 | JMP, "call", 64, src=0),
        Opcode("call_local", Form.CALL_LOCAL, 0x80 | JMP, "call_local", 64, src=PSEUDO_CALL),
        Opcode("call_kfunc", Form.CALL_KFUNC, 0x80 | JMP, "call_kfunc", 64, src=PSEUDO_KFUNC_CALL),
        Opcode("callx", Form.CALLX, 0x80 | SRC_X | JMP, "callx", 64),
        Opcode("exit", Form.EXIT, 0x90 | JMP, "exit", 64),
    ]
    return rows


LDDW = Opcode("lddw", Form.LDDW, _MODE_IMM | _SIZE_BITS[8] | LD, "lddw", 64)
OPCODES: tuple[Opcode, ...] = (*_alu_rows(), *_memory_rows(), LDDW, *_jump_rows())
BY_NAME: dict[str, Opcode] = {row.name: row for row in OPCODES}

_BY_CODE: dict[int, list[Opcode]] = {}
for _row in OPCODES:
    _BY_CODE.setdefault(_row.code, []).append(_row)

_UNUSED: dict[Form, tuple[str, ...]] = {
    Form.ALU_RR: ("off", "imm"),
    Form.ALU_RI: ("off", "src"),
    Form.UNARY: ("off", "imm", "src"),
    Form.MOV_RR: ("off", "imm"),
    Form.MOV_RI: ("off", "src"),
    Form.LDDW: ("off",),
    Form.LDX: ("imm",),
    Form.STX: ("imm",),
    Form.ST: ("src",),
    Form.ATOMIC: ("imm",),
    Form.ATOMIC_FETCH: ("imm",),
    Form.CMPXCHG: ("imm",),
    Form.LOAD_ACQ: ("imm",),
    Form.STORE_REL: ("imm",),
    Form.LD_ABS: ("dst", "src", "off"),
    Form.LD_IND: ("dst", "off"),
    Form.JA: ("dst", "src"),
    Form.JCC_RR: ("imm",),
    Form.JCC_RI: ("src",),
    Form.MAY_GOTO: ("dst", "src", "imm"),
    Form.CALL: ("dst", "src", "off"),
    Form.CALL_LOCAL: ("dst", "src", "off"),
    Form.CALL_KFUNC: ("dst", "src"),
    Form.CALLX: ("src", "off", "imm"),
    Form.EXIT: ("dst", "src", "off", "imm"),
}


def unused_fields(row: Opcode) -> tuple[str, ...]:
    """The fields that carry no meaning in this instruction; a real object may have anything in them."""
    selecting = {name for name in ("src", "off", "imm") if getattr(row, name) is not None}
    names = tuple(name for name in _UNUSED[row.form] if name not in selecting)
    if row.form is Form.JA:  # `ja` jumps by off, `gotol` by imm
        names += ("imm",) if row.width == 16 else ("off",)
    return names


def decode(data: bytes, offset: int) -> Insn | None:
    """Read the instruction at a byte offset; None when its second slot is missing. Any 8 bytes are an `Insn`."""
    code, regs, off, imm = _WORD.unpack_from(data, offset)
    if code != LDDW.code:
        return Insn(code, regs & 0xF, regs >> 4, off, imm)
    if offset + 16 > len(data):
        return None
    code2, regs2, off2, imm_hi = _WORD.unpack_from(data, offset + INSN_SIZE)
    if code2 or regs2 or off2:
        return None
    return Insn(code, regs & 0xF, regs >> 4, off, imm, imm_hi)


def encode(insn: Insn) -> bytes:
    """The 8 (for `lddw` 16) bytes of an instruction. Inverse of `decode`."""
    first = _WORD.pack(insn.code, insn.dst | insn.src << 4, insn.off, insn.imm)
    if insn.code == LDDW.code:
        return first + _WORD.pack(0, 0, 0, insn.imm_hi)
    return first


def row_of(insn: Insn) -> Opcode | None:
    """The table's row for an instruction, or None when the ISA has no such instruction."""
    if insn.dst > 10 or insn.src > 10:
        return None
    for row in _BY_CODE.get(insn.code, ()):
        if (
            (row.src is None or row.src == insn.src)
            and (row.off is None or row.off == insn.off)
            and (row.imm is None or row.imm == insn.imm)
        ):
            return row
    return None
