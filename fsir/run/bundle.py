"""The engine `bundle`: the artifacts of a bundle at work together, without an interface and without root.

`nic.p4` runs in the interpreter of P4 text, its tables mirrored from the maps and its counters added to them; `xdp.o`
is imported again and interpreted; `af_xdp.c` is compiled against an in-process transport. Packets go from one to the
next as the bytes that they would be on the wire and in memory, handoff headers included. All parts work on one set of
maps, that of the kernel's part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.backends.af_xdp.inprocess import CompilerError, Library, Process, link_words
from fsir.backends.p4.controller import Controller
from fsir.backends.p4.interp import Switch, load
from fsir.backends.p4.interp.errors import ControlPlaneError, P4Error, P4RuntimeError
from fsir.backends.p4.mirror import MapAddition, MirrorError, add_to
from fsir.bundle.emit import emit
from fsir.bundle.libraries import linked
from fsir.bundle.read import Bundle, BundleError, bundle_of, read_bundle
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import PartOp
from fsir.driver.context import make_context
from fsir.driver.diagnostics import place_of
from fsir.driver.errors import UsageError
from fsir.driver.inputs import Source
from fsir.driver.targets import EmitOptions
from fsir.interp.core_relocations import moved
from fsir.interp.engine import InterpProgram, version_code
from fsir.interp.machine import Redirect
from fsir.interp.mapfile import Contents
from fsir.interp.maps_redirect import Target, XskMap
from fsir.interp.packet_io import Packet
from fsir.interp.results import Hook, PacketResult
from fsir.object.importer import import_object
from fsir.placement.targets import load as target_of
from fsir.run.engines import Settings, Subject
from fsir.run.errors import RunError
from fsir.run.interp import types_for

XDP_DROP, XDP_TX, XDP_REDIRECT = 1, 3, 4
SOCKET = 1
_PORTS = 500  # ports below are numbered like their interfaces


class BundleEngine:
    """Runs the artifacts of a bundle directory, or of the bundle that a placed and lowered module makes."""

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.settings = settings
        self._bundle = open_bundle(subject)
        kernel = self._bundle.part("kernel")
        placed = placed_module(self._bundle)
        check_layouts(placed, settings)
        module = placed
        if kernel is not None:
            module = import_object(self._bundle.artifact(kernel), self._bundle.shown(kernel["artifact"]))
        names = {op.sym_name.data for op in placed.walk() if isinstance(op, DeclOp)}
        self.added_maps = frozenset(
            op.sym_name.data for op in module.walk() if isinstance(op, DeclOp) and op.sym_name.data not in names
        )
        self._kernel = InterpProgram(
            module,
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
            kernel_types=types_for(module, settings),
        )
        self._kernel.machine.fib = settings.world
        self._sockets = self._open_sockets()
        self._user = self._start_user()
        self._kernel.set_maps(settings.maps)
        self._switch, self._controller = self._start_nic()
        self._additions: list[MapAddition] = []

    def _open_sockets(self) -> frozenset[str]:
        """Let the queue's socket wait in every map of sockets that the compiler added."""
        opened = set()
        for name in self.added_maps:
            sockets = self._kernel.machine.maps[name]
            if isinstance(sockets, XskMap):
                sockets.set_target(self.settings.queue, Target(SOCKET))
                opened.add(name)
        return frozenset(opened)

    def _start_user(self) -> Process | None:
        part = self._bundle.part("user")
        if part is None:
            return None
        try:
            with linked(self._bundle, part) as libraries:
                flags = link_words(libraries)
                return Process(Library(self._bundle.artifact(part), flags=flags), self._kernel.machine)
        except CompilerError as error:
            raise UsageError(
                f"{part['artifact']} cannot be compiled: {error}; --engine placed needs no compiler"
            ) from error

    def _start_nic(self) -> tuple[Switch | None, Controller | None]:
        part = self._bundle.part("nic")
        if part is None:
            return None, None
        name = self._bundle.shown(part["artifact"])
        if "control_plane" not in part:
            raise UsageError("manifest.json is damaged: the NIC's part has no control_plane; make the bundle again")
        with _explained(part):
            switch = Switch(load(Source(name, "p4", self._bundle.artifact(part)).text(), name))
            controller = Controller(switch, part["control_plane"], self._ports())
            controller.mirror(self._kernel.dump_maps())
        return switch, controller

    def _ports(self) -> dict[int, int]:
        """The NIC's ports by interface. Without an entry they have the same numbers."""
        return {} if self.settings.ifindex < _PORTS else {self.settings.ifindex: 0}

    # fsir.run.engines.Engine

    @property
    def program(self) -> str:
        return self._kernel.name

    @property
    def hook(self) -> Hook:
        return self._kernel.machine.hook

    @property
    def perf_maps(self) -> frozenset[str]:
        maps = self._kernel.machine.maps.values()
        return frozenset(m.name for m in maps if m.spec.type_name == "perf_event_array")

    def run(self, index: int, packet: Packet, clock_ns: int) -> PacketResult:
        if self._switch is not None:
            return self._run_nic(index, packet.data, clock_ns)
        if self._bundle.part("kernel") is not None:
            return self._run_kernel(index, packet.data, clock_ns, ())
        return self._run_user(index, packet.data, b"", clock_ns, ())

    def _run_nic(self, index: int, frame: bytes, clock_ns: int) -> PacketResult:
        part = self._bundle.part("nic")
        assert part is not None and self._switch is not None
        port = self._ports().get(self.settings.ifindex, self.settings.ifindex)
        parts = ((part["name"], 0),)
        with _explained(part):
            outputs = self._switch.process(frame, port, clock_ns)
        if not outputs:
            return PacketResult(index, XDP_DROP, frame, hook=self.hook, parts=parts, bytes_known=False)
        (output,) = outputs
        if output.port != part["control_plane"]["cpu_port"]:
            verdict = XDP_TX if output.port == port else XDP_REDIRECT
            return PacketResult(index, verdict, output.data, hook=self.hook, parts=parts)
        if self._bundle.part("kernel") is not None:
            result = self._run_kernel(index, output.data, clock_ns, parts)
        else:
            result = self._run_user(index, output.data, b"", clock_ns, parts)
        return result

    def _run_kernel(self, index: int, frame: bytes, clock_ns: int, parts: tuple[tuple[str, int], ...]) -> PacketResult:
        part = self._bundle.part("kernel")
        assert part is not None
        outcome = self._kernel.run(
            frame, ifindex=self.settings.ifindex, rx_queue=self.settings.queue, clock_ns=clock_ns
        )
        parts = (*parts, (part["name"], outcome.instructions))
        redirect = outcome.redirect
        if outcome.verdict == XDP_REDIRECT and redirect is not None and redirect.map_name in self._sockets:
            return self._run_user(index, outcome.data, outcome.meta, clock_ns, parts)
        return PacketResult(
            index,
            outcome.verdict,
            outcome.data,
            outcome.meta,
            self.hook,
            None if self._switch is not None else redirect,
            outcome.instructions,
            outcome.helpers,
            parts,
        )

    def _run_user(
        self, index: int, frame: bytes, metadata: bytes, clock_ns: int, parts: tuple[tuple[str, int], ...]
    ) -> PacketResult:
        part = self._bundle.part("user")
        assert part is not None and self._user is not None
        outcome = self._user.run(
            frame, metadata=metadata, ifindex=self.settings.ifindex, queue=self.settings.queue, clock_ns=clock_ns
        )
        # A NIC that chose the target says the interface, not the map entry: no answer to compare.
        redirect: Redirect | None = None if self._switch is not None else outcome.redirect
        parts = (*parts, (part["name"], 0))
        return PacketResult(index, outcome.verdict, outcome.packet, outcome.metadata, self.hook, redirect, parts=parts)

    def dump_maps(self) -> Contents:
        contents: Contents = self._kernel.dump_maps()
        if self._controller is not None:
            part = self._bundle.part("nic")
            assert part is not None
            with _explained(part):
                self._additions += self._controller.collect()
                contents = add_to(contents, self._controller.control, self._additions, self.settings.cpu)
        return contents

    def close(self) -> None:
        self._kernel.close()


@contextmanager
def _explained(part: Mapping[str, Any]) -> Iterator[None]:
    """Make errors of the NIC's program and its control plane those of the run."""
    try:
        yield
    except P4Error as error:
        raise RunError(str(error)) from error
    except (ControlPlaneError, MirrorError, P4RuntimeError) as error:
        raise UsageError(f"{part['artifact']} and its control plane do not fit: {error}") from error


def open_bundle(subject: Subject) -> Bundle:
    """The bundle in a directory, or the one that a placed and lowered module makes. Raises UsageError."""
    try:
        if subject.path.is_dir():
            return read_bundle(subject.path)
        files = emit(subject.module, EmitOptions(subject.name))
        return bundle_of(files)
    except BundleError as error:
        raise UsageError(str(error)) from error


def check_layouts(placed: ModuleOp, settings: Settings) -> None:
    """Raise UsageError where a part outside of the kernel, whose CO-RE relocations nobody resolves, would access fields
    of structures where this kernel does not have them."""
    types = types_for(placed, settings)
    for op in moved(placed, types) if types is not None else ():
        part = op.parent_op()
        while part is not None and not isinstance(part, PartOp):
            part = part.parent_op()
        if part is not None and target_of(part.target.data).kind != "xdp":
            raise UsageError(
                f"{place_of(op)}: part {part.sym_name.data} accesses a field that is elsewhere in this kernel, or not "
                "there (a CO-RE relocation); compile the program for this kernel's types, or keep this in the kernel"
            )


def placed_module(bundle: Bundle) -> ModuleOp:
    """The placed IR of a bundle, verified."""
    name = bundle.manifest["placement"]
    module = Source(bundle.shown(name), "mlir", bundle.files[name]).load(make_context())
    verify_module(module)
    return module
