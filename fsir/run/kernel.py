"""The engine `kernel`: the object loaded into the running kernel, packets by BPF_PROG_TEST_RUN."""

from __future__ import annotations

import platform
import re
from contextlib import ExitStack
from pathlib import Path

from fsir.driver.errors import UsageError
from fsir.interp.engine import HOOKS
from fsir.interp.environment import FROZEN
from fsir.interp.kernel_types import VMLINUX, kernel_types
from fsir.interp.mapfile import Contents
from fsir.interp.packet_io import Packet
from fsir.interp.results import Hook, PacketResult
from fsir.kernel.engine import KernelProgram, on_cpu
from fsir.kernel.interfaces import private_interfaces
from fsir.kernel.routes import install
from fsir.kernel.uapi import MapType, ProgType
from fsir.run.engines import Settings, Subject


class KernelEngine:
    """The interfaces that the maps and `--ifindex` name are made, in a network namespace of their own."""

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.settings = settings
        self.added_maps = subject.added_maps
        self._hidden = frozenset[str]() if FROZEN in subject.added_maps else frozenset({FROZEN})
        if settings.externs:
            raise UsageError("--extern is for interpreters: the kernel engine has the kernel's configuration")
        with ExitStack() as stack:
            stack.enter_context(private_interfaces(settings.interfaces))
            install(settings.world)
            stack.enter_context(on_cpu(settings.cpu))
            self._program = stack.enter_context(
                KernelProgram(
                    subject.frozen_elf if settings.freeze else subject.elf,
                    settings.program,
                    prog_type=_type_number(settings.prog_type),
                    map_sizes=settings.map_sizes,
                    rodata=settings.rodata,
                    maps=settings.maps,
                    seed=settings.seed,
                    kernel_btf=_other_types(settings),
                )
            )
            self._stack = stack.pop_all()

    @property
    def program(self) -> str:
        return self._program.name

    @property
    def hook(self) -> Hook:
        return HOOKS.get(self._program.type.name.lower(), "skb")

    @property
    def perf_maps(self) -> frozenset[str]:
        return frozenset(name for name, m in self._program.maps.items() if m.type == MapType.PERF_EVENT_ARRAY)

    def run(self, index: int, packet: Packet, clock_ns: int) -> PacketResult:
        outcome = self._program.run(
            packet.data, ifindex=self.settings.ifindex, rx_queue=self.settings.queue, clock_ns=clock_ns
        )
        return PacketResult(index, outcome.verdict, outcome.data, outcome.meta, self.hook)

    def dump_maps(self) -> Contents:
        found = self._program.dump_maps()
        return {name: entries for name, entries in found.items() if name not in self._hidden}

    def close(self) -> None:
        self._stack.close()


def running_kernel() -> tuple[int, int, int]:
    """The version of this machine's kernel."""
    numbers = re.findall(r"\d+", platform.release())[:3]
    major, minor, patch = (int(number) for number in (*numbers, "0", "0", "0")[:3])
    return major, minor, patch


def _other_types(settings: Settings) -> Path | None:
    """The file with the types that are to be taken for the kernel's, if they are not this kernel's own. Raises
    ObjectError for a file that holds none."""
    if settings.kernel_btf in (None, VMLINUX):
        return None
    if kernel_types(settings.kernel_btf) is None:
        raise UsageError(f"--kernel-btf: there is no file {settings.kernel_btf}")
    return settings.kernel_btf


def _type_number(name: str | None) -> ProgType | None:
    if name is None:
        return None
    try:
        return ProgType[name.upper()]
    except KeyError as error:
        raise UsageError(f"there is no program type '{name}'") from error
