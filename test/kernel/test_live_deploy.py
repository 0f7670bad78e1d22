"""`fs-run IN --live IFACE…`: a bundle at work on interfaces, and how that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import traffic

from fsir.backends.af_xdp.inprocess import compiler
from fsir.driver.cli import main as fs_opt
from fsir.interp.engine import InterpProgram
from fsir.kernel import syscalls
from fsir.kernel.interfaces import Interface, Namespace, ip, veth_pair
from fsir.kernel.live import Capture, linked, send
from fsir.kernel.tiny import verdict_program
from fsir.kernel.uapi import XdpVerdict
from fsir.object.importer import import_object
from fsir.run.cli import main

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

Wire = tuple[Interface, Interface]
CompileC = Callable[..., bytes]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SLICE = 64


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split; packets that cannot be handed over pass."""
    folder = tmp_path_factory.mktemp("scanner")
    pipeline = "raise,decompose{targets=xdp,af-xdp on-failure=pass},share-maps,lower"
    source = str(EXAMPLES / "scanner" / "scanner.o")
    assert fs_opt([source, "-p", pipeline, "-t", "bundle", "-o", str(folder / "bundle"), "--quiet"]) == 0
    (folder / "maps.json").write_text(json.dumps(traffic.maps("scanner")))
    return folder


@pytest.fixture
def wide() -> Iterator[Wire]:
    """A veth pair with several queues."""
    with Namespace() as near, Namespace() as far:
        yield veth_pair(near, "near", far, "far", queues=3)


def command(scanner: Path, *arguments: str) -> list[str]:
    words = [str(scanner / "bundle"), "--maps", str(scanner / "maps.json"), *arguments]
    return [sys.executable, "-m", "fsir.tools.fs_run", *words]


class Live:
    """`fs-run --live`, as a user runs it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.wait_for("live: ")

    def wait_for(self, words: str) -> None:
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if words in line:
                return
        raise AssertionError(said)

    def user_part(self) -> int:
        """The process number of the user part."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def end(self, how: signal.Signals = signal.SIGINT) -> Any:
        self.process.send_signal(how)
        output, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        return json.loads(output)


@contextmanager
def live(end: Interface, words: list[str]) -> Iterator[Live]:
    with end.namespace.entered():
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield Live(process)
        finally:
            process.kill()


def program_on(end: Interface) -> bool:
    with end.namespace.entered():
        return "prog/xdp" in ip("link", "show", end.name)


def gone(pid: int) -> bool:
    """Whether a process ends, within the time that a loaded machine takes."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def exchange(near: Interface, far: Interface, sent: list[bytes], passed: list[bytes | None]) -> None:
    with Capture(far) as up:
        for start in range(0, len(sent), SLICE):
            send(near, sent[start : start + SLICE])
            expected = [data for data in passed[start : start + SLICE] if data is not None]
            assert sorted(up.take(len(expected))) == sorted(expected)
        assert up.pending() == []


@pytest.mark.parametrize(("how", "killed"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_from_start_to_end(how: signal.Signals, killed: bool, scanner: Path, wide: Wire) -> None:
    """What comes out is what the interpreter says, the maps too. A user part that is killed is replaced; it takes along
    what it had not finished, and what it had not told of its counters."""
    near, far = wide
    module = import_object((EXAMPLES / "scanner" / "scanner.o").read_bytes(), "scanner.o")
    reference = InterpProgram(module, maps=traffic.maps("scanner"))
    sent = traffic.generate("scanner", 600, seed=5)
    outcomes = [reference.run(packet, ifindex=far.ifindex) for packet in sent]
    passed = [o.data if o.verdict == XdpVerdict.PASS else None for o in outcomes]
    with live(far, command(scanner, "--live", "far", "--json")) as run:
        assert program_on(far)
        exchange(near, far, sent[:300], passed[:300])
        if killed:
            os.kill(run.user_part(), signal.SIGKILL)
            run.wait_for("the user part was killed by SIGKILL")
            run.wait_for("a new one has taken over")
        exchange(near, far, sent[300:], passed[300:])
        document = run.end(how)
    assert not program_on(far)
    assert document["restarts"] == killed
    assert document["kernel"]["packets"] == len(sent) and document["kernel"]["nanoseconds"] > 0
    user = document["user"]
    assert 0 < user["received"] < len(sent)
    if killed:
        return
    assert user["received"] == user["passed"] + user["dropped"] == user["resume_1"]
    assert document["paths"]["xdp: ended there"] == len(sent) - user["received"]
    expected = reference.dump_maps()
    assert {name: document["maps"][name] for name in expected} == expected


def test_while_there_is_no_user_part(scanner: Path, wire: Wire) -> None:
    """Stopped by its debugger, say, and then killed: what cannot be handed over gets the verdict chosen for that."""
    near, far = wire
    with live(far, command(scanner, "--live", "far", "--json")) as run:
        user = run.user_part()
        run.process.send_signal(signal.SIGSTOP)  # nobody to start a new one
        os.kill(user, signal.SIGKILL)
        assert gone(user)
        sent = traffic.generate("scanner", 200, seed=6)
        with Capture(far) as up:
            for start in range(0, len(sent), SLICE):
                send(near, sent[start : start + SLICE])
            arrived = up.pending()
        run.process.send_signal(signal.SIGCONT)
        run.wait_for("a new one has taken over")
        document = run.end()
    assert document["user"]["received"] == 0
    assert document["kernel"]["packets"] == len(sent)
    module = import_object((EXAMPLES / "scanner" / "scanner.o").read_bytes(), "scanner.o")
    reference = InterpProgram(module, maps=traffic.maps("scanner"))
    passing = sum(reference.run(packet).verdict == XdpVerdict.PASS for packet in sent)
    assert len(arrived) > passing


def test_a_killed_run_leaves_nothing(
    scanner: Path, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with live(wire[1], command(scanner, "--live", "far", "--json")) as run:
        user = run.user_part()
        run.process.kill()
        run.process.wait()
        assert gone(user)
        assert not program_on(wire[1])
    assert list(tmp_path.iterdir()) == []


def test_several_interfaces_and_an_end_by_time(scanner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Namespace() as outside, Namespace() as inside:
        ends = [veth_pair(outside, f"near{n}", inside, f"far{n}", queues=2)[1] for n in range(2)]
        arguments = [str(scanner / "bundle"), "--live", "far0", "far1", "--seconds", "0.5"]
        with inside.entered():
            assert main(arguments) == 0
        assert not any(program_on(end) for end in ends)
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["part", "runs", "on", "packets", "ns", "each"]
    assert any("resume point 1" in line for line in said)


def test_an_object_that_is_not_split(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    with wire[1].namespace.entered():
        assert main([str(EXAMPLES / "firewall" / "firewall.o"), "--live", "far", "--seconds", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["user"] is None
    assert not program_on(wire[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--live", "nowhere"], "--live: there is no interface nowhere"),
        (["--live", "far", "--queues", "9"], "far, queue 1: Invalid argument (is there such a queue?)"),
        (["--live", "far", "--user-options", "what"], "'what' is not understood"),
        (
            ["--live", "lo"],
            "cannot attach to lo: Operation not supported; its driver has no XDP; generic mode (--generic)",
        ),
        (["--live", "far", "--hex", "00" * 60], "--hex: with --live, packets come from the interfaces"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], message: str, scanner: Path, wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    with wire[1].namespace.entered():
        assert main([str(scanner / "bundle"), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    assert f"{scanner / 'bundle'}: error: " in captured.err and message in captured.err
    assert not program_on(wire[1])
    assert not Path("/proc/thread-self/children").read_text().split()


def test_an_interface_that_is_down(scanner: Path, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    with wire[1].namespace.entered():
        ip("link", "set", "far", "down")
        assert main([str(scanner / "bundle"), "--live", "far"]) == 1
    assert "the interface far is down: ip link set dev far up" in capsys.readouterr().err


@pytest.mark.parametrize("is_split", [False, True])
def test_an_interface_that_goes(is_split: bool, scanner: Path, wire: Wire) -> None:
    words = command(scanner, "--live", "far")
    if not is_split:
        words = [*words[:3], str(EXAMPLES / "firewall" / "firewall.o"), "--live", "far"]
    with live(wire[1], words) as run:
        with wire[1].namespace.entered():
            ip("link", "del", "far")
        output, errors = run.process.communicate(timeout=60)
    assert run.process.returncode == 1 and output == ""
    assert ": error: the interface far has gone\n" in errors and "Traceback" not in errors


def test_an_interface_with_too_large_packets(capsys: pytest.CaptureFixture[str]) -> None:
    with Namespace() as near, Namespace() as far:
        _, end = veth_pair(near, "near", far, "far", mtu=3600)
        with far.entered():
            assert main([str(EXAMPLES / "firewall" / "firewall.o"), "--live", "far", "--seconds", "0"]) == 1
        assert not program_on(end)
    assert "the MTU is too large for XDP" in capsys.readouterr().err


def test_an_interface_that_has_a_program(scanner: Path, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    prog_fd, _ = syscalls.prog_load(verdict_program(XdpVerdict.PASS), name="other")
    with linked(wire[1], prog_fd), wire[1].namespace.entered():
        assert main([str(scanner / "bundle"), "--live", "far"]) == 1
        assert program_on(wire[1])
    os.close(prog_fd)
    said = capsys.readouterr().err
    assert "cannot attach to far: Device or resource busy" in said
    assert "another XDP program is there: ip link set dev far xdp off removes it" in said


def test_without_permission(scanner: Path, wire: Wire) -> None:
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command(scanner, "--live", "far")]
    with wire[1].namespace.entered():
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "needs CAP_BPF and CAP_NET_ADMIN; run as root" in done.stderr
    assert not program_on(wire[1])
