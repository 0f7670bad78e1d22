"""Network namespaces of one's own, and the interfaces in them.

Namespaces have no names here: each lives as long as its descriptor, so that nothing is left behind even when the
process is killed. A thread enters one, and everything it then opens or starts (sockets, `ip`, child processes) is in
it; other threads are not moved.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Self

from fsir.kernel.errors import KernelError, KernelUnavailable

CLONE_NEWNET = 0x40000000
OWN_NAMESPACE = Path("/proc/thread-self/ns/net")

SIOCGIFFLAGS, SIOCETHTOOL = 0x8913, 0x8946
IFF_UP = 1
ETHTOOL_GGRO, ETHTOOL_SGRO = 0x2B, 0x2C
LOOPBACK = 1


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _set_namespace(fd: int) -> None:
    if _libc().setns(fd, CLONE_NEWNET):
        raise KernelError("cannot enter a network namespace", ctypes.get_errno())


class Namespace:
    """A new network namespace with `lo` up and IPv6 off (so that the kernel sends nothing of its own)."""

    def __init__(self) -> None:
        before = os.open(OWN_NAMESPACE, os.O_RDONLY)
        try:
            if _libc().unshare(CLONE_NEWNET):
                raise KernelError("cannot make a network namespace", ctypes.get_errno())
            try:
                self.fd = os.open(OWN_NAMESPACE, os.O_RDONLY)
                _no_ipv6()
                ip("link", "set", "lo", "up")
            finally:
                _set_namespace(before)
        finally:
            os.close(before)

    @classmethod
    def current(cls) -> Self:
        """That of this thread."""
        own = cls.__new__(cls)
        own.fd = os.open(OWN_NAMESPACE, os.O_RDONLY)
        return own

    @property
    def path(self) -> str:
        """A name for `ip link … netns`, valid in every process while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace within the block."""
        before = os.open(OWN_NAMESPACE, os.O_RDONLY)
        try:
            _set_namespace(self.fd)
            try:
                yield
            finally:
                _set_namespace(before)
        finally:
            os.close(before)

    def close(self) -> None:
        """Interfaces go when nothing else (a process, a socket) holds the namespace."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_ipv6() -> None:
    for scope in ("all", "default"):
        switch = Path("/proc/sys/net/ipv6/conf") / scope / "disable_ipv6"
        if switch.exists():
            switch.write_text("1")


def ip(*arguments: object, commands: str = "") -> str:
    """Run ip(8) in this thread's namespace, with `commands` as its batch input if there are any."""
    batch = ["-batch", "-"] if commands else []
    command = ["ip", *batch, *map(str, arguments)]
    try:
        done = subprocess.run(command, input=commands, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise KernelUnavailable("there is no ip(8); install iproute2") from missing
    if done.returncode:
        raise KernelError(f"{' '.join(command)}: {done.stderr.strip()}\n{commands}".strip())
    return done.stdout


@contextmanager
def private_interfaces(queues: Mapping[int, int]) -> Iterator[Namespace]:
    """This thread is in a new namespace that has interfaces of the given numbers, with so many receive queues each.

    For test runs that name interfaces, as ingress or in device maps: any program's world can be had. They are
    called `if<number>` and carry nothing. Number 1 is the loopback, always there, with one queue.
    """
    wanted = [(index, max(1, count)) for index, count in sorted(queues.items()) if index != LOOPBACK]
    with Namespace() as namespace, Namespace() as peers, namespace.entered():
        commands = "".join(
            f"link add name if{index} index {index} numrxqueues {count} type veth "
            f"peer name if{index} numtxqueues {count} netns {peers.path}\nlink set dev if{index} up\n"
            for index, count in wanted
        )
        if commands:
            ip(commands=commands)
        yield namespace


def name_of(ifindex: int) -> str:
    """What an interface of `private_interfaces` is called."""
    return "lo" if ifindex == LOOPBACK else f"if{ifindex}"


def set_gro(interface: str, on: bool) -> bool:
    """Switch generic receive offload of an interface in this thread's namespace; returns how it was.

    A veth end receives what XDP redirects to its peer only if it has GRO or an XDP program. GRO merges segments of
    one TCP flow into frames that nobody sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        before = _ethtool(control, interface, ETHTOOL_GGRO, 0)
        _ethtool(control, interface, ETHTOOL_SGRO, int(on))
    return bool(before)


def _ethtool(control: socket.socket, interface: str, command: int, value: int) -> int:
    data = array.array("I", (command, value))
    request = struct.pack("16sP", interface.encode(), data.buffer_info()[0])
    try:
        fcntl.ioctl(control, SIOCETHTOOL, request)
    except OSError as refused:
        raise KernelError(f"cannot ask or set the offloads of {interface}", refused.errno or 0) from refused
    return data[1]


class Interface:
    """A network interface: its name, its number, and the namespace it is in."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.namespace = namespace
        self.name = name
        with namespace.entered():
            self.ifindex = socket.if_nametoindex(name)

    @property
    def up(self) -> bool:
        """Whether it has been switched on."""
        with self.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH22x", self.name.encode(), 0))
        return bool(struct.unpack_from("16xH", answer)[0] & IFF_UP)

    @property
    def there(self) -> bool:
        """Whether it has not been removed, whatever it is called now."""
        with self.namespace.entered():
            return any(number == self.ifindex for number, _ in socket.if_nameindex())


def veth_pair(
    left: Namespace, left_name: str, right: Namespace, right_name: str, *, queues: int = 1, mtu: int = 1500
) -> tuple[Interface, Interface]:
    """Two connected interfaces, up and with GRO, in one or two namespaces. They go with their namespaces."""
    size = f"numrxqueues {queues} numtxqueues {queues} mtu {mtu}"
    with left.entered():
        ip(
            commands=f"link add name {left_name} {size} type veth "
            f"peer name {right_name} {size} netns {right.path}\n"
            f"link set dev {left_name} up\n"
        )
        set_gro(left_name, True)
    with right.entered():
        ip("link", "set", "dev", right_name, "up")
        set_gro(right_name, True)
    return Interface(left, left_name), Interface(right, right_name)
