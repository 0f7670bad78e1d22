"""The invariant of allocated functions: each violation is found, and named."""

from __future__ import annotations

import pytest
from codegen_helpers import parse
from xdsl.utils.exceptions import VerifyException

from fsir.analysis.verify_allocated import verify_allocated_module


def function(body: str) -> str:
    return f'ebpf.func @f section "xdp" {{\n^bb0(%ctx : !ebpf.reg<r1>):\n{body}\n}}'


ZERO = "%z = ebpf.movi 0 -> r0\n ebpf.exit(%z) : r0"

VALID = [
    ZERO,
    "%a = ebpf.mov %ctx : r1 -> r6\n %c = ebpf.call 5() -> r0\n ebpf.stx64 %a[0], %c : r6, r0\n" + ZERO,
    # The frame pointer is the same everywhere, however often it is asked for.
    "%f = ebpf.frame -> r10\n %g = ebpf.frame -> r10\n ebpf.st64 %f[-8], 0 : r10\n" + ZERO,
    # A loop that carries its counter.
    """%i = ebpf.movi 3 -> r2
    ebpf.fallthrough ^h(%i : r2)
    ^h(%j : !ebpf.reg<r2>):
    %k = ebpf.addi %j, -1 : r2 -> r2
    ebpf.jnei %k, 0, ^h(%k : r2), ^e : r2
    ^e:
    """
    + ZERO,
    # What is in unreachable blocks does not count.
    ZERO + "\n^dead:\n ebpf.exit(%z) : r0",
]


@pytest.mark.parametrize("body", VALID)
def test_valid(body: str) -> None:
    verify_allocated_module(parse(function(body)))


INVALID = [
    ("overwritten", "%a = ebpf.movi 1 -> r1\n %v = ebpf.ldx64 %ctx[0] : r1 -> r2\n" + ZERO, "no longer what r1 holds"),
    ("clobbered", "%c = ebpf.call 5() -> r0\n %v = ebpf.ldx64 %ctx[0] : r1 -> r2\n" + ZERO, "no longer what r1 holds"),
    (
        "on one path",
        """%a = ebpf.ldx64 %ctx[0] : r1 -> r2
        ebpf.jeqi %a, 0, ^b, ^c : r2
        ^c:
        %d = ebpf.movi 1 -> r2
        ebpf.fallthrough ^b
        ^b:
        ebpf.stx64 %ctx[0], %a : r1, r2
        """
        + ZERO,
        "no longer what r2 holds",
    ),
    (
        "by a block argument",
        """%a = ebpf.ldx64 %ctx[0] : r1 -> r2
        ebpf.fallthrough ^b(%a : r2)
        ^b(%b : !ebpf.reg<r2>):
        ebpf.stx64 %ctx[0], %a : r1, r2
        """
        + ZERO,
        "no longer what r2 holds",
    ),
    ("tie", "%a = ebpf.addi %ctx, 1 : r1 -> r2\n" + ZERO, "shares the register"),
    ("exit", "ebpf.exit(%ctx) : r1", "operand in .*r1.*, must be in r0"),
    ("result", "%c = ebpf.call 5() -> r3\n" + ZERO, "result in .*r3.*, must be in r0"),
    ("argument", "%a = ebpf.mov %ctx : r1 -> r6\n %c = ebpf.call 5(%a) : r6 -> r0\n" + ZERO, "arguments of a call"),
    ("type", "%a = ebpf.movi 1 -> reg\n" + ZERO, "in an allocated function"),
    ("frame", "%a = ebpf.movi 1 -> r10\n" + ZERO, "r10 is the frame pointer"),
    (
        "expected",
        "%a = ebpf.movi 1 -> r2\n %b = ebpf.atomic_cmpxchg64 %ctx[0], %a, %a : r1, r2, r2 -> r0\n" + ZERO,
        "r0",
    ),
    ("layout", "ebpf.fallthrough ^b\n^a:\n" + ZERO + "\n^b:\n ebpf.ja ^a", "not the next one in layout"),
    ("else", "ebpf.jeqi %ctx, 0, ^a, ^b : r1\n^a:\n" + ZERO + "\n^b:\n ebpf.ja ^a", "not the next one in layout"),
    (
        "passed",
        "ebpf.fallthrough ^b(%ctx : r1)\n^b(%x : !ebpf.reg<r2>):\n" + ZERO,
        "passes .*r1.*r2",
    ),
]


@pytest.mark.parametrize(("name", "body", "message"), INVALID, ids=[name for name, _, _ in INVALID])
def test_invalid(name: str, body: str, message: str) -> None:
    with pytest.raises(VerifyException, match=message):
        verify_allocated_module(parse(function(body)))


def test_layout_only_where_asked() -> None:
    module = parse(function("ebpf.fallthrough ^b\n^a:\n" + ZERO + "\n^b:\n ebpf.ja ^a"))
    verify_allocated_module(module, layout=False)


def test_virtual_functions_are_not_looked_at() -> None:
    body = " %y = ebpf.addi %x, 1 : reg -> reg\n ebpf.exit(%y) : reg"
    text = f'ebpf.func @f section "xdp" {{\n^bb0(%x : !ebpf.reg):\n{body}\n}}'
    verify_allocated_module(parse(text))
