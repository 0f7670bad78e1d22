"""The order of packets on an interface: what is handled at once waits for what is on its way to user space.

The user part is stopped while packets come, so that all that are handed over are in flight until the last one is sent.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import dpkt  # type: ignore[import-untyped]
import pytest
from test_live_deploy import Wire, live

from fsir.backends.af_xdp.inprocess import compiler
from fsir.driver.clang import compile_c
from fsir.driver.cli import main as fs_opt
from fsir.interp.engine import InterpProgram
from fsir.kernel.interfaces import Namespace, veth_pair
from fsir.kernel.live import Capture, send
from fsir.kernel.uapi import XdpVerdict
from fsir.object.importer import import_object
from fsir.run.cli import main as fs_run

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

SOURCES = Path(__file__).resolve().parents[1] / "programs" / "order"
COUNT = 1200
"""Fewer than a socket holds."""
SLOW, FAST = 1, 0


def frame(rng: random.Random, flow: int, kind: int) -> bytes:
    """A frame of the test programs; those of kind SLOW have to be handed over."""
    head = flow.to_bytes(4, "little") + bytes(8) + b"\x88\xb5"
    return head + bytes([rng.randrange(256), kind]) + bytes(rng.randrange(1, 256) for _ in range(60))


@pytest.fixture
def wire() -> Any:
    with Namespace() as near, Namespace() as far:
        yield veth_pair(near, "near", far, "far")


def bundle_of(name: str, folder: Path, order: str = "keep") -> Path:
    bundle = folder / "bundle"
    passes = f"raise,optimize,decompose{{objective=cpu order={order}}},share-maps,lower"
    assert fs_opt([str(SOURCES / f"{name}.c"), "-p", passes, "-t", "bundle", "-o", str(bundle), "--quiet"]) == 0
    return bundle


def command(bundle: Path) -> list[str]:
    return [sys.executable, "-m", "fsir.tools.fs_run", str(bundle), "--live", "far", "--json"]


class Expected:
    """What the interpreter says of the source."""

    def __init__(self, name: str, frames: list[bytes]) -> None:
        program = InterpProgram(import_object(compile_c(SOURCES / f"{name}.c"), f"{name}.o"))
        outcomes = [program.run(each, ifindex=2) for each in frames]
        self.passed = [o.data for o in outcomes if o.verdict == XdpVerdict.PASS]
        self.maps = program.dump_maps()


def burst(bundle: Path, wire: Wire, frames: list[bytes], passed: int) -> tuple[list[bytes], Any]:
    """All frames while the user part is stopped: those that pass when it goes on, and what `fs-run` says at the end."""
    near, far = wire
    with live(far, command(bundle)) as run, Capture(far) as up:
        part = run.user_part()
        os.kill(part, signal.SIGSTOP)
        send(near, frames)
        os.kill(part, signal.SIGCONT)
        return up.take(passed), run.end()


def totals(entries: Any) -> dict[str, int]:
    """The sums of a map with a value per CPU."""
    return {e["key"]: sum(int.from_bytes(bytes.fromhex(v), "little") for v in e["values"]) for e in entries}


@pytest.mark.parametrize("name", ["sequence", "turns"])
def test_no_packet_overtakes(name: str, tmp_path: Path, wire: Wire) -> None:
    rng = random.Random(1)
    frames = [frame(rng, 0, FAST if n < 100 or n % 5 else SLOW) for n in range(COUNT)]
    expected = Expected(name, frames)
    passed, document = burst(bundle_of(name, tmp_path), wire, frames, len(expected.passed))
    assert Counter(passed) == Counter(expected.passed)
    assert document["user"]["received"] == COUNT - 100  # from the first that was handed over on
    for map_name, content in expected.maps.items():
        if content and "values" in content[0]:
            assert totals(document["maps"][map_name]) == totals(content)
        elif not map_name.startswith("."):
            assert document["maps"][map_name] == content


def test_without_the_gates_they_do(tmp_path: Path, wire: Wire) -> None:
    """What the others test can be seen by them."""
    rng = random.Random(1)
    frames = [frame(rng, 0, FAST if n < 100 or n % 5 else SLOW) for n in range(COUNT)]
    expected = Expected("sequence", frames)
    _, document = burst(bundle_of("sequence", tmp_path, "relaxed"), wire, frames, 0)
    assert document["user"]["received"] == document["user"]["resume_1"] == 220
    assert document["maps"]["state"] != expected.maps["state"]


def test_an_order_that_cannot_be_kept_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """User space cannot do all of a packet. Asked for, the program runs all the same."""
    text = (SOURCES / "turns.c").read_text()
    (tmp_path / "time.c").write_text(text.replace("which = data[14];", "which = bpf_jiffies64() & data[14];"))
    passes = "raise,optimize,decompose{{objective=cpu order={}}},share-maps,lower"
    for order, interface, message in (
        ("keep", "lo", "error: the order of packets, which matters, cannot be kept: "),
        ("relaxed", "nowhere", "error: --live: there is no interface nowhere"),
    ):
        bundle = str(tmp_path / order)
        made = fs_opt([str(tmp_path / "time.c"), "-p", passes.format(order), "-t", "bundle", "-o", bundle, "--quiet"])
        assert made == 0
        status = fs_run([bundle, "--live", interface])
        said = capsys.readouterr().err
        assert status == 1
        assert message in said
        assert ("time.c:" in said and "bpf_jiffies64" in said) == (order == "keep")


def test_turns_are_taken_on_one_queue(tmp_path: Path, wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    """Packets of another one would not wait while user space works on copies."""
    near, far = wire
    veth_pair(far.namespace, "wide", near.namespace, "peer", queues=2)
    bundle = bundle_of("turns", tmp_path)
    for interfaces, needed in ((["wide"], "one queue: ethtool -L wide combined 1"), (["far", "wide"], "one interface")):
        with far.namespace.entered():
            assert fs_run([str(bundle), "--live", *interfaces]) == 1
        said = capfd.readouterr().err
        assert "take turns with maps of this program" in said
        assert f"that all packets come by {needed}" in said


def test_other_flows_do_not_wait(tmp_path: Path, wire: Wire) -> None:
    rng = random.Random(2)
    flows = [rng.randrange(12) for _ in range(COUNT)]  # whose hashes differ
    frames = [frame(rng, flow, SLOW if flow < 6 and n % 3 == 0 else FAST) for n, flow in enumerate(flows)]
    expected = Expected("flows", frames)
    passed, document = burst(bundle_of("flows", tmp_path), wire, frames, len(expected.passed))
    assert Counter(passed) == Counter(expected.passed)
    assert document["maps"]["flows"] == expected.maps["flows"]
    slow, behind = set[bytes](), 0
    for each in frames:
        slow |= {each[:4]} if each[15] & 1 else set()
        behind += each[:4] in slow
    assert document["user"]["received"] == behind < COUNT


def test_a_user_part_that_dies_takes_what_is_in_flight_along(tmp_path: Path, wire: Wire) -> None:
    """Nobody waits for that when the next one has taken over."""
    near, far = wire
    rng = random.Random(3)
    bundle = bundle_of("sequence", tmp_path)
    lost = [frame(rng, 0, SLOW) for _ in range(10)]
    frames = [frame(rng, 0, FAST) for _ in range(100)]
    expected = Expected("sequence", frames)
    with live(far, command(bundle)) as run, Capture(far) as up:
        part = run.user_part()
        os.kill(part, signal.SIGSTOP)
        send(near, lost)
        os.kill(part, signal.SIGKILL)
        run.wait_for("a new one has taken over")
        send(near, frames)
        assert up.take(len(expected.passed)) == expected.passed  # in their order, as none leaves the kernel
        document = run.end()
    assert document["restarts"] == 1
    assert document["user"]["received"] == 0
    assert document["kernel"]["packets"] == 110
    assert document["maps"]["state"] == expected.maps["state"]


@pytest.mark.parametrize("name", ["aging", "keyless"])
def test_maps_in_user_space(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an LRU evicts follows from what was looked up, a CPU's value is that CPU's; and maps without keys."""
    rng = random.Random(5)
    with (tmp_path / "in.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for number in range(500):  # some keys often, and more of them than there is room for
            key = rng.choice([rng.randrange(100), rng.randrange(10)])
            writer.writepkt(frame(rng, 0, SLOW)[:14] + bytes([key]) + bytes([1] * 45), 1.7e9 + number * 1e-4)
    compare = ["--compare", str(bundle_of(name, tmp_path)), "--compare-engine", "live"]
    assert fs_run([str(SOURCES / f"{name}.c"), "--pcap", str(tmp_path / "in.pcap"), *compare]) == 0
    assert capsys.readouterr().out.startswith("equal: 500 packets and 4 maps")
