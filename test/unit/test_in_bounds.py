"""Which accesses need no check in user space: only those that the program's own guards prove.

Each program stands beside ones with the guard, the bound or the order changed, which must keep the check.
"""

from __future__ import annotations

import pytest
from af_xdp_helpers import FRAME, agree, needs_compiler, parse, process, xdp
from xdsl.dialects.builtin import IntegerType, ModuleOp

from fsir.analysis.effects import EffectTable
from fsir.analysis.in_bounds import InBounds
from fsir.analysis.ranges import LayoutEffects
from fsir.dialects import ebpf, map, packet

DATA = "%data = packet.data %ctx : !packet.ctx -> !packet.ptr\n"
END = "%end = packet.end %ctx : !packet.ctx -> !packet.end_ptr\n"
MAPS = """
map.decl @array "array" key 4 value 8 entries 4 flags 0
map.decl @other "array" key 4 value 64 entries 4 flags 0
"""
FUNCTIONS = """
ebpf.func @harmless section "xdp" {
^entry(%a: i64):
  ebpf.exit(%a) : i64
}
ebpf.func @resizes section "xdp" {
^entry(%ctx: !packet.ctx):
  %by = arith.constant -4 : i32
  %r = packet.adjust_tail %ctx, %by : !packet.ctx, i32 -> i64
  ebpf.exit(%r) : i64
}
ebpf.func @calls section "xdp" {
^entry(%ctx: !packet.ctx):
  %r = ebpf.call_local @resizes(%ctx) : !packet.ctx -> i64
  ebpf.exit(%r) : i64
}
"""
DONE = """
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
^out:
  %drop = arith.constant 1 : i64
  packet.verdict %drop : i64
"""


def guarded(size: int = 34, of: str = "%data", name: str = "ok", by: str = "%end") -> str:
    """Go on if so many bytes are there."""
    return f"""
  %{name} = packet.guard {of}[{size}], {by} : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %{name}, ^{name}, ^out
^{name}:
"""


def read(at: str = "%data", offset: int = 30, width: int = 32, name: str = "x") -> str:
    return f"%{name} = packet.load {at}[{offset}] : !packet.ptr -> i{width}\n"


def proven(code: str) -> list[bool]:
    """For each access of packet bytes, values or stack in turn: whether it is known to be in bounds."""
    module = parse(xdp(code + DONE, MAPS, FUNCTIONS))
    functions = {op.symbol: op for op in module.ops if isinstance(op, ebpf.FuncOp)}
    func = functions["p"]
    bounds = InBounds(func.body, LayoutEffects(EffectTable(module), functions), lambda name: value_size(module, name))
    accesses = (packet.LoadOp, packet.StoreOp, map.LoadOp, map.StoreOp, ebpf.LdxOp, ebpf.StxOp)
    found = []
    for op in func.walk():
        if isinstance(op, accesses):
            word = op.results[0] if op.results else op.operands[1]
            assert isinstance(op, ebpf.LdxOp | ebpf.StxOp) or isinstance(word.type, IntegerType)
            width = op.row.width if isinstance(op, ebpf.LdxOp | ebpf.StxOp) else word.type.width.data
            found.append(bounds.holds(op, op.operands[0], op.int_prop("off"), width // 8))
    return found


def value_size(module: ModuleOp, name: str) -> int:
    decls = {op.sym_name.data: op for op in module.ops if isinstance(op, map.DeclOp)}
    return int(decls[name].value_size.data)


OFFSET = "%byte = packet.load %data[14] : !packet.ptr -> i8\n%wide = arith.extui %byte : i8 to i64\n"
ADVANCED = "%ip = packet.advance %data, %wide : !packet.ptr, i64 -> !packet.ptr\n"
WORD = "%wide = packet.load %data[0] : !packet.ptr -> i64\n"
BELOW = """
  %limit = arith.constant 65536 : i64
  %low = arith.cmpi {relation}, %wide, %limit : i64
  cf.cond_br %low, ^low, ^out
^low:
"""
ABOVE = BELOW.format(relation="uge")
NOT_ABOVE = ABOVE.replace("^low, ^out", "^out, ^low")
SUM = """
  %least = arith.constant 200 : i8
  %big = arith.cmpi uge, %byte, %least : i8
  cf.cond_br %big, ^big, ^out
^big:
  %more = arith.constant 100 : i8
  %sum = arith.addi %byte, %more : i8
  %wsum = arith.extui %sum : i8 to i64
  %far = packet.advance %data, %wsum : !packet.ptr, i64 -> !packet.ptr
  %back = packet.offset %far[-300] : !packet.ptr -> !packet.ptr
"""
HALF = """
  %word = ebpf.cast %data : !packet.ptr -> i64
  %cut = arith.trunci %word : i64 to i32
  %again = arith.extui %cut : i32 to i64
  %half = ebpf.cast %again : i64 -> !packet.ptr
"""
LESS = """
  %none = arith.constant 0 : i64
  %some = arith.cmpi {relation}, %wide, %none : i64
  cf.cond_br %some, ^some, ^out
^some:
  %one = arith.constant -1 : i64
  %less = arith.addi %wide, %one : i64
  %ip = packet.advance %data, %less : !packet.ptr, i64 -> !packet.ptr
"""
TWICE_GUARDED = DATA + END + guarded(15) + OFFSET + ADVANCED + guarded(20, "%ip", "more")
MORE = """
  %mask = arith.constant {mask} : i64
  %some = arith.andi %wide, %mask : i64
  %tcp = packet.advance %ip, %some : !packet.ptr, i64 -> !packet.ptr
"""

PACKET = {
    "guarded": (DATA + END + guarded() + read(), [True]),
    "no guard": (DATA + END + read() + guarded(), [False]),
    "guard too short": (DATA + END + guarded(33) + read(), [False]),
    "before the start": (DATA + END + guarded() + read(offset=-1, width=8), [False]),
    "the other side": (DATA + END + guarded() + "cf.br ^out\n^dead:\n" + read(), [False]),
    "another pointer's guard is longer": (
        DATA + END + "%ip = packet.offset %data[14] : !packet.ptr -> !packet.ptr\n" + guarded(20, "%ip") + read(),
        [True],
    ),
    "moved by a byte": (
        DATA + END + guarded(15) + OFFSET + ADVANCED + guarded(20, "%ip", "more") + read("%ip", 16),
        [True, True],
    ),
    "moved by a byte, the start's guard only": (
        DATA + END + guarded(60) + OFFSET + ADVANCED + read("%ip", 0),
        [True, False],
    ),
    "moved by a byte, the start's guard long enough": (
        DATA + END + guarded(300) + OFFSET + ADVANCED + read("%ip", 0),
        [True, True],
    ),
    "moved by a word that wraps": (
        DATA + END + guarded(15) + WORD + ADVANCED + guarded(20, "%ip", "more") + read("%ip", 16),
        [True, False],
    ),
    "moved by a word with a bound": (
        DATA
        + END
        + guarded(15)
        + WORD
        + BELOW.format(relation="ult")
        + ADVANCED
        + guarded(20, "%ip", "more")
        + read("%ip", 16),
        [True, True],
    ),
    "moved by a word with a signed bound": (
        DATA
        + END
        + guarded(15)
        + WORD
        + BELOW.format(relation="slt")
        + ADVANCED
        + guarded(20, "%ip", "more")
        + read("%ip", 16),
        [True, False],
    ),
    "moved by a word that is not below a bound": (
        DATA + END + guarded(15) + WORD + ABOVE + ADVANCED + guarded(20, "%ip", "more") + read("%ip", 16),
        [True, False],
    ),
    "moved by less than a bound, which the other side says": (
        DATA + END + guarded(15) + WORD + NOT_ABOVE + ADVANCED + guarded(20, "%ip", "more") + read("%ip", 16),
        [True, True],
    ),
    "moved by a byte, another start": (
        DATA + END + guarded(15) + OFFSET + ADVANCED + guarded(20, "%ip", "more") + read("%data", 16),
        [True, True],
    ),
    "moved by a byte, far behind the other start": (
        DATA + END + guarded(15) + OFFSET + ADVANCED + guarded(20, "%ip", "more") + read("%data", 200),
        [True, False],
    ),
    "moved by a sum that wraps": (DATA + END + guarded(400) + OFFSET + SUM + read("%back", 0), [True, False]),
    "half an address": (DATA + END + guarded() + HALF + read("%half", 0), [False]),
    "moved by a byte less one": (
        DATA + END + guarded(15) + OFFSET + LESS.format(relation="ugt") + guarded(20, "%ip", "more") + read("%ip", 16),
        [True, True],
    ),
    "moved by a byte less one, or by minus one": (
        DATA + END + guarded(15) + OFFSET + LESS.format(relation="uge") + guarded(20, "%ip", "more") + read("%ip", 16),
        [True, False],
    ),
    "on the side where it is too short": (
        f"{DATA}{END}%ok = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1\n"
        f"cf.cond_br %ok, ^out, ^short\n^short:\n{read()}",
        [False],
    ),
    "where the guarded way meets another": (
        f"{DATA}{END}%ok = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1\n"
        f"cf.cond_br %ok, ^both, ^short\n^short:\ncf.br ^both\n^both:\n{read()}",
        [False],
    ),
    "moved by a few bytes more, behind a guard": (TWICE_GUARDED + MORE.format(mask=4) + read("%tcp", 12), [True, True]),
    "moved by too many bytes more, behind a guard": (
        TWICE_GUARDED + MORE.format(mask=5) + read("%tcp", 12),
        [True, False],
    ),
    "moved backwards": (
        DATA
        + END
        + guarded(60)
        + OFFSET
        + "%zero = arith.constant 0 : i64\n%minus = arith.subi %zero, %wide : i64\n"
        + "%ip = packet.advance %data, %minus : !packet.ptr, i64 -> !packet.ptr\n"
        + read("%ip", 0),
        [True, False],
    ),
}

RESIZED = "%four = arith.constant {by} : i32\n%res = packet.adjust_{what} %ctx, %four : !packet.ctx, i32 -> i64\n"
TAIL = "%four = arith.constant -4 : i32\n%res = packet.adjust_tail %ctx, %four : !packet.ctx, i32 -> i64\n"
AGAIN = (DATA + END + guarded()).replace("%data", "%data2").replace("%end", "%end2").replace("ok", "ok2")
EPOCHS = {
    "resized behind the guard": (DATA + END + guarded() + TAIL + read(), [False]),
    "resized before everything": (TAIL + DATA + END + guarded() + read(), [True]),
    "an old start": (DATA + TAIL + END + guarded() + read(), [False]),
    "an old end": (END + TAIL + DATA + guarded() + read(), [False]),
    "a function that does not resize": (
        f"{DATA}{END}{guarded()}%z = arith.constant 1 : i64\n%r = ebpf.call_local @harmless(%z) : i64 -> i64\n{read()}",
        [True],
    ),
    "a function that does": (
        f"{DATA}{END}{guarded()}%r = ebpf.call_local @resizes(%ctx) : !packet.ctx -> i64\n{read()}",
        [False],
    ),
    "a function that calls one that does": (
        f"{DATA}{END}{guarded()}%r = ebpf.call_local @calls(%ctx) : !packet.ctx -> i64\n{read()}",
        [False],
    ),
    "guarded anew": (DATA + END + guarded() + TAIL + AGAIN + read("%data2"), [True]),
    "guarded anew, read through the old": (DATA + END + guarded() + TAIL + AGAIN + read("%data"), [False]),
    "resized on one way": (
        DATA + END + guarded() + OFFSET + "%odd = arith.trunci %byte : i8 to i1\ncf.cond_br %odd, ^one, ^two\n"
        f"^one:\n{TAIL}cf.br ^two\n^two:\n{read()}",
        [True, False],
    ),
}

LOOP = """
  cf.br ^head({start} : !packet.ptr)
^head(%p: !packet.ptr):
  %in = packet.guard %p[{size}], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %in, ^in, ^after
^in:
  %c = packet.load %p[0] : !packet.ptr -> i8
  {extra}
  %q = packet.offset %p[{step}] : !packet.ptr -> !packet.ptr
  cf.br ^head(%q : !packet.ptr)
^after:
"""


def loop(size: int = 1, step: int = 1, extra: str = "") -> str:
    return DATA + END + LOOP.format(start="%data", size=size, step=step, extra=extra)


PAIR = """
  %second = packet.offset %data[1] : !packet.ptr -> !packet.ptr
  cf.br ^head(%data, %second : !packet.ptr, !packet.ptr)
^head(%p: !packet.ptr, %q: !packet.ptr):
  %c = packet.load %p[0] : !packet.ptr -> i8
  %p2 = packet.offset %p[{step}] : !packet.ptr -> !packet.ptr
  %q2 = packet.offset %q[{other}] : !packet.ptr -> !packet.ptr
  %in = packet.guard %q[1], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %in, ^head(%p2, {next} : !packet.ptr, !packet.ptr), ^out
^after:
"""

LOOPS = {
    "to the packet's end": (loop(), [True]),
    "without its guard": (loop(size=0), [False]),
    "backwards": (loop(step=-1), [False]),
    "long steps": (loop(step=1500), [True]),
    "resized within": (loop(extra=TAIL), [False]),
    "two pointers, one of them in the condition": (
        DATA + END + guarded(1) + PAIR.format(step=1, other=1, next="%q2"),
        [True],
    ),
    "two pointers, too short a guard before": (
        DATA + END + guarded(0) + PAIR.format(step=1, other=1, next="%q2"),
        [False],
    ),
    "two pointers that drift apart": (DATA + END + guarded(1) + PAIR.format(step=1, other=0, next="%q2"), [False]),
    "two pointers, one of them begins again": (
        DATA + END + guarded(1) + PAIR.format(step=1, other=1, next="%second"),
        [False],
    ),
}

LOOKED_UP = "%key = arith.constant 1 : i32\n%v = map.lookup @array(%key) : i32 -> !map.value<@array>\n"
HIT = "%hit = map.hit %v : !map.value<@array> -> i1\ncf.cond_br %hit, ^hit, ^out\n^hit:\n"
INDEXED = "%e = ebpf.add %v, %wide : !map.value<@array>, i64 -> !map.value<@array>\n"
MASKED = "%m = arith.constant {mask} : i64\n%wide2 = arith.andi %wide, %m : i64\n" + INDEXED.replace("%wide", "%wide2")


def value(at: str = "%v", offset: int = 4, width: int = 32) -> str:
    return f"%y = map.load {at}[{offset}] : !map.value<@array> -> i{width}\n"


TWO = f"""
  {DATA}{END}{guarded()}{OFFSET}{LOOKED_UP}
  %key2 = arith.constant 2 : i32
  %odd = arith.trunci %byte : i8 to i1
  cf.cond_br %odd, ^one, ^two
^one:
  %hit = map.hit %v : !map.value<@array> -> i1
  cf.cond_br %hit, ^both(%v : !map.value<@array>), ^out
^two:
  %w = map.lookup @array(%key2) : i32 -> !map.value<@array>
  %hit2 = map.hit %w : !map.value<@array> -> i1
  cf.cond_br %hit2, ^hit2, ^out
^hit2:
  cf.br ^both(%w : !map.value<@array>)
^both(%x2: !map.value<@array>):
  {value("%x2")}
"""

INDEX = (
    """
  %most = arith.constant {n} : i64
  %few = arith.cmpi ule, %wide, %most : i64
  cf.cond_br %few, ^few, ^out
^few:
"""
    + INDEXED
    + value("%e", 0, 8)
)

VALUES = {
    "hit": (LOOKED_UP + HIT + value(), [True]),
    "not asked": (LOOKED_UP + value(), [False]),
    "behind the value": (LOOKED_UP + HIT + value(offset=5), [False]),
    "before the value": (LOOKED_UP + HIT + value(offset=-4), [False]),
    "one of two, both of which are there": (TWO, [True, True]),
    "one of two, one of which may be missing": (
        TWO.replace("cf.cond_br %hit2, ^hit2, ^out", "cf.br ^hit2"),
        [True, False],
    ),
    "missed": (LOOKED_UP + HIT.replace("^hit, ^out", "^out, ^hit") + value(), [False]),
    "indexed up to a bound": (DATA + END + guarded() + WORD + LOOKED_UP + HIT + INDEX.format(n=7), [True, True]),
    "indexed up to a bound and one": (
        DATA + END + guarded() + WORD + LOOKED_UP + HIT + INDEX.format(n=8),
        [True, False],
    ),
    "global data": (
        "%v = ebpf.ld_sym @array {offset = #builtin.int<4>} -> !map.value<@array>\n" + value(offset=0),
        [True],
    ),
    "behind global data": (
        "%v = ebpf.ld_sym @array {offset = #builtin.int<4>} -> !map.value<@array>\n" + value(offset=1),
        [False],
    ),
    "before global data": (
        "%v = ebpf.ld_sym @array {offset = #builtin.int<-4>} -> !map.value<@array>\n" + value(offset=0),
        [False],
    ),
    "asked of another lookup": (
        LOOKED_UP + LOOKED_UP.replace("%key", "%key2").replace("%v", "%w") + HIT + value("%w"),
        [False],
    ),
    "indexed": (DATA + END + guarded() + WORD + LOOKED_UP + HIT + INDEXED + value("%e", 0, 8), [True, False]),
    "indexed by few bits": (
        DATA + END + guarded() + WORD + LOOKED_UP + HIT + MASKED.format(mask=7) + value("%e", 0, 8),
        [True, True],
    ),
    "indexed by too many": (
        DATA + END + guarded() + WORD + LOOKED_UP + HIT + MASKED.format(mask=8) + value("%e", 0, 8),
        [True, False],
    ),
}

COUNTED = """
  %fp = ebpf.frame -> !ebpf.fp
  %zero = arith.constant 0 : i64
  %one = arith.constant 1 : i64
  %n = arith.constant {rounds} : i64
  cf.br ^head(%zero : i64)
^head(%i: i64):
  %base = ebpf.addi %fp, -16 : !ebpf.fp -> !ebpf.fp
  %at = ebpf.add %base, %i : !ebpf.fp, i64 -> !ebpf.fp
  ebpf.stx8 %at[0], %i : !ebpf.fp, i64
  %next = arith.addi %i, %one : i64
  %more = arith.cmpi {relation}, %next, %n : i64
  cf.cond_br %more, ^head(%next : i64), ^after
^after:
"""

STACK = {
    "below the frame": ("%fp = ebpf.frame -> !ebpf.fp\n%x = ebpf.ldx64 %fp[-520] : !ebpf.fp -> i64\n", [False]),
    "the frame's lowest word": ("%fp = ebpf.frame -> !ebpf.fp\n%x = ebpf.ldx64 %fp[-512] : !ebpf.fp -> i64\n", [True]),
    "as many rounds as bytes": (COUNTED.format(rounds=16, relation="ne"), [True]),
    "fewer": (COUNTED.format(rounds=16, relation="ult"), [True]),
    "one more": (COUNTED.format(rounds=17, relation="ne"), [False]),
    "signed": (COUNTED.format(rounds=16, relation="slt"), [True]),
    "no end": (COUNTED.format(rounds=0, relation="ne"), [False]),
}

CASES = PACKET | EPOCHS | LOOPS | VALUES | STACK


@pytest.mark.parametrize("name", CASES)
def test_what_is_proven(name: str) -> None:
    code, expected = CASES[name]
    assert proven(code) == expected


@needs_compiler
def test_what_is_not_proven_is_checked() -> None:
    """The pointer wraps around to before the packet: the guard holds, the access does not take place."""
    code = PACKET["moved by a word that wraps"][0] + DONE
    runner = process(parse(xdp(code, MAPS)))
    outcome = runner.run((-64 & (1 << 64) - 1).to_bytes(8, "little") + bytes(56))
    assert outcome.dropped_because is not None and outcome.dropped_because.startswith("read of 4 bytes at packet-48")


@needs_compiler
def test_what_is_proven_is_right() -> None:
    agree(xdp(PACKET["moved by a byte"][0] + DONE, MAPS), [FRAME, FRAME[:50], FRAME[:14], bytes(64)])


@needs_compiler
def test_a_wrong_proof_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where programs run without an interface, proofs are checked as well: all other tests test them."""
    monkeypatch.setattr(InBounds, "holds", lambda *_: True)
    outcome = process(parse(xdp(PACKET["no guard"][0] + DONE, MAPS))).run(FRAME[:20])
    assert outcome.dropped_because is not None and outcome.dropped_because.startswith("access that was proven")
