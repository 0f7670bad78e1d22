"""A bundle (or an object) at work on interfaces of this machine: `fs-run IN --live IFACE…`.

The kernel part is loaded and attached by this process, which holds it by BPF links: it is gone with the process,
however that ends. The user part is a process of its own. When that dies, the kernel part goes on with the verdict
chosen for handoffs that fail (`on_failure`), until the next one has taken over; maps stay as they are.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsir.backends.af_xdp.inprocess import CompilerError, link_words
from fsir.backends.af_xdp.live import build
from fsir.backends.handoff import ORDER
from fsir.bundle.libraries import linked as linked_libraries
from fsir.bundle.read import Bundle
from fsir.dialects.map import DeclOp
from fsir.driver.errors import UsageError
from fsir.interp.mapfile import Contents
from fsir.kernel import availability, syscalls
from fsir.kernel import contents as kernel_maps
from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import Interface, Namespace
from fsir.kernel.live import XdpMode, linked
from fsir.object.importer import import_object
from fsir.run.bundle import check_layouts, placed_module
from fsir.run.deploy_user import Counters, UserProcess
from fsir.run.engines import Settings, Subject
from fsir.run.live import bundle_of, load_kernel, mapped_arrays
from fsir.run.live_pins import PinFolder, pin_name

FRUITLESS = 5
"""User parts that die one after the other without having had a packet: no further one is started then."""


@dataclass
class Options:
    """How to deploy. `user` are further options of the user part (docs/af-xdp.md)."""

    interfaces: tuple[str, ...]
    generic: bool = False
    user: tuple[str, ...] = ()


@dataclass
class State:
    """What has been counted: runs of the kernel's part and the nanoseconds they took (None without one), and the
    counters of the user part (None without one)."""

    runs: int | None = None
    run_ns: int = 0
    user: Counters | None = None
    restarts: int = 0
    events: list[str] = field(default_factory=list)


class Deployment:
    """Attached within the block. `watch` now and then: that is when a user part that has died is started again."""

    def __init__(self, subject: Subject, settings: Settings, options: Options) -> None:
        availability.require()
        self.settings, self.options = settings, options
        self.bundle = bundle_of(subject)
        self.kernel: list[KernelProgram] = []
        self.user: UserProcess | None = None
        self._ended: Counters = {}
        self._restarts = 0
        self._fruitless = 0
        self._command: list[str | Path] = []
        self._user_maps: list[str] = []
        self._pins: PinFolder | None = None
        with ExitStack() as stack:
            here = Namespace.current()
            stack.callback(here.close)
            self.ends = [_interface(here, name) for name in options.interfaces]
            self._links = ExitStack()
            self._start(stack, subject)
            stack.callback(os.close, syscalls.count_runs())
            mode = XdpMode.GENERIC if options.generic else XdpMode.NATIVE
            stack.push(self._links)
            for end, program in zip(self.ends, self.kernel, strict=False):
                self._links.enter_context(linked(end, program.fd, mode))
            self._stack = stack.pop_all()

    def _start(self, stack: ExitStack, subject: Subject) -> None:
        if self.bundle is None:
            self._load(stack, subject.elf, self.settings.maps, {}, None)
            return
        bundle = self.bundle
        nic, kernel, user = (bundle.part(level) for level in ("nic", "kernel", "user"))
        if nic is not None:
            raise UsageError(f"{nic['artifact']} is for a NIC, and not loaded here; make a bundle without it")
        for why in (handoff["not_kept"] for handoff in bundle.manifest["handoffs"] if "not_kept" in handoff):
            raise UsageError(
                f"the order of packets, which matters, cannot be kept: {why}; decompose{{order=relaxed}} makes a "
                "bundle that does without"
            )
        placed = placed_module(bundle)
        check_layouts(placed, self.settings)
        declared = {op.sym_name.data: op for op in placed.walk() if isinstance(op, DeclOp)}
        remaining = dict(self.settings.maps)
        sockets = None
        if kernel is not None:
            elf = bundle.artifact(kernel)
            own = [op for op in import_object(elf, kernel["artifact"]).walk() if isinstance(op, DeclOp)]
            names = {op.sym_name.data for op in own}
            shared = mapped_arrays(stack, bundle, names, declared, self.settings) if user is not None else {}
            given = {name: remaining.pop(name) for name in list(remaining) if name in names}
            added = [op.sym_name.data for op in own if op.type.data == "xskmap" and op.sym_name.data not in declared]
            sockets = added[0] if added else None
            self._load(stack, elf, given, shared, sockets)
        if user is not None:
            if kernel is not None and sockets is None:
                raise UsageError("the kernel part has no map of sockets for the user part; make the bundle again")
            self._prepare_user(stack, bundle, user, sockets)
            self._fill(remaining)
        if remaining:
            raise UsageError(f"maps.json: no part that runs has a map {', '.join(sorted(remaining))}")

    def _load(self, stack: ExitStack, elf: bytes, maps: Contents, shared: dict[str, int], sockets: str | None) -> None:
        """A program for each interface, with the same maps, but for those that go by the queue's number: the sockets,
        and the packets in flight to them."""
        first = self.settings
        for settings in (first, *[replace(first, rodata={})] * (len(self.ends) - 1)):
            program = stack.enter_context(load_kernel(elf, settings, maps, shared))
            self.kernel.append(program)
            shared = {name: m.fd for name, m in program.maps.items() if name not in (sockets, ORDER)}
            maps = {}

    def _prepare_user(self, stack: ExitStack, bundle: Bundle, part: dict[str, Any], sockets: str | None) -> None:
        if self.settings.rodata:
            raise UsageError("--rodata: af_xdp.c has its data built in; use another engine")
        self._pins = stack.enter_context(PinFolder())
        try:
            with linked_libraries(bundle, part) as libraries, TemporaryDirectory(prefix="fs-run-live-") as folder:
                binary = build(bundle.artifact(part), Path(folder) / "af_xdp", *link_words(libraries))
                # Held by the descriptor alone, so that no file stays however this process ends.
                held = os.open(binary, os.O_RDONLY)
        except CompilerError as error:
            raise UsageError(f"{part['artifact']} cannot be compiled: {error}") from error
        stack.callback(os.close, held)
        self._command = [f"/proc/{os.getpid()}/fd/{held}", "--pin", self._pins.path, *self.options.user]
        if self.options.generic:
            self._command.append("--skb-mode")
        for number, end in enumerate(self.ends):
            self._command += ["-i", end.name]
            if self.kernel:
                assert sockets is not None
                for name in (n for n in (sockets, ORDER) if n in self.kernel[number].maps):
                    file = f"{pin_name(name)}_{number}" if number else pin_name(name)
                    syscalls.obj_pin(self.kernel[number].map_fd(name), self._pins.path / file)
                    if name == sockets:
                        self._command += ["--sockets", self._pins.path / file]
        for name, m in self.kernel[0].maps.items() if self.kernel else ():
            if name not in (sockets, ORDER):
                syscalls.obj_pin(m.fd, self._pins.path / pin_name(name))
        stack.callback(self._stop_user)
        self._start_user()

    def _start_user(self) -> None:
        self.user = UserProcess(self._command)

    def _stop_user(self) -> None:
        if self.user is not None:
            self._add(self.user.stop())
            self.user = None

    def _add(self, counters: Counters) -> None:
        for name, count in counters.items():
            self._ended[name] = self._ended.get(name, 0) + count

    def _fill(self, maps: Contents) -> None:
        """Maps that only the user part has."""
        assert self._pins is not None
        for name in list(maps):
            if not (self._pins.path / pin_name(name)).exists():
                continue
            fd = syscalls.obj_get(self._pins.path / pin_name(name))
            try:
                kernel_maps.write_map(fd, kernel_maps.shape_of(fd, name), maps.pop(name), kernel_maps.World())
            finally:
                os.close(fd)

    def watch(self) -> State:
        """What has been counted so far. Starts a user part that has died again; one that does not live, or an interface
        that has been removed, raises KernelError."""
        for end in self.ends:
            if not end.there:
                raise KernelError(f"the interface {end.name} has gone")
        events = []
        if self.user is not None and self.user.ask() is None:
            how = self.user.end
            self._fruitless = 0 if self.user.counters.get("received") else self._fruitless + 1
            self._stop_user()
            if self._fruitless == FRUITLESS:
                raise KernelError(f"the user part does not stay alive: {how}")
            events.append(f"the user part was {how}" if how.startswith("killed") else f"the user part {how}")
            self._start_user()
            self._restarts += 1
            events.append("a new one has taken over")
        return self._state(events)

    def _state(self, events: list[str]) -> State:
        facts = [syscalls.prog_facts(program.fd) for program in self.kernel]
        user = None
        if self.user is not None or self._ended:
            running = self.user.counters if self.user is not None else {}
            user = {n: self._ended.get(n, 0) + running.get(n, 0) for n in running | self._ended}
        return State(
            sum(f.runs for f in facts) if facts else None,
            sum(f.run_ns for f in facts),
            user,
            self._restarts,
            events,
        )

    def stop(self) -> State:
        """Detach, let the user part finish what it was handed, and say what has been counted."""
        self._links.close()
        self._stop_user()
        return self._state([])

    def maps(self) -> Contents:
        """The contents of the maps of the kernel's part."""
        return self.kernel[0].dump_maps() if self.kernel else {}

    def close(self) -> None:
        self._stack.close()


def _interface(here: Namespace, name: str) -> Interface:
    try:
        end = Interface(here, name)
    except OSError as error:
        raise UsageError(f"--live: there is no interface {name}") from error
    if not end.up:
        raise UsageError(f"--live: the interface {name} is down: ip link set dev {name} up")
    return end
