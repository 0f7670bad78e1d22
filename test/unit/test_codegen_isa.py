"""What instructions mean, as a table: operands, instruction, result. The kernel confirms the same in
test/kernel/test_isa_against_kernel.py; here the corner cases of RFC 9669 stand to be read."""

from __future__ import annotations

import pytest
from codegen_helpers import M32, M64, link, word

from fsir.interp.codegen_link import ExecutionLimit, Unsupported
from fsir.interp.emit_base import CONDITIONS, GOTOS, RULES
from fsir.isa import OPCODES

MIN64, MAX64 = 1 << 63, (1 << 63) - 1
MIN32 = 1 << 31
NEG = M64  # -1

BINARY = [
    # r1, instruction, r2, result
    (M64, "add", 1, 0),
    (0, "sub", 1, M64),
    (MIN64, "mul", 2, 0),
    (7, "div", 2, 3),
    (7, "div", 0, 0),
    (7, "mod", 0, 7),
    (M64, "mod", 10, 5),
    (MIN64, "sdiv", NEG, MIN64),
    (M64 - 6, "sdiv", 2, M64 - 2),  # -7 / 2 = -3
    (7, "sdiv", 0, 0),
    (MIN64, "smod", NEG, 0),
    (M64 - 6, "smod", 2, M64),  # -7 % 2 = -1
    (7, "smod", M64 - 1, 1),  # 7 % -2 = 1
    (7, "smod", 0, 7),
    (1, "lsh", 64, 1),  # shift amounts are masked
    (1, "lsh", 63, MIN64),
    (MIN64, "rsh", 63, 1),
    (MIN64, "arsh", 63, M64),
    (MAX64, "arsh", 62, 1),
    (0xF0, "or", 0x0F, 0xFF),
    (0xF0, "and", 0x30, 0x30),
    (M64, "xor", 0xFF, M64 - 0xFF),
    (M64, "add32", 1, 0),  # 32-bit operations clear the upper half
    (0, "sub32", 1, M32),
    (M32 + 3, "mul32", M32 + 3, 4),
    (M32 + 8, "div32", M32 + 3, 3),
    (5, "div32", 1 << 32, 0),
    (1 << 32 | 5, "mod32", 0, 5),  # the dividend, zero-extended
    (MIN32, "sdiv32", M32, MIN32),
    (MIN32, "smod32", M32, 0),
    (M32 - 6, "sdiv32", 2, M32 - 2),
    (1, "lsh32", 32, 1),
    (MIN32, "arsh32", 4, 0xF8000000),
    (1 << 32, "rsh32", 0, 0),
    (M64, "or32", 0, M32),
    (M64, "and32", M64, M32),
    (M64, "xor32", 0, M32),
]


@pytest.mark.parametrize(("a", "name", "b", "expected"), BINARY, ids=lambda value: str(value))
def test_binary(a: int, name: str, b: int, expected: int) -> None:
    code = f"%v = ebpf.{name} %r1, %r2 : r1, r2 -> r1\n%x = ebpf.mov %v : r1 -> r0\nebpf.exit (%x) : r0"
    assert word(code, r1=a, r2=b) == expected


IMMEDIATE = [
    (0, "addi", -1, M64),
    (0, "addi32", -1, M32),
    (M64, "andi", -16, M64 - 15),  # immediates are sign-extended
    (0, "ori", -1, M64),
    (M64, "divi", -1, 1),
    (M64, "divi32", -1, 1),
    (10, "modi", -1, 10),
    (M64 - 9, "sdivi", -3, 3),
    (M64 - 9, "smodi", -3, M64),
    (5, "subi", -5, 10),
    (3, "muli", -2, M64 - 5),
    (MIN32, "arshi32", 31, M32),
]


@pytest.mark.parametrize(("a", "name", "imm", "expected"), IMMEDIATE, ids=lambda value: str(value))
def test_immediate(a: int, name: str, imm: int, expected: int) -> None:
    code = f"%v = ebpf.{name} %r1, {imm} : r1 -> r1\n%x = ebpf.mov %v : r1 -> r0\nebpf.exit (%x) : r0"
    assert word(code, r1=a) == expected


UNARY = [
    (1, "neg", M64),
    (1, "neg32", M32),
    (M64, "mov32", M32),
    (0x80, "movsx8", M64 - 0x7F),
    (0x80, "movsx8_32", M32 - 0x7F),
    (0x8000, "movsx16", M64 - 0x7FFF),
    (0x12348000, "movsx16_32", 0xFFFF8000),
    (MIN32, "movsx32", M64 - 0x7FFFFFFF),
    (0x1122334455667788, "le16", 0x7788),
    (0x1122334455667788, "le64", 0x1122334455667788),
    (0x1122334455667788, "be16", 0x8877),
    (0x1122334455667788, "be32", 0x88776655),
    (0x1122334455667788, "be64", 0x8877665544332211),
    (0x1122334455667788, "bswap16", 0x8877),
    (0x1122334455667788, "bswap32", 0x88776655),
]


@pytest.mark.parametrize(("a", "name", "expected"), UNARY, ids=lambda value: str(value))
def test_unary(a: int, name: str, expected: int) -> None:
    code = f"%v = ebpf.{name} %r1 : r1 -> r1\n%x = ebpf.mov %v : r1 -> r0\nebpf.exit (%x) : r0"
    assert word(code, r1=a) == expected


JUMPS = [
    (1, "jgt", M64, False),
    (1, "jsgt", M64, True),
    (M64, "jslt", 0, True),
    (M64, "jlt", 0, False),
    (MIN64, "jsle", MAX64, True),
    (5, "jset", 10, False),
    (5, "jset", 4, True),
    (1 << 32, "jeq32", 0, True),
    (1 << 32, "jeq", 0, False),
    (MIN32, "jslt32", 0, True),
    (MIN32, "jslt", 0, False),
    (1 << 40, "jset32", 1 << 40, False),
    (3, "jge", 3, True),
    (3, "jle", 3, True),
    (3, "jne", 3, False),
    (3, "jsge32", 1 << 32 | 3, True),
]


@pytest.mark.parametrize(("a", "name", "b", "taken"), JUMPS, ids=lambda value: str(value))
def test_jump(a: int, name: str, b: int, taken: bool) -> None:
    code = f"""
      ebpf.{name} %r1, %r2, ^yes, ^no : r1, r2
    ^no:
      %n = ebpf.movi 0 -> r0
      ebpf.exit (%n) : r0
    ^yes:
      %y = ebpf.movi 1 -> r0
      ebpf.exit (%y) : r0"""
    assert word(code, r1=a, r2=b) == taken


STACK = [
    # what is done with %fp[-8], which holds 0x1122334455667788; the result
    ("%x = ebpf.ldx8 %fp[-8] : r10 -> r0", 0x88),
    ("%x = ebpf.ldx16 %fp[-7] : r10 -> r0", 0x6677),
    ("%x = ebpf.ldxs8 %fp[-8] : r10 -> r0", M64 - 0x77),
    ("%x = ebpf.ldxs32 %fp[-4] : r10 -> r0", 0x11223344),
    ("ebpf.st16 %fp[-6], -1 : r10\n%x = ebpf.ldx64 %fp[-8] : r10 -> r0", 0x11223344FFFF7788),
    ("ebpf.st64 %fp[-8], -2 : r10\n%x = ebpf.ldx64 %fp[-8] : r10 -> r0", M64 - 1),
    ("ebpf.atomic_add32 %fp[-8], %one : r10, r2\n%x = ebpf.ldx64 %fp[-8] : r10 -> r0", 0x1122334455667789),
    ("%x = ebpf.atomic_fetch_xor64 %fp[-8], %one : r10, r2 -> r2", 0x1122334455667788),
    ("%x = ebpf.atomic_xchg32 %fp[-8], %one : r10, r2 -> r2", 0x55667788),
    ("%x = ebpf.load_acq32 %fp[-8] : r10 -> r0", 0x55667788),
    ("ebpf.store_rel8 %fp[-8], %one : r10, r2\n%x = ebpf.ldx16 %fp[-8] : r10 -> r0", 0x7701),
]


@pytest.mark.parametrize(("access", "expected"), STACK)
def test_memory(access: str, expected: int) -> None:
    result = "r2" if "-> r2" in access else "r0"
    code = f"""
      %fp = ebpf.frame -> r10
      %one = ebpf.movi 1 -> r2
      ebpf.stx64 %fp[-8], %r1 : r10, r1
      {access}
      %out = ebpf.mov %x : {result} -> r0
      ebpf.exit (%out) : r0"""
    assert word(code, r1=0x1122334455667788) == expected


@pytest.mark.parametrize(
    ("expected", "stored", "old"),
    [(0x55667788, 9, 0x55667788), (M32 << 32 | 0x55667788, 9, 0x55667788), (1, 0x88, 0x55667788)],
)
def test_compare_and_exchange_looks_at_32_bits(expected: int, stored: int, old: int) -> None:
    code = """
      %fp = ebpf.frame -> r10
      ebpf.stx64 %fp[-8], %r1 : r10, r1
      %nine = ebpf.movi 9 -> r3
      %e = ebpf.mov %r2 : r2 -> r0
      %old = ebpf.atomic_cmpxchg32 %fp[-8], %e, %nine : r10, r0, r3 -> r0
      %now = ebpf.ldx8 %fp[-8] : r10 -> r4
      %high = ebpf.lshi %now, 32 : r4 -> r4
      %x = ebpf.or %old, %high : r0, r4 -> r0
      ebpf.exit (%x) : r0"""
    assert word(code, r1=0x1122334455667788, r2=expected) == stored << 32 | old


def test_every_instruction_has_a_meaning() -> None:
    known = RULES.keys() | CONDITIONS.keys() | GOTOS
    assert [row.name for row in OPCODES if f"ebpf.{row.name}" not in known] == []


LOOP = """
ebpf.func @f section "xdp" {
^entry:
  %n = ebpf.movi 0 -> r0
  ebpf.fallthrough ^head(%n : r0)
^head(%i: !ebpf.reg<r0>):
  %j = ebpf.addi %i, 1 : r0 -> r0
  ebpf.jnei %j, COUNT, ^head(%j : r0), ^out : r0
^out:
  ebpf.exit (%j) : r0
}
"""


def test_instructions_are_counted_exactly() -> None:
    linked = link(LOOP.replace("COUNT", "10"))
    linked.reset()
    assert linked.function("f")(0) == 10
    assert linked.instructions == 1 + 2 * 10 + 1


def test_a_loop_without_end_is_stopped() -> None:
    linked = link(LOOP.replace("COUNT", "-1"), budget=5000)
    with pytest.raises(ExecutionLimit, match="more than 5000 instructions"):
        linked.function("f")(0)
    assert 5000 < linked.instructions <= 5004


def test_may_goto_leaves_the_loop_when_its_budget_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsir.interp.emit_ebpf.MAY_GOTO_BUDGET", 6)
    linked = link(
        """
        ebpf.func @f section "xdp" {
        ^entry:
          %n = ebpf.movi 0 -> r0
          ebpf.fallthrough ^head(%n : r0)
        ^head(%i: !ebpf.reg<r0>):
          %j = ebpf.addi %i, 1 : r0 -> r0
          ebpf.may_goto ^out, ^again
        ^again:
          ebpf.ja ^head(%j : r0)
        ^out:
          ebpf.exit (%j) : r0
        }
        """
    )
    assert linked.function("f")(0) == 7


def test_calls_take_operands_by_register() -> None:
    linked = link(
        """
        ebpf.func @f section "xdp" {
        ^entry(%a: !ebpf.reg<r1>):
          %c = ebpf.movi 100 -> r3
          %b = ebpf.movi 20 -> r2
          %r = ebpf.call_local @g(%b, %c, %a) : r2, r3, r1 -> r0
          ebpf.exit (%r) : r0
        }
        ebpf.func @g section ".text" {
        ^entry(%x: !ebpf.reg<r1>, %z: !ebpf.reg<r3>):
          %s = ebpf.sub %z, %x : r3, r1 -> r3
          %t = ebpf.mov %s : r3 -> r0
          ebpf.exit (%t) : r0
        }
        """
    )
    assert linked.function("f")(7, 0) == 93


def test_recursion_ends_at_eight_frames() -> None:
    linked = link(
        """
        ebpf.func @f section "xdp" {
          %r = ebpf.call_local @f() -> r0
          ebpf.exit (%r) : r0
        }
        """
    )
    with pytest.raises(ExecutionLimit, match="deeper than 8 frames"):
        linked.function("f")(0)


def test_each_frame_has_a_stack_of_its_own() -> None:
    linked = link(
        """
        ebpf.func @f section "xdp" {
          %fp = ebpf.frame -> r10
          ebpf.st64 %fp[-8], 5 : r10
          %r = ebpf.call_local @g() -> r0
          %mine = ebpf.ldx64 %fp[-8] : r10 -> r1
          %s = ebpf.add %r, %mine : r0, r1 -> r0
          ebpf.exit (%s) : r0
        }
        ebpf.func @g section ".text" {
          %fp = ebpf.frame -> r10
          ebpf.st64 %fp[-8], 1000 : r10
          %v = ebpf.ldx64 %fp[-8] : r10 -> r0
          ebpf.exit (%v) : r0
        }
        """
    )
    assert linked.function("f")(0) == 1005


@pytest.mark.parametrize("code", ['ebpf.raw "ff00000000000000"\nebpf.end', "ebpf.end"])
def test_what_cannot_run_ends_the_program(code: str) -> None:
    with pytest.raises(Unsupported):
        word(code)
