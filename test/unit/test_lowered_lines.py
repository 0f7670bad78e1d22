"""Line records of what passes have made: each instruction still has the source line that it comes from."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from marked_lines import SOURCE, check, marks
from xdsl.dialects.builtin import ModuleOp, UnknownLoc

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.object.encode import size_of
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

WHOLE = [
    "raise,lower-to-xdp",
    "raise,optimize,lower-to-xdp",
    "raise-registers,allocate-registers,layout-blocks",
    "raise,optimize,chain{at=bb4},lower-to-xdp",
    "raise,chain{at=bb9},lower-to-xdp",
]
PARTS = ["bb3", "bb7"]


def program(*flags: str) -> bytes:
    return compile_c(SOURCE, "-g", *flags)


def compiled(pipeline: str, *flags: str) -> ModuleOp:
    module = import_object(program(*flags), "in.o")
    run_pipeline(make_context(), module, pipeline)
    assert [func.symbol for func in functions(module) if func.keep is not None] == []
    return module


def without_line(module: ModuleOp) -> list[str]:
    ops = [op for func in functions(module) for op in func.walk() if size_of(op)]
    assert ops
    return [str(op) for op in ops if isinstance(op.location, UnknownLoc)]


@pytest.mark.parametrize("flags", [(), ("-mcpu=v3",)], ids=["v2", "v3"])
@pytest.mark.parametrize("pipeline", WHOLE)
def test_instructions_keep_their_lines(pipeline: str, flags: tuple[str, ...]) -> None:
    data = program(*flags)
    module = compiled(pipeline, *flags)
    assert check(data, export_object(module)) == set(marks(data))
    assert without_line(module) == []


@pytest.mark.parametrize("place", PARTS)
def test_parts_keep_their_lines(place: str) -> None:
    module = import_object(program(), "in.o")
    run_pipeline(make_context(), module, f"raise,optimize,decompose{{cut-at={place}}},share-maps,lower")
    (kernel,) = [op for op in module.ops if isinstance(op, ModuleOp)]
    assert check(program(), export_object(kernel))
