"""A BPF file system that no path but this process's descriptor leads to: nothing stays behind, however it ends."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Self

from fsir.kernel.errors import KernelError

FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432  # the same numbers on every architecture
FSOPEN_CLOEXEC, FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC = 1, 6, 1


class PinFolder:
    """`path` is an empty folder in a BPF file system; other processes reach it while this one holds it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        opened = _must(libc.syscall(FSOPEN, b"bpf", FSOPEN_CLOEXEC))
        try:
            _must(libc.syscall(FSCONFIG, opened, FSCONFIG_CMD_CREATE, None, None, 0))
            self._fd = _must(libc.syscall(FSMOUNT, opened, FSMOUNT_CLOEXEC, 0))
        finally:
            os.close(opened)
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._fd}/maps")
        self.path.mkdir()

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pin_name(map_name: str) -> str:
    """What the file of a map is called: a BPF file system has no dots in names. `af_xdp.c` looks for the same."""
    return map_name.replace(".", "_")


def _must(result: int) -> int:
    if result < 0:
        raise KernelError("cannot make a BPF file system to share maps through", ctypes.get_errno())
    return result
