"""Bad input to `fs-run`: captures, maps, objects, bundles. See test_robustness.py for what is asked."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fuzz.mutate_bytes import mutated_bytes
from fuzz.mutate_objects import mutated_object
from fuzz.mutate_text import mutated_text
from fuzz.outcomes import attempt

from fsir.bundle.manifest import schema
from fsir.bundle.schema import problem
from fsir.driver.cli import main as fs_opt
from fsir.interp.packet_io import Packet, format_packets
from fsir.run.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("firewall", "maglev", "router", "scanner")
ITERATIONS = int(os.environ.get("FUZZ_ITERATIONS", "300"))
CHUNKS = 4
FRAME = bytes(range(64))
SPLIT = "raise,decompose{targets=p4-v1model,xdp,af-xdp},share-maps,lower"


def files(name: str) -> tuple[Path, Path, Path]:
    """Object, packets and maps of an example."""
    folder = ROOT / "examples" / name
    return folder / f"{name}.o", folder / f"{name}.pcap", folder / "maps.json"


def check(arguments: list[str | Path], output: Path, what: str) -> int:
    """Run `fs-run`; fail the test unless it ends as it may. The exit status."""
    output.unlink(missing_ok=True)
    given = [*map(str, arguments), "--quiet", "--maps-out", str(output), "--budget", "20000"]
    outcome = attempt(main, given)
    complaint = outcome.complaint(output)
    assert complaint is None, f"{what}, {' '.join(given)}: {complaint}"
    return outcome.status


# --- captures --------------------------------------------------------------------------------------------------------


def pcapng(frames: list[bytes]) -> bytes:
    """A small pcapng file."""

    def block(kind: int, body: bytes) -> bytes:
        size = 12 + len(body)
        return struct.pack("<II", kind, size) + body + struct.pack("<I", size)

    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(1, struct.pack("<HHI", 1, 0, 65535) + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0))
    for frame in frames:
        padded = frame + bytes(-len(frame) % 4)
        out += block(6, struct.pack("<IIIII", 0, 0, 7, len(frame), len(frame)) + padded)
    return out


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_mutated_captures(form: str, tmp_path: Path) -> None:
    frames = [FRAME, FRAME[:14], bytes(60)]
    data = pcapng(frames) if form == "pcapng" else format_packets([Packet(frame, 10**18) for frame in frames])
    path, program = tmp_path / "in.pcap", tmp_path / "pass.mlir"
    program.write_text(
        'ebpf.func @p section "xdp" attributes {prog_type = "xdp"} {\n'
        "^entry(%ctx: !packet.ctx):\n  %v = arith.constant 2 : i64\n  packet.verdict %v : i64\n}\n"
    )
    path.write_bytes(data)
    assert check([program, "--pcap", path], tmp_path / "out", "unchanged") == 0
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        check([program, "--pcap", path], tmp_path / "out", f"cut at {cut}")
    for seed in range(ITERATIONS):
        path.write_bytes(mutated_bytes(random.Random(seed), data))
        check([program, "--pcap", path], tmp_path / "out", f"seed {seed}")


CAPTURES = {
    "empty": (b"", "the file is empty"),
    "no capture": (b"not a capture", "not a pcap file"),
    "no packets": (format_packets([]), "there are no packets in the file"),
    "a short frame": (format_packets([Packet(FRAME[:13])]), "packet 0 has 13 bytes, a frame has at least 14"),
    "cut off": (format_packets([Packet(FRAME)])[:-1], "cut off in packet 0"),
    "not Ethernet": (format_packets([Packet(FRAME)])[:20] + struct.pack("<I", 101), "link type 101 is not Ethernet"),
}


@pytest.mark.parametrize(("content", "said"), CAPTURES.values(), ids=CAPTURES.keys())
def test_what_is_no_capture(content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(content)
    assert main([str(files("router")[0]), "--pcap", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{path}: error: {said}")


@pytest.mark.parametrize("option", ["--pcap", "--maps"])
def test_devices_and_folders_are_refused(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("/dev/zero", str(tmp_path), str(tmp_path / "missing"), "/dev/null"):
        assert main([str(files("router")[0]), "--hex", FRAME.hex(), option, place]) == 1
        assert capsys.readouterr().err.startswith(f"{place}: error: ")


# --- maps ------------------------------------------------------------------------------------------------------------

MAPS = {
    # content of the file, what is said; FILE is the file's name, PROGRAM that of the program
    "no JSON": ('{"stats": [}', "FILE: error: not JSON (Expecting value: line 1 column 12"),
    "no UTF-8": ("\udcff", "FILE: error: not JSON"),
    "deep": ("[" * 100000, "FILE: error: "),
    "a list": ("[]", "FILE: error: must be an object of lists by map name"),
    "no list": ('{"stats": {}}', "FILE: error: map 'stats' must be a list of objects"),
    "no objects": ('{"stats": [1]}', "FILE: error: map 'stats' must be a list of objects"),
    "unknown map": (
        '{"statistics": []}',
        "map statistics: the program has no such map; it has routes, stats, tx_ports",
    ),
    "no key": ('{"stats": [{"values": ["0000000000000000"]}]}', "map stats: 'key' must be 4 bytes in hex, not null"),
    "short key": ('{"stats": [{"key": "00", "values": []}]}', "map stats: 'key' must be 4 bytes in hex, not \"00\""),
    "long key": ('{"stats": [{"key": "0000000000", "values": []}]}', "map stats: 'key' must be 4 bytes in hex"),
    "wrong hex": ('{"stats": [{"key": "0000000g", "values": []}]}', "map stats: 'key' must be 4 bytes in hex"),
    "half a byte": ('{"stats": [{"key": "0000000", "values": []}]}', "map stats: 'key' must be 4 bytes in hex"),
    "a number as key": ('{"stats": [{"key": 0, "values": []}]}', "map stats: 'key' must be 4 bytes in hex, not 0"),
    "no values": (
        '{"stats": [{"key": "00000000"}]}',
        "map stats: 'values' must list a value for each of at most 1 CPUs",
    ),
    "too many CPUs": (
        '{"stats": [{"key": "00000000", "values": ["0000000000000000", "0000000000000000"]}]}',
        "map stats: 'values' must list a value for each of at most 1 CPUs",
    ),
    "short value": ('{"stats": [{"key": "00000000", "values": ["00"]}]}', "map stats: 'values' must be 8 bytes in hex"),
    "beyond the end": (
        '{"stats": [{"key": "ffffffff", "values": ["0000000000000000"]}]}',
        "is refused with E2BIG",
    ),
    "no interface": (
        '{"tx_ports": [{"key": "00000000", "value": "00"}]}',
        "map tx_ports: 'ifindex' must be a number of 32 bits",
    ),
    "an odd interface": (
        '{"tx_ports": [{"key": "00000000", "ifindex": -1}]}',
        "map tx_ports: 'ifindex' must be a number",
    ),
    "a true interface": (
        '{"tx_ports": [{"key": "00000000", "ifindex": 1.5}]}',
        "map tx_ports: 'ifindex' must be a number",
    ),
}


@pytest.mark.parametrize(("content", "said"), MAPS.values(), ids=MAPS.keys())
def test_maps_that_do_not_fit(content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, pcap, _ = files("router")
    path, output = tmp_path / "maps.json", tmp_path / "out.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert main([str(program), "--pcap", str(pcap), "--maps", str(path), "--maps-out", str(output)]) == 1
    captured = capsys.readouterr()
    said = said.replace("FILE", str(path))
    assert captured.out == "" and "Traceback" not in captured.err
    assert captured.err.startswith((f"{program}: error: ", f"{path}: error: ")) and said in captured.err
    assert not output.exists()


@pytest.mark.parametrize("name", NAMES)
def test_mutated_maps(name: str, tmp_path: Path) -> None:
    program, _, maps = files(name)
    text, path = maps.read_text(), tmp_path / "maps.json"
    for seed in range(ITERATIONS // 4):
        rng = random.Random(seed)
        if rng.randrange(2):
            path.write_text(json.dumps(mutated_data(rng, json.loads(text))))
        else:
            path.write_bytes(mutated_text(rng, text).encode("utf-8", "surrogateescape"))
        check([program, "--hex", FRAME.hex(), "--maps", path], tmp_path / "out", f"seed {seed}")


def mutated_data(rng: random.Random, data: Any) -> Any:
    """JSON data with something removed, replaced by another value, or moved."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            places.append((value, key))
            walk(value[key])

    walk(data)
    holder, key = rng.choice(places)
    what = rng.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = rng.choice((None, 0, -1, 1 << 70, "", "nope", "../x", [], {}, True, 1.5))
    elif what == 2:
        other, other_key = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[other_key]))
    elif isinstance(holder, dict):
        holder["unknown"] = holder.pop(key)
    else:
        holder.append(holder[key])
    return data


# --- programs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_mutated_programs(chunk: int, tmp_path: Path) -> None:
    """What a verifier would refuse stops with a message; what would loop stops at the budget."""
    path = tmp_path / "in.o"
    for seed in range(chunk, ITERATIONS // 2, CHUNKS):
        rng = random.Random(seed)
        program, pcap, maps = files(rng.choice(NAMES))
        path.write_bytes(mutated_object(rng, program.read_bytes()))
        check([path, "--pcap", pcap, "--maps", maps], tmp_path / "out", f"seed {seed}")


# --- bundles ---------------------------------------------------------------------------------------------------------


@cache
def bundle_of(name: str, folder: Path) -> Path:
    """The bundle of an example, made once."""
    bundle = folder / f"bundle-{name}"
    assert fs_opt([str(files(name)[0]), "-p", SPLIT, "-t", "bundle", "-o", str(bundle), "--quiet"]) == 0
    return bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


def test_mutated_bundles(folder: Path, tmp_path: Path) -> None:
    for seed in range(ITERATIONS // 8):
        rng = random.Random(seed)
        name = rng.choice(NAMES)
        _, pcap, maps = files(name)
        bundle = tmp_path / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(bundle_of(name, folder), bundle)
        # C is compiled and runs in this process: whoever changes that changes a program, not data.
        path = rng.choice(sorted(file for file in bundle.iterdir() if file.suffix != ".c"))
        if path.suffix == ".o":
            path.write_bytes(mutated_object(rng, path.read_bytes()))
        elif path.suffix == ".json" and rng.randrange(5):
            path.write_text(json.dumps(mutated_data(rng, json.loads(path.read_text()))))
        else:
            path.write_bytes(mutated_text(rng, path.read_text()).encode("utf-8", "surrogateescape"))
        check([bundle, "--pcap", pcap, "--maps", maps], tmp_path / "out", f"seed {seed}")


def without(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).unlink()


def holding(name: str, text: str) -> Callable[[Path], None]:
    def write(bundle: Path) -> None:
        (bundle / name).write_text(text)

    return write


def changed(old: str, new: str) -> Callable[[Path], None]:
    def write(bundle: Path) -> None:
        text = (bundle / "manifest.json").read_text()
        assert old in text
        (bundle / "manifest.json").write_text(text.replace(old, new, 1))

    return write


BUNDLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (without("manifest.json"), "BUNDLE: error: has no manifest.json: no bundle"),
    "no object": (without("xdp.o"), "BUNDLE: error: xdp.o is missing, which manifest.json names"),
    "no placed IR": (without("placement.mlir"), "BUNDLE: error: placement.mlir is missing"),
    "no P4": (without("nic.p4"), "BUNDLE: error: nic.p4 is missing"),
    "a manifest that is no JSON": (holding("manifest.json", "{"), "BUNDLE: error: manifest.json is damaged (Expecting"),
    "a manifest that is a list": (holding("manifest.json", "[]"), "manifest.json is damaged: the whole is no object"),
    "another format": (changed('"format": 1', '"format": 99'), "has format 99; this version reads 1: make the bundle"),
    "an unknown level": (changed('"level": "nic"', '"level": "moon"'), '.parts[0].level is "moon", not one of'),
    "a part without name": (changed('"name": "', '"nom": "'), "manifest.json is damaged: .parts[0]."),
    "an object that is none": (holding("xdp.o", ""), "BUNDLE/xdp.o: error: not an ELF file"),
    "P4 that is none": (holding("nic.p4", "garbage"), "BUNDLE/nic.p4:1:1: error: unknown type 'garbage'"),
    "IR that is none": (holding("placement.mlir", "garbage"), "BUNDLE/placement.mlir:1:8: error: "),
}


@pytest.mark.parametrize(("change", "said"), BUNDLES.values(), ids=BUNDLES.keys())
def test_damaged_bundles(
    change: Callable[[Path], None], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(bundle_of("firewall", folder), bundle)
    change(bundle)
    assert main([str(bundle), "--hex", FRAME.hex()]) == 1
    err = capsys.readouterr().err
    assert said.replace("BUNDLE", str(bundle)) in err
    assert "internal error" not in err and "Traceback" not in err


SCHEMAS: list[tuple[dict[str, Any], object, str | None]] = [
    ({"type": "object", "required": ["a"]}, {}, ".a is missing"),
    ({"type": "object"}, [], "the whole is no object"),
    ({"type": ["number", "string"]}, None, "the whole is no number or string"),
    ({"type": "integer"}, True, "the whole is no integer"),
    ({"items": {"type": "string"}}, ["a", 1], "[1] is no string"),
    ({"properties": {"a": {"enum": ["x"]}}}, {"a": "y"}, '.a is "y", not one of ["x"]'),
    ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 2}, ".b is unknown"),
    ({"additionalProperties": {"minimum": 3}}, {"b": 2}, ".b is below 3"),
    ({"const": 1}, 1, None),
    ({"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}}, {"a": False}, None),
]


@pytest.mark.parametrize(("form", "value", "said"), SCHEMAS)
def test_what_the_schema_says(form: dict[str, Any], value: object, said: str | None) -> None:
    assert problem(value, form) == said


def test_the_schema_of_manifests_is_understood_whole(folder: Path) -> None:
    """Every keyword in it is one that `problem` knows (it raises otherwise), and real manifests keep to it."""
    for name in NAMES:
        assert problem(json.loads((bundle_of(name, folder) / "manifest.json").read_text()), schema()) is None
