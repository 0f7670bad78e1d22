"""Terms and what z3 makes of them: the same numbers as Python's, and bounds that hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsir.interp import emit_alu
from fsir.smt import meaning
from fsir.smt.solve import Solver
from fsir.smt.terms import Term, TooDeep, between, bounds, byte, choice, evaluate, from_bytes, operate, unknown

WORDS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 1, 31, 63, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)))
EXPRESSED = sorted(key for key in emit_alu.BINARY if key[0] not in ("sdiv", "smod"))


@pytest.mark.parametrize("op", EXPRESSED, ids=lambda op: f"{op[0]}{op[1]}")
@settings(max_examples=6, deadline=None)
@given(a=WORDS, b=WORDS)
def test_instructions_mean_what_they_do(op: tuple[str, int], a: int, b: int) -> None:
    if op[0] in ("div", "mod") and not b & (2 ** op[1] - 1):
        return
    expected = meaning.binary(*op, a, b)
    x = unknown("x", 64)
    found = meaning.binary(*op, x, b)
    assert found is not None and expected is not None
    assert evaluate(found, {"x": a}.__getitem__) == expected
    low, high = bounds(found)
    assert isinstance(expected, int) and low <= expected <= high
    assert Solver(0).impossible([operate("eq", x, a), operate("ne", found, expected)])


@pytest.mark.parametrize("op", sorted(emit_alu.COMPARE), ids=lambda op: f"{op[0]}{op[1]}")
@settings(max_examples=6, deadline=None)
@given(a=WORDS, b=WORDS)
def test_jumps_compare_as_they_do(op: tuple[str, int], a: int, b: int) -> None:
    expected = bool(meaning.compared(*op, a, b))
    x = unknown("x", 64)
    taken = meaning.compared(*op, x, b)
    assert taken is not None
    differs = operate("eq" if expected else "ne", taken, 0)
    assert Solver(0).impossible([operate("eq", x, a), differs])


def test_models_are_numbers() -> None:
    port = from_bytes([unknown("high", 8), unknown("low", 8)])
    swapped = meaning.unary("be", 16, port)
    assert swapped is not None
    model = Solver().model([operate("eq", swapped, 0x1234)])
    assert model == {"high": 0x12, "low": 0x34}
    assert byte(port, 1) is not None and evaluate(port, model.__getitem__) == 0x3412


def test_what_has_no_model() -> None:
    x = unknown("x", 8)
    assert Solver().model([operate("lt", x, 3), operate("lt", 5, x)]) is None
    assert not Solver().impossible([operate("lt", x, 3)])


def test_bounds_of_unknowns_are_believed() -> None:
    length = between("length", 14, 3000)
    assert operate("lt", length, 14) == 0
    assert Solver().impossible([operate("eq", operate("and", length, 0xFFF), 5)])


def test_choices() -> None:
    x = unknown("x", 1)
    chosen = choice(x, 7, 9)
    assert bounds(chosen) == (7, 9)
    assert Solver().impossible([operate("eq", chosen, 8)])
    assert choice(1, 7, 9) == 7 and choice(x, 7, 7) == 7


def test_terms_have_an_end() -> None:
    term: int | Term = unknown("x", 64)
    with pytest.raises(TooDeep):
        for _ in range(1000):
            term = operate("xor", operate("add", term, 1), 0xFF)
