"""Packets per second of a split on a veth pair: what calibration and the benchmarks measure with.

    with Testbed() as bed:
        bed.start(kernel_object, user_binary)
        rate = bed.run(frame, variants, seconds=0.2)

Frames come from a program that the kernel runs with live frames on one CPU, `GENERATOR`, where the receiving
interface's work is done, too: what is measured for the kernel's part includes making the frames. The user part runs on
`USER_CPU`. Both have real-time priority while they are measured, so that other work on the machine does not count.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fsir.backends.af_xdp.live import LiveError, Running
from fsir.kernel import syscalls
from fsir.kernel.contents import Contents, World, shape_of, write_map
from fsir.kernel.engine import KernelProgram, on_cpu
from fsir.kernel.errors import KernelError, KernelUnavailable
from fsir.kernel.interfaces import Interface, Namespace, set_gro, veth_pair
from fsir.kernel.live import attached
from fsir.kernel.reentry import in_dispatcher
from fsir.kernel.syscalls import map_create, prog_load
from fsir.kernel.tiny import REDIRECT_HELPER, insn
from fsir.kernel.uapi import MapFlag, MapType, XdpMd
from fsir.run.live_pins import PinFolder

PATTERN = 128
"""Variants of the frame, which take turns."""
BATCH = 64
CHUNK = 4096
RING = 2048
"""Packets that a socket holds."""
_TRIES, _PAUSE = 50, 0.05
_SETTLED, _DEADLINE = 0.001, 10.0
_VALUE = struct.Struct(f"=I{PATTERN}H")


def cpus() -> tuple[int, int]:
    """The CPU of the generator and the kernel's part, and that of the user part; the same if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def _generator(target: int, offset: int) -> tuple[bytes, int]:
    """Instructions that write the next variant at `offset` of the frame, and redirect it; where the map is named."""
    code = (
        insn(0xBF, 6, 1),  # r6 = ctx
        insn(0x18, 7, 2),  # r7 = the value
        insn(0x00),
        insn(0x61, 2, 7),  # r2 = the turn
        insn(0xBF, 3, 2),
        insn(0x07, 3, imm=1),
        insn(0x63, 7, 3),
        insn(0x57, 2, imm=PATTERN - 1),
        insn(0x67, 2, imm=1),
        insn(0x0F, 7, 2),
        insn(0x69, 4, 7, 4),  # r4 = the variant
        insn(0x61, 1, 6),
        insn(0x61, 2, 6, 4),
        insn(0xBF, 3, 1),
        insn(0x07, 3, imm=offset + 2),
        insn(0x2D, 3, 2, off=1),  # past the end: no variant
        insn(0x6B, 1, 4, offset),
        insn(0xB7, 1, imm=target),
        insn(0xB7, 2),
        insn(0x85, imm=REDIRECT_HELPER),
        insn(0x95),
    )
    return b"".join(code), 1


@contextmanager
def real_time(pid: int) -> Iterator[None]:
    """A process (0: this thread) has priority over everything ordinary within the block."""
    before, parameters = os.sched_getscheduler(pid), os.sched_getparam(pid)
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError as refused:
        raise KernelUnavailable("real-time priority is refused; run as root, outside of a limited group") from refused
    try:
        yield
    finally:
        os.sched_setscheduler(pid, before, parameters)


@dataclass(frozen=True)
class Measured:
    """`offered` packets per second reached the kernel's part; `user` is what the user part counted, per second."""

    offered: float
    user: dict[str, float]

    def rate(self, share: float) -> float:
        """Packets per second of which all are processed, if `share` of them have to go to user space: those that the
        user part cannot keep up with count as lost, and so do as many of the others as would go with them."""
        received = self.user.get("received", 0.0)
        return min(self.offered, received / share) if share else self.offered


class Testbed:
    """Two namespaces with a veth pair, and at most one program at a time at its far end."""

    __test__ = False

    def __init__(self, offset: int = 36) -> None:
        """Frames differ in the two bytes at `offset` (36: the destination port of UDP over IPv4)."""
        self.generator_cpu, self.user_cpu = cpus()
        self._stack = ExitStack()
        near_space, far_space = (self._stack.enter_context(Namespace()) for _ in range(2))
        self.near, self.far = veth_pair(near_space, "near", far_space, "far")
        self._map = map_create(MapType.ARRAY, 4, _VALUE.size, 1, flags=MapFlag.MMAPABLE, name="variants")
        self._stack.callback(os.close, self._map)
        self._value = mmap.mmap(self._map, mmap.PAGESIZE)
        self._stack.callback(self._value.close)
        code, at = _generator(self.near.ifindex, offset)
        self.generator, _ = prog_load(code, maps={at: self._map}, name="generator")
        self._stack.callback(os.close, self.generator)
        self._stack.enter_context(in_dispatcher(self.generator))

    @contextmanager
    def program(
        self,
        elf: bytes,
        binary: Path | None = None,
        *,
        maps: Contents | None = None,
        shared: Mapping[str, int] | None = None,
        arguments: Callable[[Path, Path], list[str | Path]] | None = None,
    ) -> Iterator[Load]:
        """The parts run within the block: an XDP object, and a user part (built by `af_xdp.live.build`).

        `shared` are maps that the object is to use, `arguments` makes those of a user part that is not a generated one
        from the folder of pinned maps and the path of the map of sockets.
        """
        with ExitStack() as stack:
            stack.enter_context(self.far.namespace.entered())
            kernel = stack.enter_context(KernelProgram(elf, maps=maps, shared=shared))
            stack.enter_context(attached(self.far, kernel.fd))
            user = None
            if binary is not None:
                folder = stack.enter_context(PinFolder())
                sockets = None
                for map_name, m in kernel.maps.items():
                    if m.type == MapType.XSKMAP:
                        sockets = map_name
                    if not m.internal:
                        syscalls.obj_pin(kernel.map_fd(map_name), folder.path / map_name)
                if sockets is None:
                    raise KernelError("the kernel part has no map of sockets")
                given = (arguments or _joining)(folder.path, folder.path / sockets)
                user = stack.enter_context(_started(binary, self.far, *given))
                os.sched_setaffinity(user.process.pid, {self.user_cpu})
            yield Load(self, kernel, user)

    @contextmanager
    def user_only(self, binary: Path, maps: Contents | None = None) -> Iterator[Load]:
        """A user part that has everything runs within the block; it brings its own way into the socket."""
        with self.far.namespace.entered(), PinFolder() as folder, ExitStack() as stack:
            user = stack.enter_context(_started(binary, self.far, "--spin", "--pin", folder.path))
            for name, entries in (maps or {}).items():
                fd = syscalls.obj_get(folder.path / name)
                stack.callback(os.close, fd)
                write_map(fd, shape_of(fd, name), entries, World())
            set_gro(self.far.name, False)
            os.sched_setaffinity(user.process.pid, {self.user_cpu})
            yield Load(self, None, user)

    def set_variants(self, variants: Sequence[int]) -> None:
        """The words, in network byte order, that take turns in the frames."""
        turns = [int.from_bytes(v.to_bytes(2, "big"), "little") for v in variants]
        self._value[: _VALUE.size] = _VALUE.pack(0, *(turns * PATTERN)[:PATTERN])

    def flood(self, frame: bytes, seconds: float) -> tuple[int, float]:
        """Send for some time; how many, and how long it took."""
        ctx = XdpMd(data_end=len(frame), ingress_ifindex=self.near.ifindex)
        with self.near.namespace.entered(), on_cpu(self.generator_cpu), real_time(0):
            sent, start, elapsed = 0, time.perf_counter(), 0.0
            while elapsed < seconds:
                syscalls.inject(self.generator, frame, ctx, repeat=CHUNK, batch=BATCH)
                sent += CHUNK
                elapsed = time.perf_counter() - start
        return sent, elapsed

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Load:
    """Programs that run on the testbed."""

    def __init__(self, bed: Testbed, kernel: KernelProgram | None, user: Running | None) -> None:
        self.bed, self.kernel, self.user = bed, kernel, user

    def run(self, frame: bytes, variants: Sequence[int] = (0,), seconds: float = 0.2) -> Measured:
        """Send frames as fast as they can be made, and count."""
        self.bed.set_variants(variants)
        if self.user is None:
            sent, elapsed = self.bed.flood(frame, seconds)
            return Measured(sent / elapsed, {})
        with real_time(self.user.process.pid):
            before = counters(self.user)
            sent, elapsed = self.bed.flood(frame, seconds)
            after = counters(self.user)
        user = {name: (count - before.get(name, 0)) / elapsed for name, count in after.items()}
        return Measured(sent / elapsed, user)

    def drain(self, frame: bytes) -> float:
        """Nanoseconds of CPU that the user part takes for one packet when packets wait: it is stopped while a ring's
        worth of them comes, and goes on when all are there. It has to sleep when it has nothing to do (no `--spin`);
        waking up once is included.

        Unlike `run`, this is not limited by what the generator can make, nor by what else the machine does. On a busy
        machine packets may come late, when the user part has gone to sleep already: then they are sent again."""
        assert self.user is not None
        for _ in range(_TRIES):
            before = counters(self.user)["received"]
            elapsed = self._drain(frame, self.user.process.pid)
            if counters(self.user)["received"] - before == RING:
                return elapsed / RING
        raise KernelError(f"{RING} packets do not come to the user part while it is stopped")

    def _drain(self, frame: bytes, pid: int) -> int:
        context = XdpMd(data_end=len(frame), ingress_ifindex=self.bed.near.ifindex)
        with self.bed.near.namespace.entered(), on_cpu(self.bed.generator_cpu), real_time(pid):
            _wait_for_state(pid, "S")
            os.kill(pid, signal.SIGSTOP)
            try:
                _wait_for_state(pid, "T")
                before = _cpu_time(pid)
                with real_time(0):
                    syscalls.inject(self.bed.generator, frame, context, repeat=RING, batch=BATCH)
            finally:
                os.kill(pid, signal.SIGCONT)
            time.sleep(_SETTLED)  # it is awake now, and has work for less than this
            _wait_for_state(pid, "S")
            return _cpu_time(pid) - before


def _wait_for_state(pid: int, state: str) -> None:
    """Until a process sleeps (S) or is stopped (T), and is on no CPU: it says that it sleeps a little before, and the
    kernel has not counted its last time then. (`syscall` waits for that.) Raises KernelError after some time."""
    deadline = time.monotonic() + _DEADLINE
    process = Path(f"/proc/{pid}")
    while (process / "stat").read_text().rpartition(")")[2].split()[0] != state or (
        process / "syscall"
    ).read_text() == "running\n":
        if time.monotonic() > deadline:
            raise KernelError(f"the user part does not come to state {state}")
        time.sleep(_PAUSE / 1000)


def _cpu_time(pid: int) -> int:
    """Nanoseconds that a process was on a CPU, before it left it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _joining(folder: Path, sockets: Path) -> list[str | Path]:
    return ["--spin", "--pin", folder, "--sockets", sockets]


def _started(binary: Path, end: Interface, *arguments: str | Path) -> Running:
    """The kernel frees the queue of a socket some time after its process has ended: try again."""
    for _ in range(_TRIES):
        try:
            return Running(binary, end, *arguments)
        except LiveError as error:
            if os.strerror(errno.EBUSY) not in str(error):
                raise
            time.sleep(_PAUSE)
    return Running(binary, end, *arguments)


def counters(user: Running) -> dict[str, int]:
    """What a user part has counted so far."""
    process = user.process
    process.send_signal(signal.SIGUSR1)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{"):
            found: dict[str, int] = json.loads(line)
            return found
        user.log.append(line.rstrip())
    raise KernelError("the user part has ended: " + "\n".join(user.log))
