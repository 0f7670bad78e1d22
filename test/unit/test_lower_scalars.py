"""Random functions over scalars give the same results as machine code, whatever is above narrow arguments."""

from __future__ import annotations

import random

import pytest
from codegen_helpers import parse
from random_scalars import ARGUMENTS, random_function, random_inputs
from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify_allocated import verify_allocated_module
from fsir.dialects.ebpf import InsnOp, functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.codegen_link import Link
from fsir.interp.machine import Machine

Inputs = list[tuple[int, ...]]


def results(module: ModuleOp, inputs: Inputs) -> list[int]:
    link = Link(Machine(), {func.symbol: func for func in functions(module)}, budget=1_000_000)
    function = link.function("f")
    return [function(*values, 0) for values in inputs]


def dirty(seed: int, inputs: Inputs) -> Inputs:
    """The same arguments with something above their widths, as registers may have it."""
    rng = random.Random(seed)
    widths = ARGUMENTS.values()
    return [tuple(v | rng.getrandbits(64) << w & 2**64 - 1 for v, w in zip(i, widths, strict=True)) for i in inputs]


@pytest.mark.parametrize("cpu", [2, 3, 4])
@pytest.mark.parametrize("seed", range(40))
def test_results_are_kept(seed: int, cpu: int) -> None:
    text, inputs = random_function(seed), random_inputs(seed, 12)
    expected = results(parse(text), inputs)
    module = parse(text)
    run_pipeline(
        make_context(), module, f"lower-conditions,lower-scalars{{cpu={cpu}}},allocate-registers,layout-blocks"
    )
    verify_allocated_module(module)
    assert results(module, dirty(seed, inputs)) == expected


@pytest.mark.parametrize("cpu", [2, 3, 4])
def test_instructions_are_of_the_version(cpu: int) -> None:
    for seed in range(12):
        module = parse(random_function(seed))
        before = machine_names(module)
        run_pipeline(make_context(), module, f"lower-conditions,lower-scalars{{cpu={cpu}}}")
        new = machine_names(module) - before
        assert cpu >= 3 or not {name for name in new if name.startswith("j") and name.endswith("32")}
        assert cpu >= 4 or not {name for name in new if name.startswith(("movsx", "sdiv", "smod", "bswap"))}


def machine_names(module: ModuleOp) -> set[str]:
    return {op.row.name for f in functions(module) for b in f.body.blocks for op in b.ops if isinstance(op, InsnOp)}


@pytest.mark.parametrize("divisor", [1, -1, 7, -7, "min"])
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_signed_division_without_such_an_instruction(width: int, divisor: int | str) -> None:
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    number = low if divisor == "min" else divisor
    wide = "" if width == 64 else f"%e = arith.extsi %s : i{width} to i64"
    text = f"""
    ebpf.func @f section "xdp" {{
    ^bb0(%x : i{width}):
      %d = arith.constant {number} : i{width}
      %q = arith.divsi %x, %d : i{width}
      %r = arith.remsi %x, %d : i{width}
      %c = arith.constant 3 : i{width}
      %t = arith.muli %q, %c : i{width}
      %s = arith.addi %t, %r : i{width}
      {wide}
      ebpf.exit(%{"e" if wide else "s"}) : i64
    }}
    """
    inputs = [(value & (1 << width) - 1,) for value in (0, 1, -1, 6, 7, 8, -6, -7, -8, low, low + 1, high)]
    inputs = [given for given in inputs if (number, given[0]) != (-1, 1 << width - 1)]
    module = parse(text)
    run_pipeline(make_context(), module, "lower-conditions,lower-scalars{cpu=2},allocate-registers,layout-blocks")
    assert results(module, inputs) == results(parse(text), inputs)
