"""The routes and neighbours that bpf_fib_lookup sees. Empty unless somebody fills it in."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Action = Literal["forward", "blackhole", "unreachable", "prohibit", "local"]


LOOPBACK = 1
"""The number of the loopback interface, which is always there."""


@dataclass(frozen=True)
class Route:
    """A prefix and what happens to packets for it."""

    prefix: IPv4Network | IPv6Network
    ifindex: int = 0
    gateway: Address | None = None
    source: Address | None = None
    metric: int = 0
    mtu: int = 0
    """0 means the MTU of the interface."""
    action: Action = "forward"


@dataclass(frozen=True)
class Interface:
    """A device that packets leave or arrive by."""

    ifindex: int
    mac: bytes = bytes(6)
    mtu: int = 1500
    forwarding: bool = True


@dataclass
class Fib:
    """Routes by longest prefix; `neighbours` are link-layer addresses by interface and address."""

    routes: list[Route] = field(default_factory=list)
    interfaces: dict[int, Interface] = field(default_factory=dict)
    neighbours: dict[tuple[int, Address], bytes] = field(default_factory=dict)

    def route(self, destination: Address) -> Route | None:
        """The route with the longest prefix that holds `destination`, the first of equals."""
        matching = [
            route
            for route in self.routes
            if route.prefix.version == destination.version and destination in route.prefix
        ]
        return max(matching, key=lambda route: route.prefix.prefixlen, default=None)
