"""Routes, neighbours and interfaces' properties in this thread's network namespace, as bpf_fib_lookup sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fsir.interp.fib import Fib, Interface, Route
from fsir.kernel.interfaces import LOOPBACK, ip, name_of


def install(fib: Fib) -> None:
    """Give the interfaces that `private_interfaces` made, and the loopback, what `fib` says of them, and add its routes
    and neighbours. KernelError for what the kernel refuses."""
    ip(commands="\n".join(_links(fib.interfaces.values())) + "\n")
    six = any(route.prefix.version == 6 for route in fib.routes)
    for interface in fib.interfaces.values():
        _switch(4, interface, "forwarding", interface.forwarding)
        if six:
            _switch(6, interface, "disable_ipv6", False)
            _switch(6, interface, "forwarding", interface.forwarding)
    commands = [*map(_route, fib.routes), *_neighbours(fib)]
    if commands:
        ip(commands="\n".join(commands) + "\n")


def _links(interfaces: Iterable[Interface]) -> Iterator[str]:
    for interface in interfaces:
        name = name_of(interface.ifindex)
        if interface.ifindex != LOOPBACK:
            yield f"link set dev {name} addrgenmode none"
        yield f"link set dev {name} mtu {interface.mtu}"
        if any(interface.mac) and interface.ifindex != LOOPBACK:
            yield f"link set dev {name} address {interface.mac.hex(':')}"


def _switch(version: int, interface: Interface, what: str, on: bool) -> None:
    path = Path(f"/proc/sys/net/ipv{version}/conf") / name_of(interface.ifindex) / what
    if path.exists():
        path.write_text("1" if on else "0")


def _route(route: Route) -> str:
    if route.action != "forward":
        device = f" dev {name_of(LOOPBACK)}" if route.action == "local" else ""
        return f"route add {route.action} {route.prefix}{device}{_metric(route)}"
    via = ""
    if route.gateway is not None:
        other = "inet6 " if route.gateway.version > route.prefix.version else ""
        via = f" via {other}{route.gateway} onlink"
    size = f" mtu lock {route.mtu}" if route.mtu else ""
    return f"route add {route.prefix} dev {name_of(route.ifindex)}{via}{_metric(route)}{size}"


def _metric(route: Route) -> str:
    return f" metric {route.metric}" if route.metric else ""


def _neighbours(fib: Fib) -> Iterator[str]:
    for (ifindex, address), mac in fib.neighbours.items():
        yield f"neigh replace {address} lladdr {mac.hex(':')} dev {name_of(ifindex)} nud permanent"
