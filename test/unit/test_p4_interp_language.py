"""The meaning of P4_16's expressions and statements, as small bodies and the number they compute."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsir.backends.p4.interp import P4Error, P4RuntimeError, Switch, load
from fsir.backends.p4.interp.arith import BINARY, COMPARE, wrap
from fsir.backends.p4.interp.types import BitType, IntType

FRAME = (Path(__file__).parent / "p4" / "snippet.p4").read_text()
M64 = (1 << 64) - 1


def fill(**parts: str) -> str:
    """snippet.p4 with its places filled."""
    text = FRAME
    for place, part in parts.items():
        text = text.replace(f"/*{place.upper()}*/", part)
    return text


def run(a: int = 0, b: int = 0, undefined: int = 0, rest: bytes = b"", **parts: str) -> bytes:
    """The packet that comes out when `a`, `b` and `rest` come in."""
    packet = a.to_bytes(8, "big") + b.to_bytes(8, "big") + rest
    outputs = Switch(load(fill(**parts), "snippet.p4"), undefined=undefined).process(packet, 0)
    assert len(outputs) == 1
    return outputs[0].data


def value(a: int = 0, b: int = 0, **parts: str) -> int:
    """hdr.res.r after the body."""
    return int.from_bytes(run(a, b, 0, b"", **parts)[:8], "big")


# a, b, what hdr.res.r is set to, expected
EXPRESSIONS = [
    # arithmetic wraps at the width of its operands
    (200, 100, "(bit<64>) ((bit<8>) a + (bit<8>) b)", 44),
    (1, 2, "(bit<64>) ((bit<8>) a - (bit<8>) b)", 255),
    (1, 2, "a - b", M64),
    (16, 16, "(bit<64>) ((bit<8>) a * (bit<8>) b)", 0),
    (7, 3, "a / b", 2),
    (7, 3, "a % b", 1),
    (5, 0, "(bit<64>) (-(bit<8>) a)", 251),
    (5, 0, "(bit<64>) (~(bit<8>) a)", 250),
    (0, 0, "~a", M64),
    # saturation
    (200, 100, "(bit<64>) ((bit<8>) a |+| (bit<8>) b)", 255),
    (100, 200, "(bit<64>) ((bit<8>) a |-| (bit<8>) b)", 0),
    (100, 100, "(bit<64>) (bit<8>) ((int<8>) (bit<8>) a |+| (int<8>) (bit<8>) b)", 127),
    (0x80, 1, "(bit<64>) (bit<8>) ((int<8>) (bit<8>) a |-| (int<8>) (bit<8>) b)", 0x80),
    # signed numbers
    (0xFF, 0, "(bit<64>) (bit<16>) (int<16>) (int<8>) (bit<8>) a", 0xFFFF),
    (0xFF, 1, "(int<8>) (bit<8>) a < (int<8>) (bit<8>) b ? 64w1 : 0", 1),
    (0xFF, 1, "(bit<8>) a < (bit<8>) b ? 64w1 : 0", 0),
    (0x80, 1, "(bit<64>) (bit<8>) ((int<8>) (bit<8>) a >> 1)", 0xC0),
    (0x80, 9, "(bit<64>) (bit<8>) ((int<8>) (bit<8>) a >> (bit<8>) b)", 0xFF),
    (0x7F, 1, "(bit<64>) (bit<8>) ((int<8>) (bit<8>) a + (int<8>) (bit<8>) b)", 0x80),
    (0x80, 0, "(bit<64>) (bit<8>) (-(int<8>) (bit<8>) a)", 0x80),
    (0x40, 0, "(bit<64>) (bit<8>) ((int<8>) (bit<8>) a << 1)", 0x80),
    # shifts by the width or more
    (1, 8, "(bit<64>) ((bit<8>) a << (bit<8>) b)", 0),
    (1, 7, "(bit<64>) ((bit<8>) a << (bit<8>) b)", 0x80),
    (M64, M64, "a << b", 0),
    (M64, M64, "a >> b", 0),
    (M64, 64, "a >> b", 0),
    (0xF0, 0, "a >> 4", 15),
    (0xF0, 0, "a >> 100", 0),
    # slices and concatenation
    (0x123456789ABCDEF0, 0, "(bit<64>) a[63:60]", 1),
    (0x123456789ABCDEF0, 0, "(bit<64>) a[15:4]", 0xDEF),
    (0xAB, 0xCD, "(bit<64>) ((bit<8>) a ++ (bit<8>) b)", 0xABCD),
    (1, 2, "(bit<64>) ((bit<4>) a ++ (bit<4>) b ++ 8w0xff ++ (bit<4>) (a + b))", 0x12FF3),
    (1, 2, "(bit<64>) ((bit<4>) a ++ ((bit<4>) b ++ 4w5))", 0x125),
    (0xFF, 0, "(bit<64>) (bit<16>) ((int<8>) (bit<8>) a ++ 8w0)", 0xFF00),
    (0xFF, 0, "(bit<64>) (8w1 ++ (int<8>) (bit<8>) a)", 0x1FF),
    # precedence: bit operators bind tighter than comparisons, shifts looser than +, ++ like +
    (6, 2, "a & 3 == 2 ? 64w1 : 0", 1),
    (1, 3, "1 << 2 + 1 == 8 ? 64w1 : 0", 1),
    (1, 0, "a | 2 ^ 3 & 1", 3),
    (10, 3, "a - b - 2", 5),
    (1, 2, "a == 1 && b == 2 || a == 7 ? 64w5 : 6", 5),
    (1, 2, "a < b == true ? 64w5 : 6", 5),
    (5, 0, "!(a == 5) ? 64w1 : 2", 2),
    (9, 0, "-a + 10", 1),
    (0, 0, "(bit<64>) (4w5 ++ 8w3 ++ 2w1)", (5 << 10) | (3 << 2) | 1),
    (0, 0, "(bit<64>) (bit<16>) (-8s1 ++ 8w2)", 0xFF02),
    # casts
    (0, 0, "(error.NoError) == sm.parser_error ? 64w1 : 2", 1),
    (0x1FF, 0, "(bit<64>) (bit<8>) a", 0xFF),
    (1, 0, "(bool) (bit<1>) a ? 64w7 : 8", 7),
    (1, 2, "(bit<64>) (bit<1>) (a < b)", 1),
    (3, 0, "(bit<64>) (nibble_t) (bit<4>) a", 3),
    (3, 0, "a + (bit<64>) Kind.Two", 5),
    (2, 0, "(Kind) (bit<8>) a == Kind.Two ? 64w1 : 0", 1),
    (2, 0, "(bit<8>) a == Kind.Two ? 64w1 : 0", 1),
    # literals
    (0, 0, "0x1_F", 0x1F),
    (0, 0, "0b1010_1010 + 0o17 + 0d9", 0xAA + 15 + 9),
    (0, 0, "(bit<64>) 8w0xFF", 0xFF),
    (0, 0, "(bit<64>) (bit<8>) 8s0b1111_1110", 0xFE),
    (0, 0, "64w5 - 6", M64),
    (0, 0, "(2 + 3) * 4 % 7", 6),
    (0, 0, "THREE + SHIFTED", 3 + (3 << 4)),
    (0, 0, "(bit<64>) CONSTANT.y", 9),
    # functions
    (4, 5, "(bit<64>) larger((bit<8>) a, (bit<8>) b)", 5),
    (6, 5, "(bit<64>) larger((bit<8>) a, (bit<8>) b)", 6),
    (6, 5, "(bit<64>) larger(y = (bit<8>) a, x = (bit<8>) b)", 6),
    (6, 5, "a > 3 ? (b > 3 ? 64w1 : 2) : 3", 1),
    # sizes
    (0, 0, "(bit<64>) hdr.small.minSizeInBits() + (bit<64>) hdr.tall.minSizeInBytes()", 20),
    (0, 0, "(bit<64>) hdr.stack.size", 3),
]
TOP = """
#define SHIFTED (THREE << 4)
#define THREE 3
type bit<4> nibble_t;
enum bit<8> Kind { One = 1, Two = 2 }
const pair_t CONSTANT = { 8, 9 };
bit<8> larger(in bit<8> x, in bit<8> y) { if (x > y) { return x; } return y; }
"""


@pytest.mark.parametrize(("a", "b", "text", "expected"), EXPRESSIONS, ids=[row[2] for row in EXPRESSIONS])
def test_expression(a: int, b: int, text: str, expected: int) -> None:
    assert value(a, b, top=TOP, body=f"hdr.res.r = {text};") == expected


# declarations at top, declarations in the control, body, a, b, expected
BODIES = {
    "slices as lvalues": ("", "", "hdr.res.r[7:0] = 0xAB; hdr.res.r[15:12] = 4w5; hdr.res.r[0:0] = 0;", 0, 0, 0x50AA),
    "slice of a slice": ("", "", "hdr.res.r[15:8][3:0] = 4w7;", 0, 0, 0x700),
    "slice of a signed lvalue": (
        "",
        "",
        "int<8> s = 0; s[7:7] = 1; hdr.res.r = s < 0 ? 64w1 : 0;",
        0,
        0,
        1,
    ),
    "a list is evaluated before it is assigned": (
        "",
        "",
        "pair_t p = {1, 2}; p = {p.y, p.x}; hdr.res.r = (bit<64>) (p.x ++ p.y);",
        0,
        0,
        0x201,
    ),
    "records by name": ("", "", "pair_t p = {y = 1, x = 2}; hdr.res.r = (bit<64>) (p.x ++ p.y);", 0, 0, 0x201),
    "structs are copied": (
        "",
        "",
        "pair_t p = {1, 2}; pair_t q = p; q.x = 7; meta.p = q; q.y = 9; "
        "hdr.res.r = (bit<64>) (p.x ++ meta.p.x ++ meta.p.y);",
        0,
        0,
        0x010702,
    ),
    "struct equality": (
        "",
        "",
        "pair_t p = {1, 2}; pair_t q = {1, 2}; if (p == q) hdr.res.r = 1; q.y = 3; "
        "if (p != q) hdr.res.r = hdr.res.r + 2;",
        0,
        0,
        3,
    ),
    "headers compare validity first": (
        "",
        "",
        """small_t p; small_t q; if (p == q) hdr.res.r = 1; q.setValid(); q = {1, 2, 3}; if (p == q) hdr.res.r = 99;
           p = q; if (p == q) hdr.res.r = hdr.res.r + 2; p.y = 7; if (p != q) hdr.res.r = hdr.res.r + 4;""",
        0,
        0,
        7,
    ),
    "tuples without content": ("", "", "tuple<bool, pair_t> t; hdr.res.r = t[0] ? 64w1 : (bit<64>) t[1].y;", 0, 0, 0),
    "tuples": ("", "", "tuple<bit<8>, bit<16>> t = {1, 2}; hdr.res.r = (bit<64>) (t[0] ++ t[1]);", 0, 0, 0x10002),
    "inout scalars come back": (
        "bit<8> bump(inout bit<8> x, in bit<8> by) { x = x + by; return x; }",
        "",
        "bit<8> x = 1; bit<8> y = bump(x, 2) + bump(x, 3); hdr.res.r = (bit<64>) (x ++ y);",
        0,
        0,
        0x0609,
    ),
    "only what is evaluated has effects": (
        "bool yes(inout bit<8> x) { x = x + 1; return true; }",
        "",
        "bit<8> n = 0; if (true || yes(n)) { } if (n == 1 && yes(n)) { } "
        "if (n == 0 && yes(n)) { } hdr.res.r = (bit<64>) n;",
        0,
        0,
        1,
    ),
    "out parameters of fields and slices": (
        "void two(out bit<8> x, out bit<8> y) { x = 3; y = 4; }",
        "",
        "two(meta.m, hdr.res.r[15:8]); hdr.res.r[7:0] = meta.m;",
        0,
        0,
        0x403,
    ),
    "an ignored out argument": (
        "void two(out bit<8> x, out bit<8> y) { x = 3; y = 4; }",
        "",
        "two(_, hdr.res.r[7:0]);",
        0,
        0,
        4,
    ),
    "the same struct in and out": (
        "void swap(in pair_t from, inout pair_t to) { to.x = from.y; to.y = from.x; }",
        "",
        "pair_t p = {1, 2}; swap(p, p); hdr.res.r = (bit<64>) (p.x ++ p.y);",
        0,
        0,
        0x201,
    ),
    "copy out in the order of parameters": (
        "void both(inout pair_t whole, inout bit<8> part) { whole.x = 1; part = 2; }",
        "",
        "pair_t p = {0, 0}; both(p, p.x); hdr.res.r = (bit<64>) p.x;",
        0,
        0,
        2,
    ),
    "copy out the other way round": (
        "void both(inout bit<8> part, inout pair_t whole) { whole.x = 1; part = 2; }",
        "",
        "pair_t p = {0, 0}; both(p.x, p); hdr.res.r = (bit<64>) p.x;",
        0,
        0,
        1,
    ),
    "an action's copy out wins over what it wrote directly": (
        "",
        "bit<8> n = 1; action set(inout bit<8> x) { n = 5; x = x + 1; }",
        "set(n); hdr.res.r = (bit<64>) n;",
        0,
        0,
        2,
    ),
    "an action's struct argument is a copy": (
        "",
        "action set(inout pair_t p) { meta.p.x = 5; p.y = 6; }",
        "meta.p = {1, 2}; set(meta.p); hdr.res.r = (bit<64>) (meta.p.x ++ meta.p.y);",
        0,
        0,
        0x106,
    ),
    "actions share the control's variables": (
        "",
        "bit<8> n = 1; action add(bit<8> x) { n = n + x; } action twice(bit<8> x) { add(x); add(x); }",
        "twice(3); add(1); hdr.res.r = (bit<64>) n;",
        0,
        0,
        8,
    ),
    "an action is known from its declaration on": (
        "action which() { }",
        "action first() { which(); } action which() { hdr.res.r = hdr.res.r + 1; } action second() { which(); }",
        "first(); second();",
        0,
        0,
        1,
    ),
    "return leaves the action only": (
        "",
        "action early(in bit<8> x) { if (x > 2) { return; } hdr.res.r = hdr.res.r + 1; }",
        "early(1); early(5); hdr.res.r = hdr.res.r + 0x10;",
        0,
        0,
        0x11,
    ),
    "return leaves the control": ("", "", "hdr.res.r = 1; if (a == 5) { return; } hdr.res.r = 2;", 5, 0, 1),
    "exit leaves everything": ("", "action stop() { exit; }", "hdr.res.r = 1; stop(); hdr.res.r = 2;", 0, 0, 1),
    "exit copies out": (
        "",
        "bit<64> n = 0; action stop(inout bit<64> x) { x = 7; exit; }",
        "stop(hdr.res.r); hdr.res.r = 2;",
        0,
        0,
        7,
    ),
    "exit copies structs out": (
        "control Inner(inout pair_t p, inout pair_t q) { apply { p.x = 3; if (q.y == 2) { exit; } } }",
        "Inner() inner;",
        "meta.p = {1, 2}; hdr.res.r = 5; inner.apply(meta.p, meta.p); hdr.res.r = 9;",
        0,
        0,
        5,
    ),
    "switch over a number": (
        "",
        "",
        "switch (a) { 1: { hdr.res.r = 10; } 2: 3: { hdr.res.r = 20; } default: { hdr.res.r = 30; } }",
        2,
        0,
        20,
    ),
    "switch to default": (
        "",
        "",
        "switch (a) { 1: { hdr.res.r = 10; } 2: 3: { hdr.res.r = 20; } default: { hdr.res.r = 30; } }",
        9,
        0,
        30,
    ),
    "blocks hide outer names": ("", "", "bit<8> n = 1; { bit<8> n = 2; n = 3; } hdr.res.r = (bit<64>) n;", 0, 0, 1),
    "locals begin anew in every packet": ("", "bit<64> n = 1;", "n = n + 1; hdr.res.r = n;", 0, 0, 2),
    "a nested control": (
        "control Add(inout bit<64> x, in bit<64> y)(bit<64> scale) { apply { x = x + y * scale; } }",
        "Add(10) tens; Add(100) hundreds;",
        "hdr.res.r = 1; tens.apply(hdr.res.r, 2); hundreds.apply(hdr.res.r, 3);",
        0,
        0,
        321,
    ),
    "constructor arguments are expressions": (
        "control Pick(out bit<64> x)(bool one, bool two, bit<8> n) { apply { x = one && !two ? 64w1 : (bit<64>) n; } }"
        "control Outer(out bit<64> x)(bool yes, bit<8> n) {"
        " Pick(yes && n > 3, !yes || n == 0, ~n) a; Pick(yes && n < 3, !yes, n + 251) b; bit<64> y;"
        " apply { a.apply(x); b.apply(y); x = x << 8 | y; } }",
        "Outer(true, 7) o;",
        "o.apply(hdr.res.r);",
        0,
        0,
        0x102,
    ),
    "a control applied by its type": (
        "control One(out bit<64> x) { apply { x = 1; } }",
        "",
        "One.apply(hdr.res.r);",
        0,
        0,
        1,
    ),
    "annotations change nothing": (
        "@pragma_like(x, (y)) const bit<8> K = 4;",
        "@hidden action set() { @unlikely { hdr.res.r = 3; } }",
        "set();",
        0,
        0,
        3,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_body(name: str) -> None:
    top, local, body, a, b, expected = BODIES[name]
    assert value(a, b, top=top, local=local, body=body) == expected


HEADERS = {
    "a header made valid is emitted": ("hdr.small.setValid(); hdr.small = {1, 2, 3};", "0123"),
    "an invalid one is not": ("hdr.small.setValid(); hdr.small = {1, 2, 3}; hdr.small.setInvalid();", ""),
    "a list makes a header valid": ("hdr.small = {1, 2, 3};", "0123"),
    "copying copies validity": ("small_t s; hdr.small = {1, 2, 3}; hdr.small = s;", ""),
    "push_front": (
        "hdr.stack[0] = {1, 1, 1}; hdr.stack[1] = {2, 2, 2}; hdr.stack.push_front(1); hdr.stack[0] = {9, 9, 9};",
        "0999" + "0111" + "0222",
    ),
    "push_front loses the last": (
        "hdr.stack[0] = {1, 1, 1}; hdr.stack[2] = {3, 3, 3}; hdr.stack.push_front(2);",
        "0111",
    ),
    "pop_front": ("hdr.stack[0] = {1, 1, 1}; hdr.stack[2] = {3, 3, 3}; hdr.stack.pop_front(1);", "0333"),
    "pop_front of more than there is": ("hdr.stack[0] = {1, 1, 1}; hdr.stack.pop_front(7);", ""),
    "a run-time index": ("hdr.stack[0] = {1, 1, 1}; hdr.stack[1] = {1, 1, 1}; hdr.stack[a].x = 5;", "0111" + "0511"),
    "a run-time index too large writes nothing": ("hdr.stack[0] = {1, 1, 1}; hdr.stack[a + 9].x = 5;", "0111"),
    "a union has one valid member": ("hdr.any.small = {1, 2, 3}; hdr.any.tall = {4, 5};", "00040005"),
    "setValid deselects the others": (
        "hdr.any.tall = {4, 5}; hdr.any.small.setValid(); hdr.any.small = {1, 2, 3};",
        "0123",
    ),
    "isValid of a union": (
        "if (!hdr.any.isValid()) hdr.small = {1, 1, 1}; hdr.any.tall = {4, 5};",
        "0111" + "00040005",
    ),
    "assigning an empty union empties": ("any_t u; hdr.any.tall = {4, 5}; hdr.any = u;", ""),
    "signed and bool fields": ("hdr.signed = {-1, 8s5, true, 2};", "ff0582"),
    "a whole stack is copied": ("small_t[3] s = hdr.stack; s[0] = {1, 1, 1}; hdr.stack = s; s[0].x = 9;", "0111"),
}


@pytest.mark.parametrize("undefined", [0, 0x1234567])
@pytest.mark.parametrize("name", HEADERS)
def test_headers(name: str, undefined: int) -> None:
    body, expected = HEADERS[name]
    emit = "packet.emit(hdr.small); packet.emit(hdr.stack); packet.emit(hdr.signed); packet.emit(hdr.any);"
    assert run(1, body=body, emit=emit, undefined=undefined)[8:].hex() == expected


PARSES = {
    "varbit in the middle": (
        "packet.extract(hdr.opts, 16); hdr.tall = {(bit<16>) (int<16>) hdr.opts.s, hdr.opts.tail};",
        "01" + "aabb" + "fe" + "1234" + "99",
        ("NoError", "01aabbfe1234" + "fffe1234", "99"),
    ),
    "varbit of no bits": ("packet.extract(hdr.opts, 0);", "01" + "fe" + "1234", ("NoError", "01fe1234", "")),
    "varbit cut short": ("packet.extract(hdr.opts, 16);", "01aabbfe12", ("PacketTooShort", "", "01aabbfe12")),
    "varbit too long": ("packet.extract(hdr.opts, 40);", "00" * 9, ("HeaderTooShort", "", "00" * 9)),
    "varbit not of whole bytes": ("packet.extract(hdr.opts, 4);", "00" * 9, ("ParserInvalidArgument", "", "00" * 9)),
    "push_front on a stack that is full": (
        "packet.extract(hdr.stack.next); packet.extract(hdr.stack.next); packet.extract(hdr.stack.next);"
        "hdr.stack.push_front(1); hdr.tall = {(bit<16>) hdr.stack.lastIndex, (bit<16>) hdr.stack[2].x};",
        "0100" + "0200" + "0300",
        ("NoError", "0002" + "0002", ""),
    ),
    "signed and bool fields": (
        "packet.extract(hdr.signed); hdr.tall = {(bit<16>) (int<16>) hdr.signed.x, (bit<16>) hdr.signed.q};"
        "hdr.tall.y[15:15] = (bit<1>) hdr.signed.p; hdr.tall.y[14:14] = (bit<1>) (hdr.signed.y > 0);",
        "80" + "7f" + "85",
        ("NoError", "ff80" + "c005", ""),
    ),
    "pop_front takes next back": (
        "packet.extract(hdr.stack.next); packet.extract(hdr.stack.next); hdr.stack.pop_front(1);"
        "packet.extract(hdr.stack.next); hdr.tall = {hdr.stack[0].x ++ hdr.stack[1].x, (bit<16>) hdr.stack.lastIndex};",
        "0100" + "0200" + "0300",
        ("NoError", "0203" + "0001", ""),
    ),
    "pop_front of more than was extracted": (
        "packet.extract(hdr.stack.next); hdr.stack.pop_front(2); packet.extract(hdr.stack.next);"
        "hdr.tall = {(bit<16>) hdr.stack[0].x, (bit<16>) hdr.stack.lastIndex};",
        "0100" + "0200",
        ("NoError", "0002" + "0000", ""),
    ),
    "push_front takes next on": (
        "packet.extract(hdr.stack.next); hdr.stack.push_front(1); packet.extract(hdr.stack.next);"
        "hdr.tall = {hdr.stack[1].x ++ hdr.stack[2].x, (bit<16>) hdr.stack.lastIndex};",
        "0100" + "0200",
        ("NoError", "0102" + "0002", ""),
    ),
    "stack.next and lastIndex": (
        "packet.extract(hdr.stack.next); packet.extract(hdr.stack.next); hdr.tall.setValid();"
        "hdr.tall = {(bit<16>) hdr.stack.lastIndex, (bit<16>) hdr.stack.last.x};",
        "01110222",
        ("NoError", "0001" + "0002", ""),
    ),
    "more than the stack holds": (
        "packet.extract(hdr.stack.next); packet.extract(hdr.stack.next); packet.extract(hdr.stack.next);"
        "packet.extract(hdr.stack.next);",
        "0111022203330444",
        ("StackOutOfBounds", "", "0444"),
    ),
    "last of an empty stack": (
        "hdr.tall.setValid(); hdr.tall.x = (bit<16>) hdr.stack.last.x;",
        "",
        ("StackOutOfBounds", None, ""),
    ),
    "lookahead does not consume": (
        "hdr.tall.setValid(); hdr.tall = {(bit<16>) packet.lookahead<bit<4>>(), packet.lookahead<bit<16>>()};",
        "abcd",
        ("NoError", "000a" + "abcd", "abcd"),
    ),
    "lookahead of a header": (
        "small_t s = packet.lookahead<small_t>(); hdr.tall.setValid(); hdr.tall = {(bit<16>) s.y, 1};",
        "ab5d",
        ("NoError", "00050001", "ab5d"),
    ),
    "lookahead too far": ("hdr.tall = {packet.lookahead<bit<16>>(), 0};", "ab", ("PacketTooShort", "", "ab")),
    "advance": ("packet.advance(8); packet.advance(8);", "abcdef", ("NoError", "", "ef")),
    "advance too far": ("packet.advance(16);", "ab", ("PacketTooShort", "", "ab")),
    "verify": ("verify(hdr.in_.a == 1, error.Mine); hdr.tall = {1, 1};", "", ("Mine", "", "")),
    "length": ("hdr.tall = {(bit<16>) packet.length(), 0};", "aabb", ("NoError", "00120000", "aabb")),
    "extract and forget": ("packet.extract<small_t>(_);", "aabbcc", ("NoError", "", "cc")),
    "too short leaves the header invalid": ("packet.extract(hdr.tall);", "aabbcc", ("PacketTooShort", "", "aabbcc")),
    "a union's member": (
        "packet.extract(hdr.any.tall); hdr.tall = hdr.any.tall;",
        "00010002",
        ("NoError", "00010002", ""),
    ),
}


@pytest.mark.parametrize("name", PARSES)
def test_parser(name: str) -> None:
    parse, rest, (error, tall, payload) = PARSES[name]
    text = fill(top="error { Mine }", parse=parse, emit="packet.emit(hdr.tall);")
    running = Switch(load(text, "snippet.p4"))
    output = running.process(b"\0" * 16 + bytes.fromhex(rest), 0)[0].data
    assert running.metadata_of_last["standard_metadata"]["parser_error"] == error
    if tall is None:
        assert output[8:].hex()[8:] == payload
    else:
        assert output[8:].hex() == tall + payload


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(1, 0, 1), (0x1F, 5, 2), (0x1F, 6, 4), (0x20, 0, 3), (0x2F, 9, 3), (0x30, 0, 4), (7, 7, 5)],
)
def test_select_of_a_tuple(first: int, second: int, expected: int) -> None:
    parse = """transition select(hdr.in_.a[7:0], hdr.in_.b) {
            (1, _): one;
            (0x10 &&& 0xF0, 5): two;
            (0x20 .. 0x2F, default): three;
            (7, 7): five;
            default: four;
        }
    }
    state one { hdr.tall = {1, 1}; transition accept; }
    state two { hdr.tall = {2, 2}; transition accept; }
    state three { hdr.tall = {3, 3}; transition accept; }
    state four { hdr.tall = {4, 4}; transition accept; }
    state five { hdr.tall = {5, 5};"""
    assert run(first, second, parse=parse, emit="packet.emit(hdr.tall);")[8:10] == expected.to_bytes(2, "big")


def test_a_subparser() -> None:
    top = """parser Words(packet_in packet, out tall_t tall, inout bit<8> seen, out bit<16> last)(bit<8> by) {
        bit<16> local = 7;
        state start { packet.extract(tall); seen = seen + by; transition select(tall.x) { 0: start; default: done; } }
        state done { last = tall.y + local; transition accept; }
    }"""
    parse = """meta.m = 1; words.apply(packet, hdr.tall, meta.m, hdr.in_.b[15:0]);
        transition next; } state next {"""
    rest = bytes.fromhex("00000001" + "00050002" + "eeee")
    body = "hdr.res.r = (bit<48>) b ++ 8w0 ++ meta.m;"
    found = run(rest=rest, top=top, declare="Words(3) words;", parse=parse, body=body)
    assert found.hex() == "0000000000090007" + "eeee"


def test_an_error_in_a_subparser_ends_the_parser() -> None:
    top = """parser Two(packet_in packet, out tall_t a, out tall_t b) {
        state start { packet.extract(a); packet.extract(b); transition accept; } }"""
    parse = "Two.apply(packet, hdr.tall, hdr.any.tall); transition next; } state next { meta.m = 5;"
    emit = "packet.emit(hdr.tall); packet.emit(hdr.any);"
    found = run(rest=b"abcdef", top=top, parse=parse, body="hdr.res.r = (bit<64>) meta.m;", emit=emit)
    assert found == b"\0" * 8 + b"abcdef"


def test_warnings() -> None:
    local = "action f() { if (meta.m == 1) { meta.m = 2; } else { mark_to_drop(sm); } }"
    program = load(fill(local=local, body="meta.m = 256; bit<8> x = 8w511;"), "w.p4")
    assert program.warnings == [
        "w.p4:26:58: warning: action 'f' does this under a condition, which BMv2's compiler refuses",
        "w.p4:33:18: warning: 256 does not fit in bit<8> and becomes 0",
        "w.p4:33:34: warning: 511 does not fit in bit<8> and becomes 255",
    ]


PREPROCESSED = """
#define ONE 1
#ifdef ONE
const bit<64> FIRST = ONE;
#else
$ is not looked at
#endif
#ifndef ONE
$
#ifdef ONE
$
#endif
#else
#define LONG 2 + \\
    3
const bit<64> SECOND = LONG;
#endif
#undef ONE
#ifdef ONE
$
#endif
const bit<64> HERE = 256w1;
"""


def test_the_preprocessor() -> None:
    text = fill(top=PREPROCESSED.replace("256w1", "0"), body="hdr.res.r = FIRST ++ 0;")
    with pytest.raises(P4Error, match=r"^p\.p4:\d+:30: error: '\+\+' needs sized numbers, not int$"):
        load(text, "p.p4")
    assert value(top=PREPROCESSED.replace("256w1", "0"), body="hdr.res.r = FIRST * 100 + SECOND;") == 105


def test_lines_are_counted_through_directives() -> None:
    line = FRAME[: FRAME.index("/*TOP*/")].count("\n") + 1 + PREPROCESSED[: PREPROCESSED.index("256w1")].count("\n")
    with pytest.raises(P4Error, match=f"^p\\.p4:{line}:22: error: 'HERE': bit<256> given where bit<64> is expected$"):
        load(fill(top=PREPROCESSED), "p.p4")


def test_egress_sees_its_port_and_a_fresh_egress_spec() -> None:
    egress = "hdr.res.r = (bit<64>) (sm.egress_spec ++ sm.egress_port);"
    assert run(egress=egress)[:8] == (1).to_bytes(8, "big")


def test_no_match_rejects() -> None:
    running = Switch(load(fill(parse="transition select(hdr.in_.a) { 1: accept; } } state other {"), "snippet.p4"))
    running.process(b"\0" * 16, 0)
    assert running.metadata_of_last["standard_metadata"]["parser_error"] == "NoMatch"


def test_a_parser_that_never_ends_times_out() -> None:
    running = Switch(load(fill(parse="transition again; } state again { transition again; } state x {"), "snippet.p4"))
    running.process(b"\0" * 16, 0)
    assert running.metadata_of_last["standard_metadata"]["parser_error"] == "ParserTimeout"


def test_what_is_undefined_can_be_seen() -> None:
    body = "bit<64> never; hdr.res.r = never;"
    assert run(body=body, undefined=0)[:8] == b"\0" * 8
    assert run(body=body, undefined=1)[:8] != b"\0" * 8
    assert run(body=body, undefined=1)[:8] != run(body=body, undefined=2)[:8]
    stale = "hdr.small = {1, 2, 3}; hdr.small.setInvalid(); hdr.small.setValid(); hdr.res.r = (bit<64>) hdr.small.x;"
    assert run(body=stale, undefined=0)[:8] == b"\0" * 8
    assert run(body=stale, undefined=1)[:8] != b"\0" * 8


def test_division_by_zero_at_run_time() -> None:
    with pytest.raises(P4RuntimeError, match="division by zero"):
        value(1, 0, body="hdr.res.r = a / b;")


def test_a_failed_assertion() -> None:
    with pytest.raises(P4RuntimeError, match="assert failed"):
        value(1, body="assert(a == 2);")


def test_long_chains_are_no_problem() -> None:
    terms = 400
    assert value(1, body=f"hdr.res.r = {' + '.join(['a'] * terms)};") == terms
    chain = " else ".join(f"if (a == {n}) {{ hdr.res.r = {n} + 1; }}" for n in range(terms))
    assert value(399, body=chain) == 400


@st.composite
def operations(draw: st.DrawFn) -> tuple[str, BitType | IntType, int, int]:
    width = draw(st.sampled_from([1, 2, 7, 8, 13, 32, 63, 64]))
    signed = draw(st.booleans()) and width > 1
    type_ = IntType(width) if signed else BitType(width)
    left, right = (draw(st.integers(0, (1 << width) - 1)) for _ in range(2))
    names = [op for op in [*BINARY, *COMPARE] if op not in ("/", "%") or not signed]
    return draw(st.sampled_from(names)), type_, wrap(left, type_), wrap(right, type_)


@settings(max_examples=150, deadline=None)
@given(operations())
def test_generated_code_and_constant_folding_agree(case: tuple[str, BitType | IntType, int, int]) -> None:
    op, type_, left, right = case
    if op in ("/", "%") and right == 0:
        return
    count = BitType(type_.width) if op in ("<<", ">>") else type_
    expected = BINARY[op](left, wrap(right, count), type_) if op in BINARY else COMPARE[op](left, right)
    raw = f"bit<{type_.width}>"
    run_time = f"({type_}) ({raw}) a {op} ({count}) ({raw}) b"
    mark = "s" if isinstance(type_, IntType) else "w"
    folded = f"({type_}) {left} {op} ({count}) {right}"
    assert mark in "sw"
    mask = (1 << type_.width) - 1
    for text in (run_time, folded):
        whole = f"({text}) ? 64w1 : 0" if op in COMPARE else f"(bit<64>) ({raw}) ({text})"
        found = value(left & mask, right & mask, body=f"hdr.res.r = {whole};")
        assert found == (int(expected) & mask if op in BINARY else int(expected)), text
