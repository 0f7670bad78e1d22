"""Random programs that read and write memory do the same after the optimising passes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from codegen_helpers import parse
from random_packets import random_program
from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram

PIPELINES = (
    "eliminate-dead-code",
    "fold-constants",
    "value-numbering",
    "simplify-cfg",
    "merge-accesses",
    "forward-loads",
    "optimize",
)
Behaviour = tuple[list[tuple[int, bytes]], dict[str, list[dict[str, Any]]]]


def behaviour(module: ModuleOp, seed: int) -> Behaviour:
    """What the program does with a few random frames, one after the other."""
    rng = random.Random(seed)
    with InterpProgram(module) as program:
        outcomes = [program.run(rng.randbytes(rng.choice((20, 64, 64, 64)))) for _ in range(6)]
        return [(o.verdict, o.data) for o in outcomes], program.dump_maps()


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("seed", range(24))
def test_behaviour_is_kept(seed: int, pipeline: str) -> None:
    text = random_program(seed)
    module = parse(text)
    expected = behaviour(parse(text), seed)
    run_pipeline(make_context(), module, pipeline)
    verify_module(module)
    assert behaviour(module, seed) == expected
