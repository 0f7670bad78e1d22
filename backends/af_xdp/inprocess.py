"""The generated C without an interface: compiled as a shared library, fed packets from Python.

    process = Process(Library(source), machine)      # an interpreter's machine: its maps, clock and random numbers
    outcome = process.run(packet)

Maps are the interpreter's, which are the reference. Arrays are mapped: the C works in the machine's own memory.
Everything else is copied in and written back, as the C does it against the kernel's maps.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fsir.backends.handoff import ORDER
from fsir.interp.environment import clock_words
from fsir.interp.helper_maps import take
from fsir.interp.machine import Machine, Redirect
from fsir.interp.map_base import ENOENT, Map
from fsir.interp.maps_array import ArrayMap
from fsir.interp.packet_buffer import XDP_FRAME_SIZE, XDP_HEADROOM

BROADCAST = 1 << 3
TAILROOM_END = 4096 - 320
"""Where a packet must end in a page: before `struct skb_shared_info`."""

_SHARED = ("-O1", "-shared", "-fPIC", "-Wl,-z,defs", "-fvisibility=hidden", "-DFS_INPROCESS")

_LOOKUP = CFUNCTYPE(c_int, c_uint32, POINTER(c_uint8), POINTER(c_uint8), POINTER(c_uint64))
_UPDATE = CFUNCTYPE(c_int, c_uint32, POINTER(c_uint8), POINTER(c_uint8), c_uint64)
_REMOVE = CFUNCTYPE(c_int, c_uint32, POINTER(c_uint8))
_STORE = CFUNCTYPE(c_int, c_uint32, POINTER(c_uint8), c_uint64, POINTER(c_uint8))
_PUSH = CFUNCTYPE(c_int, c_uint32, POINTER(c_uint8), c_uint64)
_TAKE = CFUNCTYPE(c_int, c_uint32, POINTER(c_uint8), c_bool)
_RANDOM = CFUNCTYPE(c_uint32)
_PRINT = CFUNCTYPE(None, POINTER(c_uint8), c_size_t)


class _Host(ctypes.Structure):
    _fields_ = (
        ("lookup", _LOOKUP),
        ("update", _UPDATE),
        ("remove", _REMOVE),
        ("store", _STORE),
        ("push", _PUSH),
        ("take", _TAKE),
        ("random", _RANDOM),
        ("print", _PRINT),
    )


class _Packet(ctypes.Structure):
    _fields_ = (
        ("buffer", POINTER(c_uint8)),
        *((name, c_uint32) for name in ("size", "first", "meta", "data", "end", "ifindex", "queue", "cpu")),
        *((name, c_uint64) for name in ("now_ns", "boot_ns", "tai_ns")),
        *(
            (name, c_uint32)
            for name in ("verdict", "redirect_kind", "redirect_ifindex", "redirect_map", "redirect_key")
        ),
        ("redirect_flags", c_uint64),
        ("message", c_char * 160),
    )


class CompilerError(Exception):
    """The C compiler is missing, or refused the source."""


@dataclass(frozen=True)
class Outcome:
    """What became of a packet. `dropped_because` is set where the runtime dropped it, not the program."""

    verdict: int
    packet: bytes
    metadata: bytes
    redirect: Redirect | None
    dropped_because: str | None


class Library:
    """The compiled source, with static data of its own."""

    def __init__(self, source: bytes, *, flags: tuple[str, ...] = ()) -> None:
        self.dll = _opened(_compiled(source, (*_SHARED, *flags)))
        self.dll.fs_map_name.restype = c_char_p
        self.dll.fs_counter_names.restype = c_char_p
        self.dll.fs_counter_values.restype = POINTER(c_uint64)
        self.dll.fs_map_direct.argtypes = (c_uint32, POINTER(c_uint8), c_uint64)
        self.dll.fs_map_direct.restype = None
        self.dll.fs_process.restype = None
        self.dll.fs_order_at.restype = None
        self.dll.fs_attach.restype = None

    @property
    def maps(self) -> list[str]:
        """The names of the maps that the code touches, by number."""
        names: list[str] = []
        while (name := self.dll.fs_map_name(len(names))) is not None:
            names.append(name.decode())
        return names

    @property
    def counters(self) -> dict[str, int]:
        """What the program prints at its end: how many packets ended how."""
        names = self.dll.fs_counter_names().decode().split()
        values = self.dll.fs_counter_values()
        return {name: values[n] for n, name in enumerate(names)}


@lru_cache(maxsize=32)
def _compiled(source: bytes, arguments: tuple[str, ...]) -> bytes:
    """The shared library that a compiler makes. Raises CompilerError."""
    with tempfile.TemporaryDirectory(prefix="fs-af-xdp-") as folder:
        output = Path(folder) / "library.so"
        compile_c(source, output, *arguments)
        return output.read_bytes()


def _opened(library: bytes) -> ctypes.CDLL:
    """The library in memory, from a file that is gone again: processes that have been forked clean nothing up at their
    end. (A file without a name would be taken for the last one that had its descriptor's number.)"""
    with tempfile.TemporaryDirectory(prefix="fs-af-xdp-") as folder:
        path = Path(folder) / "library.so"
        path.write_bytes(library)
        return ctypes.CDLL(str(path))


def compiler() -> str | None:
    """The C compiler, if there is one: `$CC`, cc, gcc or clang."""
    return next(
        (found for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and (found := shutil.which(name))),
        None,
    )


_MISSING = re.compile(
    r"fatal error: '?(?P<header>\w+)/\S+(?: file not found|: No such file or directory)"
    r"|cannot find -l(?P<library>\w+)"
)
_PACKAGES = {"xdp": "libxdp-dev", "bpf": "libbpf-dev", "linux": "linux-libc-dev"}
"""What has the headers in a folder, or a library."""


def compile_c(source: bytes, output: Path, *flags: str, libraries: tuple[str, ...] = ()) -> None:
    """Compile and link one C file. Raises CompilerError with what the compiler says."""
    command = compiler()
    if command is None:
        raise CompilerError("no C compiler (cc) is installed")
    partial = output.with_suffix(f".{os.getpid()}")
    arguments = [command, "-x", "c", "-", "-o", str(partial), *flags, *libraries]
    done = subprocess.run(arguments, input=source, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        if missing := _MISSING.search(said):
            what, name = missing[0], missing["header"] or missing["library"]
            raise CompilerError(f"{what}; install {_PACKAGES.get(name, 'what has it')}")
        raise CompilerError(f"{command}: {said}")
    partial.rename(output)


def link_words(libraries: Iterable[str | Path]) -> tuple[str, ...]:
    """Arguments that link libraries (sources, objects, archives, shared ones, `-lNAME`) to a file from stdin."""
    return tuple(word for each in libraries for word in (("-x", "none", str(each)) if each else ()))


def shared_library(libraries: tuple[str, ...]) -> ctypes.CDLL:
    """One shared library of all. Raises CompilerError."""
    words = ("-Wl,--whole-archive", *link_words(libraries), "-Wl,--no-whole-archive")
    return _opened(_compiled(b"", ("-O1", "-shared", "-fPIC", *words)))


class Process:
    """A library bound to a machine: packets run against the machine's maps, at its time."""

    def __init__(self, library: Library, machine: Machine) -> None:
        self.library = library
        self.machine = machine
        self._error: BaseException | None = None
        self._maps: list[Map] = []
        self._kept: list[object] = []
        for number, name in enumerate(library.maps):
            if name not in machine.maps:
                raise KeyError(f"the machine has no map {name}")
            self._bind(number, machine.maps[name])
        self._host = _Host(
            _LOOKUP(self._guarded(self._lookup)),
            _UPDATE(self._guarded(self._update)),
            _REMOVE(self._guarded(self._remove)),
            _STORE(self._guarded(self._store)),
            _PUSH(self._guarded(self._push)),
            _TAKE(self._guarded(self._take)),
            _RANDOM(self._guarded(lambda: machine.prandom.next())),
            _PRINT(self._guarded(self._print)),
        )
        if ORDER in machine.maps:
            library.dll.fs_order_at(self._memory_of(machine.maps[ORDER]))
        self._buffer = (c_uint8 * (XDP_HEADROOM + 0xFFFF))()

    def _bind(self, number: int, owner: Map) -> None:
        self._maps.append(owner)
        if isinstance(owner, ArrayMap):
            self.library.dll.fs_map_direct(number, self._memory_of(owner), owner.stride)

    def _memory_of(self, owner: Map) -> Any:
        """The values of an array, as memory that the C uses, too."""
        first = owner.lookup(bytes(4), self.machine.cpu)
        region = self.machine.memory.region_at(first)
        assert region is not None and region.base == first
        values = (c_uint8 * len(region.buf)).from_buffer(region.buf)
        self._kept.append(values)
        return values

    def run(
        self,
        packet: bytes,
        *,
        metadata: bytes = b"",
        ifindex: int = 1,
        queue: int = 0,
        clock_ns: int | None = None,
    ) -> Outcome:
        """Process one packet. `metadata` lies directly in front of it: a handoff header, or the program's own."""
        machine, buffer = self.machine, self._buffer
        if clock_ns is not None:
            machine.clock_ns = clock_ns
        data, end = XDP_HEADROOM, XDP_HEADROOM + len(packet)
        ctypes.memset(buffer, 0, XDP_HEADROOM)
        ctypes.memmove(ctypes.addressof(buffer) + data - len(metadata), metadata + packet, len(metadata) + len(packet))
        state = _Packet(
            ctypes.cast(buffer, POINTER(c_uint8)),
            max(TAILROOM_END, end),
            XDP_FRAME_SIZE,
            data - len(metadata),
            data,
            end,
            ifindex,
            queue,
            machine.cpu,
            *clock_words(machine.clock_ns)[:3],
        )
        self.library.dll.fs_attach(byref(self._host))
        self.library.dll.fs_process(byref(state))
        machine.memory.release_retired()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        content = bytes(buffer)
        return Outcome(
            state.verdict,
            content[state.data : state.end],
            content[state.meta : state.data],
            self._redirect(state),
            state.message.decode() or None,
        )

    def _redirect(self, state: _Packet) -> Redirect | None:
        if state.redirect_kind == 1:
            return Redirect(ifindex=state.redirect_ifindex)
        if state.redirect_kind == 2:
            name = self._maps[state.redirect_map].name
            key = None if state.redirect_flags & BROADCAST else state.redirect_key
            return Redirect(map_name=name, key=key, flags=state.redirect_flags)
        return None

    # What the C asks for. An exception must not pass through C: it is kept, and raised when the packet is done.

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except BaseException as error:
                self._error = self._error or error
                return 0 if function == self._print else -ENOENT

        return call

    def _lookup(self, number: int, key: Any, value: Any, token: Any) -> int:
        owner = self._maps[number]
        address = owner.lookup(bytes(key[: owner.key_size]), self.machine.cpu)
        if not address:
            return -ENOENT
        ctypes.memmove(value, self.machine.memory.read_bytes(address, owner.value_size), owner.value_size)
        token[0] = address
        return 0

    def _update(self, number: int, key: Any, value: Any, flags: int) -> int:
        owner = self._maps[number]
        return owner.update(bytes(key[: owner.key_size]), bytes(value[: owner.value_size]), flags, self.machine.cpu)

    def _remove(self, number: int, key: Any) -> int:
        owner = self._maps[number]
        return owner.delete(bytes(key[: owner.key_size]))

    def _store(self, number: int, key: Any, token: int, value: Any) -> int:
        self.machine.memory.write_bytes(token, bytes(value[: self._maps[number].value_size]))
        return 0

    def _push(self, number: int, value: Any, flags: int) -> int:
        owner = self._maps[number]
        return owner.push(bytes(value[: owner.value_size]), flags)

    def _take(self, number: int, value: Any, remove: bool) -> int:
        owner = self._maps[number]
        error, found = take(owner, bytes(value[: owner.value_size]), remove)
        ctypes.memmove(value, found, owner.value_size)
        return error

    def _print(self, text: Any, length: int) -> None:
        self.machine.log.append(bytes(text[:length]).decode(errors="replace"))
