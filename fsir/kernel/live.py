"""Programs on real interfaces: attaching them, sending frames, and capturing what arrives.

with Namespace() as near, Namespace() as far:
    a, b = veth_pair(near, "a", far, "b")
    with attached(b, program.fd), Capture(a) as back:
        send(a, frames)
        got = back.take(len(frames))
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntFlag
from typing import Self

from fsir.kernel import syscalls
from fsir.kernel.errors import KernelError, error_name
from fsir.kernel.interfaces import Interface, set_gro
from fsir.kernel.libbpf import library, take_messages
from fsir.kernel.syscalls import prog_load
from fsir.kernel.tiny import verdict_program
from fsir.kernel.uapi import XdpVerdict

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 6, 8, 23
SO_RCVBUFFORCE = 33
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
BUFFER = 64 << 20
DEADLINE = 10.0  # seconds until frames that should come count as lost


class XdpMode(IntFlag):
    """How to attach; the flags of `bpf_xdp_attach`. NATIVE fails where the driver has no XDP of its own."""

    ANY = 0
    GENERIC = 1 << 1
    NATIVE = 1 << 2


@contextmanager
def attached(end: Interface, prog_fd: int, mode: XdpMode = XdpMode.NATIVE) -> Iterator[None]:
    """An XDP program is on the interface within the block. GRO is off meanwhile: frames stay as they are."""
    lib = library()
    with end.namespace.entered():  # libbpf's netlink socket is made in the thread's namespace
        code: int = lib.bpf_xdp_attach(end.ifindex, prog_fd, int(mode), None)
        if code:
            raise KernelError(f"cannot attach the program to {end.name}", -code, take_messages())
        gro = set_gro(end.name, False)
    try:
        yield
    finally:
        with end.namespace.entered():
            set_gro(end.name, gro)
            code = lib.bpf_xdp_detach(end.ifindex, int(mode), None)
        if code:
            raise KernelError(f"cannot detach the program from {end.name}", -code, take_messages())


REFUSALS = {
    errno.EBUSY: "another XDP program is there: ip link set dev {name} xdp off removes it",
    errno.EEXIST: "another XDP program is there: ip link set dev {name} xdp off removes it",
    errno.ERANGE: "the MTU is too large for XDP; of a veth, its other end's: ip link set dev NAME mtu 1500",
    errno.EOPNOTSUPP: "its driver has no XDP; generic mode (--generic) is for every interface",
}
"""Why an XDP program is not attached, in words of those who can do something about it."""


@contextmanager
def linked(end: Interface, prog_fd: int, mode: XdpMode = XdpMode.NATIVE) -> Iterator[None]:
    """An XDP program is on the interface within the block, and no longer than this process lives, however it ends."""
    with end.namespace.entered():
        try:
            fd = syscalls.link_xdp(prog_fd, end.ifindex, int(mode))
        except KernelError as refused:
            advice = REFUSALS.get(refused.errno)
            if advice is None:
                raise KernelError(f"cannot attach to {end.name}", refused.errno) from refused
            why = f"{error_name(refused.errno)}; {advice.format(name=end.name)}"
            raise KernelError(f"cannot attach to {end.name}: {why}") from refused
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def receiving(end: Interface) -> Iterator[None]:
    """A program that passes everything is on the interface within the block.

    What a veth's peer sends by XDP_TX arrives only so; for what is redirected to the peer, GRO is enough, but
    merges segments of TCP flows.
    """
    prog_fd, _ = prog_load(verdict_program(XdpVerdict.PASS), name="receiving")
    try:
        with attached(end, prog_fd):
            yield
    finally:
        os.close(prog_fd)


def _raw_socket(end: Interface, protocol: int) -> socket.socket:
    with end.namespace.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        sock.bind((end.name, protocol))
    return sock


def send(end: Interface, frames: Iterable[bytes]) -> int:
    """Send out of `end`, so that the peer receives: how many. Each is processed before the next is sent, unless a
    busy receiver defers it."""
    count = 0
    with _raw_socket(end, 0) as sock:
        for frame in frames:
            sock.send(frame)
            count += 1
    return count


class Capture:
    """All frames that `end` receives and that its XDP program, if any, passes; not those sent out of it.

    VLAN tags that the kernel keeps beside the frame are put back. Losing a frame for lack of room is an error.
    Where a program is attached, or `receiving` is used, frames come as they were sent, never merged.
    """

    def __init__(self, end: Interface) -> None:
        self._name = end.name
        self._socket = _raw_socket(end, ETH_P_ALL)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)

    def take(self, count: int, deadline: float = DEADLINE) -> list[bytes]:
        """The next `count` frames; fewer if that many do not come within `deadline` seconds."""
        frames: list[bytes] = []
        end = time.monotonic() + deadline
        while len(frames) < count:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                break
            frames.append(self._receive())
        self._check_losses()
        return frames

    def pending(self) -> list[bytes]:
        """The frames that are there already."""
        return self.take(1 << 30, deadline=0.0)

    def _receive(self) -> bytes:
        frame, ancillary, _, _ = self._socket.recvmsg(1 << 17, socket.CMSG_SPACE(AUXDATA.size))
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = AUXDATA.unpack(data[: AUXDATA.size])
                if status & TP_STATUS_VLAN_VALID:
                    tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                    return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame

    def _check_losses(self) -> None:
        _, dropped = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped:
            raise KernelError(f"the capture on {self._name} lost {dropped} frames; take them more often")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
