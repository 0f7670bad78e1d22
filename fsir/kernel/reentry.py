"""Putting frames that user space holds back into the kernel, as if an interface had just received them.

A program of two or four instructions is run with live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, kernel >= 5.18): its
verdict decides where each frame goes, `ctx_in.ingress_ifindex` on which interface it "came in". This is the way back
for AF_XDP's PASS, TX and REDIRECT, and a traffic generator.

- PASS goes up the stack of the interface, AF_PACKET captures included.
- TX goes out of the interface itself, REDIRECT out of the one named; a veth peer gets such frames only with GRO
  on (`interfaces.set_gro`) or an XDP program attached.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Self

from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import VethEnd
from fsir.kernel.syscalls import inject, prog_load
from fsir.kernel.tiny import verdict_program
from fsir.kernel.uapi import ProgType, XdpMd, XdpVerdict


class Reentry:
    """Frames given to `put` take `verdict` on `end`; `target` is the interface of a REDIRECT."""

    def __init__(self, end: VethEnd, verdict: XdpVerdict = XdpVerdict.PASS, target: VethEnd | None = None) -> None:
        if (verdict == XdpVerdict.REDIRECT) != (target is not None):
            raise ValueError("REDIRECT, and nothing else, needs a target")
        self.end = end
        code = verdict_program(verdict, target.ifindex if target else 0)
        self._prog_fd, _ = prog_load(code, ProgType.XDP, name=f"reentry_{verdict.name.lower()}")

    def put(self, frames: Iterable[bytes], *, rx_queue: int = 0) -> int:
        """Put each frame in, in order; returns how many."""
        count = 0
        with self.end.namespace.entered():
            for frame in frames:
                self._inject(frame, rx_queue, repeat=1)
                count += 1
        return count

    def flood(self, frame: bytes, count: int, *, batch: int = 64) -> None:
        """Put `count` copies of one frame in as fast as the kernel can, `batch` (at most 256) at a time."""
        with self.end.namespace.entered():
            self._inject(frame, 0, repeat=count, batch=batch)

    def _inject(self, frame: bytes, rx_queue: int, *, repeat: int, batch: int = 0) -> None:
        ctx = XdpMd(data_end=len(frame), ingress_ifindex=self.end.ifindex, rx_queue_index=rx_queue)
        try:
            inject(self._prog_fd, frame, ctx, repeat=repeat, batch=batch)
        except KernelError as refused:
            raise KernelError(
                f"cannot put a frame of {len(frame)} bytes into {self.end.name}", refused.errno
            ) from refused

    def close(self) -> None:
        os.close(self._prog_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
