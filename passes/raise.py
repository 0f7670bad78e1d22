"""`raise`: from machine code to packet, map, arith and cf operations."""

from __future__ import annotations

from typing import ClassVar

from fsir.driver.pipeline_pass import PipelinePass


class RaisePass(PipelinePass):
    """Recover what a program does from its machine code: packet accesses, map operations, values, calls.

    What is not understood stays an operation of the `ebpf` dialect, and still lowers; no program that imports makes
    this pass fail.
    """

    name = "raise"
    passes: ClassVar[tuple[str, ...]] = (
        "raise-registers",
        "raise-stack",
        "raise-accesses",
        "raise-scalars",
        "name-fields",
        "eliminate-dead-code",
    )
