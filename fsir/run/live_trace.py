"""What the kernel tells of XDP verdicts that no counter does: three of its tracepoints, for one interface.

| tracepoint | tells |
|---|---|
| `xdp_exception` | XDP_ABORTED, or a verdict that there is not; also an XDP_TX that failed |
| `xdp_redirect` | by which map and entry a frame was redirected, or to which interface |
| `xdp_redirect_err` | the same, of a frame that was dropped because that was not possible |

Events arrive before the interface has counted the packet.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import struct
from enum import IntEnum
from typing import NamedTuple, Self

from fsir.kernel import syscalls
from fsir.kernel.errors import KernelError
from fsir.kernel.tiny import EXIT, MOV64_IMM, insn
from fsir.kernel.uapi import Cmd, MapType, ProgType

EVENT = struct.Struct("<QQQQQ")  # kind, device, and three arguments of the tracepoint
ROOM = 1024  # events between two calls of `take`
LOAD64, STORE64, MOV64, ADD64_IMM, CALL = 0x79, 0x7B, 0xBF, 0x07, 0x85
JA, JEQ_IMM, JNE, JLT32_IMM = 0x05, 0x15, 0x5D, 0xA6
MAP_PUSH_ELEM = 87
UNHEARD_OF = 0x40000000
NO_MAP = 0  # BPF_MAP_TYPE_UNSPEC: redirected to an interface by its number


class Kind(IntEnum):
    """The tracepoints."""

    EXCEPTION = 0
    REDIRECT = 1
    REDIRECT_ERROR = 2


NAMES = {
    Kind.EXCEPTION: b"xdp_exception",
    Kind.REDIRECT: b"xdp_redirect",
    Kind.REDIRECT_ERROR: b"xdp_redirect_err",
}
ARGUMENTS = {
    Kind.EXCEPTION: (2, 2, 2),  # act
    Kind.REDIRECT: (4, 5, 6),  # map_type, map_id, index
    Kind.REDIRECT_ERROR: (4, 5, 6),
}


class Event(NamedTuple):
    """One event. `first` is the verdict of an exception, or the map's type; `map_id` and `key` are of redirects."""

    kind: Kind
    first: int
    map_id: int
    key: int


class _OpenAttr(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint32), ("unused", ctypes.c_uint32))


class Trace:
    """The events of one interface, when `choose` has found it."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        try:
            self._queue = self._keep(syscalls.map_create(MapType.QUEUE, 0, EVENT.size, ROOM, name="live_events"))
            self._filter = self._keep(syscalls.map_create(MapType.ARRAY, 4, 8, 1, name="live_device"))
            for kind, name in NAMES.items():
                self._open(kind, name)
        except BaseException:
            self.close()
            raise

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def _open(self, kind: Kind, name: bytes) -> None:
        maps = {_FILTER_AT: self._filter, _queue_at(kind): self._queue}
        prog_fd, _ = syscalls.prog_load(_program(kind), ProgType.RAW_TRACEPOINT, maps=maps, name="live_trace")
        text = ctypes.create_string_buffer(name)
        fd, errno = syscalls.bpf(Cmd.RAW_TRACEPOINT_OPEN, _OpenAttr(ctypes.addressof(text), prog_fd, 0))
        os.close(prog_fd)
        if errno:
            raise KernelError(f"cannot listen to the tracepoint {name.decode()}", errno)
        self._keep(fd)

    def choose(self, verdict: int) -> bool:
        """From now on only the events of the interface whose program has just returned `verdict`, which must be
        one that no other program returns (`unheard_of`). False if there was none."""
        for event, device in self._take():
            if event.kind == Kind.EXCEPTION and event.first == verdict:
                syscalls.map_update(self._filter, bytes(4), device.to_bytes(8, "little"))
                self._take()
                return True
        return False

    def take(self) -> list[Event]:
        """The events since the last call, oldest first."""
        return [event for event, _ in self._take()]

    def _take(self) -> list[tuple[Event, int]]:
        found = []
        while (value := syscalls.map_lookup(self._queue, b"", EVENT.size, pop=True)) is not None:
            kind, device, *arguments = EVENT.unpack(value)
            first, map_id, key = (argument & 0xFFFFFFFF for argument in arguments)
            found.append((Event(Kind(kind), first, map_id, key), device))
        return found

    def close(self) -> None:
        for fd in reversed(self._fds):
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unheard_of() -> tuple[int, bytes]:
    """A verdict that there is not and that nobody else uses, and an XDP program that returns it."""
    verdict = UNHEARD_OF | secrets.randbits(30)
    return verdict, insn(MOV64_IMM, 0, imm=verdict) + insn(EXIT)


_HEAD = (
    insn(MOV64, 6, 1),  # r6 = the tracepoint's arguments
    insn(LOAD64, 7, 6, 0),  # r7 = the device
    insn(0x18, 1, 2),  # r1 = the filter's value
    insn(0x00),
    insn(LOAD64, 1, 1, 0),
)
_FILTER_AT = 2


def _chosen(kind: Kind, rest: int) -> tuple[bytes, ...]:
    """Go on with what is behind for events of the device chosen; before, for verdicts that only `unheard_of` returns:
    others would leave no room for that on a busy machine. `rest` instructions lead to the end."""
    if kind is not Kind.EXCEPTION:
        return (insn(JNE, 1, 7, off=rest),)  # no device's address is 0
    return (
        insn(JEQ_IMM, 1, off=2),
        insn(JNE, 1, 7, off=rest + 3),
        insn(JA, off=2),
        insn(LOAD64, 2, 6, 8 * ARGUMENTS[kind][0]),
        insn(JLT32_IMM, 2, off=rest, imm=UNHEARD_OF),
    )


def _program(kind: Kind) -> bytes:
    first, second, third = ARGUMENTS[kind]
    tail = (
        insn(MOV64_IMM, 1, imm=kind),
        insn(STORE64, 10, 1, -40),
        insn(STORE64, 10, 7, -32),
        insn(LOAD64, 1, 6, 8 * first),
        insn(STORE64, 10, 1, -24),
        insn(LOAD64, 1, 6, 8 * second),
        insn(STORE64, 10, 1, -16),
        insn(LOAD64, 1, 6, 8 * third),
        insn(STORE64, 10, 1, -8),
        insn(0x18, 1),  # r1 = the queue
        insn(0x00),
        insn(MOV64, 2, 10),
        insn(ADD64_IMM, 2, imm=-40),
        insn(MOV64_IMM, 3),
        insn(CALL, imm=MAP_PUSH_ELEM),
    )
    return b"".join((*_HEAD, *_chosen(kind, len(tail)), *tail, insn(MOV64_IMM, 0), insn(EXIT)))


def _queue_at(kind: Kind) -> int:
    return len(_HEAD) + len(_chosen(kind, 0)) + 9
