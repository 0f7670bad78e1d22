"""Bad input to `fs-opt`: an error line, exit status 1, nothing written, and never a traceback or a hang.

FUZZ_ITERATIONS=10000 makes the random part longer; a failure names the seed that shows it again.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import objects
from fuzz.mutate_objects import mutated_object
from fuzz.mutate_text import mutated_text
from fuzz.outcomes import attempt

from fsir.driver import inputs
from fsir.driver.cli import main
from fsir.driver.optimizer import Optimizer

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*/*.o"))
TEXTS = sorted((ROOT / "test" / "filecheck").rglob("*.mlir"))
ROUTER = ROOT / "examples" / "router" / "router.o"
ITERATIONS = int(os.environ.get("FUZZ_ITERATIONS", "300"))
CHUNKS = 6

PIPELINES = (
    *("raise", "raise,optimize", "raise,lower-to-xdp", "raise,optimize,lower-to-xdp"),
    "raise,decompose{targets=xdp,af-xdp},share-maps,lower",
    "raise,decompose{targets=p4-v1model,xdp,af-xdp},share-maps,lower",
)


def check(arguments: list[str], output: Path, what: str) -> int:
    """Run `fs-opt`; fail the test, with `what` was run, unless it ends as it may. The exit status."""
    output.unlink(missing_ok=True)
    outcome = attempt(main, [*arguments, "-o", str(output)])
    complaint = outcome.complaint(output)
    assert complaint is None, f"{what}, {' '.join(arguments)}: {complaint}"
    return outcome.status


def refused(capsys: pytest.CaptureFixture[str], output: Path, *arguments: str | Path) -> str:
    """The error line of a run that fails and leaves `output` as it was."""
    before = output.read_bytes() if output.is_file() else None
    assert main([*map(str, arguments), "-o", str(output)]) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err and "internal error" not in err
    assert (output.read_bytes() if output.is_file() else None) == before
    return err.splitlines()[0]


# --- damaged objects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_truncated_objects(path: Path, tmp_path: Path) -> None:
    data, cut = path.read_bytes(), tmp_path / "cut.o"
    for part in range(50):
        cut.write_bytes(data[: len(data) * part // 50])
        assert check([str(cut), "-t", "elf"], tmp_path / "out", f"{part}/50") == 1


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_mutated_objects(chunk: int, tmp_path: Path) -> None:
    """They give the same object again, or an error that says why not."""
    path = tmp_path / "in.o"
    for seed in range(chunk, ITERATIONS, CHUNKS):
        rng = random.Random(seed)
        path.write_bytes(mutated_object(rng, rng.choice(EXAMPLES).read_bytes()))
        check([str(path), "-t", "elf", "--quiet"], tmp_path / "out", f"seed {seed}")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_pipelines_on_mutated_objects(pipeline: str, tmp_path: Path) -> None:
    """No program that imports makes a pass fail in a way that its author did not think of."""
    path = tmp_path / "in.o"
    for seed in range(ITERATIONS // 15):
        rng = random.Random(f"{pipeline} {seed}")
        path.write_bytes(mutated_object(rng, rng.choice(EXAMPLES).read_bytes()))
        check([str(path), "-p", pipeline, "--quiet"], tmp_path / "out", f"seed {seed}")


# --- damaged text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_mutated_text(chunk: int, tmp_path: Path) -> None:
    """Text of every level, through the parser, the verifier, passes and the writer of objects."""
    path = tmp_path / "in.mlir"
    pipelines = ("", "raise", "optimize", "lower-to-xdp", *PIPELINES[4:], "share-maps,lower")
    for seed in range(chunk, ITERATIONS // 2, CHUNKS):
        rng = random.Random(seed)
        text = rng.choice(rng.choice(TEXTS).read_text().split("// -----"))
        path.write_bytes(mutated_text(rng, text).encode("utf-8", "surrogateescape"))
        target = rng.choice(("mlir", "mlir", "elf"))
        check([str(path), "-p", rng.choice(pipelines), "-t", target, "--quiet"], tmp_path / "out", f"seed {seed}")


TEXT = {
    # text, what is said of it
    "a string without end, which must not take exponential time": (
        'ebpf.func @f section "' + "x" * 60,
        "string literal",
    ),
    "a module with two blocks": ('"builtin.module"() ({\n^a:\n^b:\n}) : () -> ()', "holds one block"),
    "a branch that passes too little": (
        'ebpf.func @f section "x" {\n^a:\n  cf.br ^b\n^b(%x: i64):\n  ebpf.exit () \n}',
        "'cf.br' passes () to successor #0, whose block takes (i64)",
    ),
    "a branch that passes another type": (
        'ebpf.func @f section "x" {\n^a(%x: i32):\n  ebpf.ja ^b(%x : i32)\n^b(%y: i64):\n  ebpf.exit ()\n}',
        "'ebpf.ja' passes (i32) to successor #0, whose block takes (i64)",
    ),
    "a relocation without fields": (
        'object.section "x" type 1 flags 6 align 8 {relocs = [{offset = #builtin.int<0>}]}',
        "a relocation must be a dictionary with offset (#builtin.int), type",
    ),
    "a number that no object holds": (
        'object.section "x" type 99999999999 flags 6 align 8',
        "type is 99999999999, must be an unsigned number of 32 bits",
    ),
    "data that is no hexadecimal": (
        'object.section "x" type 1 flags 6 align 8 {data = "xy"}',
        "data is not hexadecimal",
    ),
    "raw code of another length": (
        'ebpf.func @f section "x" {\n  ebpf.raw "0011"\n  ebpf.end\n}',
        "bytes is 2 bytes, must be 8",
    ),
    "a field without width": (
        'placement.edge 1 from @a to @b {fields = [{}], order = "per-flow", transport = "head"}',
        "the field {} has no width from 1 to 64 bits",
    ),
    "a relocation with a symbol that is not there": (
        'object.section "x" type 1 flags 0 align 8 {data = "0000000000000000", relocs = [{offset = #builtin.int<0>, '
        "type = #builtin.int<1>, symbol = #builtin.int<7>, addend = #builtin.int<0>}]}",
        "a relocation uses symbol 7; there are 0",
    ),
    "a symbol in a section that is not there": (
        'object.symbol "s" in 3 value 0 size 0 bind 0 type 0',
        "symbol 's' is in section 3; there are 0",
    ),
}


@pytest.mark.parametrize(("text", "said"), TEXT.values(), ids=TEXT.keys())
def test_text_that_is_wrong(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.mlir"
    path.write_text(text)
    err = refused(capsys, tmp_path / "out", path, "-t", "elf")
    assert err.startswith(f"{path}:") and said in err


def test_functions_are_found_in_whatever_holds_them(tmp_path: Path) -> None:
    """Functions of other dialects have several blocks; that is not our passes' business."""
    path = tmp_path / "in.mlir"
    path.write_text("func.func @f() {\n  cf.br ^b\n^b:\n  func.return\n}\n")
    for pipeline in ("raise", "optimize", "lower-to-xdp"):
        assert check([str(path), "-p", pipeline], tmp_path / "out", pipeline) == 0


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
@pytest.mark.parametrize("size", [1 << 30, -1])
def test_accesses_outside_of_the_frame(size: int, tmp_path: Path) -> None:
    """What no loader takes is still no reason to work for ever."""
    source = tmp_path / "p.c"
    source.write_text(
        "static long (*diff)(void *, unsigned, void *, unsigned, unsigned) = (void *)28;\n"
        '__attribute__((section("xdp"), used)) int p(void *ctx) {\n'
        f"  int word = 1;\n  return diff(&word, {size}, 0, 0, 0);\n}}\n"
    )
    for pipeline in PIPELINES:
        check([str(source), "-p", pipeline, "--quiet"], tmp_path / "out", pipeline)


# --- things that are no input ----------------------------------------------------------------------------------------


def ehdr(machine: int = 247, order: int = 1, bits: int = 2) -> bytes:
    """The header of an object without sections."""
    identification = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9)
    mark = "<" if order == 1 else ">"
    return identification + struct.pack(f"{mark}HHIQQQIHHHHHH", 1, machine, 1, 0, 0, 64, 0, 64, 0, 0, 64, 0, 0)


FILES = {
    "empty": (b"", "in.o: error: not an ELF file; give an object made with"),
    "x86": (ehdr(machine=62), "in.o: error: an object for ELF machine 62, not BPF (247); build it with"),
    "big-endian": (ehdr(order=2), "in.o: error: a big-endian object; rebuild it with"),
    "32-bit": (ehdr(bits=1), "in.o: error: "),
    "header only": (b"\x7fELF", "in.o: error: "),
    "text": (b"int main() {}", "in.o: error: not an ELF file"),
    "archive": (b"!<arch>\n", "in.o: error: not an ELF file"),
}


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES.keys())
def test_files_that_are_no_object(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "in.o", tmp_path / "out"
    path.write_bytes(content)
    assert refused(capsys, output, path, "-t", "elf").startswith(f"{tmp_path}/{said}")
    output.write_text("older")
    assert refused(capsys, output, path, "-t", "elf").startswith(f"{tmp_path}/{said}")
    assert sorted(os.listdir(tmp_path)) == ["in.o", "out"]


def test_an_opcode_that_does_not_exist_stays(tmp_path: Path) -> None:
    """Code that does not decode is kept as it is; passes leave the function alone."""
    data = bytearray(ROUTER.read_bytes())
    at = data.index(bytes.fromhex("bf16000000000000"))
    data[at] = 0xFF
    path = tmp_path / "in.o"
    path.write_bytes(data)
    for pipeline in ("", "raise,lower-to-xdp", "raise,optimize,lower-to-xdp"):
        assert check([str(path), "-p", pipeline, "-t", "elf", "--quiet"], tmp_path / "out", pipeline) == 0
        assert data[at : at + 8] in (tmp_path / "out").read_bytes()


def test_places_that_hold_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    missing, below = tmp_path / "missing.o", f"{ROUTER}/below.o"
    assert refused(capsys, output, tmp_path) == f"{tmp_path}: error: is a directory; name a file in it"
    assert refused(capsys, output, missing) == f"{missing}: error: no such file or directory; check the path"
    assert refused(capsys, output, below) == f"{below}: error: not a directory; check the path"
    assert "the name of the input is empty" in refused(capsys, output, "")


def test_places_that_take_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also for root, who may write anywhere: places that do not exist."""
    for place, said in (
        (tmp_path / "no" / "out", f"the directory {tmp_path}/no does not exist; make it first"),
        (ROUTER / "out", f"{ROUTER} is no directory; name another place"),
        (tmp_path, f"{tmp_path} is a directory; -o takes a file for this target"),
    ):
        assert refused(capsys, place, ROUTER, "-t", "elf").endswith(said)
    assert main([str(ROUTER), "-o", ""]) == 1
    assert "the name of the output is empty" in capsys.readouterr().err
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis").write_text("…")
    bundle = [str(ROUTER), "-p", PIPELINES[4], "-t", "bundle", "--quiet"]
    assert "exists and is no bundle" in refused(capsys, folder, *bundle)
    assert (folder / "thesis").read_text() == "…"
    assert refused(capsys, ROUTER / "bundle", *bundle).endswith(f"{ROUTER} is no directory; name another place")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROUTER), "-o", "/dev/full"]) == 1
    assert capsys.readouterr().err.startswith("/dev/full: error: no space left on device")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "fsir.tools.fs_opt", str(ROUTER)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == "<stdout>: error: no space left on device\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m fsir.tools.fs_opt {ROUTER} -p raise | head -c 100"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert len(done.stdout) == 100 and done.stderr == b""


def test_what_never_ends_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LARGEST", 4 << 20)
    err = refused(capsys, tmp_path / "out", "/dev/zero", "--from", "elf")
    assert err.startswith("/dev/zero: error: more than 4 MiB; no object or IR text is that long")
    with open("/dev/zero", "rb") as endless:
        command = [sys.executable, "-m", "fsir.tools.fs_opt", "-"]
        done = subprocess.run(command, stdin=endless, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("<stdin>: error: more than 256 MiB")


# --- python -m fuzz objects ------------------------------------------------------------------------------------------


def test_the_sweep_finds_what_must_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ROUTER.read_bytes()
    assert objects.examine(data, 1, tmp_path).findings == []

    def crash(self: Optimizer) -> int:
        raise KeyError("x")

    monkeypatch.setattr(Optimizer, "run", crash)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    findings = objects.examine(data, 1, fresh).findings
    assert any("print: " in what and "internal error" in what for _, what in findings)
