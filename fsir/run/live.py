"""The engine `live`: an object, or the artifacts of a bundle, on a real interface in network namespaces.

The kernel part (a plain object is nothing else) is loaded and attached; the user part joins it through pinned maps;
a NIC part runs in the interpreter of P4 text in front of the wire. One frame at a time goes in, and is followed to
where it comes out: see `live_wire`.
"""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fsir.backends.af_xdp.inprocess import link_words
from fsir.bundle.libraries import linked
from fsir.bundle.read import Bundle
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import PartOp
from fsir.driver.errors import UsageError
from fsir.interp.environment import FROZEN, Frozen
from fsir.interp.machine import Redirect
from fsir.interp.mapfile import Contents
from fsir.interp.packet_io import Packet
from fsir.interp.results import Hook, PacketResult
from fsir.kernel import availability, syscalls
from fsir.kernel import contents as kernel_maps
from fsir.kernel.engine import KernelProgram, on_cpu
from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import set_gro
from fsir.kernel.live import attached
from fsir.kernel.uapi import MapFlag, MapType, ProgType
from fsir.object.importer import import_object
from fsir.run.bundle import check_layouts, open_bundle, placed_module
from fsir.run.engines import Settings, Subject
from fsir.run.live_nic import NicPart
from fsir.run.live_pins import PinFolder, pin_name
from fsir.run.live_trace import NO_MAP, Event, Kind
from fsir.run.live_user import UserPart
from fsir.run.live_wire import LOOPBACK, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX, Wire

Part = dict[str, Any]


class LiveEngine:
    """Results have no metadata and no instructions, and the bytes only of packets that came out."""

    hook: Hook = "xdp"

    def __init__(self, subject: Subject, settings: Settings) -> None:
        availability.require()
        _check(settings)
        self.settings = settings
        self._bundle = bundle_of(subject)
        self.added_maps = subject.added_maps if self._bundle is None else frozenset()
        self._kernel: KernelProgram | None = None
        self._user: UserPart | None = None
        self._nic: NicPart | None = None
        self._hidden: frozenset[str] = frozenset()
        self._user_maps: dict[str, int] = {}
        self._frozen: Frozen | None = None
        with ExitStack() as stack:
            ports = kernel_maps.interfaces_in(settings.maps)
            self._wire = Wire(stack, settings.ifindex, ports)
            stack.enter_context(self._wire.far_space.entered())
            stack.enter_context(on_cpu(settings.cpu))
            self._wire.listen()
            if self._bundle is None:
                self._start_kernel(stack, subject.frozen_elf if settings.freeze else subject.elf, settings.maps, {})
                self.added_maps |= {FROZEN}
            else:
                self._start_bundle(stack, self._bundle)
            self._map_names = self._identify()
            self._stack = stack.pop_all()

    # Starting

    def _start_bundle(self, stack: ExitStack, bundle: Bundle) -> None:
        nic, kernel, user = (bundle.part(level) for level in ("nic", "kernel", "user"))
        placed = placed_module(bundle)
        check_layouts(placed, self.settings)
        declared = {op.sym_name.data: op for op in placed.walk() if isinstance(op, DeclOp)}
        remaining = dict(self.settings.maps)
        sockets: str | None = None
        if kernel is not None:
            elf = bundle.artifact(kernel)
            named = _map_names(elf, kernel["artifact"])
            shared = mapped_arrays(stack, bundle, named, declared, self.settings) if user is not None else {}
            given = {name: remaining.pop(name) for name in list(remaining) if name in named}
            program = self._start_kernel(stack, elf, given, shared)
            self.added_maps = frozenset(program.maps.keys() - declared.keys())
            sockets = next((n for n in self.added_maps if program.maps[n].type == MapType.XSKMAP), None)
        if user is not None:
            self._start_user(stack, bundle, user, sockets, declared)
            for name in [name for name in remaining if name in self._user_maps]:
                fd = self._user_maps[name]
                kernel_maps.write_map(fd, kernel_maps.shape_of(fd, name), remaining.pop(name), kernel_maps.World())
        nic_maps = {table["map"] for table in nic["control_plane"]["tables"]} if nic is not None else set()
        unknown = remaining.keys() - nic_maps
        if unknown:
            raise UsageError(f"maps.json: no part that runs has a map {', '.join(sorted(unknown))}")
        self._nic_maps: Contents = remaining
        if nic is not None:
            self._nic = NicPart(nic, bundle.artifact(nic), self.settings.ifindex, self._contents())

    def _start_kernel(self, stack: ExitStack, elf: bytes, maps: Contents, shared: dict[str, int]) -> KernelProgram:
        program = stack.enter_context(load_kernel(elf, self.settings, maps, shared))
        stack.enter_context(attached(self._wire.far, program.fd))
        self._kernel = program
        return program

    def _start_user(
        self, stack: ExitStack, bundle: Bundle, part: Part, sockets: str | None, declared: dict[str, DeclOp]
    ) -> None:
        if self.settings.rodata:
            raise UsageError("--rodata: af_xdp.c has its data built in; use another engine")
        self._hidden = _hidden(bundle, part, declared)
        self.added_maps |= self._hidden | {FROZEN}  # not compared
        folder = stack.enter_context(PinFolder())
        arguments: list[str | Path] = ["--pin", folder.path, "--pin-data"]
        own: set[str] = set()
        if self._kernel is not None:
            if sockets is None:
                raise UsageError("the kernel part has no map of sockets for the user part; make the bundle again")
            own = {pin_name(name) for name in self._kernel.maps}
            for name in self._kernel.maps:
                syscalls.obj_pin(self._kernel.map_fd(name), folder.path / pin_name(name))
            arguments += ["--sockets", folder.path / pin_name(sockets)]
        with linked(bundle, part) as libraries:
            words = link_words(libraries)
            self._user = UserPart(bundle.artifact(part), part["artifact"], self._wire.far, arguments, words)
        stack.callback(self._user.close)
        set_gro(self._wire.far.name, False)
        names = {pin_name(name): name for name in declared}
        for file in folder.path.iterdir():
            if file.name not in own:
                fd = self._user_maps[names.get(file.name, file.name)] = syscalls.obj_get(file)
                stack.callback(os.close, fd)
        if FROZEN in self._user_maps:
            memory = mmap.mmap(self._user_maps[FROZEN], mmap.PAGESIZE)
            self._frozen = Frozen(memoryview(memory), self.settings.seed)

    def _identify(self) -> dict[int, str]:
        """The names of all maps by the kernel's numbers."""
        fds = dict(self._user_maps)
        if self._kernel is not None:
            fds |= {name: m.fd for name, m in self._kernel.maps.items()}
        return {syscalls.map_facts(fd).id: name for name, fd in fds.items()}

    # fsir.run.engines.Engine

    @property
    def program(self) -> str:
        if self._kernel is not None:
            return self._kernel.name
        assert self._bundle is not None
        part = self._bundle.part("user") or self._bundle.part("nic")
        assert part is not None
        return str(part["programs"][0])

    @property
    def perf_maps(self) -> frozenset[str]:
        maps = self._kernel.maps if self._kernel is not None else {}
        return frozenset(name for name, m in maps.items() if m.type == MapType.PERF_EVENT_ARRAY)

    def run(self, index: int, packet: Packet, clock_ns: int) -> PacketResult:
        frame = packet.data
        if self._nic is not None:
            output = self._nic.process(frame, clock_ns)
            if output is None:
                return self._result(index, XDP_DROP, None)
            if not self._nic.to_host(output):
                verdict = XDP_TX if output.port == self._nic.port else XDP_REDIRECT
                return self._result(index, verdict, output.data)
            frame = output.data
        self._set_clock(clock_ns)
        seen = self._wire.send(frame)
        verdict, event = seen.verdict, seen.redirect
        if self._user is not None and event is not None and self._is_handoff(event):
            if event.kind == Kind.REDIRECT_ERROR:
                raise KernelError("the packet was lost between the kernel and user space")
            verdict = self._user.verdict()
            event = self._wire.redirection() if verdict == XDP_REDIRECT else None
        return self._result(index, verdict, self._output(verdict, event), event)

    def _set_clock(self, clock_ns: int) -> None:
        """For a program that `freeze-environment` changed."""
        if self._frozen is not None:
            self._frozen.set_clock(clock_ns)
        if self._kernel is not None:
            self._kernel.set_clock(clock_ns)

    def _is_handoff(self, event: Event) -> bool:
        return event.first == MapType.XSKMAP and self._map_names.get(event.map_id) in {None, *self.added_maps}

    def _output(self, verdict: int, event: Event | None) -> bytes | None:
        """The frame where its verdict leads; None where that is nowhere."""
        if verdict == XDP_PASS:
            return self._wire.passed()
        if verdict == XDP_TX:
            return self._wire.returned()
        if event is not None and event.kind == Kind.REDIRECT:
            return self._wire.redirected()
        return None

    def _result(self, index: int, verdict: int, data: bytes | None, event: Event | None = None) -> PacketResult:
        redirect = None if event is None or self._nic is not None else self._target(event)
        known = data is not None
        return PacketResult(index, verdict, data or b"", redirect=redirect, bytes_known=known, metadata_known=False)

    def _target(self, event: Event) -> Redirect:
        if event.first == NO_MAP:
            return Redirect(ifindex=event.key)
        return Redirect(map_name=self._map_names[event.map_id], key=event.key, flags=None)

    def dump_maps(self) -> Contents:
        contents = self._contents()
        return contents if self._nic is None else self._nic.counted(contents, self.settings.cpu)

    def _contents(self) -> Contents:
        found: Contents = {} if self._bundle is None else dict(self._nic_maps)
        if self._kernel is not None:
            found |= self._kernel.dump_maps()
        world = kernel_maps.World()
        for name, fd in self._user_maps.items():
            found[name] = kernel_maps.read_map(fd, kernel_maps.shape_of(fd, name), world)
        return {name: found[name] for name in sorted(found) if name not in self._hidden}

    def close(self) -> None:
        self._stack.close()


def _check(settings: Settings) -> None:
    if settings.externs:
        raise UsageError("--extern is for interpreters: live programs have the kernel's configuration")
    if settings.ifindex == LOOPBACK:
        raise UsageError("--ifindex 1 is the loopback, which no program can be tested on; give another number")
    if settings.queue:
        raise UsageError("--queue: the live interface has one queue, 0")
    if settings.prog_type not in (None, "xdp"):
        raise UsageError(f"--prog-type {settings.prog_type}: --engine live runs XDP programs; use --engine kernel")


def load_kernel(elf: bytes, settings: Settings, maps: Contents, shared: dict[str, int]) -> KernelProgram:
    """The kernel's part, loaded. `maps` are contents for its maps, `shared` maps that are there already."""
    program = KernelProgram(
        elf,
        settings.program,
        prog_type=ProgType.XDP if settings.prog_type is not None else None,
        map_sizes={name: size for name, size in settings.map_sizes.items() if name not in shared},
        rodata=settings.rodata,
        maps=maps,
        shared=shared,
        seed=settings.seed,
    )
    if program.type != ProgType.XDP:
        program.close()
        raise UsageError(f"{program.name} is no XDP program; only those run on an interface, --engine kernel others")
    return program


def bundle_of(subject: Subject) -> Bundle | None:
    """The bundle, None for a plain object."""
    if not subject.path.is_dir():
        if subject.pipeline is None and subject.source.format != "mlir":
            return None
        if not any(isinstance(op, PartOp) for op in subject.module.body.block.ops):
            return None
    return open_bundle(subject)


def mapped_arrays(
    stack: ExitStack, bundle: Bundle, named: set[str], declared: dict[str, DeclOp], settings: Settings
) -> dict[str, int]:
    """New maps for the arrays that the user part has mapped into its memory, which takes a flag from the start."""
    found: dict[str, int] = {}
    for entry in bundle.manifest["maps"]:
        name = entry["name"]
        mapped = any(share["mechanism"] == "mmap" for share in entry["sharing"])
        if not mapped or declared[name].internal is not None or name not in named:
            continue
        size = settings.map_sizes.get(name, entry["max_entries"])
        flags = MapFlag(declared[name].int_prop("flags")) | MapFlag.MMAPABLE
        found[name] = syscalls.map_create(
            MapType[entry["type"].upper()], entry["key_size"], entry["value_size"], size, flags=flags, name=name
        )
        stack.callback(os.close, found[name])
    return found


def _map_names(elf: bytes, name: str) -> set[str]:
    return {op.sym_name.data for op in import_object(elf, name).walk() if isinstance(op, DeclOp)}


def _hidden(bundle: Bundle, user: Part, declared: dict[str, DeclOp]) -> frozenset[str]:
    """Constants that only the user part has: memory of its process, which nobody else can read."""
    found = set()
    for entry in bundle.manifest["maps"]:
        parts = {part for share in entry["sharing"] for part in share["parts"]}
        declaration = declared[entry["name"]]
        constant = declaration.int_prop("flags") & MapFlag.RDONLY_PROG
        if parts == {user["name"]} and declaration.internal is not None and constant:
            found.add(entry["name"])
    return frozenset(found)
