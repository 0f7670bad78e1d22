"""The machine that programs run on: memory, maps, the packet and everything a helper can ask or change.

One machine runs one sequence of packets, each to its end before the next. It knows nothing of instructions or
IR: generated code gets the machine, loads and stores through `machine.memory`, and calls helpers as
`HELPERS[number].call(machine, r1, r2, r3, r4, r5)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fsir.interp.context import SkbContext, XdpContext, skb_protocol
from fsir.interp.environment import Prandom
from fsir.interp.fib import Fib
from fsir.interp.map_base import Map, MapSpec
from fsir.interp.maps import create_map
from fsir.interp.maps_handles import ProgArrayMap
from fsir.interp.memory import Memory, Region
from fsir.interp.packet_buffer import PacketBuffer

STACK_SIZE = 512
MAX_TAIL_CALLS = 33
MAX_CALL_FRAMES = 8


class HelperError(Exception):
    """A helper that is not interpreted, or used in a way that no verifier would let through."""


@dataclass(frozen=True)
class Redirect:
    """Where a redirect leads: an interface, or an entry of a map. Flags that are None are not known."""

    ifindex: int | None = None
    map_name: str | None = None
    key: int | None = None
    flags: int | None = 0
    kind: Literal["device", "neighbour", "peer"] = "device"


@dataclass
class Timer:
    """A `struct bpf_timer`: where it lives, and when and what it calls. Not running without `expires_ns`."""

    map_addr: int
    callback: int | None = None
    expires_ns: int | None = None


class Machine:
    """`hook` says which context programs get: `xdp` (struct xdp_md) or `skb` (struct __sk_buff).

    `ncpu` is the number of possible CPUs; `seed` makes bpf_get_prandom_u32 repeatable; `kernel` is the version
    (major, minor) whose behaviour is wanted where versions differ.
    """

    def __init__(
        self,
        hook: Literal["xdp", "skb"] = "xdp",
        *,
        ncpu: int = 1,
        seed: int = 0,
        kernel: tuple[int, int] = (6, 18),
    ):
        self.hook = hook
        self.ncpu = ncpu
        self.kernel = kernel
        self.memory = Memory()
        self.maps: dict[str, Map] = {}
        self._map_at: dict[int, Map] = {}
        self.packet = PacketBuffer(self.memory, skb=hook == "skb")
        self.xdp = XdpContext(self.memory, self.packet)
        self.skb = SkbContext(self.memory, self.packet)
        self.ctx_addr = self.xdp.addr if hook == "xdp" else self.skb.addr
        self.cpu = 0
        self.clock_ns = 0
        self.seed = seed
        self.prandom = Prandom(seed)
        self.library: dict[str, Callable[..., int]] = {}
        """Functions of user space that programs may call, by name."""
        self.fib = Fib()
        self.log: list[str] = []
        self.clones: list[tuple[int, int, bytes]] = []
        """(ifindex, flags, packet) of each bpf_clone_redirect."""
        self.helper_calls: Counter[int | str] = Counter()
        """By number; those of kernel functions by name."""
        self.redirect: Redirect | None = None
        self.held_lock: int | None = None
        self.timers: dict[int, Timer] = {}
        """Timers of map values, by address."""
        self.task_addr = self.memory.alloc_handle("task_struct").base
        self.tail_calls = 0
        self._stacks: list[Region] = []
        self._functions: dict[Callable[..., int], Region] = {}

    # Maps and functions

    def add_map(self, spec: MapSpec) -> Map:
        """Create a map that programs can refer to by name or address."""
        created = create_map(spec, self.memory, self.ncpu)
        self.maps[spec.name] = self._map_at[created.addr] = created
        return created

    def map_at(self, addr: int) -> Map:
        """The map whose address a program passed to a helper."""
        if (known := self._map_at.get(addr)) is not None:
            return known
        region = self.memory.region_at(addr)
        if region is not None and isinstance(region.owner, Map) and addr == region.base:
            return region.owner
        raise HelperError(f"{self.memory.describe(addr)} is not the address of a map")

    def function_address(self, function: Callable[..., int], name: str) -> int:
        """An address for a callback, by which `call_function` finds it. The same function has one address."""
        if function not in self._functions:
            self._functions[function] = self.memory.alloc_handle(f"function {name}", function)
        return self._functions[function].base

    def call_function(self, addr: int, *args: int) -> int:
        """Call the callback at `addr` with up to five arguments; its result is unsigned 64 bits."""
        region = self.memory.region_at(addr)
        if region is None or not callable(region.owner):
            raise HelperError(f"{self.memory.describe(addr)} is not the address of a function")
        result: int = region.owner(*args)
        return result

    def stack(self, depth: int) -> Region:
        """The 512 bytes of the frame at `depth` (0 is the program's own); r10 is `base + 512`."""
        while len(self._stacks) <= depth:
            self._stacks.append(self.memory.alloc(STACK_SIZE, f"stack of frame {len(self._stacks)}"))
        return self._stacks[depth]

    def tail_call(self, map_addr: int, index: int) -> str | None:
        """The program to continue in, or None when the tail call fails and the caller goes on."""
        array = self.map_at(map_addr)
        if not isinstance(array, ProgArrayMap):
            raise HelperError(f"tail_call: map {array.name} is not a prog_array")
        index &= 0xFFFFFFFF
        if index >= array.max_entries or self.tail_calls >= MAX_TAIL_CALLS:
            return None
        self.tail_calls += 1
        return array.program(index)

    # One packet

    def begin_packet(
        self,
        packet: bytes,
        *,
        metadata: bytes = b"",
        ifindex: int = 1,
        queue: int = 0,
        clock_ns: int | None = None,
    ) -> int:
        """Get ready to run a program on a packet; returns its context address.

        `clock_ns` is what bpf_ktime_get_ns gives meanwhile; without it the clock stands still. Timers of map
        values that are due by then run first.
        """
        if clock_ns is not None:
            self.clock_ns = clock_ns
        if self.timers:
            from fsir.interp.helper_timer import fire_timers

            fire_timers(self)
        self.packet.load(packet, metadata)
        self.redirect = None
        self.tail_calls = 0
        self.helper_calls.clear()
        self.clones.clear()
        for region in self._stacks:
            region.buf[:] = _EMPTY_STACK
        if self.hook == "xdp":
            self.xdp.ingress_ifindex = ifindex
            self.xdp.rx_queue_index = queue
        else:
            self._begin_skb(packet, ifindex, queue)
        return self.ctx_addr

    def _begin_skb(self, packet: bytes, ifindex: int, queue: int) -> None:
        skb = self.skb
        skb.reset()
        skb.set("ifindex", ifindex)
        skb.set("ingress_ifindex", ifindex)
        skb.set("queue_mapping", queue)
        skb.set("protocol", skb_protocol(packet[12:14], packet[14:16]))
        skb.set("wire_len", len(packet))
        interface = self.fib.interfaces.get(ifindex)
        skb.set("pkt_type", _packet_type(packet, interface.mac if interface is not None else bytes(6)))

    def end_packet(self) -> None:
        """Release what lived for one packet. HelperError if the program left a lock or a reservation open."""
        self.memory.release_retired()
        if self.held_lock is not None:
            lock, self.held_lock = self.held_lock, None
            raise HelperError(f"program ended with the spin lock at {self.memory.describe(lock)} held")
        for owner in self.maps.values():
            if getattr(owner, "open_reservations", 0):
                raise HelperError(f"program ended with an open reservation in ring buffer {owner.name}")


_EMPTY_STACK = bytes(STACK_SIZE)
_PACKET_HOST, _PACKET_BROADCAST, _PACKET_MULTICAST, _PACKET_OTHERHOST = range(4)


def _packet_type(packet: bytes, mac: bytes) -> int:
    """What eth_type_trans makes of the destination address, on an interface with the address `mac`."""
    destination = packet[:6]
    if destination == mac:
        return _PACKET_HOST
    if destination == b"\xff" * 6:
        return _PACKET_BROADCAST
    return _PACKET_MULTICAST if destination[0] & 1 else _PACKET_OTHERHOST
