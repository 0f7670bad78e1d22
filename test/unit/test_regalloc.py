"""Allocation keeps meaning, whatever the shape of the function and however many values are live."""

from __future__ import annotations

import pytest
from virtual_programs import Program, Run

from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.dialects.ebpf import FuncOp
from fsir.passes.allocate_registers import allocate_function
from fsir.passes.layout_blocks import layout_function
from fsir.regalloc.allocate import WAYS, Way, allocate

ARGS = [(1, 2, 3, 4, 5), (0, 0, 0, 0, 0), (2**64 - 1, 5, 2**63, 7, 1)]


def _traces(func: FuncOp, by_register: bool) -> list[list[tuple[int, ...]]]:
    return [Run(func, args, by_register).trace for args in ARGS]


@pytest.mark.parametrize("width", [3, 6, 12, 24])
def test_allocated_code_does_the_same(width: int) -> None:
    for seed in range(120):
        program = Program(seed * 31 + width, width)
        verify_module(program.module)
        expected = _traces(program.func, by_register=False)
        allocate_function(program.func)
        verify_module(program.module)
        verify_allocated(program.func, layout=False)
        assert _traces(program.func, by_register=True) == expected, f"seed {seed}"
        layout_function(program.func)
        verify_module(program.module)
        verify_allocated(program.func)
        assert _traces(program.func, by_register=True) == expected, f"laid out, seed {seed}"


@pytest.mark.parametrize("way", WAYS, ids=repr)
def test_every_way_of_allocating_keeps_meaning(way: Way) -> None:
    for seed in range(30):
        program = Program(seed * 17 + 5, 14)
        expected = _traces(program.func, by_register=False)
        found = allocate(program.func, ways=[way])
        old = program.func.detach_region(program.func.body)
        program.func.add_region(found.body)
        old.drop_all_references()
        verify_module(program.module)
        verify_allocated(program.func, layout=False)
        assert _traces(program.func, by_register=True) == expected, f"seed {seed}"
