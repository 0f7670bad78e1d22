"""Whole programs as C: control flow, memory, maps, calls, helpers; the interpreter says what they must do."""

from __future__ import annotations

from pathlib import Path

import pytest
from af_xdp_helpers import FRAME, agree, c_source, needs_compiler, parse, process, xdp

from fsir.backends.af_xdp.inprocess import CompilerError, compile_c
from fsir.driver.diagnostics import FailedAt
from fsir.interp.engine import InterpProgram

pytestmark = needs_compiler

PASS = "%pass = arith.constant 2 : i64\npacket.verdict %pass : i64"
BASE = """
      %base = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
"""
COUNTS = 'map.decl @counts "array" key 4 value 8 entries 4 flags 0\n'
FLOWS = 'map.decl @flows "hash" key 6 value 8 entries 3 flags 0\n'


def test_guard_load_store_verdict() -> None:
    code = f"""{BASE}
      %ok = packet.guard %base[34], %end : !packet.ptr, !packet.end_ptr -> i1
      cf.cond_br %ok, ^fits, ^short
    ^fits:
      %ttl = packet.load %base[22] {{field = "ipv4.ttl"}} : !packet.ptr -> i8
      %one = arith.constant 1 : i8
      %less = arith.subi %ttl, %one : i8
      packet.store %base[22], %less : !packet.ptr, i8
      %mac = packet.load %base[0] : !packet.ptr -> i48
      packet.store %base[6], %mac : !packet.ptr, i48
      {PASS}
    ^short:
      %drop = arith.constant 1 : i64
      packet.verdict %drop : i64
    """
    verdicts = [outcome.verdict for outcome in agree(xdp(code), [FRAME, FRAME[:33], FRAME[:34]])]
    assert verdicts == [2, 1, 2]
    assert "uint8_t ttl = fs_proven_u8(run, base + 22); /* ipv4.ttl */" in c_source(xdp(code))


def test_guards_from_the_start_ask_for_the_length() -> None:
    """Also those of addresses at a known distance from it; not where the packet is resized: the start may be an old
    one, behind the end."""
    code = f"""{BASE}
      %header = packet.offset %base[14] : !packet.ptr -> !packet.ptr
      %back = packet.offset %header[-4] : !packet.ptr -> !packet.ptr
      %a = packet.guard %base[16], %end : !packet.ptr, !packet.end_ptr -> i1
      %b = packet.guard %header[3], %end : !packet.ptr, !packet.end_ptr -> i1
      %c = packet.guard %back[8], %end : !packet.ptr, !packet.end_ptr -> i1
      %ab = arith.addi %a, %b : i1
      %abc = arith.addi %ab, %c : i1
      %verdict = arith.extui %abc : i1 to i64
      packet.verdict %verdict : i64
    """
    verdicts = [outcome.verdict for outcome in agree(xdp(code), [FRAME[:n] for n in range(14, 20)])]
    assert verdicts == [0, 0, 1, 0, 1, 1]
    for size in (16, 17, 18):
        assert f"behind - packet >= {size}" in c_source(xdp(code))
    tail = "%no = arith.constant 0 : i32\n%rc = packet.adjust_tail %ctx, %no : !packet.ctx, i32 -> i64"
    resized = code.replace("%a =", f"{tail}\n%a =")
    assert "behind - packet >= 16" not in c_source(xdp(resized))


def test_loop_that_swaps_its_variables() -> None:
    """Both arguments change at once on the back edge: a copy one after the other would lose one."""
    code = f"""{BASE}
      %n = packet.load %base[0] : !packet.ptr -> i8
      %zero = arith.constant 0 : i64
      %one = arith.constant 1 : i64
      %small = arith.constant 1 : i8
      cf.br ^head(%n, %zero, %one : i8, i64, i64)
    ^head(%i: i8, %a: i64, %b: i64):
      %stop = arith.constant 0 : i8
      %more = arith.cmpi ne, %i, %stop : i8
      cf.cond_br %more, ^body, ^done
    ^body:
      %sum = arith.addi %a, %b : i64
      %odd = arith.andi %sum, %one : i64
      %is_odd = arith.cmpi eq, %odd, %one : i64
      %next = arith.subi %i, %small : i8
      cf.cond_br %is_odd, ^head(%next, %b, %sum : i8, i64, i64), ^head(%next, %b, %a : i8, i64, i64)
    ^done:
      packet.store %base[8], %a : !packet.ptr, i64
      packet.store %base[16], %b : !packet.ptr, i64
      {PASS}
    """
    agree(xdp(code), [bytes([n]) + FRAME for n in range(40)])


@pytest.mark.parametrize(
    ("access", "why"),
    [
        (
            "%x = packet.load %base[61] : !packet.ptr -> i32",
            "read of 4 bytes at packet+61 (the packet has 64)",
        ),
        ("%x = packet.load %base[-1] : !packet.ptr -> i8", "read of 1 bytes at packet-1 (the packet has 64)"),
        (
            "packet.store %base[64], %one : !packet.ptr, i64",
            "write of 8 bytes at packet+64 (the packet has 64)",
        ),
        ("%x = ebpf.ldx8 %one[0] : i64 -> i64", "read of 1 bytes at NULL+1 (the packet has 64)"),
        ("ebpf.stx64 %null[0], %one : !map.value<@counts>, i64", "map value write of 8 bytes at NULL+0"),
        ("%x = map.load %value[1] : !map.value<@counts> -> i64", None),
        ("%x = map.load %value[25] : !map.value<@counts> -> i64", "map value read of 8 bytes at 0x"),
        (
            "%fp = ebpf.frame -> !ebpf.fp\nebpf.stx8 %fp[0], %one : !ebpf.fp, i64",
            "stack write of 1 bytes at 0x",
        ),
        (
            "%fp = ebpf.frame -> !ebpf.fp\n%x = ebpf.ldx64 %fp[-520] : !ebpf.fp -> i64",
            "stack read of 8 bytes",
        ),
        ("%fp = ebpf.frame -> !ebpf.fp\n%x = ebpf.ldx64 %fp[-512] : !ebpf.fp -> i64", None),
        (
            "%fp = ebpf.frame -> !ebpf.fp\nebpf.atomic_add64 %fp[-12], %one : !ebpf.fp, i64",
            "unaligned atomic access",
        ),
    ],
)
def test_memory_violations_drop_the_packet(access: str, why: str | None) -> None:
    code = f"""{BASE}
      %one = arith.constant 1 : i64
      %key = arith.constant 0 : i32
      %far = arith.constant 9 : i32
      %value = map.lookup @counts(%key) : i32 -> !map.value<@counts>
      %null = map.lookup @counts(%far) : i32 -> !map.value<@counts>
      {access}
      {PASS}
    """
    ran = process(parse(xdp(code, COUNTS)))
    outcome = ran.run(FRAME)
    assert (outcome.verdict, ran.library.counters["violations"]) == ((2, 0) if why is None else (1, 1))
    assert (outcome.dropped_because or "").startswith(why or "")
    assert ran.library.counters["received"] == 1


def test_array_counter() -> None:
    code = f"""{BASE}
      %byte = packet.load %base[0] : !packet.ptr -> i8
      %key = arith.extui %byte : i8 to i32
      %value = map.lookup @counts(%key) : i32 -> !map.value<@counts>
      %hit = map.hit %value : !map.value<@counts> -> i1
      cf.cond_br %hit, ^count, ^done
    ^count:
      %one = arith.constant 1 : i64
      map.atomic "add" %value[0], %one : !map.value<@counts>, i64
      %old = ebpf.atomic_fetch_or64 %value[0], %one : !map.value<@counts>, i64 -> i64
      packet.store %base[8], %old : !packet.ptr, i64
      cf.br ^done
    ^done:
      {PASS}
    """
    agree(xdp(code, COUNTS), [bytes([n % 6]) + FRAME for n in range(40)])


KEY = """
      %who = packet.load %base[0] : !packet.ptr -> i32
      %port = packet.load %base[4] : !packet.ptr -> i16
      %one = arith.constant 1 : i64
      %flags = arith.constant 0 : i64
"""


def test_hash_insert_modify_delete() -> None:
    """Found: add one through the address; then, by the packet's command: delete, replace, or leave."""
    code = f"""{BASE}{KEY}
      %command = packet.load %base[6] : !packet.ptr -> i8
      %delete = arith.constant 1 : i8
      %replace = arith.constant 2 : i8
      %flow = map.lookup @flows(%who, %port) : i32, i16 -> !map.value<@flows>
      %hit = map.hit %flow : !map.value<@flows> -> i1
      cf.cond_br %hit, ^old, ^new
    ^new:
      %error = map.update @flows key (%who, %port) value (%one) flags %flags : i32, i16, i64, i64 -> i64
      packet.store %base[16], %error : !packet.ptr, i64
      cf.br ^pass
    ^old:
      %count = map.load %flow[0] : !map.value<@flows> -> i64
      %more = arith.addi %count, %one : i64
      map.store %flow[0], %more : !map.value<@flows>, i64
      %is_delete = arith.cmpi eq, %command, %delete : i8
      cf.cond_br %is_delete, ^deleted, ^not_deleted
    ^deleted:
      %gone = map.delete @flows(%who, %port) : i32, i16 -> i64
      packet.store %base[16], %gone : !packet.ptr, i64
      map.store %flow[0], %one : !map.value<@flows>, i64
      cf.br ^again
    ^not_deleted:
      %is_replace = arith.cmpi eq, %command, %replace : i8
      cf.cond_br %is_replace, ^replaced, ^again
    ^replaced:
      %big = arith.constant 1000 : i64
      %done = map.update @flows key (%who, %port) value (%big) flags %flags : i32, i16, i64, i64 -> i64
      packet.store %base[16], %done : !packet.ptr, i64
      map.store %flow[0], %one : !map.value<@flows>, i64
      cf.br ^again
    ^again:
      %now = map.lookup @flows(%who, %port) : i32, i16 -> !map.value<@flows>
      %there = map.hit %now : !map.value<@flows> -> i1
      cf.cond_br %there, ^read, ^absent
    ^read:
      %value = map.load %now[0] : !map.value<@flows> -> i64
      packet.store %base[24], %value : !packet.ptr, i64
      cf.br ^pass
    ^absent:
      %tx = arith.constant 3 : i64
      packet.verdict %tx : i64
    ^pass:
      {PASS}
    """
    packets = [bytes([who, 0, 0, 0, 7, 0, command]) + bytes(57) for command in (0, 0, 2, 0, 1, 0) for who in range(5)]
    verdicts = {outcome.verdict for outcome in agree(xdp(code, FLOWS), packets)}
    assert verdicts == {2, 3}


def test_updates_by_address_and_helpers() -> None:
    code = f"""{BASE}
      %fp = ebpf.frame -> !ebpf.fp
      %obj = ebpf.alloca 8 -> !ebpf.fp
      %who = packet.load %base[0] : !packet.ptr -> i64
      %flags = arith.constant 0 : i64
      ebpf.stx32 %fp[-8], %who : !ebpf.fp, i64
      ebpf.stx16 %fp[-4], %flags : !ebpf.fp, i64
      ebpf.stx64 %obj[0], %who : !ebpf.fp, i64
      %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
      %error = map.update_at @flows[%key], %obj flags %flags : !ebpf.fp, !ebpf.fp, i64 -> i64
      %handle = ebpf.ld_sym @flows -> !map.handle<@flows>
      %again = ebpf.call 2(%handle, %key, %base, %flags) : !map.handle<@flows>, !ebpf.fp, !packet.ptr, i64 -> i64
      %value = ebpf.call 1(%handle, %key) : !map.handle<@flows>, !ebpf.fp -> !map.value<@flows>
      %hit = map.hit %value : !map.value<@flows> -> i1
      cf.cond_br %hit, ^found, ^lost
    ^found:
      %word = ebpf.ldxs16 %value[6] : !map.value<@flows> -> i64
      packet.store %base[8], %word : !packet.ptr, i64
      cf.br ^lost
    ^lost:
      packet.store %base[16], %error : !packet.ptr, i64
      packet.store %base[24], %again : !packet.ptr, i64
      {PASS}
    """
    agree(xdp(code, FLOWS), [bytes([n, 0, 0, 0, 0, 0, 0, 0x80 + n]) + bytes(56) for n in range(6)])


def test_longest_prefix_match_of_two_keys_is_one_element() -> None:
    code = f"""{BASE}
      %bits = arith.constant 32 : i32
      %to = packet.load %base[0] : !packet.ptr -> i32
      %route = map.lookup @routes(%bits, %to) : i32, i32 -> !map.value<@routes>
      %hit = map.hit %route : !map.value<@routes> -> i1
      cf.cond_br %hit, ^found, ^none
    ^found:
      %hop = map.load %route[0] : !map.value<@routes> -> i32
      packet.store %base[8], %hop : !packet.ptr, i32
      {PASS}
    ^none:
      %drop = arith.constant 1 : i32
      packet.verdict %drop : i32
    """
    routes = 'map.decl @routes "lpm_trie" key 8 value 4 entries 8 flags 1\n'
    maps = {
        "routes": [
            {"key": "080000000a000000", "value": "01000000"},
            {"key": "100000000a010000", "value": "02000000"},
        ]
    }
    packets = [bytes(start) + bytes(60) for start in ([10, 0, 0, 1], [10, 1, 0, 1], [11, 0, 0, 0])]
    verdicts = [outcome.verdict for outcome in agree(xdp(code, routes), packets, maps)]
    assert verdicts == [2, 2, 1]


def test_values_that_cannot_be_written_back_are_refused() -> None:
    code = f"""
      %bits = arith.constant 0 : i64
      %route = map.lookup @routes(%bits) : i64 -> !map.value<@routes>
      map.store %route[0], %bits : !map.value<@routes>, i64
      {PASS}
    """
    routes = 'map.decl @routes "lpm_trie" key 8 value 8 entries 8 flags 1\n'
    with pytest.raises(FailedAt, match="routes, which is a lpm_trie, cannot be written from user space"):
        c_source(xdp(code, routes))


def test_redirects() -> None:
    code = f"""{BASE}
      %key = packet.load %base[0] : !packet.ptr -> i64
      %flags = packet.load %base[8] : !packet.ptr -> i64
      %verdict = map.redirect @ports[%key] flags %flags : i64, i64 -> i64
      packet.verdict %verdict : i64
    """
    ports = 'map.decl @ports "devmap" key 4 value 4 entries 4 flags 0\n'
    maps = {"ports": [{"key": "01000000", "ifindex": 7}]}
    packets = [
        key.to_bytes(8, "little") + flags.to_bytes(8, "little") + bytes(48)
        for key in (0, 1, 1 << 32 | 1, 9)
        for flags in (0, 1, 2, 3, 4, 8, 24, 1 << 40)
    ]
    seen = {outcome.verdict for outcome in agree(xdp(code, ports), packets, maps)}
    assert seen == {0, 1, 2, 3, 4}


def test_redirect_to_interface() -> None:
    code = f"""{BASE}
      %ifindex = packet.load %base[0] : !packet.ptr -> i32
      %flags = packet.load %base[4] : !packet.ptr -> i8
      %verdict = ebpf.call 23(%ifindex, %flags) : i32, i8 -> i64
      packet.verdict %verdict : i64
    """
    outcomes = agree(xdp(code), [bytes([5, 0, 0, 0, flags]) + FRAME for flags in (0, 1)])
    assert [outcome.verdict for outcome in outcomes] == [4, 0]


@pytest.mark.parametrize("what", ["head", "tail", "meta"])
def test_adjust(what: str) -> None:
    code = f"""{BASE}
      %by = packet.load %base[0] : !packet.ptr -> i32
      %error = packet.adjust_{what} %ctx, %by : !packet.ctx, i32 -> i32
      %again = packet.data %ctx : !packet.ctx -> !packet.ptr
      packet.store %again[4], %error : !packet.ptr, i32
      {PASS}
    """
    amounts = (
        0,
        4,
        -4,
        5,
        -5,
        20,
        -20,
        40,
        50,
        51,
        64,
        -100,
        -216,
        -217,
        -252,
        -256,
        1000,
        3456,
        3457,
        65536,
        -65536,
    )
    agree(xdp(code), [(by & 0xFFFFFFFF).to_bytes(4, "little") + FRAME[4:] for by in amounts])


def test_context_and_environment() -> None:
    code = f"""{BASE}
      %ifindex = packet.ctx_load %ctx[12] {{field = "ingress_ifindex"}} : !packet.ctx -> i32
      %queue = ebpf.ldx32 %ctx[16] : !packet.ctx -> i64
      %now = ebpf.call 5() -> i64
      %boot = ebpf.call 125() -> i64
      %tai = ebpf.call 208() -> i64
      %random = ebpf.call 7() -> i64
      %cpu = ebpf.call 8() -> i64
      %length = ebpf.call 188(%ctx) : !packet.ctx -> i64
      packet.store %base[0], %ifindex : !packet.ptr, i32
      packet.store %base[4], %queue : !packet.ptr, i64
      packet.store %base[12], %now : !packet.ptr, i64
      packet.store %base[20], %random : !packet.ptr, i64
      packet.store %base[28], %cpu : !packet.ptr, i64
      packet.store %base[36], %length : !packet.ptr, i64
      packet.store %base[44], %boot : !packet.ptr, i64
      packet.store %base[52], %tai : !packet.ptr, i64
      {PASS}
    """
    agree(xdp(code), [FRAME] * 3, seed=7, cpu=1, ncpu=2)


def test_a_context_that_was_raised_to_nothing() -> None:
    """The context's address as an unknown word: its fields are recognised when they are read."""
    code = """
      %word = ebpf.cast %ctx : !packet.ctx -> reg
      %data = ebpf.ldx32 %word[0] : reg -> reg
      %end = ebpf.ldx32 %word[4] : reg -> reg
      %over = ebpf.addi %data, 20 : reg -> reg
      ebpf.jgt %over, %end, ^short, ^fits : reg, reg
    ^fits:
      %x = ebpf.ldx16 %data[18] : reg -> reg
      ebpf.stx16 %data[0], %x : reg, reg
      ebpf.st32 %data[4], -2 : reg
      ebpf.ja ^short
    ^short:
      %r = ebpf.movi 2 -> reg
      ebpf.exit(%r) : reg
    """
    agree(xdp(code), [FRAME, FRAME[:19], FRAME[:20]])


def test_checksum_difference() -> None:
    code = f"""{BASE}
      %from = packet.offset %base[0] : !packet.ptr -> !packet.ptr
      %to = packet.offset %base[20] : !packet.ptr -> !packet.ptr
      %n = packet.load %base[40] : !packet.ptr -> i8
      %m = packet.load %base[41] : !packet.ptr -> i8
      %seed = packet.load %base[44] : !packet.ptr -> i32
      %a = arith.extui %n : i8 to i64
      %b = arith.extui %m : i8 to i64
      %s = arith.extui %seed : i32 to i64
      %sum = ebpf.call 28(%from, %a, %to, %b, %s) : !packet.ptr, i64, !packet.ptr, i64, i64 -> i64
      packet.store %base[48], %sum : !packet.ptr, i64
      {PASS}
    """
    packets = [
        bytes(fill for _ in range(40)) + bytes([n, m, 0, 0]) + seed.to_bytes(4, "little") + bytes(16)
        for fill in (0, 1, 0xFF, 0x8F)
        for n, m in ((0, 0), (4, 4), (20, 0), (0, 20), (8, 12), (5, 3))
        for seed in (0, 1, 0xFFFF, 0xFFFFFFFF)
    ]
    agree(xdp(code), packets)


def test_packet_bytes_by_helper() -> None:
    code = f"""{BASE}
      %at = packet.load %base[0] : !packet.ptr -> i32
      %obj = ebpf.alloca 8 -> !ebpf.fp
      %zero = arith.constant 0 : i64
      %six = arith.constant 6 : i64
      %ten = arith.constant 10 : i64
      ebpf.stx64 %obj[0], %zero : !ebpf.fp, i64
      %a = ebpf.call 189(%ctx, %at, %obj, %six) : !packet.ctx, i32, !ebpf.fp, i64 -> i64
      %b = ebpf.call 190(%ctx, %ten, %obj, %six) : !packet.ctx, i64, !ebpf.fp, i64 -> i64
      packet.store %base[20], %a : !packet.ptr, i64
      packet.store %base[28], %b : !packet.ptr, i64
      {PASS}
    """
    agree(xdp(code), [at.to_bytes(4, "little") + FRAME for at in (0, 5, 62, 63, 65530, 65536, 0xFFFFFFFF)])


CALLBACK = """
ebpf.func @step section "xdp" {
^entry(%i: i64, %sum: !ebpf.reg):
  %old = ebpf.ldx64 %sum[0] : reg -> i64
  %new = arith.addi %old, %i : i64
  ebpf.stx64 %sum[0], %new : reg, i64
  %limit = arith.constant 9 : i64
  %stop = arith.cmpi uge, %i, %limit : i64
  %r = arith.extui %stop : i1 to i64
  ebpf.exit(%r) : i64
}
ebpf.func @scale section "xdp" {
^entry(%a: i64, %b: i32):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx64 %fp[-8], %a : !ebpf.fp, i64
  %x = ebpf.ldx32 %fp[-4] : !ebpf.fp -> i32
  %y = arith.addi %x, %b : i32
  %r = arith.extui %y : i32 to i64
  ebpf.exit(%r) : i64
}
"""


def test_calls_and_bounded_loop() -> None:
    code = f"""{BASE}
      %count = packet.load %base[0] : !packet.ptr -> i32
      %zero = arith.constant 0 : i64
      %sum = ebpf.alloca 8 -> !ebpf.fp
      ebpf.stx64 %sum[0], %zero : !ebpf.fp, i64
      %step = ebpf.ld_sym @step -> reg
      %n = ebpf.call 181(%count, %step, %sum, %zero) : i32, reg, !ebpf.fp, i64 -> i64
      %total = ebpf.ldx64 %sum[0] : !ebpf.fp -> i64
      %word = packet.load %base[8] : !packet.ptr -> i64
      %s = ebpf.call_local @scale(%word, %count) : i64, i32 -> i64
      packet.store %base[16], %n : !packet.ptr, i64
      packet.store %base[24], %total : !packet.ptr, i64
      packet.store %base[32], %s : !packet.ptr, i64
      {PASS}
    """
    agree(
        xdp(code, after=CALLBACK),
        [n.to_bytes(4, "little") + FRAME for n in (0, 1, 5, 10, 40, 0x800000, 0x800001)],
    )


def test_a_function_with_a_frame_is_called_often() -> None:
    """Each call gives its frame back, and does not count as nested any more."""
    square = """
    ebpf.func @square section "xdp" {
    ^entry(%a: i64):
      %fp = ebpf.frame -> !ebpf.fp
      ebpf.stx64 %fp[-8], %a : !ebpf.fp, i64
      %b = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
      %r = arith.muli %a, %b : i64
      ebpf.exit(%r) : i64
    }"""
    calls = "".join(f"%v{n + 1} = ebpf.call_local @square(%v{n}) : i64 -> i64\n" for n in range(12))
    code = f"""
      %v0 = arith.constant 3 : i64
      {calls}
      %low = arith.constant 1 : i64
      %verdict = arith.andi %v12, %low : i64
      packet.verdict %verdict : i64
    """
    agree(xdp(code, after=square))


def test_recursion_is_stopped() -> None:
    recursive = """
    ebpf.func @deep section "xdp" {
    ^entry(%a: i64):
      %zero = arith.constant 0 : i64
      %more = arith.cmpi ne, %a, %zero : i64
      cf.cond_br %more, ^down, ^bottom
    ^down:
      %fp = ebpf.frame -> !ebpf.fp
      ebpf.stx64 %fp[-8], %a : !ebpf.fp, i64
      %one = arith.constant 1 : i64
      %less = arith.subi %a, %one : i64
      %r = ebpf.call_local @deep(%less) : i64 -> i64
      ebpf.exit(%r) : i64
    ^bottom:
      ebpf.exit(%a) : i64
    }"""
    code = f"""{BASE}
      %depth = packet.load %base[0] : !packet.ptr -> i8
      %wide = arith.extui %depth : i8 to i64
      %r = ebpf.call_local @deep(%wide) : i64 -> i64
      packet.verdict %r : i64
    """
    ran = process(parse(xdp(code, after=recursive)))
    assert ran.run(bytes([7]) + FRAME).verdict == 0
    outcome = ran.run(bytes([8]) + FRAME)
    assert (outcome.verdict, outcome.dropped_because) == (1, "calls nest too deeply")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("%r = ebpf.call 12() -> reg", "tail calls stay in the kernel"),
        ("%r = ebpf.call 69() -> reg", "bpf_fib_lookup .helper 69. cannot be called on AF_XDP"),
        ("%r = ebpf.call 999() -> reg", "there is no helper 999"),
        ("%r = ebpf.call 2() -> reg", "bpf_map_update_elem is called without its argument 1"),
        (
            "%z = arith.constant 0 : i32\n%r = map.lookup @cgroups(%z) : i32 -> !map.value<@cgroups>",
            "maps of type cgroup_array cannot be used on AF_XDP: its elements have no use outside the kernel",
        ),
        ("%r = ebpf.call_kfunc 5() -> reg", "kernel function with BTF id 5 cannot be called"),
        ("%r = ebpf.ld_sym @nowhere -> reg", "'nowhere' is neither a map nor a function"),
    ],
)
def test_what_cannot_run_in_user_space_is_refused(code: str, message: str) -> None:
    maps = COUNTS + 'map.decl @cgroups "cgroup_array" key 4 value 4 entries 4 flags 0\n'
    use = "" if "map.value" in code else "\n%u = ebpf.cast %r : reg -> i64"
    with pytest.raises(FailedAt, match=message):
        c_source(xdp(f"{code}{use}\n{PASS}", maps))


HAS_LIBXDP = all(Path("/usr/include", header).exists() for header in ("xdp/xsk.h", "bpf/libbpf.h"))


@pytest.mark.skipif(not HAS_LIBXDP, reason="no headers of libxdp and libbpf")
@pytest.mark.parametrize("before", ["", COUNTS + 'map.decl @ports "devmap" key 4 value 4 entries 4 flags 0\n'])
def test_the_socket_variant_compiles_without_warnings(before: str, tmp_path: Path) -> None:
    lookup = """
      %NAME_zero = arith.constant 0 : i32
      %NAME = map.lookup @NAME(%NAME_zero) : i32 -> !map.value<@NAME>
      %NAME_hit = map.hit %NAME : !map.value<@NAME> -> i1
    """
    code = "".join(lookup.replace("NAME", name) for name in ("counts", "ports"))
    source = c_source(xdp((code if before else "") + PASS, before)).encode()
    compile_c(source, tmp_path / "af_xdp.o", "-c", "-O2", "-Wall", "-Wextra", "-Werror")


def test_blocks_may_stand_before_what_dominates_them() -> None:
    code = f"""{BASE}
      cf.br ^defines
    ^uses:
      packet.store %base[8], %twice : !packet.ptr, i64
      {PASS}
    ^defines:
      %word = packet.load %base[0] : !packet.ptr -> i64
      %twice = arith.addi %word, %word : i64
      cf.br ^uses
    """
    agree(xdp(code))


def test_keys_of_odd_widths_are_laid_out_without_gaps() -> None:
    code = f"""{BASE}
      %mac = packet.load %base[0] : !packet.ptr -> i48
      %kind = packet.load %base[6] : !packet.ptr -> i8
      %rest = packet.load %base[7] : !packet.ptr -> i24
      %value = map.lookup @table(%mac, %kind, %rest) : i48, i8, i24 -> !map.value<@table>
      %hit = map.hit %value : !map.value<@table> -> i1
      cf.cond_br %hit, ^found, ^none
    ^found:
      %word = map.load %value[1] : !map.value<@table> -> i24
      packet.store %base[16], %word : !packet.ptr, i24
      {PASS}
    ^none:
      %drop = arith.constant 1 : i64
      packet.verdict %drop : i64
    """
    table = 'map.decl @table "hash" key 10 value 4 entries 4 flags 0\n'
    maps = {"table": [{"key": bytes(range(10)).hex(), "value": "11223344"}]}
    assert [outcome.verdict for outcome in agree(xdp(code, table), [FRAME, FRAME[::-1]], maps)] == [2, 1]


FORMATS = (
    "plain, 100%%",
    "%d %u %x",
    "%lld %llx %li",
    "[%5d] [%-5d] [%05d]",
    "[%+d] [% d] [%+08lld]",
    "[%X] [%08llX] [%-8x]",
    "[%s] [%8s] [%-8s]",
    "[%c] [%3c] [%-3c]",
    "%s %%",
    "%d %d %d %d",
    "%q",
    "%",
    "%sx",
    "%hd",
    "tab\tand\nline",
    "control \x01",
    "%100d",
)


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("words", [(0, 1, 2), (0xFFFF_FFFF_FFFF_FFFE, 1 << 31, 0x4142), (1 << 63, 65, 0xFFFFFFFF)])
def test_trace_printk(text: str, words: tuple[int, int, int]) -> None:
    """The text is in the packet; where it has %s, the argument is an address in it."""
    where = [f"%a{n} = packet.load %base[{8 * n}] : !packet.ptr -> i64\n" for n in range(3)]
    if "%s" in text.replace("8s", "s").replace("-", ""):
        where = [f"%p{n} = packet.offset %base[24] : !packet.ptr -> !packet.ptr\n" for n in range(3)]
        where += [f"%a{n} = ebpf.cast %p{n} : !packet.ptr -> i64\n" for n in range(3)]
    code = f"""{BASE}{"".join(where)}
      %format = packet.offset %base[32] : !packet.ptr -> !packet.ptr
      %size = arith.constant {len(text) + 1} : i64
      %n = ebpf.call 6(%format, %size, %a0, %a1, %a2) : !packet.ptr, i64, i64, i64, i64 -> i64
      packet.store %base[8], %n : !packet.ptr, i64
      {PASS}
    """
    module = parse(xdp(code))
    packet = b"".join(word.to_bytes(8, "little") for word in words) + b"string\0\0" + text.encode() + bytes(20)
    reference, compiled = InterpProgram(module), process(module)
    expected, got = reference.run(packet), compiled.run(packet)
    assert got.dropped_because is None
    assert got.packet.hex() == expected.data.hex()
    assert compiled.machine.log == reference.machine.log


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("af_xdp.c:20:10: fatal error: xdp/xsk.h: No such file or directory", "xdp/xsk.h: .*; install libxdp-dev"),
        ("<stdin>:20:10: fatal error: 'bpf/bpf.h' file not found", "bpf/bpf.h' file not found; install libbpf-dev"),
        ("/usr/bin/ld: cannot find -lxdp: No such file or directory", "cannot find -lxdp; install libxdp-dev"),
        ("af_xdp.c:3:1: error: what", "error: what"),
    ],
)
def test_what_is_not_installed_is_named(line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cc = tmp_path / "cc"
    cc.write_text(f'#!/bin/sh\ncat > /dev/null\necho "{line}" >&2\nexit 1\n')
    cc.chmod(0o755)
    monkeypatch.setenv("CC", str(cc))
    with pytest.raises(CompilerError, match=f"^[^\n]*{said}$"):
        compile_c(b"int x;", tmp_path / "out.o", "-c")
    assert not (tmp_path / "out.o").exists()
