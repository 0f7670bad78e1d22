"""The command line `fs-run`: reports, files, comparisons, errors."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import dpkt  # type: ignore[import-untyped]
import pytest

from fsir.run.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
FRAME = bytes(range(64)).hex()

PROGRAM = """
map.decl @counts "array" key 4 value 8 entries 4 flags 0 {section = ".maps"}
ebpf.func @count section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %q = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %v = map.lookup @counts(%q) : i32 -> !map.value<@counts>
  %hit = map.hit %v : !map.value<@counts> -> i1
  cf.cond_br %hit, ^add, ^drop
^add:
  %one = arith.constant 1 : i64
  %was = map.atomic "add" %v[0], %one : !map.value<@counts>, i64 -> i64
  %now = ebpf.call 5() -> i64
  %p = packet.data %ctx : !packet.ctx -> !packet.ptr
  packet.store %p[0], %now : !packet.ptr, i64
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
^drop:
  %none = arith.constant 1 : i64
  packet.verdict %none : i64
}
"""


def example(name: str) -> list[str]:
    """The arguments that run an example on its packets and maps."""
    folder = ROOT / "examples" / name
    return [str(folder / f"{name}.o"), "--pcap", str(folder / f"{name}.pcap"), "--maps", str(folder / "maps.json")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "p.mlir"
    path.write_text(PROGRAM)
    return path


def test_report_of_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(example("router")) == 0
    out = capsys.readouterr().out
    assert "xdp_router (interp): 60 packets" in out
    assert "XDP_REDIRECT" in out and "bpf_map_lookup_elem" in out and "routes" in out


def test_json_of_each_packet(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(source), "--hex", FRAME, "--hex", FRAME, "--queue", "1", "--time-start", "7", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    first = document["packets"][0]
    assert (first["index"], first["verdict"], first["verdict_name"], first["redirect"]) == (0, 2, "XDP_PASS", None)
    assert first["data"] == "0700000000000000" + FRAME[16:]
    assert first["instructions"] == 8 and first["metadata"] == ""
    assert first["helper_calls"] == {"ktime_get_ns": 1, "map_lookup_elem": 1}
    assert document["maps"] == {"counts": [{"key": "01000000", "value": "0200000000000000"}]}
    assert document["verdicts"] == {"XDP_PASS": 2}


def test_files_written(source: Path, tmp_path: Path) -> None:
    out, maps = tmp_path / "out.pcap", tmp_path / "maps.json"
    assert main([str(source), "--hex", FRAME, "--pcap-out", str(out), "--maps-out", str(maps), "--quiet"]) == 0
    frames = [data for _, data in dpkt.pcap.Reader(io.BytesIO(out.read_bytes()))]
    assert frames == [bytes(8) + bytes.fromhex(FRAME)[8:]]
    assert json.loads(maps.read_text()) == {"counts": [{"key": "00000000", "value": "0100000000000000"}]}
    # What was written can be read again, and counts on.
    assert main([str(source), "--pcap", str(out), "--maps", str(maps), "--maps-out", str(maps), "--quiet"]) == 0
    assert json.loads(maps.read_text())["counts"][0]["value"] == "0200000000000000"


def test_dropped_frames_do_not_leave(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    assert main([str(source), "--hex", FRAME, "--queue", "9", "--pcap-out", str(out), "--quiet"]) == 0
    assert list(dpkt.pcap.Reader(io.BytesIO(out.read_bytes()))) == []


def test_map_sizes(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(source), "--hex", FRAME, "--queue", "9", "--json"]
    assert main([*arguments, "--map-size", "counts=10"]) == 0
    assert json.loads(capsys.readouterr().out)["packets"][0]["verdict"] == 2


def test_globals_are_set_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*example("firewall"), "--json"]) == 0
    rodata = json.loads(capsys.readouterr().out)["maps"][".rodata"][0]["value"]
    other = bytes(byte ^ 1 for byte in bytes.fromhex(rodata)).hex()
    assert main([*example("firewall"), "--rodata", f".rodata={other}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["maps"][".rodata"][0]["value"] == other


def test_comparison_of_equal_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*example("router"), "--compare-pipeline", "raise-registers"]) == 0
    assert capsys.readouterr().out.startswith("equal: 60 packets and 3 maps (routes, stats, tx_ports)")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("%pass = arith.constant 2", "%pass = arith.constant 3"), "packet 0: verdicts"),
        (("packet.store %p[0]", "packet.store %p[1]"), "packet 0: bytes from offset 0"),
        (("%one = arith.constant 1 : i64", "%one = arith.constant 2 : i64"), "map counts: entries under key 00000000"),
    ],
)
def test_first_difference(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], expected: str
) -> None:
    other = tmp_path / "other.mlir"
    other.write_text(PROGRAM.replace(*change))
    assert main([str(source), "--hex", FRAME, "--time-start", "9", "--compare", str(other)]) == 1
    out = capsys.readouterr().out
    assert f"different: {expected}" in out
    assert ("input: " + FRAME in out) == expected.startswith("packet")
    assert main([str(source), "--hex", FRAME, "--compare", str(other), "--json", "--time-start", "9"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["equal"] and document["difference"]["where"] == expected.split(":")[0]


def test_maps_that_passes_added_are_not_compared(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mlir"
    other.write_text('map.decl @scratch "array" key 4 value 8 entries 1 flags 0\n' + PROGRAM)
    assert main([str(source), "--hex", FRAME, "--compare", str(other), "--quiet"]) == 0


ERRORS = [
    # arguments after a good input, what stderr says
    ([], "error: no packets: give --pcap FILE or --hex BYTES"),
    (["--hex", "00"], "--hex: the frame has 1 bytes, a frame has at least 14"),
    (["--hex", "zz"], "not hex digits"),
    (["--hex", FRAME, "--prog", "nope"], "there is no program 'nope'; there are: count (xdp)"),
    (["--hex", FRAME, "--map-size", "nope=1"], "there is no map 'nope'; there are: counts"),
    (["--hex", FRAME, "--rodata", "nope=00"], "there is no variable or data section 'nope'"),
    (["--hex", FRAME, "-p", "nope"], "unknown pass 'nope'"),
    (["--hex", FRAME, "--engine", "placed"], "has no placement.part"),
    (["--hex", FRAME, "--prog-type", "kprobe"], "count is a kprobe program, which takes no packets"),
    (["--hex", FRAME, "--prog-type", "unspec"], "count is of no known type; give it with --prog-type"),
    (["--hex", FRAME, "--budget", "3"], "packet 0: the program executed more than 3 instructions"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors(source: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main([str(source), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(str(source)) and ": error: " in captured.err and message in captured.err
    assert "Traceback" not in captured.err


def test_errors_in_other_files(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad"
    bad.write_text('{"counts": [{"key": "00", "value": ""}]}')
    for arguments, message in (
        ([str(source), "--pcap", str(bad)], f"{bad}: error: not a pcap file"),
        ([str(source), "--pcap", "nowhere.pcap"], "nowhere.pcap: error: "),
        ([str(source), "--hex", FRAME, "--maps", "nowhere.json"], "nowhere.json: error: "),
        ([str(source), "--hex", FRAME, "--maps", str(bad)], f"{source}: error: map counts: 'key' must be 4 bytes"),
        ([str(tmp_path / "no.o"), "--hex", FRAME], "no.o: error: no such file"),
        (
            [str(tmp_path), "--hex", FRAME, "--engine", "interp"],
            f"{tmp_path}: error: is a directory without placement.mlir",
        ),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err


def test_a_fault_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.mlir"
    path.write_text(PROGRAM.replace("packet.store %p[0]", "packet.store %p[60]"))
    out = tmp_path / "out.pcap"
    assert main([str(path), "--hex", FRAME, "--pcap-out", str(out)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"{path}:14:3: error: packet 0: write of 8 bytes at packet+60: it ends at 64 in")
    assert "in count (packet.store)" in message
    assert not out.exists()


def test_several_programs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "%r = arith.constant 2 : i64\npacket.verdict %r : i64"
    funcs = [
        f'ebpf.func @{name} section "{section}" attributes {{prog_type = "{kind}"}} {{\n{body}\n}}'
        for name, section, kind in (("one", "xdp", "xdp"), ("two", "tc", "sched_cls"))
    ]
    path = tmp_path / "two.mlir"
    path.write_text("\n".join(funcs))
    assert main([str(path), "--hex", FRAME]) == 1
    assert "there are 2 programs, choose one with --prog: one (xdp), two (tc)" in capsys.readouterr().err
    assert main([str(path), "--hex", FRAME, "--prog", "tc"]) == 0
    assert "TC_ACT_SHOT" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
def test_c_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    source = str(ROOT / "examples" / "router" / "router.c")
    assert main([source, *example("router")[1:], "--compare", example("router")[0]]) == 0


def test_poison_shows_reliance_on_upper_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "narrow.mlir"
    path.write_text(
        """
        ebpf.func @p section "xdp" attributes {prog_type = "xdp"} {
        ^entry(%ctx: !packet.ctx):
          %q = packet.ctx_load %ctx[16] : !packet.ctx -> i32
          ebpf.jeqi %q, 1, ^one, ^other : i32
        ^other:
          %drop = arith.constant 1 : i64
          packet.verdict %drop : i64
        ^one:
          %pass = arith.constant 2 : i64
          packet.verdict %pass : i64
        }
        """
    )
    verdicts = []
    for more in ([], ["--poison"]):
        assert main([str(path), "--hex", FRAME, "--queue", "1", "--json", *more]) == 0
        verdicts.append(json.loads(capsys.readouterr().out)["packets"][0]["verdict_name"])
    assert verdicts == ["XDP_PASS", "XDP_DROP"]


def test_the_placed_engine_runs_the_ir_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "%v = arith.constant 3 : i64\npacket.verdict %v : i64"
    function = f'ebpf.func @p section "xdp" attributes {{prog_type = "xdp"}} {{\n{body}\n}}'
    (tmp_path / "placement.mlir").write_text(f'placement.part @kernel on "xdp" {{\n{function}\n}}')
    assert main([str(tmp_path), "--hex", FRAME, "--engine", "placed"]) == 0
    assert "XDP_TX" in capsys.readouterr().out
