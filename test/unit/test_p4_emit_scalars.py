"""Every scalar operation on values at the edges, variables and constants: P4 against the interpreter of the IR."""

from __future__ import annotations

import itertools

import pytest
from p4_placed import TX, Nic, placed

from fsir.interp.engine import InterpProgram

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 40)
VALUES = (*EDGES, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 0x0123_4567_89AB_CDEF)
PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
ARITH = ("addi", "subi", "andi", "ori", "xori")
SHIFTS = ("shli", "shrui", "shrsi")
MACHINE = ("add", "sub", "and", "or", "xor", "lsh", "rsh", "arsh")
UNARY = ("be16", "be32", "be64", "le16", "le32", "le64", "bswap16", "bswap32", "bswap64", "neg", "neg32")
MOVES = ("mov", "mov32", "movsx8", "movsx16", "movsx32", "movsx8_32", "movsx16_32")

HEAD = """
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %there = packet.guard %data[38], %end : !packet.ptr, !packet.end_ptr -> i1
  %tx = arith.constant 3 : i64
  cf.cond_br %there, ^in, ^out
^out:
  packet.verdict %tx : i64
^in:
  %a = packet.load %data[14] : !packet.ptr -> {t}
  %b = packet.load %data[22] : !packet.ptr -> {t}
"""
TAIL = """
  packet.store %data[30], %r : !packet.ptr, {t}
  packet.verdict %tx : i64
"""


def run(body: str, type_: str, result: str, pairs: list[tuple[int, int]]) -> None:
    """Both must store the same."""
    module = placed(HEAD.format(t=type_) + body + TAIL.format(t=result))
    nic, program = Nic(module), InterpProgram(module)
    for left, right in pairs:
        frame = bytes(14) + left.to_bytes(8, "little") + right.to_bytes(8, "little") + bytes(8)
        outcome, found = program.run(frame), nic.run(frame)
        assert (found.verdict, found.data) == (TX, outcome.data), (hex(left), hex(right), nic.text)


def literal(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


PAIRS = list(itertools.product(VALUES[1::2], VALUES[::2]))


@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("op", ARITH)
def test_arith(op: str, width: int) -> None:
    t = f"i{width}"
    run(f"%r = arith.{op} %a, %b : {t}", t, t, PAIRS)


@pytest.mark.parametrize("width", [8, 32, 64])
@pytest.mark.parametrize("predicate", PREDICATES)
def test_compare(predicate: str, width: int) -> None:
    t = f"i{width}"
    run(f"%c = arith.cmpi {predicate}, %a, %b : {t}\n%r = arith.extui %c : i1 to i8", t, "i8", PAIRS)


@pytest.mark.parametrize("predicate", PREDICATES)
@pytest.mark.parametrize("constant", [0, 1, 0x80, 0xFF, -1, -128, 0x8000])
def test_compare_with_a_constant(predicate: str, constant: int) -> None:
    """Of 16 bits, and of 16 bits extended by zeros and by the sign."""
    number = literal(constant, 16)
    for before, type_ in (("", "i16"), ("extui", "i32"), ("extsi", "i32")):
        widen = f"%w = arith.{before} %a : i16 to i32\n" if before else ""
        text = f"%k = arith.constant {number} : {type_}\n%c = arith.cmpi {predicate}, {'%w' if before else '%a'}, %k"
        run(f"{widen}{text} : {type_}\n%r = arith.extui %c : i1 to i8", "i16", "i8", [(v, 0) for v in VALUES])


@pytest.mark.parametrize("width", [8, 16, 64])
@pytest.mark.parametrize("op", [*ARITH, "muli"])
@pytest.mark.parametrize("constant", [0, 1, 2, 0x7F, 0xF0, -1, 0x0FF0])
def test_arith_with_a_constant(op: str, width: int, constant: int) -> None:
    t = f"i{width}"
    body = f"%k = arith.constant {literal(constant, width)} : {t}\n%x = arith.{op} %a, %k : {t}\n"
    run(f"{body}%r = arith.{op} %k, %x : {t}", t, t, [(v, 0) for v in VALUES])


@pytest.mark.parametrize("op", SHIFTS)
@pytest.mark.parametrize("by", [0, 1, 7, 8, 13, 31])
def test_shift_by_a_constant(op: str, by: int) -> None:
    run(f"%k = arith.constant {by} : i32\n%r = arith.{op} %a, %k : i32", "i32", "i32", [(v, 0) for v in VALUES])


@pytest.mark.parametrize("suffix", ["", "32"])
@pytest.mark.parametrize("op", MACHINE)
def test_machine_operations(op: str, suffix: str) -> None:
    run(f"%r = ebpf.{op}{suffix} %a, %b : i64, i64 -> i64", "i64", "i64", PAIRS)


@pytest.mark.parametrize("suffix", ["", "32"])
@pytest.mark.parametrize("op", [*MACHINE, "mul"])
@pytest.mark.parametrize("immediate", [0, 1, 9, 31, -1, -129])
def test_machine_operations_with_an_immediate(op: str, suffix: str, immediate: int) -> None:
    if op in ("lsh", "rsh", "arsh"):
        immediate %= 32
    run(f"%r = ebpf.{op}i{suffix} %a, {immediate} : i64 -> i64", "i64", "i64", [(v, 0) for v in VALUES])


@pytest.mark.parametrize("op", [*UNARY, *MOVES])
def test_byte_order_and_moves(op: str) -> None:
    run(f"%r = ebpf.{op} %a : i64 -> i64", "i64", "i64", [(v, 0) for v in VALUES])


@pytest.mark.parametrize(("narrow", "wide"), [(8, 16), (8, 64), (16, 32), (32, 64)])
def test_changes_of_width(narrow: int, wide: int) -> None:
    for op in ("extui", "extsi"):
        body = f"%n = arith.trunci %a : i64 to i{narrow}\n%r = arith.{op} %n : i{narrow} to i{wide}"
        run(body, "i64", f"i{wide}", [(v, 0) for v in VALUES])


def test_shift_left_then_add_needs_the_low_bits_only() -> None:
    """What a truncation cuts off is not computed; what it keeps is."""
    body = """
      %k = arith.constant 5 : i64
      %x = arith.addi %a, %b : i64
      %s = arith.shli %x, %k : i64
      %y = arith.subi %s, %a : i64
      %r = arith.trunci %y : i64 to i16
    """
    run(body, "i64", "i16", PAIRS)
