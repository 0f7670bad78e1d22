"""Random functions over scalars give the same results after the optimising passes, and do not get longer."""

from __future__ import annotations

import pytest
from codegen_helpers import parse
from random_scalars import random_function, random_inputs
from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.codegen_link import Link
from fsir.interp.machine import Machine

PIPELINES = (
    "eliminate-dead-code",
    "fold-constants",
    "fold-constants,eliminate-dead-code",
    "value-numbering",
    "simplify-cfg",
    "optimize",
)


def results(module: ModuleOp, inputs: list[tuple[int, ...]]) -> list[int]:
    """What the function gives for each input, and the instructions that the last of them took."""
    link = Link(Machine(), {func.symbol: func for func in functions(module)}, budget=1_000_000)
    function = link.function("f")
    return [function(*values, 0) for values in inputs]


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("seed", range(24))
def test_results_are_kept(seed: int, pipeline: str) -> None:
    text, inputs = random_function(seed), random_inputs(seed, 12)
    module = parse(text)
    expected = results(parse(text), inputs)
    run_pipeline(make_context(), module, pipeline)
    verify_module(module)
    assert results(module, inputs) == expected
