"""Receiving what programs send with `bpf_perf_event_output`.

Without a reader in its slot the helper fails, so a program would take another way than in use.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_uint32, c_uint64, c_void_p

from fsir.kernel.errors import KernelError
from fsir.kernel.libbpf import library, take_messages

PAGES = 64  # per CPU; a power of two

_SAMPLE = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p, c_uint32)
_LOST = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64)


class PerfReader:
    """Readers for every CPU of one perf event array; `collect` after each run keeps the order across CPUs.

    Events go to `events` as the kernel delivers them: padded with up to 7 bytes that mean nothing, so that
    length + 4 is a multiple of 8.
    """

    def __init__(self, map_fd: int, events: list[bytes]) -> None:
        self.lost = 0

        def sample(_context: int, _cpu: int, data: int, size: int) -> None:
            events.append(ctypes.string_at(data, size))

        def lose(_context: int, _cpu: int, count: int) -> None:
            self.lost += count

        self._callbacks = (_SAMPLE(sample), _LOST(lose))
        self._handle: int | None = library().perf_buffer__new(map_fd, PAGES, *self._callbacks, None, None)
        if not self._handle:
            raise KernelError("cannot receive perf events", ctypes.get_errno(), take_messages())

    def collect(self) -> None:
        code: int = library().perf_buffer__consume(self._handle)
        if code < 0:
            raise KernelError("cannot read perf events", -code)
        if self.lost:
            raise KernelError(f"{self.lost} perf events were lost: one run sends more than {PAGES} pages")

    def close(self) -> None:
        if self._handle:
            library().perf_buffer__free(self._handle)
            self._handle = None
