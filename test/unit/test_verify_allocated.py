"""The invariant of allocated functions: each violation is found, and named."""

from __future__ import annotations

import pytest
from codegen_helpers import parse
from xdsl.utils.exceptions import VerifyException

from fsir.analysis.verify_allocated import verify_allocated_module
from fsir.driver.context import make_context
from fsir.driver.inputs import parse_text


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
    (
        "overwritten",
        "%a = ebpf.movi 1 -> r1\n %v = ebpf.ldx64 %ctx[0] : r1 -> r2\n" + ZERO,
        "is no longer what r1 holds",
    ),
    (
        "clobbered",
        "%c = ebpf.call 5() -> r0\n %v = ebpf.ldx64 %ctx[0] : r1 -> r2\n" + ZERO,
        "is no longer what r1 holds",
    ),
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
        "is no longer what r2 holds",
    ),
    (
        "by a block argument",
        """%a = ebpf.ldx64 %ctx[0] : r1 -> r2
        ebpf.fallthrough ^b(%a : r2)
        ^b(%b : !ebpf.reg<r2>):
        ebpf.stx64 %ctx[0], %a : r1, r2
        """
        + ZERO,
        "is no longer what r2 holds",
    ),
    ("tie", "%a = ebpf.addi %ctx, 1 : r1 -> r2\n" + ZERO, "but it shares the register of"),
    ("exit", "ebpf.exit(%ctx) : r1", "operand in .*r1.*, must be in r0"),
    ("result", "%c = ebpf.call 5() -> r3\n" + ZERO, "result in .*r3.*, must be in r0"),
    (
        "argument",
        "%a = ebpf.mov %ctx : r1 -> r6\n %c = ebpf.call 5(%a) : r6 -> r0\n" + ZERO,
        "arguments of a call are in different registers of r1 to r5, ascending",
    ),
    ("type", "%a = ebpf.movi 1 -> reg\n" + ZERO, "in an allocated function"),
    (
        "frame",
        "%a = ebpf.movi 1 -> r10\n" + ZERO,
        "r10 is the frame pointer: only ebpf.frame defines it, and nothing else",
    ),
    (
        "expected",
        "%a = ebpf.movi 1 -> r2\n %b = ebpf.atomic_cmpxchg64 %ctx[0], %a, %a : r1, r2, r2 -> r0\n" + ZERO,
        "r0",
    ),
    (
        "layout",
        "ebpf.fallthrough ^b\n^a:\n" + ZERO + "\n^b:\n ebpf.ja ^a",
        "the block that it falls through to is not the next one in layout",
    ),
    (
        "else",
        "ebpf.jeqi %ctx, 0, ^a, ^b : r1\n^a:\n" + ZERO + "\n^b:\n ebpf.ja ^a",
        "the block that it falls through to is not the next one in layout",
    ),
    ("how many", "ebpf.fallthrough ^b\n^b(%x : !ebpf.reg<r2>):\n" + ZERO, "passes 0 values to 1 block arguments"),
    (
        "type of an argument",
        "%a = ebpf.movi 1 -> r2\n ebpf.fallthrough ^b(%a : r2)\n^b(%x : i64):\n" + ZERO,
        "block argument of type i64 among allocated values",
    ),
    (
        "passed",
        "ebpf.fallthrough ^b(%ctx : r1)\n^b(%x : !ebpf.reg<r2>):\n" + ZERO,
        "passes .*r1.* to a block argument in .*r2",
    ),
]


@pytest.mark.parametrize(("name", "body", "message"), INVALID, ids=[name for name, _, _ in INVALID])
def test_invalid(name: str, body: str, message: str) -> None:
    module = parse_text(make_context(), function(body), "t.mlir")  # verify_module would see some of these first
    with pytest.raises(VerifyException, match=message):
        verify_allocated_module(module)


def test_layout_only_where_asked() -> None:
    module = parse(function("ebpf.fallthrough ^b\n^a:\n" + ZERO + "\n^b:\n ebpf.ja ^a"))
    verify_allocated_module(module, layout=False)


def test_virtual_functions_are_not_looked_at() -> None:
    body = " %y = ebpf.addi %x, 1 : reg -> reg\n ebpf.exit(%y) : reg"
    text = f'ebpf.func @f section "xdp" {{\n^bb0(%x : !ebpf.reg):\n{body}\n}}'
    verify_allocated_module(parse(text))
