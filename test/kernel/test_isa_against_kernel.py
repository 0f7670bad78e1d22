"""Every ALU, jump, byte-order, memory and atomic instruction, in the kernel and in the interpreter.

A program takes its operands from the packet, so that neither the verifier nor the JIT knows them, applies the
instruction, and writes all results back into the packet: the frames afterwards must be equal.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from itertools import product

import pytest
from xdsl.dialects.builtin import ModuleOp, StringAttr

from fsir import isa
from fsir.dialects.ebpf import FuncOp
from fsir.interp.engine import InterpProgram
from fsir.isa import BY_NAME, Form, Insn, Opcode
from fsir.kernel import syscalls
from fsir.kernel.uapi import ProgType, SkBuff, XdpMd
from fsir.object.code import Code
from fsir.object.lift import lift

SLOTS = 16  # words of 8 bytes in the frame
FRAME = 8 * SLOTS
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP = range(11)
PACKET, END = R9, R8

WORDS = (
    0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000,
    0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFF80000000,
    0xFFFFFFFFFFFFFFFE, 0xFFFFFFFFFFFFFFFF,
)  # fmt: skip
IMMEDIATES = (0, 1, -1, 3, 5, 31, 33, 63, 127, -128, 0x7FFF, -0x8000, 0x7FFFFFFF, -0x80000000)


def asm(name: str, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction by its name in the table; fields that it does not use are zero, as the verifier demands."""
    row = BY_NAME[name]
    fields = {"dst": dst, "src": src, "off": off, "imm": imm}
    fields |= dict.fromkeys(isa.unused_fields(row), 0)
    fields |= {key: value for key in ("src", "off", "imm") if (value := getattr(row, key)) is not None}
    return isa.encode(Insn(row.code, **fields))


def xdp_program(body: Iterable[bytes]) -> bytes:
    """A program whose body finds the packet in r9, with FRAME bytes that it may use."""
    code = [
        asm("ldx32", PACKET, R1, 0),
        asm("ldx32", END, R1, 4),
        asm("mov", R0, PACKET),
        asm("addi", R0, imm=FRAME),
        asm("jle", R0, END, 2),
        asm("movi", R0, imm=0),
        asm("exit"),
        *body,
        asm("movi", R0, imm=2),
        asm("exit"),
    ]
    return b"".join(code)


def module_of(code: bytes, prog_type: str) -> ModuleOp:
    region = lift(Code(code), 1, prog_type)
    return ModuleOp([FuncOp.build_func("p", prog_type, region, prog_type=StringAttr(prog_type))])


def both(code: bytes, frames: Iterable[bytes], prog_type: ProgType = ProgType.XDP) -> Iterator[tuple[object, object]]:
    """What the kernel and the interpreter make of each frame: (verdict, frame)."""
    fd, _ = syscalls.prog_load(code, prog_type)
    try:
        ctx: XdpMd | SkBuff = XdpMd() if prog_type == ProgType.XDP else SkBuff()
        run = syscalls.TestRun(fd, ctx)
        name = "xdp" if prog_type == ProgType.XDP else "sched_cls"
        program = InterpProgram(module_of(code, name))
        for frame in frames:
            if isinstance(ctx, XdpMd):
                ctx.data_end, ctx.ingress_ifindex = len(frame), 1
            outcome = program.run(frame)
            yield run(frame), (outcome.verdict, outcome.data)
    finally:
        os.close(fd)


def frame_of(*words: int) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in words).ljust(FRAME, b"\xa5")


def check(code: bytes, frames: Iterable[bytes], prog_type: ProgType = ProgType.XDP) -> None:
    frames = list(frames)
    for frame, (kernel, interpreted) in zip(frames, both(code, frames, prog_type), strict=True):
        assert interpreted == kernel, f"operands {frame[:16].hex()}"


def rows(*forms: Form) -> list[Opcode]:
    found = [row for row in isa.OPCODES if row.form in forms and row.name != "addr_space_cast"]
    return found


def by_name(row: Opcode) -> str:
    return row.name


def pairs() -> list[bytes]:
    return [frame_of(a, b) for a, b in product(WORDS, WORDS)]


@pytest.mark.parametrize("row", rows(Form.ALU_RR), ids=by_name)
def test_alu_with_registers(row: Opcode) -> None:
    # Packet words are unknown scalars, which the verifier lets be shifted by any amount and divided by zero.
    body = [asm("ldx64", R1, PACKET, 0), asm("ldx64", R2, PACKET, 8), asm(row.name, R1, R2)]
    check(xdp_program([*body, asm("stx64", PACKET, R1, 16)]), pairs())


def immediates(row: Opcode) -> list[int]:
    """Those that the verifier takes: it refuses shifts by the width and division by zero."""
    if row.op in ("lsh", "rsh", "arsh"):
        return [0, 1, 7, 8, 15, 16, 30, 31] + [32, 33, 47, 62, 63] * (row.width == 64)
    divides = row.op in ("div", "mod", "sdiv", "smod")
    return [imm for imm in IMMEDIATES if imm or not divides]


@pytest.mark.parametrize("row", rows(Form.ALU_RI), ids=by_name)
def test_alu_with_immediates(row: Opcode) -> None:
    body = []
    for slot, imm in enumerate(immediates(row), start=1):
        body += [asm("ldx64", R1, PACKET, 0), asm(row.name, R1, imm=imm), asm("stx64", PACKET, R1, 8 * slot)]
    check(xdp_program(body), [frame_of(a) for a in WORDS])


@pytest.mark.parametrize("row", rows(Form.UNARY, Form.MOV_RR), ids=by_name)
def test_moves_and_byte_order(row: Opcode) -> None:
    body = [asm("ldx64", R1, PACKET, 0), asm("ldx64", R2, PACKET, 0)]
    check(xdp_program([*body, asm(row.name, R1, R2), asm("stx64", PACKET, R1, 8)]), [frame_of(a) for a in WORDS])


def test_constants() -> None:
    body = []
    for slot, imm in enumerate(IMMEDIATES[:7]):
        body += [asm("movi", R1, imm=imm), asm("stx64", PACKET, R1, 16 * slot)]
        body += [asm("movi32", R1, imm=imm), asm("stx64", PACKET, R1, 16 * slot + 8)]
    lddw = isa.encode(Insn(isa.LDDW.code, R1, 0, 0, -2, 0x12345678))
    check(xdp_program([*body, lddw, asm("stx64", PACKET, R1, 120)]), [frame_of()])


@pytest.mark.parametrize("row", rows(Form.JCC_RR), ids=by_name)
def test_jumps_on_registers(row: Opcode) -> None:
    body = [
        *(asm("ldx64", R1, PACKET, 0), asm("ldx64", R2, PACKET, 8)),
        *(asm("movi", R3, imm=1), asm(row.name, R1, R2, 1), asm("movi", R3, imm=0), asm("stx64", PACKET, R3, 16)),
        *(asm("movi", R4, imm=7), asm(row.name, R1, R1, 1), asm("movi", R4, imm=9), asm("stx64", PACKET, R4, 24)),
    ]
    check(xdp_program(body), pairs())


@pytest.mark.parametrize("row", rows(Form.JCC_RI), ids=by_name)
def test_jumps_on_immediates(row: Opcode) -> None:
    body = [asm("ldx64", R1, PACKET, 0)]
    for slot, imm in enumerate(IMMEDIATES, start=1):
        body += [asm("movi", R3, imm=1), asm(row.name, R1, off=1, imm=imm), asm("movi", R3, imm=0)]
        body += [asm("stx64", PACKET, R3, 8 * slot)]
    check(xdp_program(body), [frame_of(a) for a in WORDS])


@pytest.mark.parametrize("row", rows(Form.LDX, Form.STX, Form.ST, Form.LOAD_ACQ, Form.STORE_REL), ids=by_name)
def test_memory(row: Opcode) -> None:
    at = {Form.LDX: 0, Form.STX: 16, Form.ST: 24}.get(row.form)
    base = PACKET if at is not None else FP  # ordered accesses to the packet are refused
    place = at if at is not None else -8
    load = row.form in (Form.LDX, Form.LOAD_ACQ)
    body = [
        *(asm("ldx64", R2, PACKET, 0), asm("ldx64", R3, PACKET, 8), asm("stx64", FP, R3, -8)),
        asm(row.name, R1, base, place) if load else asm(row.name, base, R2, place, -0x12345678),
        *([asm("stx64", PACKET, R1, 32)] if load else []),
        *(asm("ldx64", R4, FP, -8), asm("stx64", PACKET, R4, 40)),
    ]
    if row.name == "ldxs32":  # ordered and sign-extending loads at an odd place, too
        body += [asm("ldxs16", R5, PACKET, 3), asm("stx64", PACKET, R5, 48)]
    check(xdp_program(body), pairs())


@pytest.mark.parametrize("row", rows(Form.ATOMIC, Form.ATOMIC_FETCH, Form.CMPXCHG), ids=by_name)
def test_atomics(row: Opcode) -> None:
    body = [
        *(asm("ldx64", R2, PACKET, 0), asm("ldx64", R3, PACKET, 8), asm("ldx64", R0, PACKET, 16)),
        *(asm("stx64", FP, R2, -8), asm(row.name, FP, R3, -8)),
        *(asm("ldx64", R4, FP, -8), asm("stx64", PACKET, R4, 24)),
        *(asm("stx64", PACKET, R3, 32), asm("stx64", PACKET, R0, 40)),
    ]
    expected = WORDS if row.form is Form.CMPXCHG else (0x5555,)
    check(xdp_program(body), [frame_of(a, b, c) for a, b in product(WORDS[::3], WORDS) for c in {a, *expected[::4]}])


@pytest.mark.parametrize("row", rows(Form.LD_ABS, Form.LD_IND), ids=by_name)
def test_socket_filter_loads(row: Opcode) -> None:
    # Offsets in the frame, across its end and beyond: the last two leave the program with 0.
    for at in (0, 13, FRAME - 4, FRAME - 3, FRAME - 1, FRAME):
        index = [asm("movi", R7, imm=at - 5), asm(row.name, 0, R7, imm=5)]
        code = [asm("mov", R6, R1), *(index if row.form is Form.LD_IND else [asm(row.name, imm=at)])]
        check(b"".join([*code, asm("addi", R0, imm=1), asm("exit")]), [frame_of(*WORDS[:14])], ProgType.SCHED_CLS)


def random_body(rng: random.Random, length: int) -> list[bytes]:
    """Straight-line arithmetic over r0 to r5 with short forward jumps, then all of them into the packet."""
    body = [asm("ldx64", register, PACKET, 8 * register) for register in range(6)]
    alu = rows(Form.ALU_RR, Form.ALU_RI, Form.UNARY, Form.MOV_RR, Form.MOV_RI)
    jumps = rows(Form.JCC_RR, Form.JCC_RI)
    for _ in range(length):
        dst, src = rng.randrange(6), rng.randrange(6)
        if rng.random() < 0.15:
            body.append(asm(rng.choice(jumps).name, dst, src, 1, rng.choice(IMMEDIATES)))
        row = rng.choice(alu)
        imm = rng.choice(immediates(row)) if row.form is Form.ALU_RI else rng.choice(IMMEDIATES)
        body.append(asm(row.name, dst, src, imm=imm))
    return [*body, *(asm("stx64", PACKET, register, 48 + 8 * register) for register in range(6))]


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    rng = random.Random(seed)
    frames = [frame_of(*(rng.choice((rng.choice(WORDS), rng.getrandbits(64))) for _ in range(6))) for _ in range(40)]
    check(xdp_program(random_body(rng, 60)), frames)
