"""The engines that interpret: `interp` any module, `placed` one that is split into parts."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from fsir.backends.af_xdp.inprocess import CompilerError
from fsir.dialects.placement import PartOp
from fsir.driver.errors import UsageError
from fsir.interp.core_relocations import has_relocations
from fsir.interp.engine import InterpProgram, version_code
from fsir.interp.helper_base import Call
from fsir.interp.kernel_types import VMLINUX, KernelTypes, kernel_types
from fsir.interp.library import load_library
from fsir.interp.mapfile import Contents
from fsir.interp.packet_io import Packet
from fsir.interp.results import Hook, PacketResult
from fsir.run.engines import Settings, Subject


class InterpEngine:
    """The interpreter on the module, at the level it is at."""

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.settings = settings
        self.added_maps = subject.added_maps
        self._program = InterpProgram(
            subject.module,
            settings.program,
            prog_type=settings.prog_type,
            map_sizes=settings.map_sizes,
            rodata=settings.rodata,
            externs={"LINUX_KERNEL_VERSION": version_code(settings.kernel)} | dict(settings.externs),
            kernel=settings.kernel[:2],
            cpu=settings.cpu,
            ncpu=settings.cpus,
            seed=settings.seed,
            budget=settings.budget,
            poison=settings.poison,
            branches=settings.branches,
            kernel_types=types_for(subject.module, settings),
            library=_library(subject.module, settings),
        )
        self._program.machine.fib = settings.world
        self._program.set_maps(settings.maps)

    @property
    def program(self) -> str:
        return self._program.name

    @property
    def hook(self) -> Hook:
        return self._program.machine.hook

    @property
    def perf_maps(self) -> frozenset[str]:
        maps = self._program.machine.maps.values()
        return frozenset(m.name for m in maps if m.spec.type_name == "perf_event_array")

    def run(self, index: int, packet: Packet, clock_ns: int) -> PacketResult:
        outcome = self._program.run(
            packet.data, ifindex=self.settings.ifindex, rx_queue=self.settings.queue, clock_ns=clock_ns
        )
        return PacketResult(
            index,
            outcome.verdict,
            outcome.data,
            outcome.meta,
            self.hook,
            outcome.redirect,
            outcome.instructions,
            outcome.helpers,
            outcome.parts,
        )

    def dump_maps(self) -> Contents:
        return self._program.dump_maps()

    def close(self) -> None:
        self._program.close()


def _library(module: ModuleOp, settings: Settings) -> dict[str, Call]:
    """The functions of `--library`."""
    if not settings.libraries:
        return {}
    try:
        return load_library(module, settings.libraries)
    except CompilerError as error:
        raise UsageError(f"--library: {error}") from error


def types_for(module: ModuleOp, settings: Settings) -> KernelTypes | None:
    """The types that a module's CO-RE relocations are resolved against, if it has any."""
    if settings.kernel_btf is None or not has_relocations(module):
        return None
    found = kernel_types(settings.kernel_btf)
    if found is None and settings.kernel_btf != VMLINUX:
        raise UsageError(f"--kernel-btf: there is no file {settings.kernel_btf}")
    return found


class PlacedEngine(InterpEngine):
    """The interpreter part by part, on a module that `decompose` made."""

    def __init__(self, subject: Subject, settings: Settings) -> None:
        if not any(isinstance(op, PartOp) for op in subject.module.body.block.ops):
            raise UsageError("has no placement.part; --engine placed runs what decompose made (-p 'raise,decompose…')")
        super().__init__(subject, settings)
