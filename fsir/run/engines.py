"""What an engine is, what it runs, and in which world; the engines themselves are one file each.

A new engine is a class with this protocol and a line in `engine_table.ENGINES`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

from xdsl.dialects.builtin import ModuleOp
from xdsl.universe import Universe

from fsir.dialects.map import DeclOp
from fsir.driver.errors import UsageError
from fsir.driver.inputs import Source, read_source
from fsir.interp.branches import Branches
from fsir.interp.environment import FROZEN
from fsir.interp.fib import LOOPBACK, Fib, Interface
from fsir.interp.mapfile import Contents
from fsir.interp.packet_io import Packet
from fsir.interp.results import Hook, PacketResult
from fsir.run.engine_table import ENGINES

PLACEMENT = "placement.mlir"


@dataclass(frozen=True)
class Settings:
    """The world around the program; see the options of the same names in `arguments`."""

    program: str | None = None
    prog_type: str | None = None
    maps: Contents = field(default_factory=dict)
    map_sizes: Mapping[str, int] = field(default_factory=dict)
    rodata: Mapping[str, bytes] = field(default_factory=dict)
    externs: Mapping[str, int] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    ifindex: int = 1
    queue: int = 0
    cpu: int = 0
    cpus: int = 1
    seed: int = 0
    kernel: tuple[int, int, int] = (6, 18, 0)
    budget: int = 1_000_000
    poison: bool = False
    freeze: bool = True
    kernel_btf: Path | None = None
    fib: Fib = field(default_factory=Fib)
    branches: Branches | None = None
    """What counts the branches taken (interpreters)."""

    @cached_property
    def interfaces(self) -> dict[int, int]:
        """The interfaces that there are, with their numbers of queues: the loopback, that of `ifindex`, and what routes
        and maps name."""
        found = {LOOPBACK: 1, self.ifindex: self.queue + 1}
        named: list[object] = [*self.fib.interfaces, *(route.ifindex for route in self.fib.routes)]
        named += (ifindex for ifindex, _ in self.fib.neighbours)
        named += (entry.get("ifindex") for entries in self.maps.values() for entry in entries)
        for index in named:
            if isinstance(index, int) and index:
                found.setdefault(index, 1)
        return found

    @property
    def world(self) -> Fib:
        """Routes, neighbours, and all interfaces."""
        known = self.fib.interfaces
        interfaces = {index: known.get(index, Interface(index)) for index in self.interfaces}
        return Fib(self.fib.routes, interfaces, self.fib.neighbours)


@dataclass
class Subject:
    """What is run: an input, and the passes that it goes through first."""

    name: str
    pipeline: str | None = None
    format: str | None = None
    prog_type: str | None = None
    universes: tuple[tuple[str, Universe], ...] = ()

    @property
    def path(self) -> Path:
        """The input as a path; `name` is "-" for stdin."""
        return Path(self.name)

    @property
    def shown(self) -> str:
        """The input's name in messages and results."""
        return "<stdin>" if self.name == "-" else self.name

    @cached_property
    def source(self) -> Source:
        """The input's bytes and format; of a bundle, those of its placed IR."""
        if not self.path.is_dir():
            return read_source(self.name, self.format)
        placed = self.path / PLACEMENT
        if not placed.is_file():
            raise UsageError(f"is a directory without {PLACEMENT}: no bundle; give a file, or make one with -t bundle")
        return read_source(str(placed), "mlir")

    @cached_property
    def module(self) -> ModuleOp:
        """The verified module, after the passes."""
        from fsir.analysis.verify import verify_module
        from fsir.driver.context import make_context
        from fsir.driver.pass_manager import PassManager
        from fsir.driver.pipeline import parse_pipeline
        from fsir.driver.registry import PassRegistry

        ctx = make_context(self.universes)
        manager = PassManager(ctx, PassRegistry(lambda: self.universes))
        passes = manager.build(parse_pipeline(self.pipeline or ""))
        if self.prog_type is not None and self.source.format != "mlir":
            from fsir.object.importer import import_object

            module = import_object(self._object(), self.shown, prog_type=self.prog_type)
        else:
            module = self.source.load(ctx)
        verify_module(module)
        manager.run(module, passes)
        return module

    @cached_property
    def elf(self) -> bytes:
        """The object that a loader gets: the input's own bytes where no pass changed it."""
        if self.pipeline is None and self.source.format != "mlir":
            return self._object()
        from fsir.object.exporter import export_object

        return export_object(self.module)

    @cached_property
    def frozen_elf(self) -> bytes:
        """The object with its clocks and random numbers in a map; `elf` itself where it asks for neither."""
        from fsir.object.exporter import export_object
        from fsir.passes.freeze_environment import depends_on_environment, freeze_environment

        if not depends_on_environment(self.module):
            return self.elf
        frozen = self.module.clone()
        freeze_environment(frozen)
        return export_object(frozen)

    def _object(self) -> bytes:
        if self.source.format == "c":
            from fsir.driver.clang import compile_c

            return compile_c(self.path)
        return self.source.data

    @property
    def added_maps(self) -> frozenset[str]:
        """Maps that are not the input's: passes added them."""
        if self.pipeline is None and self.source.format != "mlir":
            return frozenset()
        declarations = (op for op in self.module.walk() if isinstance(op, DeclOp))
        return frozenset(d.sym_name.data for d in declarations if d.section is None or d.sym_name.data == FROZEN)


class Engine(Protocol):
    """Runs one program. What goes wrong is raised as an exception that `fsir.run.errors.explain` knows."""

    def __init__(self, subject: Subject, settings: Settings) -> None: ...

    @property
    def program(self) -> str:
        """The name of the program that runs."""
        ...

    @property
    def hook(self) -> Hook:
        """What its verdicts mean."""
        ...

    @property
    def perf_maps(self) -> frozenset[str]:
        """Maps whose records the kernel pads."""
        ...

    @property
    def added_maps(self) -> frozenset[str]:
        """Maps that passes added; they are not compared."""
        ...

    def run(self, index: int, packet: Packet, clock_ns: int) -> PacketResult:
        """Process one packet to its end."""
        ...

    def dump_maps(self) -> Contents:
        """The contents of all maps."""
        ...

    def close(self) -> None:
        """Release what the engine holds."""
        ...


def open_engine(name: str, subject: Subject, settings: Settings) -> Engine:
    """Start an engine by name."""
    module_name, _, class_name = ENGINES[name].partition(":")
    if importlib.util.find_spec(module_name) is None:
        raise UsageError(f"the engine '{name}' is not part of this installation; use another --engine")
    return cast("type[Engine]", getattr(importlib.import_module(module_name), class_name))(subject, settings)
