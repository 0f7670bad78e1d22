"""Putting frames that user space holds back into the kernel, as if an interface had just received them.

An XDP program is run with live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, kernel >= 5.18): its verdict decides where each
frame goes, `ctx_in.ingress_ifindex` on which interface it "came in". This is the way back for AF_XDP's verdicts:

- PASS goes up the stack of the interface, AF_PACKET captures included.
- TX goes out of the interface itself, REDIRECT out of the one named; a veth peer gets such frames only with GRO
  on (`interfaces.set_gro`) or an XDP program attached.

One system call repeats the program on copies of one frame, and costs as much as some 20 frames. So the frames of a
batch lie in a map that both sides see, and each repetition takes the next one, with its verdict: `PROGRAM`. A call
with more than one repetition also costs some 28 ms, for adding the program to the kernel's XDP dispatcher and taking
it out again, unless it is there already: so it is attached to a loopback that nobody uses.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Self

from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import Interface, Namespace
from fsir.kernel.live import XdpMode, attached
from fsir.kernel.syscalls import inject, map_create, prog_load
from fsir.kernel.tiny import insn
from fsir.kernel.uapi import MapFlag, MapType, XdpMd, XdpVerdict

BATCH = 64  # the kernel takes 256, but a veth's ring has no more room than that
HEAD = struct.Struct("<IIII")  # of a slot: length, verdict, target interface, 0; the frame follows
ROOM = 3520  # for a frame; the kernel takes less, and says so
SLOT = HEAD.size + ROOM
CONTROL = struct.Struct("<II")  # the next slot, and how many frames the kernel could not take
TEMPLATE = bytes(64)  # the frame that each repetition starts with

MAP_LOOKUP_ELEM, REDIRECT, XDP_ADJUST_TAIL, XDP_STORE_BYTES = 1, 23, 65, 190

_TAKE_SLOT = (
    insn(0xBF, 6, 1),  # r6 = ctx
    insn(0x18, 9, 2),  # r9 = the control value
    insn(0x00),
    insn(0x61, 1, 9),  # r1 = next
    insn(0x63, 10, 1, -4),
    insn(0x07, 1, imm=1),
    insn(0x63, 9, 1),  # next = r1 + 1
    insn(0x18, 1, 1),
    insn(0x00),
    insn(0xBF, 2, 10),
    insn(0x07, 2, imm=-4),
    insn(0x85, imm=MAP_LOOKUP_ELEM),
)
_CONTROL_AT, _FRAMES_AT = 1, 7

_FILL_FRAME = (
    insn(0xBF, 7, 0),  # r7 = the slot
    insn(0x61, 8, 7),  # r8 = its frame's length, 1 … ROOM
    insn(0x25, 8, off=18, imm=ROOM),
    insn(0x15, 8, off=17),
    insn(0x61, 1, 6),
    insn(0x61, 2, 6, 4),
    insn(0x1F, 2, 1),
    insn(0xBF, 3, 8),
    insn(0x1F, 3, 2),
    insn(0xBF, 2, 3),  # r2 = length - (data_end - data)
    insn(0xBF, 1, 6),
    insn(0x85, imm=XDP_ADJUST_TAIL),
    insn(0x55, 0, off=8),
    insn(0xBF, 1, 6),
    insn(0xB7, 2),
    insn(0xBF, 3, 7),
    insn(0x07, 3, imm=HEAD.size),
    insn(0xBF, 4, 8),
    insn(0x85, imm=XDP_STORE_BYTES),
    insn(0x55, 0, off=1),
    insn(0x05, off=5),  # to the verdict
)
_FAIL = (
    insn(0x61, 1, 9, 4),
    insn(0x07, 1, imm=1),
    insn(0x63, 9, 1, 4),  # one more that could not be taken
    insn(0xB7, 0, imm=XdpVerdict.DROP),
    insn(0x95),
)
_VERDICT = (
    insn(0x61, 0, 7, 4),
    insn(0x55, 0, off=3, imm=XdpVerdict.REDIRECT),
    insn(0x61, 1, 7, 8),
    insn(0xB7, 2),
    insn(0x85, imm=REDIRECT),
    insn(0x95),
)
_CHECK_SLOT = (insn(0x15, 0, off=len(_FILL_FRAME)),)  # no such slot

PROGRAM = b"".join((*_TAKE_SLOT, *_CHECK_SLOT, *_FILL_FRAME, *_FAIL, *_VERDICT))
"""The instructions; those at `MAP_INSNS` name the control map (its value) and the map of slots."""

MAP_INSNS = {"control": _CONTROL_AT, "frames": _FRAMES_AT}


class Reentry:
    """The way back into the kernel through one interface."""

    def __init__(self, end: Interface) -> None:
        self.end = end
        control = map_create(MapType.ARRAY, 4, CONTROL.size, 1, flags=MapFlag.MMAPABLE, name="control")
        frames = map_create(MapType.ARRAY, 4, SLOT, BATCH, flags=MapFlag.MMAPABLE, name="frames")
        try:
            self._control = mmap.mmap(control, mmap.PAGESIZE)
            self._frames = mmap.mmap(frames, -(-SLOT * BATCH // mmap.PAGESIZE) * mmap.PAGESIZE)
            maps = {MAP_INSNS["control"]: control, MAP_INSNS["frames"]: frames}
            self._prog_fd, _ = prog_load(PROGRAM, maps=maps, name="reentry")
        finally:
            os.close(control)
            os.close(frames)
        self._anchor = ExitStack()
        self._anchor.enter_context(in_dispatcher(self._prog_fd))

    def put(
        self,
        frames: Iterable[bytes],
        verdict: XdpVerdict = XdpVerdict.PASS,
        target: Interface | None = None,
        *,
        rx_queue: int = 0,
    ) -> int:
        """Put in all frames, in order, with one verdict; `target` is where a REDIRECT leads. Returns how many."""
        if (verdict == XdpVerdict.REDIRECT) != (target is not None):
            raise ValueError("REDIRECT, and nothing else, needs a target")
        ifindex = target.ifindex if target else 0
        return self.put_each(((frame, verdict, ifindex) for frame in frames), rx_queue=rx_queue)

    def put_each(self, frames: Iterable[tuple[bytes, XdpVerdict, int]], *, rx_queue: int = 0) -> int:
        """Put in frames, each with its verdict and target interface (0 if none).

        Frames that go the same way arrive there in order.
        """
        remaining, count = iter(frames), 0
        with self.end.namespace.entered():
            while batch := list(islice(remaining, BATCH)):
                self._put_batch(batch, rx_queue)
                count += len(batch)
        return count

    def _put_batch(self, batch: Sequence[tuple[bytes, XdpVerdict, int]], rx_queue: int) -> None:
        for i, (frame, verdict, target) in enumerate(batch):
            if not 14 <= len(frame) <= ROOM:
                raise KernelError(f"a frame that enters the kernel has 14 to {ROOM} bytes, this one {len(frame)}")
            slot = HEAD.pack(len(frame), verdict, target, 0) + frame
            self._frames[i * SLOT : i * SLOT + len(slot)] = slot
        self._control[: CONTROL.size] = bytes(CONTROL.size)
        ctx = XdpMd(data_end=len(TEMPLATE), ingress_ifindex=self.end.ifindex, rx_queue_index=rx_queue)
        inject(self._prog_fd, TEMPLATE, ctx, repeat=len(batch), batch=len(batch))
        _, failed = CONTROL.unpack_from(self._control)
        if failed:
            raise KernelError(f"{failed} of {len(batch)} frames are too long to enter the kernel at {self.end.name}")

    def close(self) -> None:
        self._anchor.close()
        os.close(self._prog_fd)
        self._control.close()
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def flood(end: Interface, frame: bytes, count: int, prog_fd: int, *, batch: int = 64) -> None:
    """Run a program on `count` copies of a frame as if `end` received them, and let them go where it says.

    With a program of `tiny` this is a traffic generator.
    """
    ctx = XdpMd(data_end=len(frame), ingress_ifindex=end.ifindex)
    with end.namespace.entered():
        inject(prog_fd, frame, ctx, repeat=count, batch=batch)


@contextmanager
def in_dispatcher(prog_fd: int) -> Iterator[None]:
    """The XDP program is in the kernel's dispatcher, so that repeated runs of it start at once."""
    with Namespace() as unused, attached(Interface(unused, "lo"), prog_fd, XdpMode.GENERIC):
        yield
