"""What is proven where: guards and hits on all ways to a block."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.analysis.dominance import DominatorTree
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.placement.facts import Facts


def facts_of(body: str) -> list[dict[str, int]]:
    """For each block, the proven bytes by name of the address."""
    text = f"""
    ebpf.func @f section "xdp" attributes {{prog_type = "xdp"}} {{
    ^bb0(%ctx: !packet.ctx, %c: i1, %n: i64):
      %data = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      {body}
    }}"""
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    (func,) = functions(module)
    facts = Facts(DominatorTree(func.body))
    return [
        {value.name_hint or "?": size for value, size in facts.guarded(block).items()} for block in func.body.blocks
    ]


GUARD = "packet.guard {}, %end : !packet.ptr, !packet.end_ptr -> i1"
DONE = "packet.verdict %n : i64"

CASES = {
    "the true side of a guard": (
        f"%g = {GUARD.format('%data[14]')}\n cf.cond_br %g, ^a, ^b\n ^a:\n {DONE}\n ^b:\n {DONE}",
        [{}, {"data": 14}, {}],
    ),
    "the larger of two": (
        f"%g = {GUARD.format('%data[34]')}\n cf.cond_br %g, ^a, ^z\n ^a:\n %h = {GUARD.format('%data[14]')}\n"
        f"cf.cond_br %h, ^b, ^z\n ^b:\n {DONE}\n ^z:\n {DONE}",
        [{}, {"data": 34}, {"data": 34}, {}],
    ),
    "the smaller where ways meet": (
        f"cf.cond_br %c, ^a, ^b\n ^a:\n %g = {GUARD.format('%data[54]')}\n cf.cond_br %g, ^m, ^z\n"
        f"^b:\n %h = {GUARD.format('%data[42]')}\n cf.cond_br %h, ^m, ^z\n ^m:\n {DONE}\n ^z:\n {DONE}",
        [{}, {}, {}, {"data": 42}, {}],
    ),
    "nothing when one way has no guard": (
        f"%g = {GUARD.format('%data[14]')}\n cf.cond_br %g, ^m, ^b\n ^b:\n cf.br ^m\n ^m:\n {DONE}",
        [{}, {}, {}],
    ),
    "an argument has what was passed, less the distance": (
        f"%g = {GUARD.format('%data[34]')}\n cf.cond_br %g, ^a, ^z\n ^a:\n"
        "%p = packet.offset %data[14] : !packet.ptr -> !packet.ptr\n cf.br ^m(%p : !packet.ptr)\n"
        f"^m(%arg: !packet.ptr):\n {DONE}\n ^z:\n {DONE}",
        [{}, {"data": 34}, {"data": 34, "arg": 20}, {}],
    ),
    "a pointer made again in a loop is not proven again": (
        f"cf.br ^h(%n : i64)\n ^h(%i: i64):\n %p = packet.advance %data, %i : !packet.ptr, i64 -> !packet.ptr\n"
        f"cf.cond_br %c, ^t, ^z\n ^t:\n %g = {GUARD.format('%p[1]')}\n cf.cond_br %g, ^l, ^z\n"
        f"^l:\n cf.br ^h(%i : i64)\n ^z:\n {DONE}",
        [{}, {}, {}, {"p": 1}, {}],
    ),
    "an argument of a loop is what this round passes": (
        f"%g = {GUARD.format('%data[14]')}\n cf.cond_br %g, ^a, ^z\n ^a:\n cf.br ^h(%data : !packet.ptr)\n"
        "^h(%at: !packet.ptr):\n %next = packet.offset %at[8] : !packet.ptr -> !packet.ptr\n"
        f"cf.cond_br %c, ^l, ^z\n ^l:\n cf.br ^h(%next : !packet.ptr)\n ^z:\n {DONE}",
        [{}, {"data": 14}, {"data": 14}, {"data": 14}, {}],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_guards(name: str) -> None:
    body, expected = CASES[name]
    assert facts_of(body) == expected
