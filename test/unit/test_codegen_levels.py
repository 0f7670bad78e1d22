"""What operations above machine code mean: arith, cf, packet, map, placement, and mixtures."""

from __future__ import annotations

import pytest
from codegen_helpers import FRAME, M64, link, program, scalar, xdp

from fsir.interp.emit_base import UnsupportedOp
from fsir.interp.emit_scalar import UndefinedResult
from fsir.interp.engine import ExecutionError
from fsir.interp.machine import Redirect

ARITH = [
    # width, operation, a, b, result
    (8, "addi", 200, 100, 44),
    (16, "subi", 0, 1, 0xFFFF),
    (32, "muli", 1 << 31, 2, 0),
    (64, "divui", M64, 2, M64 >> 1),
    (8, "divsi", 0x80, 2, 0xC0),
    (8, "remsi", 0xF9, 3, 0xFF),  # -7 % 3 = -1
    (8, "remui", 0xF9, 10, 9),
    (8, "shli", 0x81, 1, 2),
    (8, "shrui", 0x81, 1, 0x40),
    (8, "shrsi", 0x81, 1, 0xC0),
    (24, "xori", 0xFFFFFF, 1, 0xFFFFFE),
    (8, "minui", 200, 100, 100),
    (8, "minsi", 200, 100, 200),
    (8, "maxsi", 200, 100, 100),
    (8, "maxui", 200, 100, 200),
]


@pytest.mark.parametrize(("width", "name", "a", "b", "expected"), ARITH)
def test_arith(width: int, name: str, a: int, b: int, expected: int) -> None:
    code = f"%x = arith.{name} %a, %b : i{width}\nebpf.exit (%x) : i{width}"
    assert scalar(code, a=(a, width), b=(b, width)) == expected


COMPARE = [("eq", 5, 5, 1), ("ne", 5, 5, 0), ("slt", 0x80, 1, 1), ("ult", 0x80, 1, 0), ("sge", 1, 0xFF, 1)]
COMPARE += [("uge", 1, 0xFF, 0), ("sle", 0xFF, 0, 1), ("ule", 0, 0, 1), ("sgt", 0, 0xFF, 1), ("ugt", 0, 0xFF, 0)]


@pytest.mark.parametrize(("predicate", "a", "b", "expected"), COMPARE)
def test_comparison_and_its_uses(predicate: str, a: int, b: int, expected: int) -> None:
    code = f"""
      %c = arith.cmpi {predicate}, %a, %b : i8
      %wide = arith.extui %c : i1 to i64
      cf.cond_br %c, ^yes(%wide : i64), ^no
    ^yes(%v: i64):
      %ten = arith.constant 10 : i64
      %x = arith.addi %v, %ten : i64
      ebpf.exit (%x) : i64
    ^no:
      ebpf.exit (%wide) : i64"""
    assert scalar(code, a=(a, 8), b=(b, 8)) == (11 if expected else 0)


CONVERSIONS = [
    ("%x = arith.extsi %a : i8 to i32", (0x80, 8), 0xFFFFFF80),
    ("%x = arith.trunci %a : i64 to i32", (0x123456789A, 64), 0x3456789A),
    ("%x = ebpf.cast %a : i64 -> i32", (0x123456789A, 64), 0x3456789A),
    ("%x = ebpf.addi32 %a, 1 : i16 -> i32", (0xFFFF, 16), 0x10000),
    ("%x = ebpf.addi %a, -1 : i32 -> i32", (0, 32), 0xFFFFFFFF),
    ("%x = ebpf.neg %a : i8 -> i32", (1, 8), 0xFFFFFFFF),
]


@pytest.mark.parametrize(("code", "given", "expected"), CONVERSIONS)
def test_narrow_values_stay_in_range(code: str, given: tuple[int, int], expected: int) -> None:
    assert scalar(f"{code}\nebpf.exit (%x) : i32", a=given) == expected


def test_select() -> None:
    code = "%c = arith.trunci %a : i8 to i1\n%x = arith.select %c, %a, %b : i8\nebpf.exit (%x) : i8"
    assert [scalar(code, a=(a, 8), b=(9, 8)) for a in (3, 4)] == [3, 9]


@pytest.mark.parametrize("operation", ["shli", "shrui", "shrsi"])
def test_shifts_by_the_width_are_undefined(operation: str) -> None:
    with pytest.raises(UndefinedResult, match="shift of i32 by 32"):
        scalar(f"%x = arith.{operation} %a, %b : i32\nebpf.exit (%x) : i32", a=(1, 32), b=(32, 32))


def test_block_arguments_are_assigned_at_once() -> None:
    code = """
      %zero = arith.constant 0 : i64
      cf.br ^head(%a, %b, %zero : i64, i64, i64)
    ^head(%x: i64, %y: i64, %i: i64):
      %one = arith.constant 1 : i64
      %next = arith.addi %i, %one : i64
      %three = arith.constant 3 : i64
      %more = arith.cmpi ult, %next, %three : i64
      cf.cond_br %more, ^head(%y, %x, %next : i64, i64, i64), ^out
    ^out:
      %hundred = arith.constant 100 : i64
      %scaled = arith.muli %x, %hundred : i64
      %r = arith.addi %scaled, %y : i64
      ebpf.exit (%r) : i64"""
    assert scalar(code, a=(1, 64), b=(2, 64)) == 102


def test_nested_loops_and_joins() -> None:
    code = """
      %zero = arith.constant 0 : i64
      %one = arith.constant 1 : i64
      cf.br ^outer(%zero, %zero : i64, i64)
    ^outer(%i: i64, %sum: i64):
      cf.br ^inner(%zero, %sum : i64, i64)
    ^inner(%j: i64, %s: i64):
      %odd = arith.trunci %j : i64 to i1
      cf.cond_br %odd, ^skip(%s : i64), ^take
    ^take:
      %p = arith.muli %i, %j : i64
      %t = arith.addi %s, %p : i64
      cf.br ^skip(%t : i64)
    ^skip(%u: i64):
      %j1 = arith.addi %j, %one : i64
      %again = arith.cmpi ult, %j1, %a : i64
      cf.cond_br %again, ^inner(%j1, %u : i64, i64), ^next
    ^next:
      %i1 = arith.addi %i, %one : i64
      %more = arith.cmpi ult, %i1, %b : i64
      cf.cond_br %more, ^outer(%i1, %u : i64, i64), ^out
    ^out:
      ebpf.exit (%u) : i64"""
    expected = sum(i * j for i in range(5) for j in range(0, 7, 2))
    assert scalar(code, a=(7, 64), b=(5, 64)) == expected


def test_packet_fields() -> None:
    running = program(
        xdp(
            """
              %p = packet.data %ctx : !packet.ctx -> !packet.ptr
              %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
              %ok = packet.guard %p[20], %end : !packet.ptr, !packet.end_ptr -> i1
              cf.cond_br %ok, ^in, ^out
            ^in:
              %q = packet.offset %p[4] : !packet.ptr -> !packet.ptr
              %v = packet.load %q[1] : !packet.ptr -> i16
              packet.store %p[18], %v : !packet.ptr, i16
              %four = arith.constant 4 : i64
              %r = packet.advance %q, %four : !packet.ptr, i64 -> !packet.ptr
              %w = packet.load %r[0] : !packet.ptr -> i24
              packet.store %p[0], %w : !packet.ptr, i24
              %tx = arith.constant 3 : i64
              packet.verdict %tx : i64
            ^out:
              %drop = arith.constant 1 : i64
              packet.verdict %drop : i64"""
        )
    )
    outcome = running.run(FRAME)
    assert (outcome.verdict, outcome.data) == (3, FRAME[8:11] + FRAME[3:18] + FRAME[5:7] + FRAME[20:])
    assert running.run(FRAME[:19]).verdict == 1


def test_resizing_moves_the_packet() -> None:
    running = program(
        xdp(
            """
              %d = arith.constant -4 : i64
              %r = packet.adjust_head %ctx, %d : !packet.ctx, i64 -> i64
              %m = packet.adjust_meta %ctx, %d : !packet.ctx, i64 -> i64
              %t = packet.adjust_tail %ctx, %d : !packet.ctx, i64 -> i64
              %p = packet.data %ctx : !packet.ctx -> !packet.ptr
              %meta = packet.meta %ctx : !packet.ctx -> !packet.meta_ptr
              %v = arith.constant 287454020 : i32
              packet.store %p[0], %v : !packet.ptr, i32
              packet.store %meta[0], %v : !packet.meta_ptr, i32
              %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
              packet.verdict %queue : i32"""
        )
    )
    outcome = running.run(FRAME, rx_queue=2)
    word = bytes.fromhex("44332211")
    assert (outcome.verdict, outcome.data, outcome.meta) == (2, word + FRAME[:-4], word)
    assert outcome.helpers == {"xdp_adjust_head": 1, "xdp_adjust_meta": 1, "xdp_adjust_tail": 1}


MAPS = """
map.decl @flows "hash" key 8 value 16 entries 4 flags 0
map.decl @ports "devmap" key 4 value 4 entries 8 flags 0
"""


def test_map_operations() -> None:
    running = program(
        xdp(
            """
              %a = arith.constant 1 : i32
              %b = arith.constant 258 : i16
              %c = arith.constant 0 : i16
              %v = arith.constant 5 : i64
              %w = arith.constant 6 : i64
              %any = arith.constant 0 : i64
              %value = map.lookup @flows(%a, %b, %c) : i32, i16, i16 -> !map.value<@flows>
              %hit = map.hit %value : !map.value<@flows> -> i1
              cf.cond_br %hit, ^old, ^new
            ^new:
              %e = map.update @flows key (%a, %b, %c) value (%v, %w) flags %any
                : i32, i16, i16, i64, i64, i64 -> i64
              packet.verdict %e : i64
            ^old:
              %x = map.load %value[8] : !map.value<@flows> -> i32
              map.store %value[12], %x : !map.value<@flows>, i32
              %was = map.atomic "add" %value[0], %w : !map.value<@flows>, i64 -> i64
              packet.verdict %was : i64""",
            MAPS,
        )
    )
    assert [running.run(FRAME).verdict for _ in range(3)] == [0, 5, 11]
    assert running.dump_maps()["flows"] == [
        {"key": "0100000002010000", "value": "11000000000000000600000006000000"},
    ]
    assert running.run(FRAME).helpers == {"map_lookup_elem": 1}


def test_redirect_and_delete() -> None:
    running = program(
        xdp(
            """
              %one = arith.constant 1 : i32
              %z = arith.constant 0 : i32
              %gone = map.delete @flows(%one, %z) : i32, i32 -> i64
              %key = packet.ctx_load %ctx[16] : !packet.ctx -> i32
              %flags = arith.constant 2 : i64
              %r = map.redirect @ports[%key] flags %flags : i32, i64 -> i64
              packet.verdict %r : i64""",
            MAPS,
        ),
        maps={"ports": [{"key": "03000000", "ifindex": 7}], "flows": [{"key": "01" + "00" * 7, "value": "00" * 16}]},
    )
    hit = running.run(FRAME, rx_queue=3)
    assert (hit.verdict, hit.redirect) == (4, Redirect(map_name="ports", key=3))
    assert running.run(FRAME, rx_queue=4).verdict == 2
    assert running.dump_maps()["flows"] == []


def test_frame_objects_lie_apart() -> None:
    code = """
      %p = ebpf.alloca 3 -> !ebpf.fp
      %q = ebpf.alloca 16 -> !ebpf.fp
      ebpf.stx64 %q[8], %a : !ebpf.fp, i64
      ebpf.st64 %q[0], -1 : !ebpf.fp
      ebpf.st8 %p[2], 7 : !ebpf.fp
      %x = ebpf.ldx64 %q[8] : !ebpf.fp -> i64
      %y = ebpf.ldx8 %p[2] : !ebpf.fp -> i8
      %z = arith.extui %y : i8 to i64
      %r = arith.addi %x, %z : i64
      ebpf.exit (%r) : i64"""
    assert scalar(code, a=(100, 64)) == 107


def test_calls_take_operands_by_position_once_raised() -> None:
    linked = link(
        """
        ebpf.func @f section "xdp" {
        ^entry(%a: i64):
          %c = arith.constant 100 : i64
          %r = ebpf.call_local @g(%c, %a) : i64, i64 -> i64
          ebpf.exit (%r) : i64
        }
        ebpf.func @g section ".text" {
        ^entry(%x: i64, %y: i64):
          %s = arith.subi %x, %y : i64
          ebpf.exit (%s) : i64
        }
        """
    )
    assert linked.function("f")(7, 0) == 93


PLACED = """
builtin.module {
  map.decl @seen "array" key 4 value 8 entries 1 flags 0 {section = ".maps"}
  placement.part @kernel on "xdp" {
    ebpf.func @p section "xdp" attributes {prog_type = "xdp"} {
    ^entry(%ctx: !packet.ctx):
      %p = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      %ok = packet.guard %p[14], %end : !packet.ptr, !packet.end_ptr -> i1
      cf.cond_br %ok, ^look, ^pass
    ^look:
      %v = packet.load %p[0] : !packet.ptr -> i32
      %zero = arith.constant 0 : i32
      %fast = arith.cmpi eq, %v, %zero : i32
      cf.cond_br %fast, ^pass, ^slow
    ^slow:
      %w = arith.trunci %v : i32 to i16
      placement.handoff 1 to @user from %ctx carrying (%w) : !packet.ctx, i16
    ^pass:
      %two = arith.constant 2 : i64
      packet.verdict %two : i64
    }
  }
  placement.part @user on "af-xdp" {
    ebpf.func @p section "user" {
    ^entry(%ctx: !packet.ctx):
      %r = placement.resume %ctx : !packet.ctx -> i32
      %one = arith.constant 1 : i32
      %mine = arith.cmpi eq, %r, %one : i32
      cf.cond_br %mine, ^resume, ^bad
    ^resume:
      %w = placement.carried %ctx at 1[0] : !packet.ctx -> i16
      placement.accept %ctx at 1 : !packet.ctx
      %p = packet.data %ctx : !packet.ctx -> !packet.ptr
      packet.store %p[4], %w : !packet.ptr, i16
      %three = arith.constant 3 : i64
      packet.verdict %three : i64
    ^bad:
      %zero = arith.constant 0 : i64
      packet.verdict %zero : i64
    }
  }
  placement.edge 1 from @kernel to @user {fields = [FIELDS], order = "sequential", transport = "metadata"}
}
"""
FIELD = '{name = "w", width = 16 : i32, kind = "scalar"}'


def test_parts_hand_packets_over() -> None:
    running = program(PLACED.replace("FIELDS", FIELD))
    slow = running.run(FRAME)
    assert (slow.verdict, slow.data) == (3, FRAME[:4] + FRAME[:2] + FRAME[6:])
    assert [part for part, _ in slow.parts] == ["kernel", "user"]
    fast = running.run(bytes(20))
    assert (fast.verdict, [part for part, _ in fast.parts]) == (2, ["kernel"])
    assert slow.instructions == sum(count for _, count in slow.parts)


def test_a_handoff_must_carry_what_its_edge_declares() -> None:
    running = program(PLACED.replace("FIELDS", ""))
    with pytest.raises(ExecutionError, match="declared with 0 values and gets 1"):
        running.run(FRAME)


def test_unknown_operations_are_refused_with_their_place() -> None:
    code = '%x = arith.constant 1 : i64\n"arith.bitcast"(%x) : (i64) -> i64\nebpf.exit ()'
    linked = link(f'ebpf.func @f section "xdp" {{\n{code}\n}}')
    with pytest.raises(UnsupportedOp, match=r"no rule for 'arith\.bitcast'") as refused:
        linked.function("f")
    assert refused.value.op.name == "arith.bitcast"


def test_a_fault_names_function_operation_and_place() -> None:
    running = program(
        xdp(
            """
              %p = packet.data %ctx : !packet.ctx -> !packet.ptr
              %v = packet.load %p[61] : !packet.ptr -> i32
              packet.verdict %v : i32"""
        )
    )
    with pytest.raises(
        ExecutionError, match=r"read of 4 bytes at packet\+\d+: it ends at \d+ in p \(packet.load\)"
    ) as error:
        running.run(FRAME)
    assert error.value.op is not None and error.value.op.name == "packet.load"


def test_division_by_zero_in_arith_is_an_error() -> None:
    code = "%n = packet.ctx_load %ctx[16] : !packet.ctx -> i32\n%v = arith.divui %n, %n : i32\npacket.verdict %v : i32"
    with pytest.raises(ExecutionError, match="division by zero in p"):
        program(xdp(code)).run(FRAME)


def test_large_functions() -> None:
    blocks = []
    for i in range(600):
        blocks.append(
            f"""
            ^bb{i}(%s{i}: i64):
              %k{i} = arith.constant {i} : i64
              %c{i} = arith.cmpi eq, %a, %k{i} : i64
              cf.cond_br %c{i}, ^out(%s{i} : i64), ^mid{i}
            ^mid{i}:
              %d{i} = arith.trunci %s{i} : i64 to i1
              cf.cond_br %d{i}, ^bb{i + 1}(%s{i} : i64), ^inc{i}
            ^inc{i}:
              %t{i} = arith.addi %s{i}, %k{i} : i64
              cf.br ^bb{i + 1}(%t{i} : i64)"""
        )
    code = f"""
      cf.br ^bb0(%a : i64)
      {"".join(blocks)}
    ^bb600(%last: i64):
      cf.br ^out(%last : i64)
    ^out(%r: i64):
      ebpf.exit (%r) : i64"""
    total = 598
    for i in range(598):
        total += 0 if total & 1 else i
    assert scalar(code, a=(598, 64)) == total


def test_irreducible_control_flow() -> None:
    code = """
      %one = arith.constant 1 : i64
      %enter = arith.trunci %a : i64 to i1
      cf.cond_br %enter, ^left(%a : i64), ^right(%a : i64)
    ^left(%x: i64):
      %x1 = arith.addi %x, %one : i64
      cf.br ^right(%x1 : i64)
    ^right(%y: i64):
      %three = arith.constant 3 : i64
      %y1 = arith.muli %y, %three : i64
      %hundred = arith.constant 100 : i64
      %more = arith.cmpi ult, %y1, %hundred : i64
      cf.cond_br %more, ^left(%y1 : i64), ^out
    ^out:
      ebpf.exit (%y1) : i64"""
    assert [scalar(code, a=(a, 64)) for a in (1, 2)] == [201, 201]
