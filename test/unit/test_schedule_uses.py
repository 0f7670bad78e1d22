"""Instructions in another order do the same."""

from __future__ import annotations

from virtual_programs import Program, Run

from fsir.analysis.verify import verify_module
from fsir.passes.schedule_uses import schedule_uses

ARGS = [(1, 2, 3, 4, 5), (2**64 - 1, 5, 2**63, 7, 1)]


def test_scheduled_code_does_the_same() -> None:
    changed = 0
    for seed in range(60):
        program = Program(seed * 13 + 3, 8)
        before = [Run(program.func, args, False).trace for args in ARGS]
        text = str(program.func)
        schedule_uses(program.func)
        verify_module(program.module)
        assert [Run(program.func, args, False).trace for args in ARGS] == before, f"seed {seed}"
        changed += str(program.func) != text
    assert changed
