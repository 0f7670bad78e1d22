"""What is said about two bodies of machine code, path by path."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Region
from xdsl.parser import Parser

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.regalloc.paths import path_excess

EXIT = "%v = ebpf.movi 0 -> reg\n ebpf.exit(%v) : reg"
EXTRA = "%e = ebpf.movi 7 -> reg\n"


def _body(text: str) -> Region:
    source = f'ebpf.func @f section "xdp" {{\n^bb0(%p : !ebpf.reg, %q : !ebpf.reg):\n{text}\n}}'
    module = Parser(make_context(), source).parse_module()
    assert isinstance(module, ModuleOp)
    return next(iter(functions(module))).body


def _fork(jump: str, operands: str, then: str, other: str) -> Region:
    types = ", ".join(["reg"] * operands.count("%"))
    return _body(
        f"ebpf.{jump} {operands}, ^a, ^b : {types}\n^a:\n {then} {EXIT}\n^b:\n {other} {EXIT.replace('%v', '%w')}"
    )


def test_a_longer_path_is_found_though_another_is_shorter() -> None:
    before = _fork("jgti", "%p, 5", "", EXTRA)
    assert path_excess(before, _fork("jgti", "%p, 5", EXTRA, "")) == 1
    assert path_excess(before, before) == 0


@pytest.mark.parametrize(
    ("jump", "operands", "crossed"),
    [
        ("jgei", "%p, 6", False),
        ("jlei", "%p, 5", True),
        ("jlti", "%p, 6", True),
    ],
)
def test_the_same_decision_in_other_words(jump: str, operands: str, crossed: bool) -> None:
    before = _fork("jgti", "%p, 5", EXTRA, "")
    assert path_excess(before, _fork(jump, operands, *(("", EXTRA) if crossed else (EXTRA, "")))) == 0
    assert path_excess(before, _fork(jump, operands, *((EXTRA, "") if crossed else ("", EXTRA)))) == 1


def test_registers_compared_the_other_way_round() -> None:
    before = _fork("jgt", "%p, %q", EXTRA, "")
    assert path_excess(before, _fork("jlt", "%q, %p", EXTRA, "")) == 0
    assert path_excess(before, _fork("jge", "%q, %p", "", EXTRA)) == 0


def test_a_longer_turn_of_a_loop_has_no_bound() -> None:
    def loop(extra: str) -> Region:
        return _body(f"ebpf.ja ^h\n^h:\n {extra} ebpf.jeqi %p, 0, ^out, ^h : reg\n^out:\n {EXIT}")

    assert path_excess(loop(""), loop(EXTRA)) == float("inf")
    assert path_excess(loop(EXTRA), loop("")) == -1


def test_code_that_branches_differently_is_not_compared() -> None:
    assert path_excess(_body(EXIT), _fork("jgti", "%p, 5", "", "")) is None
