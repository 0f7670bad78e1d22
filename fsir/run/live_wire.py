"""The network around a program on a real interface, and what becomes of one frame there.

      near ──────────── far (`live0`, the program) ──────────── stack: what is passed is captured here
       │                 │
       └ frames go in,   └ port2, port3 … ──── their peers: what is redirected is captured there
         what is sent
         back is captured

All in network namespaces without a name. Frames go one at a time: the interface counts each when the program has
run, by what it did, so that nothing rests on waiting for something not to come.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from fsir.kernel import syscalls
from fsir.kernel.engine import ETH_HLEN, LINEAR
from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import SIOCETHTOOL, Interface, Namespace, ip, set_gro
from fsir.kernel.live import DEADLINE, Capture, attached, receiving
from fsir.run.live_trace import Event, Kind, Trace, unheard_of

LOOPBACK = 1
NAME = "live0"
MTU = LINEAR - ETH_HLEN
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4

ETHTOOL_GSTRINGS, ETHTOOL_GSTATS, ETHTOOL_GSSET_INFO, ETH_SS_STATS = 0x1B, 0x1D, 0x37, 1
STRING = 32


@dataclass(frozen=True)
class Seen:
    """What a program did with a frame. `redirect` is there for XDP_REDIRECT only."""

    verdict: int
    redirect: Event | None = None


class Counters:
    """A veth's counters of what XDP did on its queue 0."""

    NAMES: ClassVar = {
        "packets": "rx_queue_0_xdp_packets",
        "drops": "rx_queue_0_xdp_drops",
        "tx": "rx_queue_0_xdp_tx",
        "redirects": "rx_queue_0_xdp_redirect",
    }

    def __init__(self, end: Interface) -> None:
        self._name = end.name
        with end.namespace.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        (count,) = struct.unpack_from(
            "<I", self._ask(struct.pack("<IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0)), 16
        )
        texts = self._ask(struct.pack("<III", ETHTOOL_GSTRINGS, ETH_SS_STATS, count) + bytes(STRING * count))[12:]
        names = [texts[i : i + STRING].split(b"\0")[0].decode() for i in range(0, STRING * count, STRING)]
        missing = set(self.NAMES.values()) - set(names)
        if missing:
            raise KernelError(f"this kernel's veth does not count {', '.join(sorted(missing))}")
        self._at = {what: names.index(name) for what, name in self.NAMES.items()}
        self._request = struct.pack("<II", ETHTOOL_GSTATS, count) + bytes(8 * count)

    def _ask(self, request: bytes) -> bytes:
        data = array.array("B", request)
        try:
            fcntl.ioctl(self._socket, SIOCETHTOOL, struct.pack("16sP", self._name.encode(), data.buffer_info()[0]))
        except OSError as refused:
            raise KernelError(f"cannot read the counters of {self._name}", refused.errno or 0) from refused
        return data.tobytes()

    def read(self) -> dict[str, int]:
        found = self._ask(self._request)
        return {what: int(struct.unpack_from("<Q", found, 8 + 8 * at)[0]) for what, at in self._at.items()}

    def close(self) -> None:
        self._socket.close()


class Wire:
    """The network; `ifindex` is the program's interface, `ports` the others that it can redirect to.

    Close `stack` to take it down.
    """

    def __init__(self, stack: ExitStack, ifindex: int, ports: Collection[int]) -> None:
        self.near_space, self.far_space, beyond = (stack.enter_context(Namespace()) for _ in range(3))
        others = sorted(set(ports) - {LOOPBACK, ifindex})
        with self.far_space.entered():
            ip(commands=_pair(NAME, ifindex, self.near_space) + "".join(_pair(f"port{n}", n, beyond) for n in others))
            set_gro(NAME, False)
        for space, names in ((self.near_space, [NAME]), (beyond, [f"port{n}" for n in others])):
            if names:
                with space.entered():
                    ip(commands="".join(f"link set dev {name} up\n" for name in names))
        self.near, self.far = Interface(self.near_space, NAME), Interface(self.far_space, NAME)
        peers = {n: Interface(beyond, f"port{n}") for n in others}
        for end in (self.near, *peers.values()):
            stack.enter_context(receiving(end))
        self.stack_side = stack.enter_context(Capture(self.far))
        self.back = stack.enter_context(Capture(self.near))
        self.beyond = {n: stack.enter_context(Capture(end)) for n, end in peers.items()}
        self._counters = Counters(self.far)
        stack.callback(self._counters.close)
        self._out = stack.enter_context(_sender(self.near))
        self._trace = stack.enter_context(Trace())
        self._events: deque[Event] = deque()

    def listen(self) -> None:
        """Find out which events are those of this interface; before the program is attached."""
        verdict, program = unheard_of()
        prog_fd, _ = syscalls.prog_load(program, name="live_probe")
        with _closing(prog_fd), attached(self.far, prog_fd):
            self._count(bytes(64))
            if not self._trace.choose(verdict):
                raise KernelError("the kernel's tracepoints do not report what XDP programs return")

    def send(self, frame: bytes) -> Seen:
        """Send one frame to the program, and wait until it has run."""
        if not ETH_HLEN <= len(frame) <= ETH_HLEN + MTU:
            raise KernelError(f"a live frame has {ETH_HLEN} to {ETH_HLEN + MTU} bytes, this one {len(frame)}")
        self._check_quiet()
        change = self._count(frame)
        self._events = deque(self._trace.take())  # the program's own is the first
        verdict = _verdict(change, self._events)
        return Seen(verdict, self._events.popleft() if verdict == XDP_REDIRECT else None)

    def redirection(self) -> Event:
        """Where a frame was redirected that user space has put back into the kernel since (or meanwhile)."""
        self._events += self._trace.take()
        for event in self._events:
            if event.kind != Kind.EXCEPTION:
                return event
        raise KernelError("user space redirected a packet, but the kernel did not")

    def passed(self) -> bytes:
        """The frame that the stack got."""
        return _one(self.stack_side, "was passed, but did not reach the network stack")

    def returned(self) -> bytes:
        """The frame that was transmitted on the interface it came from."""
        return _one(self.back, "was transmitted, but did not come back")

    def redirected(self) -> bytes:
        """The frame, wherever a redirect led it."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            for capture in (*self.beyond.values(), self.back, self.stack_side):
                found = capture.take(1, deadline=0.0)
                if found:
                    return found[0]
        raise KernelError("the packet was redirected, but did not arrive at any interface")

    def _count(self, frame: bytes) -> Mapping[str, int]:
        """Send a frame: by how much the counters have changed when the program has run."""
        before = self._counters.read()
        self._out.send(frame)
        end = time.monotonic() + DEADLINE
        while (after := self._counters.read())["packets"] == before["packets"]:
            if time.monotonic() > end:
                raise KernelError("the kernel lost the packet before the program saw it")
        return {name: value - before[name] for name, value in after.items()}

    def _check_quiet(self) -> None:
        for capture in (self.stack_side, self.back, *self.beyond.values()):
            if capture.pending():
                raise KernelError(
                    "more frames came out than went in: this engine cannot follow a redirect to several interfaces"
                )


def _pair(name: str, index: int, peers: Namespace) -> str:
    size = f"mtu {MTU} numrxqueues 1 numtxqueues 1"
    return (
        f"link add name {name} index {index} {size} type veth peer name {name} {size} netns {peers.path}\n"
        f"link set dev {name} up\n"
    )


@contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _sender(end: Interface) -> Iterator[socket.socket]:
    """A socket whose frames leave `end`."""
    with end.namespace.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((end.name, 0))
    with sock:
        yield sock


def _verdict(change: Mapping[str, int], events: Sequence[Event]) -> int:
    if events:
        exception = events[0].kind == Kind.EXCEPTION
        return events[0].first if exception else XDP_REDIRECT  # ABORTED, no verdict at all, or a TX that failed
    for name, verdict in (("drops", XDP_DROP), ("tx", XDP_TX)):
        if change[name]:
            return verdict
    if change["redirects"]:
        raise KernelError("a packet was redirected, but the tracepoint did not say where")
    return XDP_PASS


def _one(capture: Capture, otherwise: str) -> bytes:
    found = capture.take(1)
    if not found:
        raise KernelError(f"the packet {otherwise} within {DEADLINE:.0f} seconds")
    return found[0]
