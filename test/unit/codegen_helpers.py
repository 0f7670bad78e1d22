"""Running IR text in the interpreter, for the tests of the code generator."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.inputs import parse_text
from fsir.interp.codegen_link import Link
from fsir.interp.engine import InterpProgram
from fsir.interp.machine import Machine

FRAME = bytes(range(64))
M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


def parse(text: str) -> ModuleOp:
    """The verified module of IR text."""
    module = parse_text(make_context(), text, "t.mlir")
    verify_module(module)
    return module


def link(text: str, budget: int = 1_000_000) -> Link:
    """The functions of IR text on a machine of their own."""
    module = parse(text)
    return Link(Machine(), {func.symbol: func for func in functions(module)}, budget=budget)


def word(code: str, **registers: int) -> int:
    """The whole 64-bit result of machine code whose arguments `r1` … `r5` are given; `%r1` … name them."""
    names = sorted(registers)
    args = ", ".join(f"%{name}: !ebpf.reg<{name}>" for name in names)
    linked = link(f'ebpf.func @f section "xdp" {{\n^entry({args}):\n{code}\n}}')
    return linked.function("f")(*(registers[name] for name in names), 0)


def scalar(code: str, **values: tuple[int, int]) -> int:
    """The result of raised code whose arguments are given as (value, width)."""
    args = ", ".join(f"%{name}: i{width}" for name, (_, width) in values.items())
    linked = link(f'ebpf.func @f section "xdp" {{\n^entry({args}):\n{code}\n}}')
    return int(linked.function("f")(*(value for value, _ in values.values()), 0))


def program(text: str, **environment: object) -> InterpProgram:
    """A program of IR text, ready for packets."""
    return InterpProgram(parse(text), **environment)  # type: ignore[arg-type]


def xdp(code: str, before: str = "") -> str:
    """A module with one raised XDP program that has its context in %ctx."""
    return (
        f"{before}\n"
        f'ebpf.func @p section "xdp" attributes {{prog_type = "xdp"}} {{\n^entry(%ctx: !packet.ctx):\n{code}\n}}'
    )
