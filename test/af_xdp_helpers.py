"""Running IR text as the C of the AF_XDP backend, and in the interpreter beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.backends.af_xdp.emit import emit
from fsir.backends.af_xdp.inprocess import Library, Outcome, Process, compiler
from fsir.driver.context import make_context
from fsir.driver.inputs import parse_text
from fsir.interp.engine import InterpProgram
from fsir.interp.mapfile import Contents

WARNINGS = ("-Wall", "-Wextra", "-Werror")
FRAME = bytes(range(64))

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")


def parse(text: str) -> ModuleOp:
    """The verified module of IR text."""
    module = parse_text(make_context(), text, "t.mlir")
    verify_module(module)
    return module


def xdp(code: str, before: str = "", after: str = "") -> str:
    """A module with one raised XDP program that has its context in %ctx."""
    return (
        f'{before}\nebpf.func @p section "xdp" attributes {{prog_type = "xdp"}} {{\n'
        f"^entry(%ctx: !packet.ctx):\n{code}\n}}\n{after}"
    )


def c_source(text: str) -> str:
    """The C file of IR text."""
    return emit(parse(text))["af_xdp.c"].decode()


def process(module: ModuleOp, maps: Contents | None = None, **environment: object) -> Process:
    """The C of a module, compiled without warnings, on a machine with its maps."""
    program = InterpProgram(module, maps=maps, **environment)  # type: ignore[arg-type]
    library = Library(emit(module)["af_xdp.c"], flags=WARNINGS)
    return Process(library, program.machine)


def agree(
    text: str, packets: Iterable[bytes] = (FRAME,), maps: Contents | None = None, **environment: object
) -> Sequence[Outcome]:
    """Run the C and the interpreter on the packets; they must agree on verdicts, bytes, redirects and maps."""
    module = parse(text)
    library = Library(emit(module)["af_xdp.c"], flags=WARNINGS)
    reference = InterpProgram(module, maps=maps, **environment)  # type: ignore[arg-type]
    mirror = InterpProgram(module, maps=maps, **environment)  # type: ignore[arg-type]
    compiled = Process(library, mirror.machine)
    outcomes: list[Outcome] = []
    for number, packet in enumerate(packets):
        expected = reference.run(packet, ifindex=3, rx_queue=1, clock_ns=1000 + number)
        got = compiled.run(packet, ifindex=3, queue=1, clock_ns=1000 + number)
        assert got.dropped_because is None, f"packet {number}: {got.dropped_because}"
        assert (got.verdict, got.packet.hex()) == (expected.verdict, expected.data.hex()), f"packet {number}"
        assert (got.metadata, got.redirect) == (expected.meta, expected.redirect), f"packet {number}"
        outcomes.append(got)
    assert mirror.dump_maps() == reference.dump_maps()
    return outcomes
