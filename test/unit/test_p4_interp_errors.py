"""Wrong programs: the error stands where `/*!*/` points, and says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsir.backends.p4.interp import P4Error, load

FRAME = (Path(__file__).parent / "p4" / "snippet.p4").read_text()

# place in snippet.p4, text with the mark before what is wrong, message
WRONG = [
    # text
    ("top", "/*!*/$", "unexpected character '$'"),
    ("top", "/*!*/#if 1", "preprocessor line #if is not supported: expand it first (cpp -P)"),
    ("top", '/*!*/#include "mine.p4"', 'cannot include "mine.p4": only <core.p4> and <v1model.p4> are built in'),
    ("top", "/*!*/#define F(x) x", "function-like macro F() is not supported: expand it first (cpp -P)"),
    ("top", "/*!*/#ifdef X", "no #endif for this conditional"),
    ("top", "/*!*/#endif", "#endif without #ifdef or #ifndef"),
    # syntax
    ("body", "a = 1 /*!*/}", "expected ';' but found '}'"),
    ("body", "/*!*/a;", "expected a statement: this is neither an assignment nor a call"),
    ("body", "if /*!*/a == 1 { }", "expected '(' but found 'a'"),
    ("body", "a = 1 + /*!*/;", "expected an expression but found ';'"),
    ("body", "bit<8> /*!*/5;", "expected a name but found '5'"),
    ("top", "/*!*/nothing x;", "unknown type 'nothing'"),
    ("top", "struct s { /*!*/unknown_t x; }", "unknown type 'unknown_t'"),
    ("top", "/*!*/bit<8> x = 1;", "a variable cannot be declared at top level: use const"),
    ("top", "const bit<8> c = /*!*/0w1;", "width 0 is too small for the literal '0w1'"),
    ("body", "hdr.res.r = " + "(" * 150 + "a" + ")" * 150 + ";", "nested deeper than 200 levels"),
    # names
    ("body", "/*!*/nobody = 1;", "'nobody' is not declared"),
    ("body", "hdr./*!*/nothing.setValid();", "struct headers_t has no field 'nothing'"),
    ("body", "bit<8> x; bit<8> /*!*/x;", "'x' is already declared at line 33 of snippet.p4"),
    ("top", "header /*!*/in_t { bit<8> x; }", "'in_t' is already declared at line 5 of snippet.p4"),
    ("top", "struct s { bit<8> x; bit<8> /*!*/x; }", "struct s has 'x' twice"),
    ("body", "hdr.res.r = error./*!*/Nothing;", "error 'Nothing' is not declared"),
    ("body", "hdr.res.r = CounterType./*!*/nothing;", "enum CounterType has no member 'nothing'"),
    ("body", "{ bit<8> inner = 1; } hdr.res.r = (bit<64>) /*!*/inner;", "'inner' is not declared"),
    ("body", "hdr.res.r = /*!*/P;", "a type cannot stand here"),
    ("body", "/*!*/clone(CloneType.I2E, 5);", "'clone' is not declared: packet replication by clone is not modelled"),
    ("body", "/*!*/resubmit(meta);", "'resubmit' is not declared: resubmit is not modelled"),
    # types
    ("body", "hdr.res.r = /*!*/8w1;", "assignment: bit<8> given where bit<64> is expected"),
    ("body", "hdr.res.r = a /*!*/+ 8w1;", "'+' on different types: bit<64> and bit<8>"),
    ("body", "hdr.res.r = /*!*/a && b;", "'&&' needs bool, not bit<64>"),
    ("body", "if (/*!*/a) { }", "a condition must be bool, not bit<64>"),
    ("body", "hdr.res.r = /*!*/(bool) a;", "bit<64> cannot be cast to bool"),
    ("body", "hdr.res.r = /*!*/(int<8>) 8w1;", "assignment: int<8> given where bit<64> is expected"),
    ("body", "int<8> s = /*!*/(int<8>) 4w1;", "bit<4> cannot be cast to int<8>"),
    ("body", "int<8> s = 1; s = s /*!*// s;", "'/' is not defined on signed int<8>"),
    ("body", "hdr.res.r = a /*!*// 0;", "division by zero"),
    ("body", "hdr.res.r = a /*!*/[70:64];", "bits [70:64] are not within bit<64>"),
    ("body", "hdr.res.r[7:0] = a/*!*/[8:0];", "assignment: bit<9> given where bit<8> is expected"),
    ("body", "hdr.res.r = (bit<64>) a[/*!*/b:0];", "a bit position must be known at compile time"),
    ("body", "hdr.stack[/*!*/3].x = 1;", "index 3 is outside the stack of 3 elements"),
    ("body", "hdr.res.r = a << /*!*/-1;", "shift by a negative amount"),
    ("body", "pair_t p = /*!*/{1, 2, 3};", "'p': tuple<int, int, int> given where pair_t is expected"),
    ("body", "hdr.res.r = hdr./*!*/stack;", "assignment: small_t[3] given where bit<64> is expected"),
    ("top", "const bit<8> c = 1; const bit<c> d = 1; const bit</*!*/0> e = 0;", "a width must be 1 to 65536, not 0"),
    ("top", "struct s { /*!*/packet_in p; }", "a struct cannot have a field of type packet_in"),
    ("top", "header /*!*/h { varbit<8> a; varbit<8> b; } ", "header h has more than one varbit field"),
    ("top", "header h { /*!*/in_t inner; }", "a header cannot have a field of type in_t"),
    ("top", "enum bit<8> E { A = 1, /*!*/B }", "member 'B' needs a value"),
    ("body", "hdr.res.r[7:0] = /*!*/(bit<8>) CounterType.packets;", "CounterType cannot be cast to bit<8>"),
    ("body", "hdr.res.r = a + CounterType./*!*/packets;", "'+' needs numbers, not CounterType"),
    # writing
    ("top", "void f(in bit<8> x) { /*!*/x = 1; }", "'x' cannot be written: it is an 'in' parameter"),
    ("local", "action f(bit<8> x) { /*!*/x = 1; }", "'x' cannot be written: it is an action's data parameter"),
    ("local", "const bit<8> c = 1; action f() { /*!*/c = 1; }", "a constant cannot be written"),
    ("top", "void f(inout bit<8> x) { } void g() { f(/*!*/8w1); }", "a constant cannot be written"),
    ("top", "void f(in in_t h) { /*!*/h.setValid(); }", "'h' cannot be written: it is an 'in' parameter"),
    # calls
    ("body", "/*!*/mark_to_drop(sm, sm);", "'mark_to_drop' takes 1 arguments, 2 given"),
    (
        "body",
        "mark_to_drop(/*!*/meta);",
        "argument 'standard_metadata' of 'mark_to_drop': meta_t given where standard_metadata_t is expected",
    ),
    ("body", "hdr.res./*!*/validate();", "out_t has no method 'validate'"),
    ("body", "meta.p./*!*/setValid();", "pair_t has no method 'setValid'"),
    ("body", "hdr.stack.push_front(/*!*/a);", "the argument of 'push_front' must be known at compile time"),
    ("body", "bit<8> x; /*!*/x();", "'x' is a value and cannot be called"),
    ("local", "action f(bit<8> x) { } action g() { /*!*/f(); }", "'f' needs an argument for 'x'"),
    (
        "top",
        "bit<8> f(bit<8> x) { return x; } bit<8> g() { return f(/*!*/16w1); }",
        "argument 'x' of 'f': bit<16> given where bit<8> is expected",
    ),
    (
        "top",
        "bit<8> /*!*/f(in bit<8> x) { if (x == 1) { return x; } }",
        "function 'f' can end without returning a value",
    ),
    ("body", "random(hdr.res.r, 1, /*!*/16w2);", "argument 'hi' of 'random': bit<16> given where bit<64> is expected"),
    (
        "body",
        "hash(hdr.res.r, HashAlgorithm.crc16, /*!*/0, {a}, 64w4);",
        "argument 'base' of 'hash': the width of int cannot be inferred: add a cast",
    ),
    (
        "body",
        "verify(true, error.NoError); hdr.stack./*!*/next = {1, 2, 3};",
        "'next' of a header stack can be used in a parser only",
    ),
    # parsers
    ("parse", "transition /*!*/nowhere; } state x {", "state 'nowhere' is not declared"),
    ("parse", "transition accept; } state /*!*/start {", "state 'start' is already declared"),
    ("parse", "/*!*/exit;", "exit cannot be used in a parser"),
    ("parse", "packet./*!*/extract(hdr.in_.a);", "only a header can be extracted, not bit<64>"),
    ("parse", "packet./*!*/extract(hdr.small, 32w8);", "header small_t has no varbit field"),
    (
        "parse",
        "hdr.res.r = (bit<64>) packet./*!*/lookahead<headers_t>();",
        "lookahead of headers_t: only bits, headers and structs of bits can be",
    ),
    (
        "parse",
        "transition select(hdr.in_.a) { /*!*/(1, 2): accept; } } state x {",
        "2 sets given where 1 are expected",
    ),
    ("parse", "transition select(hdr.in_.a) { 5 /*!*/.. 3: accept; } } state x {", "this range is empty"),
    (
        "parse",
        "transition select(hdr.in_.a) { hdr.in_./*!*/b: accept; } } state x {",
        "a key set must be known at compile time",
    ),
    ("top", "parser /*!*/Q(packet_in p) { state other { transition accept; } }", "parser 'Q' has no state 'start'"),
    (
        "top",
        "header odd_t { bit<7> x; } parser Q(packet_in p, out odd_t h) { state start { p./*!*/extract(h); } }",
        "header odd_t has 7 bits, which is not a whole number of bytes",
    ),
    # tables and actions
    (
        "local",
        "table t { key = { meta.m: /*!*/nearly; } actions = { NoAction; } }",
        "match kind 'nearly' is not declared",
    ),
    (
        "local",
        "table t { key = { meta.m: /*!*/selector; } actions = { NoAction; } }",
        "match kind 'selector' is not supported",
    ),
    ("local", "table t { key = { hdr./*!*/small: exact; } actions = { NoAction; } }", "small_t cannot be a table key"),
    ("local", "table t { key = { meta.m: exact; } actions = { /*!*/nothing; } }", "action 'nothing' is not declared"),
    ("local", "table /*!*/t { key = { meta.m: exact; } }", "table 't' has no actions"),
    ("local", "table t { actions = { NoAction; /*!*/NoAction; } }", "table 't' lists action 'NoAction' twice"),
    (
        "local",
        "action f() { } table t { actions = { NoAction; } default_action = /*!*/f(); }",
        "'f' is not among the actions of table 't'",
    ),
    (
        "local",
        "action f(bit<8> x) { } table t { actions = { f; } default_action = /*!*/f(); }",
        "action 'f' takes 1 arguments from the control plane, 0 given",
    ),
    (
        "local",
        "action f(in bit<8> x) { } table t { actions = { /*!*/f; } }",
        "action 'f' needs 1 arguments here: those with a direction",
    ),
    (
        "local",
        "table t { key = { meta.m: exact; } actions = { NoAction; } const entries = { 1 /*!*/&&& 2: NoAction(); } }",
        "'&&&' cannot be used for the exact key 'meta.m'",
    ),
    (
        "local",
        "table t { key = { meta.m: lpm; } actions = { NoAction; } const entries = { 1 &&& /*!*/5: NoAction(); } }",
        "0x5 is not the mask of a prefix",
    ),
    (
        "local",
        "table t { key = { meta.m: exact; } actions = { NoAction; } size = 1; /*!*/size = 2; }",
        "table 't' has 'size' twice",
    ),
    (
        "local",
        "table t { actions = { NoAction; } implementation = /*!*/5; }",
        "table property 'implementation' is not supported",
    ),
    (
        "local",
        "table t { actions = { NoAction; } counters = /*!*/meta; }",
        "'counters' of table 't' must be a direct_counter",
    ),
    (
        "local",
        "table t { actions = { NoAction; } } action f() { t./*!*/apply(); }",
        "table 't' can be applied in an apply block only",
    ),
    ("local", "action /*!*/f(bit<8> x, in bit<8> y) { }", "action 'f': parameters without direction must come last"),
    (
        "local",
        "register<bit<8>>(/*!*/(bit<32>) meta.m) r;",
        "constructor argument 'size' must be known at compile time",
    ),
    ("local", "/*!*/register<pair_t>(5) r;", "a register of pair_t is not supported: only bit<N> and int<N>"),
    ("local", "/*!*/action_profile(5) r;", "unknown type 'action_profile': table implementations are not modelled"),
    (
        "local",
        "table t { key = { meta.m: lpm; hdr.in_.a: /*!*/lpm; } actions = { NoAction; } }",
        "table 't' has more than one lpm key, which BMv2 does not take",
    ),
    (
        "local",
        "table t { key = { meta.m: lpm; } actions = { NoAction; } const entries = {"
        " 0x10 &&& 0xF0: NoAction(); 0x10: NoAction(); /*!*/0x1F &&& 0xF0: NoAction(); } }",
        "table 't' has two entries for this key",
    ),
    (
        "local",
        "action f(bit<8> x, bit<8> y) { } table t { actions = { f; } default_action = f(/*!*/y = 1, x = 2); }",
        "arguments of a table's action stand in order: 'x' is expected here",
    ),
    (
        "top",
        "extern thing { thing(); } /*!*/thing() t;",
        "extern objects of type thing are not known to this interpreter",
    ),
    (
        "body",
        "hash(hdr.res.r, HashAlgorithm./*!*/crc32_custom, 64w0, {a}, 64w4);",
        "hash algorithm crc32_custom is not modelled",
    ),
    (
        "body",
        "hash(hdr.res.r, HashAlgorithm.crc32, 64w0, /*!*/{sm.parser_error}, 64w4);",
        "tuple<error> has no bits to be hashed",
    ),
    (
        "parse",
        "transition accept; } /*!*/bit<8> late; state x {",
        "declarations of a parser come before its states, not 'bit'",
    ),
    ("body", 'log_msg("x", /*!*/a);', "the values of a message are a list {…}, not bit<64>"),
    ("emit", "/*!*/if (hdr.small.isValid()) { packet.emit(hdr.small); }", "'D' may only call emit"),
    # statements
    ("body", "switch (a) { /*!*/default: { } 1: { } }", "default must be the last case"),
    ("body", "switch (a) { 1: { } /*!*/1: { } }", "this label occurs twice"),
    ("body", "switch (a) { /*!*/1: }", "the last case needs a body"),
    ("body", "/*!*/return 5;", "nothing can be returned here"),
    (
        "emit",
        "packet./*!*/emit(hdr.res.r);",
        "bit<64> cannot be emitted: only headers, stacks, unions and structs of them",
    ),
    # instances
    ("top", "control X() { apply { } } V1Switch(X()) /*!*/main;", "'V1Switch' needs an argument for 'vr'"),
    ("top", "parser /*!*/G<T>(packet_in p, out T h) { state start { } }", "generic parser 'G' is not supported"),
    ("local", "P() /*!*/p;", "a parser cannot be instantiated in a control"),
]


def case(place: str, text: str) -> tuple[str, tuple[int, int] | None]:
    """The whole program, and the line and column after the mark."""
    whole = FRAME.replace(f"/*{place.upper()}*/", text)
    found = re.search(r"/\*!\*/", whole)
    if found is None:
        return whole, None
    before = whole[: found.end()]
    return whole, (before.count("\n") + 1, len(before) - before.rfind("\n"))


@pytest.mark.parametrize(("place", "text", "message"), WRONG, ids=[f"{row[0]}: {row[1][:70]}" for row in WRONG])
def test_wrong_program(place: str, text: str, message: str) -> None:
    program, where = case(place, text)
    with pytest.raises(P4Error) as caught:
        load(program, "snippet.p4")
    assert caught.value.message == message
    assert str(caught.value) == f"{caught.value.loc}: error: {message}"
    if where is not None:
        assert (caught.value.loc.line, caught.value.loc.col) == where
