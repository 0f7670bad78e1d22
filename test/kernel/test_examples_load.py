"""The examples in the kernel: all load but the scanner, which is refused for its loop; verdicts and counters."""

import struct
from pathlib import Path
from typing import Any

import pytest
import traffic

from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ABORTED, DROP, PASS, TX, REDIRECT = range(5)


def example(name: str) -> bytes:
    return (EXAMPLES / name / f"{name}.o").read_bytes()


def run(name: str, settings: dict[str, Any]) -> tuple[set[int], dict[str, Any]]:
    """The verdicts and the map contents after 2,000 packets."""
    with KernelProgram(example(name), maps=traffic.maps(name) | settings) as program:
        verdicts = {outcome.verdict for outcome in program.run_all(traffic.generate(name, 2000, seed=1))}
        return verdicts, program.dump_maps()


def keys(entries: list[dict[str, Any]]) -> list[int]:
    return [struct.unpack("<I", bytes.fromhex(entry["key"]))[0] for entry in entries]


@pytest.mark.parametrize("name", [name for name in traffic.NAMES if name != "scanner"])
def test_each_loads(name: str) -> None:
    with KernelProgram(example(name), traffic.program(name), maps=traffic.maps(name)) as program:
        assert program.name


def test_router_takes_every_verdict_and_counts_every_case() -> None:
    verdicts, maps = run("router", {})
    assert verdicts == {DROP, PASS, TX, REDIRECT}
    assert keys(maps["stats"]) == list(range(8))


def test_firewall_counts_every_case() -> None:
    verdicts, maps = run("firewall", {})
    counted = set(keys(maps["counters"]))
    assert verdicts == {DROP, PASS}
    assert len(maps["flows"]) == 1024
    for settings in traffic.settings("firewall"):
        counted |= set(keys(run("firewall", settings)[1]["counters"]))
    assert counted == set(range(15))


def test_maglev_balances_pins_and_encapsulates() -> None:
    verdicts, maps = run("maglev", {})
    assert verdicts == {ABORTED, DROP, PASS, TX}
    assert keys(maps["stats"]) == list(range(6))
    assert len(maps["connections"]) > 500
    (draining,) = traffic.settings("maglev")
    assert len(run("maglev", draining)[1]["connections"]) == len(traffic.maps("maglev")["connections"])


def test_scanner_is_refused_for_its_loop() -> None:
    with pytest.raises(KernelError) as refusal:
        KernelProgram(example("scanner"))
    assert "too complex" in refusal.value.log or "too large" in refusal.value.log
    assert "while ((void *)(p + 1) <= data_end)" in refusal.value.log
