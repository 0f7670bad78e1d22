"""The quick check of definitions says what xDSL's says, of every operation of a program at every level."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from xdsl.dialects.builtin import IntAttr, StringAttr, f32
from xdsl.ir import Attribute, Operation
from xdsl.utils.exceptions import VerifyException

from fsir.analysis.verify_definition import _plan, verify_definition
from fsir.dialects.ebpf.types import set_type
from fsir.driver.context import make_context
from fsir.driver.inputs import load_module
from fsir.driver.pass_manager import run_pipeline

ROUTER = Path(__file__).resolve().parents[2] / "examples" / "router" / "router.o"


Action = Callable[[], object]


def said(check: Action) -> str | None:
    try:
        check()
    except VerifyException as error:
        return str(error)
    return None


def damages(op: Operation) -> Iterator[tuple[Action, Action]]:
    """Ways to damage an operation, and to undo it."""
    for name, old in list(op.properties.items()):
        repair = partial(op.properties.update, {name: old})
        other: Attribute = StringAttr("x") if isinstance(old, IntAttr) else IntAttr(0)
        yield partial(op.properties.pop, name), repair
        yield partial(op.properties.update, {name: other}), repair
    yield partial(op.properties.update, unknown=IntAttr(1)), partial(op.properties.pop, "unknown")
    operands = list(op.operands)
    if operands:
        for changed in (operands[1:], [*operands, operands[0]]):
            yield partial(setattr, op, "operands", changed), partial(setattr, op, "operands", operands)
    for value in (*operands, *op.results):
        yield partial(set_type, value, f32), partial(set_type, value, value.type)
    if op.successors:
        blocks = list(op.successors)
        yield partial(setattr, op, "successors", blocks[:-1]), partial(setattr, op, "successors", blocks)


@pytest.mark.parametrize("pipeline", ["", "raise", "raise,optimize", "raise,lower-to-xdp"])
def test_both_say_the_same(pipeline: str) -> None:
    module = load_module(str(ROUTER))
    run_pipeline(make_context(), module, pipeline)
    refused = quick = 0
    for op in module.walk():
        if op.regions:
            continue
        quick += _plan(type(op)) is not None
        assert said(partial(verify_definition, op)) is None
        for damage, repair in damages(op):
            damage()
            expected = said(op.verify_)
            assert said(partial(verify_definition, op)) == expected, op.name
            repair()
            refused += expected is not None
        assert said(partial(verify_definition, op)) is None
    assert quick > 50 and refused > 300, "else this tests nothing"
