"""The key-value cache, the IPv6 filter, the VXLAN gateway and the tc marker in the kernel: their traffic takes every
verdict and counter, and leaves the maps that it should."""

import struct
from pathlib import Path
from typing import Any

import traffic

from fsir.kernel.engine import KernelProgram

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DROP, PASS, TX, REDIRECT = range(1, 5)
TC_OK, TC_SHOT, TC_REDIRECT = 0, 2, 7


def run(name: str, settings: dict[str, Any]) -> tuple[set[int], dict[str, Any]]:
    """The verdicts and the map contents after 2,000 packets."""
    elf = (EXAMPLES / name / f"{name}.o").read_bytes()
    with KernelProgram(elf, traffic.program(name), maps=traffic.maps(name) | settings) as program:
        verdicts = {outcome.verdict for outcome in program.run_all(traffic.generate(name, 2000, seed=1))}
        return verdicts, program.dump_maps()


def counted(maps: dict[str, Any]) -> set[int]:
    return {struct.unpack("<I", bytes.fromhex(entry["key"]))[0] for entry in maps["stats"]}


def test_kv_cache_answers_and_invalidates() -> None:
    verdicts, maps = run("kv-cache", {})
    assert verdicts == {PASS, TX}
    assert counted(maps) == set(range(8)), "all but the reply that finds no room"
    assert len(maps["cache"]) < len(traffic.maps("kv-cache")["cache"])
    (off,) = traffic.settings("kv-cache")
    verdicts, maps = run("kv-cache", off)
    assert verdicts == {PASS}
    assert not counted(maps)


def test_ipv6_filter_counts_every_case() -> None:
    verdicts, maps = run("ipv6-filter", {})
    assert verdicts == {DROP, PASS}
    assert maps[".bss"] == [{"key": "00000000", "value": "07000000"}], "the longest chain leaves room for the transport"
    (other,) = traffic.settings("ipv6-filter")
    assert counted(maps) | counted(run("ipv6-filter", other)[1]) == set(range(16))


def test_vxlan_gateway_counts_every_case_and_learns() -> None:
    verdicts, maps = run("vxlan-gateway", {})
    assert verdicts == {DROP, PASS, REDIRECT}
    assert counted(maps) == set(range(12))
    known = traffic.maps("vxlan-gateway")["stations"]
    assert len(maps["stations"]) > len(known) + 50
    (silent,) = traffic.settings("vxlan-gateway")
    assert len(run("vxlan-gateway", silent)[1]["stations"]) == len(known)


def test_tc_marker_uses_every_class() -> None:
    verdicts, maps = run("tc-marker", {})
    assert verdicts == {TC_OK, TC_SHOT, TC_REDIRECT}
    assert counted(maps) == set(range(9))
    (lenient,) = traffic.settings("tc-marker")
    assert run("tc-marker", lenient)[0] == {TC_OK, TC_REDIRECT}
