"""The C of every arithmetic operation and comparison, against the interpreter, on edge cases and random words."""

from __future__ import annotations

import random

import pytest
from af_xdp_helpers import agree, needs_compiler, xdp

from fsir.isa import OPCODES, Form, Opcode

pytestmark = needs_compiler

EDGES = (
    0,
    1,
    2,
    31,
    32,
    63,
    64,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 63,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
IMMEDIATES = (0, 1, -1, 7, 63, -(1 << 31), (1 << 31) - 1)
RESULTS = 16
SCALARS = "addi subi muli andi ori xori minui maxui minsi maxsi divui divsi remui remsi ceildivui"


def operands() -> list[tuple[int, int]]:
    rng = random.Random(1)
    pairs = [(a, b) for a in EDGES for b in EDGES]
    return pairs + [(rng.getrandbits(64), rng.getrandbits(rng.choice((8, 32, 64)))) for _ in range(100)]


def check(results: list[str], pairs: list[tuple[int, int]]) -> None:
    """`results` are lines that define %0, %1 … of 64 bits from %a and %b; each goes into the packet."""
    loads = "%base = packet.data %ctx : !packet.ctx -> !packet.ptr\n"
    loads += "\n".join(f"%{name} = packet.load %base[{at}] : !packet.ptr -> i64" for name, at in (("a", 0), ("b", 8)))
    stores = "\n".join(f"packet.store %base[{RESULTS + 8 * n}], %x{n} : !packet.ptr, i64" for n in range(len(results)))
    body = "\n".join(line.replace("%x", f"%x{n}", 1) for n, line in enumerate(results))
    end = "%two = arith.constant 2 : i64\npacket.verdict %two : i64"
    room = bytes(8 * len(results))
    packets = [a.to_bytes(8, "little") + b.to_bytes(8, "little") + room for a, b in pairs]
    agree(xdp("\n".join((loads, body, stores, end))), packets)


def rows(*forms: Form) -> list[Opcode]:
    return [row for row in OPCODES if row.form in forms]


def test_register_operands() -> None:
    results = [f"%x = ebpf.{row.name} %a, %b : i64, i64 -> i64" for row in rows(Form.ALU_RR)]
    check(results, operands())


def test_immediate_operands() -> None:
    results = [f"%x = ebpf.{row.name} %a, {imm} : i64 -> i64" for row in rows(Form.ALU_RI) for imm in IMMEDIATES]
    check(results, [(a, 0) for a, _ in operands()])


def test_one_operand() -> None:
    results = [f"%x = ebpf.{row.name} %a : i64 -> i64" for row in rows(Form.UNARY, Form.MOV_RR)]
    check(results, operands())


def test_constants() -> None:
    results = [f"%x = ebpf.{row.name} {imm} -> i64" for row in rows(Form.MOV_RI, Form.LDDW) for imm in IMMEDIATES]
    check(results, [(0, 0)])


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_scalars(width: int) -> None:
    """Operations on narrow integers, whose result must not depend on what C makes of small types."""
    names = SCALARS.split()
    lines = [f"%r{n} = arith.{name} %p, %q : i{width}" for n, name in enumerate(names)]
    shifts = (0, 1, width // 2, width - 1)
    for name in ("shli", "shrui", "shrsi"):
        for amount in shifts:
            lines.append(f"%r{len(lines)} = arith.{name} %p, %s{amount} : i{width}")
    constants = [f"%s{amount} = arith.constant {amount} : i{width}" for amount in dict.fromkeys(shifts)]
    narrow = (
        [f"%{to} = arith.trunci %{of} : i64 to i{width}" for to, of in (("p", "a"), ("o", "b"))] if width < 64 else []
    )
    names_of = ("%p", "%o") if width < 64 else ("%a", "%b")
    one = [f"%one = arith.constant 1 : i{width}", f"%q = arith.ori {names_of[1]}, %one : i{width}"]
    body = (narrow if width < 64 else []) + constants + one + lines
    if width == 64:
        body = [line.replace("%p", "%a") for line in body]
        widened = [f"%x = ebpf.cast %r{n} : i64 -> i64" for n in range(len(lines))]
    else:
        widened = [f"%x = arith.extui %r{n} : i{width} to i64" for n in range(len(lines))]
        widened += [f"%x = arith.extsi %r{n} : i{width} to i64" for n in range(len(lines))]
    check(["\n".join(body) + "\n" + widened[0], *widened[1:]], operands())


@pytest.mark.parametrize("width", [8, 32, 64])
def test_scalar_comparisons(width: int) -> None:
    predicates = ["eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"]
    narrow = [f"%{to} = arith.trunci %{of} : i64 to i{width}" for to, of in (("p", "a"), ("q", "b"))]
    p, q = ("%p", "%q") if width < 64 else ("%a", "%b")
    body = narrow if width < 64 else []
    for name in predicates:
        body += [f"%c_{name} = arith.cmpi {name}, {p}, {q} : i{width}"]
    body += [f"%m_{name} = arith.select %c_{name}, %a, %b : i64" for name in predicates]
    widened = [f"%x = arith.extui %c_{name} : i1 to i64" for name in predicates]
    widened += [f"%x = arith.extsi %c_{name} : i1 to i64" for name in predicates]
    widened += [f"%x = ebpf.cast %m_{name} : i64 -> i64" for name in predicates]
    check(["\n".join(body) + "\n" + widened[0], *widened[1:]], operands())


def jumps(lines: list[tuple[str, str]]) -> str:
    """A program that stores 1 for each jump that is taken; each is (jump, its operands' types)."""
    text = "%base = packet.data %ctx : !packet.ctx -> !packet.ptr\n"
    text += "%a = packet.load %base[0] : !packet.ptr -> i64\n%b = packet.load %base[8] : !packet.ptr -> i64\n"
    text += "%yes = arith.constant 1 : i8\n%no = arith.constant 0 : i8\ncf.br ^t0\n"
    for n, (jump, types) in enumerate(lines):
        text += f"^t{n}:\n{jump}, ^j{n}(%yes : i8), ^j{n}(%no : i8) : {types}\n"
        text += f"^j{n}(%flag{n}: i8):\npacket.store %base[{RESULTS + n}], %flag{n} : !packet.ptr, i8\n"
        text += f"cf.br ^t{n + 1}\n"
    return xdp(text + f"^t{len(lines)}:\n%two = arith.constant 2 : i64\npacket.verdict %two : i64")


def test_jumps() -> None:
    lines = [(f"ebpf.{row.name} %a, %b", "i64, i64") for row in rows(Form.JCC_RR)]
    lines += [(f"ebpf.{row.name} %a, {imm}", "i64") for row in rows(Form.JCC_RI) for imm in IMMEDIATES]
    room = bytes(len(lines))
    agree(jumps(lines), [a.to_bytes(8, "little") + b.to_bytes(8, "little") + room for a, b in operands()])
