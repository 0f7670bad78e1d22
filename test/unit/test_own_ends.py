"""Constants that several ways return are set at an end of their own, where that spares instructions."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.interp.engine import InterpProgram
from fsir.object.encode import instruction_count
from fsir.passes._own_ends import own_ends
from fsir.passes.layout_blocks import layout_function

WAY = """
  %v{n} = ebpf.ldx32 %ctx[{at}] : r6 -> r2
  %one{n} = ebpf.movi {result} -> r3
  ebpf.jeqi %v{n}, {value}, ^end(%one{n} : r3), ^on{n} : r2
^on{n}:"""
PROGRAM = """
ebpf.func @f section "xdp" attributes {{prog_type = "xdp"}} {{
^entry(%in: !ebpf.reg<r1>):
  %ctx = ebpf.mov %in : r1 -> r6{ways}
  %two = ebpf.movi 2 -> r3
  ebpf.fallthrough ^end(%two : r3)
^end(%r: !ebpf.reg<r3>):
{end}
}}
"""
COPIED = "  %copy = ebpf.mov %r : r3 -> r0\n  ebpf.exit (%copy) : r0"
CHANGED = "  %copy = ebpf.mov %r : r3 -> r0\n  %more = ebpf.addi %copy, 1 : r0 -> r0\n  ebpf.exit (%more) : r0"


def program(ways: int, results: tuple[int, ...] = (1,), end: str = COPIED) -> ModuleOp:
    text = "".join(WAY.format(n=n, at=4 * (3 + n % 2), value=n, result=results[n % len(results)]) for n in range(ways))
    module = Parser(make_context(), PROGRAM.format(ways=text, end=end)).parse_module()
    verify_module(module)
    return module


@pytest.mark.parametrize(
    ("ways", "results", "end", "made", "spared"),
    [
        (5, (1,), COPIED, 1, 3),
        (3, (1,), COPIED, 1, 1),
        (2, (1,), COPIED, 0, 0),  # as long as before
        (6, (1, 3), COPIED, 2, 2),
        (5, (1,), CHANGED, 0, 0),  # more than an end
    ],
)
def test_ends(ways: int, results: tuple[int, ...], end: str, made: int, spared: int) -> None:
    before, after = program(ways, results, end), program(ways, results, end)
    (func,) = functions(after)
    assert own_ends(func.body) == made
    layout_function(func)
    verify_module(after)
    verify_allocated(func)
    assert instruction_count(functions(before)[0]) - instruction_count(func) == spared
    for ifindex in range(ways + 1):
        ran = [InterpProgram(module, "f").run(bytes(64), ifindex=ifindex) for module in (before, after)]
        assert ran[0].verdict == ran[1].verdict
        assert ran[1].instructions <= ran[0].instructions
