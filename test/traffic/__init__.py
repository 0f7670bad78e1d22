"""Deterministic traffic for the examples, and mutated traffic for any program.

    generate("router", 2000, seed=1)       packets that reach every branch of examples/router from 2,000 on
    maps("router")                          the content of examples/router/maps.json, which they go with
    settings("router")                      contents of global data that open the branches closed by default
    pcap("router")                          the content of examples/router/router.pcap
    fuzz_packets(packets, 5000, seed=1)     mutations of any packets

`PYTHONPATH=test python -m traffic` writes the examples' pcap and maps.json files.
"""

import io
import random
from collections.abc import Callable, Sequence

import dpkt  # type: ignore[import-untyped]

from traffic import (
    cheetah,
    firewall,
    ipv6_filter,
    kv_cache,
    maglev,
    policer,
    router,
    scanner,
    snat,
    tc_marker,
    vlan_router,
    vxlan_gateway,
)
from traffic.cases import Case, mix
from traffic.fuzz import fuzz_packets
from traffic.tables import Maps
from traffic.tc_marker import runnable

__all__ = ["NAMES", "fuzz_packets", "generate", "maps", "pcap", "program", "runnable", "settings"]

Cases = Callable[[], Sequence[Case]]
Sweep = Callable[[random.Random], list[bytes]]

# The firewall's cases remember the flows that they opened, so each run has its own.
_TRAFFIC: dict[str, tuple[Cases, Sweep]] = {
    "router": (lambda: router.CASES, router.sweep),
    "firewall": (firewall.cases, firewall.sweep),
    "maglev": (lambda: maglev.CASES, maglev.sweep),
    "scanner": (lambda: scanner.CASES, scanner.sweep),
    "kv-cache": (lambda: kv_cache.CASES, kv_cache.sweep),
    "ipv6-filter": (lambda: ipv6_filter.CASES, ipv6_filter.sweep),
    "vxlan-gateway": (lambda: vxlan_gateway.CASES, vxlan_gateway.sweep),
    "tc-marker": (lambda: tc_marker.CASES, tc_marker.sweep),
    "cheetah": (cheetah.cases, cheetah.sweep),
    "snat": (snat.cases, snat.sweep),
    "vlan-router": (lambda: vlan_router.CASES, vlan_router.sweep),
    "policer": (lambda: policer.CASES, policer.sweep),
}
_MAPS: dict[str, Callable[[], Maps]] = {
    "router": router.maps,
    "firewall": firewall.maps,
    "maglev": maglev.maps,
    "scanner": scanner.maps,
    "kv-cache": kv_cache.maps,
    "ipv6-filter": ipv6_filter.maps,
    "vxlan-gateway": vxlan_gateway.maps,
    "tc-marker": tc_marker.maps,
    "cheetah": cheetah.maps,
    "snat": snat.maps,
    "vlan-router": vlan_router.maps,
    "policer": policer.maps,
}
_SETTINGS: dict[str, Callable[[], list[Maps]]] = {
    "firewall": firewall.settings,
    "maglev": maglev.settings,
    "kv-cache": kv_cache.settings,
    "ipv6-filter": ipv6_filter.settings,
    "vxlan-gateway": vxlan_gateway.settings,
    "tc-marker": tc_marker.settings,
    "snat": snat.settings,
    "vlan-router": vlan_router.settings,
    "policer": policer.settings,
}
_PROGRAMS = {"kv-cache": "kv_cache"}
NAMES = tuple(_TRAFFIC)

PCAP_PACKETS = 60
PCAP_SEED = 7
FIRST_TIME = 1_700_000_000
INTERVAL = 0.0001


def generate(name: str, count: int, seed: int) -> list[bytes]:
    """`count` frames of 14 to 1514 bytes for the example; their order matters; equal for equal arguments."""
    cases, sweep = _TRAFFIC[name]
    return mix(cases(), sweep, count, random.Random(f"{name} {seed}"))


def maps(name: str) -> Maps:
    """The tables that the example starts with, in the format of maps.json."""
    return _MAPS[name]()


def program(name: str) -> str | None:
    """The program of the example that packets come to, None where there is only one."""
    return _PROGRAMS.get(name)


def settings(name: str) -> list[Maps]:
    """Contents of global data, by section, each to be tried with `maps`: they open what the defaults close."""
    return _SETTINGS[name]() if name in _SETTINGS else []


def pcap(name: str) -> bytes:
    """A small capture of the example's traffic: the bytes of a pcap file, a packet every 100 microseconds."""
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file)
    for index, frame in enumerate(generate(name, PCAP_PACKETS, PCAP_SEED)):
        writer.writepkt(frame, FIRST_TIME + index * INTERVAL)
    return file.getvalue()
