"""What others rely on of `fs-run`: its options, maps.json, the JSON of packets, exit statuses."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fsir.interp.packet_io import Packet, format_packets, read_packets
from fsir.run.arguments import make_parser
from fsir.run.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
FRAME = bytes(range(64))

MAPS = """
map.decl @array "array" key 4 value 8 entries 4 flags 0 {section = ".maps"}
map.decl @hash "hash" key 4 value 2 entries 8 flags 0 {section = ".maps"}
map.decl @cells "percpu_array" key 4 value 4 entries 4 flags 0 {section = ".maps"}
map.decl @devices "devmap" key 4 value 4 entries 4 flags 0 {section = ".maps"}
map.decl @cpus "cpumap" key 4 value 4 entries 4 flags 0 {section = ".maps"}
map.decl @sockets "xskmap" key 4 value 4 entries 4 flags 0 {section = ".maps"}
map.decl @jumps "prog_array" key 4 value 4 entries 4 flags 0 {section = ".maps"}
map.decl @inner "hash" key 4 value 4 entries 4 flags 0 {template}
map.decl @outer "hash_of_maps" key 4 value 4 entries 4 flags 0 {section = ".maps", inner = @inner}
map.decl @queue "queue" key 0 value 4 entries 4 flags 0 {section = ".maps"}
"""
# Writes what it sees of the world into the packet: interface, queue, CPU, clock, a random number.
PROGRAM = """
ebpf.func @look section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %p = packet.data %ctx : !packet.ctx -> !packet.ptr
  %ifindex = packet.ctx_load %ctx[12] : !packet.ctx -> i32
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %cpu = ebpf.call 8() -> i64
  %now = ebpf.call 5() -> i64
  %random = ebpf.call 7() -> i64
  %cpu32 = arith.trunci %cpu : i64 to i32
  %random32 = arith.trunci %random : i64 to i32
  packet.store %p[0], %ifindex : !packet.ptr, i32
  packet.store %p[4], %queue : !packet.ptr, i32
  packet.store %p[8], %cpu32 : !packet.ptr, i32
  packet.store %p[12], %random32 : !packet.ptr, i32
  packet.store %p[16], %now : !packet.ptr, i64
  %tx = arith.constant 3 : i64
  packet.verdict %tx : i64
}
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "look.mlir"
    path.write_text(MAPS + PROGRAM)
    return str(path)


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON of a run that succeeds."""
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    assert isinstance(found, dict)
    return found


def seen(found: dict[str, Any], packet: int = 0) -> tuple[int, int, int, int, int]:
    """Interface, queue, CPU, random number and clock, as the program wrote them."""
    values = struct.unpack_from("<IIIIQ", bytes.fromhex(found["packets"][packet]["data"]))
    return values


def test_every_option_that_is_relied_on_is_there() -> None:
    text = make_parser().format_help()
    for flag in (
        *("--pcap", "--maps", "--engine", "--pcap-out", "--maps-out", "--json", "--prog", "--ifindex", "--queue"),
        *("--cpu", "--time-start", "--seed", "--map-size", "--rodata", "--pass-pipeline"),
    ):
        assert f"{flag} " in text
    engines = next(line for line in text.splitlines() if line.strip().startswith("--engine"))
    assert set(engines.split("{")[1].split("}")[0].split(",")) == {"interp", "kernel", "placed", "bundle", "live"}


def test_the_world_is_what_the_options_say(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    world = ["--ifindex", "7", "--queue", "3", "--cpu", "2", "--time-start", "1000", "--seed", "5", "--cpus", "4"]
    found = document(capsys, source, "--hex", FRAME.hex(), *world)
    assert seen(found)[:3] == (7, 3, 2) and seen(found)[4] == 1000
    assert seen(document(capsys, source, "--hex", FRAME.hex(), *world)) == seen(found)
    other = seen(document(capsys, source, "--hex", FRAME.hex(), *world, "--seed", "6"))
    assert other[3] != seen(found)[3] and other[:3] == seen(found)[:3]
    assert seen(document(capsys, source, "--hex", FRAME.hex()))[:3] == (1, 0, 0)


def test_the_clock_is_the_capture_s(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pcap = tmp_path / "in.pcap"
    pcap.write_bytes(format_packets([Packet(FRAME, 5_000_000_123), Packet(FRAME, 5_000_000_200)]))
    found = document(capsys, source, "--pcap", str(pcap))
    assert [seen(found, i)[4] for i in (0, 1)] == [5_000_000_123, 5_000_000_200]
    found = document(capsys, source, "--pcap", str(pcap), "--time-start", "10")
    assert [seen(found, i)[4] for i in (0, 1)] == [10, 87]


def test_what_is_told_of_a_packet(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcap"
    found = document(capsys, source, "--hex", FRAME.hex(), "--pcap-out", str(out))
    (packet,) = found["packets"]
    assert packet.keys() >= {"index", "verdict", "verdict_name", "redirect", "data", "metadata", "instructions"}
    assert (packet["index"], packet["verdict"], packet["verdict_name"], packet["redirect"]) == (0, 3, "XDP_TX", None)
    assert packet["instructions"] == 12
    assert packet["helper_calls"] == {"get_prandom_u32": 1, "get_smp_processor_id": 1, "ktime_get_ns": 1}
    assert [frame.data.hex() for frame in read_packets(out)] == [packet["data"]]


def test_a_redirect_names_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / "examples" / "router"
    given = [str(folder / "router.o"), "--pcap", str(folder / "router.pcap"), "--maps", str(folder / "maps.json")]
    redirected = [p["redirect"] for p in document(capsys, *given)["packets"] if p["verdict_name"] == "XDP_REDIRECT"]
    assert redirected and all(target["map"] == "tx_ports" and "key" in target for target in redirected)


CONTENTS: dict[str, list[dict[str, Any]]] = {
    "array": [{"key": "01000000", "value": "0000000000000000"}, {"key": "03000000", "value": "0100000000000000"}],
    "hash": [{"key": "ff000000", "value": "0000"}, {"key": "01000000", "value": "0102"}],
    "cells": [{"key": "02000000", "values": ["01000000", "00000000"]}],
    "devices": [{"key": "01000000", "ifindex": 7}],
    "cpus": [{"key": "00000000", "qsize": 192}],
    "sockets": [{"key": "00000000", "socket": 1}],
    "jumps": [{"key": "00000000", "program": "look"}],
    "outer": [{"key": "05000000", "map": [{"key": "01000000", "value": "02000000"}]}],
    "queue": [{"value": "03000000"}, {"value": "01000000"}],
}


def test_maps_json(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of entry goes in and comes out; arrays without zeros, sorted by key, queues in their order."""
    given, out = tmp_path / "in.json", tmp_path / "out.json"
    given.write_text(json.dumps(CONTENTS))
    found = document(capsys, source, "--hex", FRAME.hex(), "--cpus", "2", "--maps", str(given), "--maps-out", str(out))
    expected = CONTENTS | {"array": CONTENTS["array"][1:], "hash": CONTENTS["hash"][::-1]}
    assert json.loads(out.read_text()) == expected
    assert found["maps"] == expected
    assert list(json.loads(out.read_text())) == sorted(expected)


def test_global_data_goes_by_section(capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / "examples" / "firewall"
    given = [str(folder / "firewall.o"), "--pcap", str(folder / "firewall.pcap")]
    before = document(capsys, *given)["maps"][".rodata"]
    assert [entry["key"] for entry in before] == ["00000000"]
    changed = "ff" * (len(before[0]["value"]) // 2)
    after = document(capsys, *given, "--rodata", f".rodata={changed}")["maps"][".rodata"]
    assert after == [{"key": "00000000", "value": changed}]


def test_map_size(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "in.json"
    given.write_text(json.dumps({"array": [{"key": "09000000", "value": "0100000000000000"}]}))
    arguments = [source, "--hex", FRAME.hex(), "--maps", str(given)]
    assert main([*arguments, "--quiet"]) == 1
    assert 'map array: entry {"key": "09000000"' in capsys.readouterr().err
    assert document(capsys, *arguments, "--map-size", "array=10")["maps"]["array"] != []


def test_large_arrays_are_no_problem(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, source, "--hex", FRAME.hex(), "--map-size", "array=50000000")
    assert found["maps"]["array"] == []
    assert main([source, "--hex", FRAME.hex(), "--map-size", "cells=4294967295", "--cpus", "100"]) == 1
    assert "map cells: 4294967295 values of 8 bytes are more than the interpreter holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--queue", "-1"],
        ["--ifindex", "0"],
        ["--ifindex", "x"],
        ["--cpu", "8192"],
        ["--cpus", "0"],
        ["--time-start", "-1"],
        ["--seed", "0x10000000000000000"],
        ["--budget", "0"],
        ["--map-size", "array=0"],
        ["--map-size", "array"],
        ["--rodata", "x=abc"],
        ["--engine", "guess"],
    ],
)
def test_values_out_of_range_are_no_command_line(
    source: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([source, "--hex", FRAME.hex(), *arguments])
    assert exit_.value.code == 2
    assert f"argument {arguments[0]}: " in capsys.readouterr().err


def test_which_of_several_programs(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.mlir"
    other = PROGRAM.replace("@look", "@other").replace('section "xdp"', 'section "xdp/other"')
    path.write_text(PROGRAM + other.replace("constant 3", "constant 1"))
    assert main([str(path), "--hex", FRAME.hex()]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{path}: error: there are 2 programs, choose one with --prog: look (xdp), other (xdp/other)")
    for name, verdict in (("look", "XDP_TX"), ("other", "XDP_DROP"), ("xdp/other", "XDP_DROP")):
        found = document(capsys, str(path), "--hex", FRAME.hex(), "--prog", name)
        assert found["packets"][0]["verdict_name"] == verdict


@pytest.mark.parametrize("engine", ["interp", "placed", "bundle", "kernel"])
def test_frames_below_14_bytes_are_an_error_everywhere(
    source: str, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pcap = tmp_path / "short.pcap"
    pcap.write_bytes(format_packets([Packet(FRAME), Packet(FRAME[:13])]))
    assert main([source, "--engine", engine, "--pcap", str(pcap)]) == 1
    assert capsys.readouterr().err.startswith(f"{pcap}: error: packet 1 has 13 bytes, a frame has at least 14")
    assert main([source, "--engine", engine, "--hex", "00" * 13]) == 1
    assert "the frame has 13 bytes, a frame has at least 14" in capsys.readouterr().err


def test_exit_statuses(source: str, tmp_path: Path) -> None:
    """0 whatever the verdicts are, 1 when the run failed, and nothing is written then."""

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "fsir.tools.fs_run", *arguments], input=stdin, capture_output=True, check=False
        )
        return done.returncode, done.stderr.decode()

    drop = PROGRAM.replace("constant 3", "constant 1").encode()
    assert run("-", "--hex", FRAME.hex(), stdin=drop) == (0, "")
    assert run("-", "--hex", FRAME.hex(), stdin=PROGRAM.replace("constant 3", "constant 99").encode()) == (0, "")
    status, err = run("-", "--hex", FRAME.hex(), stdin=b"")
    assert (status, err.splitlines()[0].split(":")[:2]) == (1, ["<stdin>", " error"])
    out, maps = tmp_path / "out.pcap", tmp_path / "out.json"
    short = FRAME[:16].hex()
    status, err = run(source, "--hex", FRAME.hex(), "--hex", short, "--pcap-out", str(out), "--maps-out", str(maps))
    assert status == 1 and "error: packet 1: write of 8 bytes" in err
    assert sorted(os.listdir(tmp_path)) == ["look.mlir"]
    status, err = run(source, "--hex", FRAME.hex(), "--pcap-out", str(out), "--maps-out", str(tmp_path / "no" / "maps"))
    assert status == 1 and "does not exist" in err
    assert not out.exists()
