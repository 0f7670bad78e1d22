"""How deep functions reach into their frame: an upper bound in every case."""

from __future__ import annotations

import pytest
from codegen_helpers import parse

from fsir.analysis.frame_use import frame_depth
from fsir.dialects.ebpf import functions

CORE = '{{core = {{type = #builtin.int<1>, access = "0:1", kind = #builtin.int<{}>}}}}'

CASES = [
    ("nothing", "", 0),
    ("a store", "ebpf.st64 %fp[-16], 0 : reg", 16),
    ("an object", "%a = ebpf.addi %fp, -40 : reg -> reg\n ebpf.st64 %a[8], 0 : reg", 32),
    ("below an object", "%a = ebpf.addi %fp, -40 : reg -> reg\n ebpf.st64 %a[-8], 0 : reg", 48),
    (
        "an address given to a helper",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n %r = ebpf.call 1(%x, %a) : reg, reg -> reg",
        24,
    ),
    ("a subtraction", "%a = ebpf.subi %fp, 64 : reg -> reg\n ebpf.st8 %a[0], 0 : reg", 64),
    (
        "a variable index that is not negative",
        "%a = ebpf.addi %fp, -64 : reg -> reg\n %i = ebpf.andi %x, 56 : reg -> reg\n"
        "%b = ebpf.add %a, %i : reg, reg -> reg\n ebpf.st8 %b[0], 0 : reg",
        64,
    ),
    ("a variable index", "%b = ebpf.add %fp, %x : reg, reg -> reg\n ebpf.st8 %b[0], 0 : reg", 512),
    ("masked addresses", "%b = ebpf.andi %fp, -64 : reg -> reg\n ebpf.st8 %b[0], 0 : reg", 512),
    (
        "an address through memory",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n ebpf.stx64 %fp[-8], %a : reg, reg\n"
        "%b = ebpf.ldx64 %fp[-8] : reg -> reg\n ebpf.st8 %b[-10], 0 : reg",
        34,
    ),
    (
        "a number next to an address in memory",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n ebpf.stx64 %fp[-8], %a : reg, reg\n"
        "ebpf.stx64 %fp[-16], %x : reg, reg\n %n = ebpf.ldx64 %fp[-16] : reg -> reg\n"
        "%b = ebpf.sub %a, %n : reg, reg -> reg\n %c = ebpf.sub %n, %a : reg, reg -> reg\n"
        "ebpf.st8 %n[-300], 0 : reg",
        16,
    ),
    (
        "an address from an unknown place in memory",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n ebpf.stx64 %fp[-8], %a : reg, reg\n"
        "%i = ebpf.andi %x, 8 : reg -> reg\n %d = ebpf.addi %fp, -16 : reg -> reg\n"
        "%p = ebpf.add %d, %i : reg, reg -> reg\n %b = ebpf.ldx64 %p[0] : reg -> reg\n"
        "ebpf.st8 %b[-20], 0 : reg",
        44,
    ),
    (
        "a packet pointer from a place that held an address before",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n ebpf.stx64 %fp[-8], %a : reg, reg\n"
        "%b = ebpf.ldx64 %fp[-8] : reg -> !packet.ptr\n %c = ebpf.add %b, %x : !packet.ptr, reg -> !packet.ptr\n"
        "ebpf.st8 %c[0], 0 : !packet.ptr",
        8,
    ),
    (
        "an address that a callee puts into memory",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n %r = ebpf.call_local @h(%a) : reg -> reg\n"
        "%b = ebpf.ldx64 %fp[-16] : reg -> reg\n ebpf.st8 %b[-20], 0 : reg",
        44,
    ),
    (
        "a callee that reads an address from memory",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n ebpf.stx64 %fp[-24], %a : reg, reg\n"
        "%r = ebpf.call_local @i(%a) : reg -> reg",
        54,
    ),
    (
        "a number given to a helper",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n %n = ebpf.sub %a, %x : reg, reg -> reg\n"
        "%r = ebpf.call 26(%x, %n, %a, %x) : reg, reg, reg, reg -> reg",
        24,
    ),
    (
        "a callback that gets an address from memory",
        "%a = ebpf.addi %fp, -40 : reg -> reg\n %b = ebpf.addi %a, -24 : reg -> reg\n"
        "ebpf.stx64 %fp[-8], %b : reg, reg\n %c = ebpf.addi %fp, -8 : reg -> reg\n"
        "%r = ebpf.call 181(%x, %x, %c, %x) : reg, reg, reg, reg -> reg",
        64,
    ),
    (
        "an address that moves down in a loop",
        """%a = ebpf.addi %fp, -8 : reg -> reg
        ebpf.ja ^h(%a : reg)
        ^h(%p : !ebpf.reg):
        ebpf.st8 %p[0], 0 : reg
        %q = ebpf.addi %p, -8 : reg -> reg
        ebpf.jeqi %x, 0, ^h(%q : reg), ^e : reg
        ^e:""",
        512,
    ),
    ("a local call", "%a = ebpf.addi %fp, -24 : reg -> reg\n %r = ebpf.call_local @g(%a) : reg -> reg", 32),
    (
        "an address in the frame of a callee is not in the caller's memory",
        "%a = ebpf.addi %fp, -24 : reg -> reg\n %r = ebpf.call_local @j(%a, %x) : reg, reg -> reg",
        24,
    ),
    (
        "an address by way of a place that may be here or elsewhere",
        """%a = ebpf.addi %fp, -24 : reg -> reg
        ebpf.jeqi %x, 0, ^j(%a : reg), ^o : reg
        ^o:
        ebpf.ja ^j(%x : reg)
        ^j(%p : !ebpf.reg):
        ebpf.stx64 %p[0], %a : reg, reg
        %q = ebpf.ldx64 %x[0] : reg -> reg
        ebpf.st8 %q[-40], 0 : reg""",
        64,
    ),
    ("an offset of a field", "%v = ebpf.ldx64 %fp[-400] " + CORE.format(0) + " : reg -> reg", 0),
    ("an enumeration value", "%a = ebpf.addi %fp, -8 " + CORE.format(11) + " : reg -> reg", 512),
]


@pytest.mark.parametrize(("name", "body", "depth"), CASES, ids=[name for name, _, _ in CASES])
def test_depth(name: str, body: str, depth: int) -> None:
    module = parse(
        f"""
        ebpf.func @f section "xdp" {{
        ^bb0(%x : !ebpf.reg):
          %fp = ebpf.frame -> reg
          {body}
          ebpf.exit(%x) : reg
        }}
        ebpf.func @g section ".text" {{
        ^bb0(%p : !ebpf.reg):
          ebpf.st64 %p[-8], 0 : reg
          %r = ebpf.movi 0 -> reg
          ebpf.exit(%r) : reg
        }}
        ebpf.func @h section ".text" {{
        ^bb0(%p : !ebpf.reg):
          ebpf.stx64 %p[8], %p : reg, reg
          ebpf.exit(%p) : reg
        }}
        ebpf.func @i section ".text" {{
        ^bb0(%p : !ebpf.reg):
          %q = ebpf.ldx64 %p[0] : reg -> reg
          ebpf.st8 %q[-30], 0 : reg
          ebpf.exit(%q) : reg
        }}
        ebpf.func @j section ".text" {{
        ^bb0(%p : !ebpf.reg, %x : !ebpf.reg):
          %fp = ebpf.frame -> reg
          ebpf.stx64 %fp[-72], %p : reg, reg
          %q = ebpf.ldx64 %x[8] : reg -> reg
          %n = ebpf.ldx64 %x[16] : reg -> reg
          %s = ebpf.add %q, %n : reg, reg -> reg
          ebpf.st64 %s[0], 0 : reg
          %t = ebpf.ldx64 %fp[-72] : reg -> reg
          ebpf.st64 %t[0], 0 : reg
          ebpf.exit(%n) : reg
        }}
        """
    )
    assert frame_depth(next(func for func in functions(module) if func.symbol == "f")) == depth


@pytest.mark.parametrize(("attributes", "depth"), [('attributes {prog_type = "xdp"}', 24), ("", 56)])
def test_programs_read_no_address_of_the_stack_back_from_elsewhere(attributes: str, depth: int) -> None:
    """Slots are shared: a number that a callee stores in a map may look like an address. It is none when it comes back
    from there, in a program; in a function that others call, what it comes back from may be a frame of theirs."""
    module = parse(
        f"""
        ebpf.func @f section "xdp" {attributes} {{
        ^bb0(%x : !ebpf.reg):
          %fp = ebpf.frame -> reg
          %a = ebpf.addi %fp, -16 : reg -> reg
          ebpf.stx64 %fp[-24], %a : reg, reg
          %n = ebpf.ldx64 %fp[-24] : reg -> reg
          ebpf.stx64 %x[8], %n : reg, reg
          %m = ebpf.ldx64 %x[8] : reg -> reg
          ebpf.st8 %m[-40], 0 : reg
          ebpf.exit(%n) : reg
        }}
        """
    )
    assert frame_depth(next(iter(functions(module)))) == depth
