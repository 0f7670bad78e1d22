"""`fs-run --engine live`: what artifacts do on a real interface is what the interpreter says."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import product
from pathlib import Path
from typing import Any

import dpkt  # type: ignore[import-untyped]
import pytest
import traffic

from fsir.backends.af_xdp.inprocess import compiler
from fsir.backends.af_xdp.live import Running, build
from fsir.driver.cli import main as fs_opt
from fsir.interp.packet_io import Packet
from fsir.kernel import syscalls
from fsir.kernel.interfaces import Interface, ip
from fsir.kernel.live import Capture, attached, send
from fsir.kernel.tiny import verdict_program
from fsir.kernel.uapi import XdpVerdict
from fsir.run.cli import main
from fsir.run.engines import Settings, Subject, open_engine
from fsir.run.live_trace import ROOM
from fsir.run.live_wire import NAME, Wire

CompileC = Callable[..., bytes]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COUNT = 600
KERNEL, SPLIT, USER = "xdp", "xdp,af-xdp", "af-xdp"
NIC, ALL = "p4-v1model,xdp", "p4-v1model,xdp,af-xdp"


def example(name: str) -> Path:
    return EXAMPLES / name / f"{name}.o"


def write_pcap(path: Path, frames: list[bytes]) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for index, frame in enumerate(frames):
            writer.writepkt(frame, 1_700_000_000 + index * 0.0001)
    return path


def world(name: str, folder: Path, count: int = COUNT) -> list[str]:
    """Traffic and tables of an example. What the router redirects leaves by interfaces that can transmit."""
    maps: dict[str, Any] = traffic.maps(name)
    for entry in maps.get("tx_ports", ()):
        entry["ifindex"] = int.from_bytes(bytes.fromhex(entry["key"]), "little") + 10
    (folder / "maps.json").write_text(json.dumps(maps))
    pcap = write_pcap(folder / "in.pcap", traffic.generate(name, count, seed=21))
    return ["--pcap", str(pcap), "--maps", str(folder / "maps.json")]


def bundle(name: str, targets: str, folder: Path) -> Path:
    if "af-xdp" in targets and compiler() is None:
        pytest.skip("no C compiler")
    output = folder / "bundle"
    pipeline = f"raise,decompose{{targets={targets}}},share-maps,lower"
    assert fs_opt([str(example(name)), "-p", pipeline, "-t", "bundle", "-o", str(output), "--quiet"]) == 0
    return output


def nothing_left() -> bool:
    """No interface of ours in this namespace, and no process that this one has started."""
    return NAME not in ip("link", "show") and not Path("/proc/thread-self/children").read_text().split()


@pytest.mark.parametrize("name", ["router", "firewall", "maglev"])
def test_plain_objects(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(example(name)), *world(name, tmp_path), "--compare-engine", "live"]) == 0
    assert capsys.readouterr().out.startswith(f"equal: {COUNT} packets")
    assert nothing_left()


@pytest.mark.parametrize(
    ("name", "targets", "parts"),
    [
        ("scanner", SPLIT, {"af_xdp.c", "xdp.o"}),
        ("firewall", SPLIT, {"af_xdp.c", "xdp.o"}),
        ("router", KERNEL, {"xdp.o"}),
        ("scanner", USER, {"af_xdp.c"}),
        ("firewall", USER, {"af_xdp.c"}),
        ("router", USER, {"af_xdp.c"}),
        ("firewall", NIC, {"nic.p4", "xdp.o"}),
        ("scanner", ALL, {"nic.p4", "af_xdp.c", "xdp.o"}),
    ],
)
def test_bundles(name: str, targets: str, parts: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts, frames, targets and maps, whichever parts do the work."""
    directory = bundle(name, targets, tmp_path)
    assert parts == {file.name for file in directory.iterdir()} & {"nic.p4", "xdp.o", "af_xdp.c"}
    arguments = world(name, tmp_path)
    assert main([str(example(name)), *arguments, "--compare", str(directory), "--compare-engine", "live"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"equal: {COUNT} packets")
    assert all(shared in said for shared in json.loads((tmp_path / "maps.json").read_text()))
    assert nothing_left()


GLOBALS = """
volatile __u64 seen, deep, armed;
__u32 step = 3;
SEC("xdp") int globals(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *at;
    __u32 sum = 0;
    if (data + 16 > end) return XDP_DROP;
    seen += 1;
    if (data[14] == 1) return deep ? XDP_PASS : XDP_DROP;
    if (data[14] == 2) { armed = data[15]; return XDP_DROP; }
    for (at = data + 15; at + 1 <= end && *at; at += 1)
        sum += *at * step;
    deep += sum;
    return armed ? XDP_DROP : XDP_PASS;
}
"""
"""The kernel's part cannot have the loop. Both sides write to what the other reads."""


def split_globals(compile_c: CompileC, tmp_path: Path) -> tuple[Path, Path]:
    if compiler() is None:
        pytest.skip("no C compiler")
    program, output = tmp_path / "globals.o", tmp_path / "bundle"
    program.write_bytes(compile_c(GLOBALS))
    pipeline = "raise,decompose{targets=xdp,af-xdp},share-maps,lower"
    assert fs_opt([str(program), "-p", pipeline, "-t", "bundle", "-o", str(output), "--quiet"]) == 0
    return program, output


def kind(number: int, argument: int = 7) -> bytes:
    return bytes.fromhex("020000000001 020000000002 88b5") + bytes([number, argument]) + bytes(50)


def test_global_data_that_both_parts_write(
    compile_c: CompileC, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, output = split_globals(compile_c, tmp_path)
    sent = [word for n in (1, 0, 1, 2, 0, 1) for word in ("--hex", kind(n).hex())]
    assert main([str(program), *sent, "--compare", str(output), "--compare-engine", "live"]) == 0
    assert "6 packets and 2 maps (.bss, .data)" in capsys.readouterr().out


def test_global_data_in_the_program_alone(
    compile_c: CompileC, tmp_path: Path, wire: tuple[Interface, Interface]
) -> None:
    """The part in user space loads the other one itself, without anything pinned."""
    near, far = wire
    _, output = split_globals(compile_c, tmp_path)
    binary = build((output / "af_xdp.c").read_bytes(), tmp_path / "af_xdp")
    with Running(binary, far, "-o", output / "xdp.o") as part, Capture(far) as up:
        send(near, [kind(1), kind(0)])
        assert up.take(1) == [kind(0)]
        send(near, [kind(1), kind(2), kind(0)])
        assert up.take(1) == [kind(1)]
        counters = part.stop()
        assert up.pending() == []
    assert (counters["received"], counters["passed"], counters["dropped"]) == (2, 1, 1)


def test_frames_and_targets_are_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcap"
    arguments = [*world("router", tmp_path), "--engine", "live", "--json", "--pcap-out", str(out)]
    assert main([str(example("router")), *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdicts"].keys() == {"XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"}
    left = [packet for packet in document["packets"] if packet["verdict_name"] != "XDP_DROP"]
    assert {len(packet["data"]) > 0 for packet in left} == {True}
    assert {p["data"] for p in document["packets"] if p["verdict_name"] == "XDP_DROP"} == {None}
    targets = {json.dumps(p["redirect"]) for p in left if p["verdict_name"] == "XDP_REDIRECT"}
    assert targets == {'{"map": "tx_ports", "key": 3}'}
    with out.open("rb") as file:
        assert [frame.hex() for _, frame in dpkt.pcap.Reader(file)] == [packet["data"] for packet in left]


ANY_VERDICT = """
struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 8); __type(key, __u32); __type(value, __u32); }
    ports SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_CPUMAP); __uint(max_entries, 8); __type(key, __u32); __type(value, __u32); }
    cpus SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_XSKMAP); __uint(max_entries, 8); __type(key, __u32); __type(value, __u32); }
    sockets SEC(".maps");
SEC("xdp") int any_verdict(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 19 > end) return XDP_DROP;
    __u32 argument = *(__u32 *)(data + 15);
    switch (data[14]) {
    case 1: return bpf_redirect(argument, 0);
    case 2: return bpf_redirect_map(&ports, argument, XDP_PASS);
    case 3: return bpf_redirect_map(&cpus, argument, 0);
    case 4: return bpf_redirect_map(&sockets, argument, 0);
    case 5: data[18] = 0xee; return XDP_TX;
    case 6: return bpf_xdp_adjust_head(ctx, 4) ? XDP_ABORTED : XDP_PASS;
    case 7: return ctx->ingress_ifindex == argument ? XDP_PASS : XDP_DROP;
    default: return argument;
    }
}
"""

CASES = {
    "aborted": (0, 0, 0, None, None),
    "drop": (0, 1, 1, None, None),
    "pass": (0, 2, 2, None, "same"),
    "tx": (0, 3, 3, None, "same"),
    "no verdict": (0, 77, 77, None, None),
    "negative": (0, 0xFFFFFFFF, 0xFFFFFFFF, None, None),
    "redirect to interface": (1, 6, 4, {"ifindex": 6}, "same"),
    "redirect back": (1, 5, 4, {"ifindex": 5}, "same"),
    "redirect to nowhere": (1, 99, 4, {"ifindex": 99}, None),
    "redirect by map": (2, 3, 4, {"map": "ports", "key": 3}, "same"),
    "no such entry": (2, 4, 2, None, "same"),
    "redirect to CPU": (3, 1, 4, {"map": "cpus", "key": 1}, "same"),
    "redirect to unbound socket": (4, 0, 4, {"map": "sockets", "key": 0}, None),
    "changed": (5, 0, 3, None, "changed"),
    "head cut": (6, 0, 2, None, "cut"),
    "interface": (7, 5, 2, None, "same"),
}
"""Kind and argument; verdict, target, and what the frame is then (None: nobody knows)."""


def test_each_verdict(compile_c: CompileC, tmp_path: Path) -> None:
    """Each case after each other, and with packets that pass in between."""
    program = tmp_path / "any.o"
    program.write_bytes(compile_c(ANY_VERDICT))
    maps: Any = {
        "ports": [{"key": "03000000", "ifindex": 6}],
        "cpus": [{"key": "01000000", "qsize": 64}],
        "sockets": [{"key": "00000000", "socket": 1}],
    }
    passing = bytes(12) + b"\x88\xb5\0" + struct.pack("<I", 2) + b"passing" * 9
    engine = open_engine("live", Subject(str(program)), Settings(ifindex=5, maps=maps))
    with closing(engine):
        for _, (name, case) in product(range(3), CASES.items()):
            kind, argument, verdict, redirect, data = case
            frame = passing[:14] + bytes([kind]) + struct.pack("<I", argument) + name.encode().ljust(60)
            outcomes = {
                "same": frame,
                "changed": frame[:18] + b"\xee" + frame[19:],
                "cut": frame[4:],
                None: None,
            }
            result = engine.run(0, Packet(frame, 0), 0)
            found = (result.verdict, result.to_json()["redirect"], result.data if result.bytes_known else None)
            assert found == (verdict, redirect, outcomes[data]), name
            between = engine.run(0, Packet(passing, 0), 0)
            assert (between.verdict, between.data) == (2, passing), name


def test_differences_are_found(compile_c: CompileC, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same program but for one byte that it writes."""
    paths = [tmp_path / "a.o", tmp_path / "b.o"]
    for path, value in zip(paths, ("0xee", "0xef"), strict=True):
        path.write_bytes(compile_c(ANY_VERDICT.replace("0xee", value)))
    frame = (bytes(12) + b"\x88\xb5\x05" + bytes(60)).hex()
    assert main([str(paths[0]), "--hex", frame, "--compare-engine", "live"]) == 0
    capsys.readouterr()
    assert main([str(paths[0]), "--hex", frame, "--compare", str(paths[1]), "--compare-engine", "live"]) == 1
    assert "packet 0: bytes from offset 18" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ifindex", "1"], "--ifindex 1 is the loopback"),
        (["--queue", "1"], "has one queue"),
        (["--extern", "CONFIG_HZ=100"], "--extern is for interpreters"),
        (["--prog-type", "sched_cls"], "--engine live runs XDP programs"),
        (["--map-size", "nothing=4"], "there is no map 'nothing'"),
        (["--hex", "00" * 3600], "a live frame has 14 to 3520 bytes"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(example("router")), "--engine", "live", "--hex", "00" * 60, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    assert "router.o: error: " in captured.err and message in captured.err
    assert nothing_left()


def test_no_xdp_program(compile_c: CompileC, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "tc.o"
    program.write_bytes(compile_c('SEC("tc") int f(struct __sk_buff *skb) { return 0; }'))
    assert main([str(program), "--engine", "live", "--hex", "00" * 60]) == 1
    assert "f is no XDP program" in capsys.readouterr().err
    assert nothing_left()


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (OSError, 1)])
def test_everything_is_cleaned_up(
    error: type[BaseException], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the run is interrupted while the user part runs."""
    directory = bundle("scanner", SPLIT, tmp_path)
    calls = 0

    def interrupted(wire: Wire, frame: bytes) -> Any:
        nonlocal calls
        calls += 1
        assert Path("/proc/thread-self/children").read_text().split()
        raise error

    monkeypatch.setattr(Wire, "send", interrupted)
    arguments = [str(directory), "--engine", "live", *world("scanner", tmp_path, 20)]
    assert main(arguments) == status
    assert calls == 1
    assert nothing_left()


def test_events_of_other_interfaces_leave_room(wire: tuple[Interface, Interface]) -> None:
    """The tracepoints are the whole machine's: while an engine looks for its own interface, others may be busy."""
    near, far = wire
    with ExitStack() as stack:
        mine = Wire(stack, 2, [])
        prog_fd, _ = syscalls.prog_load(verdict_program(XdpVerdict.ABORTED))
        stack.callback(os.close, prog_fd)
        with attached(far, prog_fd):
            send(near, [bytes(64)] * 2 * ROOM)
        with mine.far_space.entered():
            mine.listen()
