"""What others rely on of `fs-opt`: the forms of the command line, what the outputs keep, where output goes."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from fsir.dialects.ebpf import functions
from fsir.driver.arguments import make_parser
from fsir.driver.cli import main
from fsir.driver.inputs import load_module
from fsir.driver.registry import own_passes
from fsir.driver.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*/*.o"))
ROUTER = ROOT / "examples" / "router" / "router.o"
SPLIT = "raise,decompose{targets=xdp,af-xdp},share-maps,lower"
THREE = "raise,decompose{targets=p4-v1model,xdp,af-xdp},share-maps,lower"
ids = [path.stem for path in EXAMPLES]


def fs_opt(*arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> tuple[int, bytes, str]:
    """Exit status, output and messages of the command as the shell sees it."""
    done = subprocess.run(
        [sys.executable, "-m", "fsir.tools.fs_opt", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=os.environ | (env or {}),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def written(tmp_path: Path, *arguments: str | Path) -> bytes:
    """What a run in this process writes with -o."""
    output = tmp_path / "written"
    assert main([*map(str, arguments), "-o", str(output)]) == 0
    return output.read_bytes()


def sections(data: bytes) -> dict[str, bytes]:
    return {section.name: section.data() for section in ELFFile(io.BytesIO(data)).iter_sections()}


def code(data: bytes) -> dict[str, bytes]:
    """The instructions by section."""
    elf = ELFFile(io.BytesIO(data))
    return {s.name: s.data() for s in elf.iter_sections() if s["sh_flags"] & 4 and s["sh_type"] == "SHT_PROGBITS"}


def symbols(data: bytes) -> set[tuple[str, str, str]]:
    """Name, type and section of what a loader finds by name."""
    elf = ELFFile(io.BytesIO(data))
    found = set()
    for table in elf.iter_sections():
        for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            if symbol["st_info"]["bind"] == "STB_GLOBAL" and isinstance(symbol["st_shndx"], int):
                section = elf.get_section(symbol["st_shndx"]).name
                found.add((symbol.name, symbol["st_info"]["type"], section))
    return found


# --- the commands of the documentation -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_identity(path: Path, tmp_path: Path) -> None:
    """fs-opt in.o -t elf -o out.o: the same instruction bytes in every section."""
    out = written(tmp_path, path, "-t", "elf")
    assert code(out) == code(path.read_bytes()) != {}


@pytest.mark.parametrize("pipeline", ["raise,lower-to-xdp", "raise,optimize,lower-to-xdp"])
@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_names_and_definitions_stay(path: Path, pipeline: str, tmp_path: Path) -> None:
    """Programs, maps, sections, globals, map definitions and licence are those of the input, and no code is longer."""
    before = path.read_bytes()
    after = written(tmp_path, path, "-p", pipeline, "-t", "elf", "--quiet")
    assert symbols(after) == symbols(before)
    for name, data in code(before).items():
        assert len(code(after)[name]) <= len(data)
    kept = {name: data for name, data in sections(before).items() if name in ("license", ".maps", ".rodata", ".data")}
    assert {name: sections(after)[name] for name in kept} == kept
    assert ".BTF" in sections(after)


def placeable() -> list[Path]:
    """The examples with one program, an XDP program; of several, `decompose` wants to be told which."""
    types = {path: [f.type_name for f in functions(load_module(str(path))) if f.type_name] for path in EXAMPLES}
    return [path for path in EXAMPLES if types[path] == ["xdp"]]


@pytest.mark.parametrize("pipeline", [SPLIT, THREE])
def test_bundles_keep_to_the_published_schema(pipeline: str, tmp_path: Path) -> None:
    schema = json.loads((ROOT / "fsir" / "bundle" / "manifest.schema.json").read_text())
    for path in placeable():
        bundle = tmp_path / path.stem
        assert main([str(path), "-p", pipeline, "-t", "bundle", "-o", str(bundle), "--quiet"]) == 0
        manifest = json.loads((bundle / "manifest.json").read_text())
        jsonschema.validate(manifest, schema)
        assert (bundle / "placement.mlir").is_file()
        for part in manifest["parts"]:
            assert (bundle / part["artifact"]).is_file()
        load_module(str(bundle / "placement.mlir"))


# --- spellings and places --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pass-pipeline=raise,lower-to-xdp"],
        ["--pass-pipeline", "builtin.module(raise,lower-to-xdp)"],
        ["-p", "builtin.module(raise,ebpf.func(lower-to-xdp))"],
        ["-p", "any( raise , lower-to-xdp )"],
        ["-p", "raise", "-p", "lower-to-xdp"],
        ["-p", "raise,lower-to-xdp", "--verify-each"],
        ["-p", "raise,lower-to-xdp", "--no-verify-each"],
    ],
)
def test_spellings_of_one_pipeline(arguments: Sequence[str], tmp_path: Path) -> None:
    expected = written(tmp_path, ROUTER, "-p", "raise,lower-to-xdp", "-t", "elf")
    assert written(tmp_path, ROUTER, *arguments, "--target", "elf") == expected


def test_standard_input_and_output(tmp_path: Path) -> None:
    plain = written(tmp_path, ROUTER)
    same_object = written(tmp_path, ROUTER, "-t", "elf")
    for arguments in (["-", "-o", "-"], ["-"], []):
        status, out, err = fs_opt(*arguments, stdin=ROUTER.read_bytes())
        assert (status, err) == (0, "")
        assert out == plain.replace(str(ROUTER).encode(), b"<stdin>")
    status, out, err = fs_opt("-", "-t", "elf", "-o", "-", stdin=ROUTER.read_bytes())
    assert (status, out, err) == (0, same_object, "")
    status, out, err = fs_opt("-", "-t", "elf", stdin=written(tmp_path, ROUTER, "--print-debuginfo"))
    assert (status, out, err) == (0, same_object, "")


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
def test_c_input_is_what_clang_makes_of_it(tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text('__attribute__((section("xdp"), used)) int p(void *ctx) { return 2; }')
    other = tmp_path / "p.text"
    other.write_text(source.read_text())
    assert len(code(written(tmp_path, source, "-t", "elf"))["xdp"]) == 16
    assert len(code(written(tmp_path, other, "--from", "c", "-t", "elf"))["xdp"]) == 16


@pytest.mark.parametrize("target", ["mlir", "elf", "c", "p4", "bundle"])
def test_targets(target: str, tmp_path: Path) -> None:
    firewall = str(ROOT / "examples" / "firewall" / "firewall.o")
    pipeline = {"c": SPLIT, "p4": THREE, "bundle": THREE}.get(target, "")
    output = tmp_path / "out"
    assert main([firewall, "-p", pipeline, "-t", target, "-o", str(output), "--quiet"]) == 0
    if target == "bundle":
        assert {"manifest.json", "placement.mlir", "xdp.o", "nic.p4"} <= set(os.listdir(output))
    else:
        start = {"mlir": b"builtin.module", "elf": b"\x7fELF", "c": b"/*", "p4": b""}[target]
        assert output.read_bytes().startswith(start) and output.stat().st_size > 1000
    # What lists the targets names it.
    assert target in TARGETS


# --- finding out -----------------------------------------------------------------------------------------------------


def test_list_passes_and_targets() -> None:
    status, out, err = fs_opt("--list-passes")
    assert (status, err) == (0, "")
    for name in own_passes():
        assert re.search(rf"^  {name} +\S", out.decode(), re.MULTILINE), f"{name} is not listed with a summary"
    status, out, _ = fs_opt("--list-targets")
    assert status == 0 and set(re.findall(r"^  ([\w-]+)", out.decode(), re.MULTILINE)) == set(TARGETS)


@pytest.mark.parametrize("name", own_passes())
def test_help_of_every_pass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what the pass does and its options, and shows an example that is a test."""
    assert main(["--help-pass", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(name)
    assert re.search(r"^(Options:|No options\.)", out, re.MULTILINE)
    example = re.search(r"^Example \((.*)\):", out, re.MULTILINE)
    assert example is not None and (ROOT / example.group(1)).is_file()


def test_help_names_every_flag_that_is_relied_on() -> None:
    text = make_parser().format_help()
    for flag in (
        *("-o", "-p", "--pass-pipeline", "-t", "--list-passes", "--help-pass", "--print-ir-after-all", "--timing"),
        *("--verify-each", "--crash-reproducer", "--no-fallback", "--load-plugin", "--quiet", "--debug"),
    ):
        assert re.search(rf"(^|\W){flag}\b", text, re.MULTILINE), flag


# --- watching --------------------------------------------------------------------------------------------------------


def test_print_ir_after_all_shows_each_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main([str(ROUTER), "-p", "raise-registers,raise-types", "--print-ir-after-all", "-o", str(output)]) == 0
    err = capsys.readouterr().err
    names = re.findall(r"^// -----// IR Dump After (\S+) //----- //$", err, re.MULTILINE)
    assert names == ["raise-registers", "raise-types"]
    assert err.count("builtin.module") == 2


def test_names_of_passes_to_watch_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROUTER), "-p", "raise", "--print-ir-after", "raise-type", "-o", "/dev/null"]) == 1
    assert "unknown pass 'raise-type', did you mean 'raise-types'" in capsys.readouterr().err


def test_timing_tells_phases_and_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROUTER), "-p", "raise", "--timing", "-o", str(tmp_path / "out")]) == 0
    rows = [line.split()[2:] for line in capsys.readouterr().err.splitlines()]
    named = {" ".join(row) for row in rows}
    assert {"read", "verify input", "raise", "raise-registers", "emit mlir", "(verify)", "total"} <= named


PLUGIN = """
from xdsl.passes import ModulePass
from xdsl.universe import Universe

class Crash(ModulePass):
    "Has a defect."
    name = "crash"
    def apply(self, ctx, op):
        raise KeyError("missing")

class KeepAll(ModulePass):
    "Keeps what it is given."
    name = "keep-all"
    def apply(self, ctx, op):
        from fsir.driver.diagnostics import fallback
        fallback(op.body.block.last_op, "nothing better is known")

PLUGIN = Universe(all_passes={cls.name: lambda cls=cls: cls for cls in (Crash, KeepAll)})
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return str(path)


def test_a_crash_can_be_reproduced(plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reproducer, output = tmp_path / "reproducer", tmp_path / "out"
    given = [str(ROUTER), "--load-plugin", plugin, "-p", "raise,crash", "-t", "elf", "-o", str(output)]
    assert main([*given, f"--crash-reproducer={reproducer}"]) == 1
    first = capsys.readouterr().err
    assert "in pass 'crash': internal error: KeyError" in first and str(reproducer) in first
    assert main([str(reproducer), "--run-reproducer", "--load-plugin", plugin, "-o", str(output)]) == 1
    assert "in pass 'crash': internal error: KeyError" in capsys.readouterr().err
    assert not output.exists()


def test_a_reproducer_that_cannot_be_written_hides_nothing(
    plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "nowhere" / "reproducer"
    assert main([str(ROUTER), "--load-plugin", plugin, "-p", "crash", f"--crash-reproducer={place}"]) == 1
    err = capsys.readouterr().err
    assert "in pass 'crash': internal error: KeyError" in err and "there is no reproducer" in err


def test_no_fallback_makes_keeping_an_error(plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(ROUTER), "--load-plugin", plugin, "-p", "keep-all", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "remark: nothing better is known" in capsys.readouterr().err
    (tmp_path / "out").unlink()
    assert main([*arguments, "--no-fallback"]) == 1
    assert "error: in pass 'keep-all': nothing better is known (--no-fallback" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_of_targets_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROUTER), "-t", "elf{speed=9}", "-o", "/dev/null"]) == 1
    assert "target 'elf' has no option 'speed'; it has: none" in capsys.readouterr().err


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
@pytest.mark.parametrize("name", ["für".encode(), b"\xff\xfe\xfd\xfc"])
def test_names_of_any_bytes_go_through_text(name: bytes, tmp_path: Path) -> None:
    """Symbols and sections are bytes; text shows them escaped, and reads back to the same object."""
    source, given, text = tmp_path / "p.c", tmp_path / "in.o", tmp_path / "in.mlir"
    source.write_text('__attribute__((section("xdp/NAME"), used)) int NAME(void *ctx) { return 2; }')
    given.write_bytes(written(tmp_path, source, "-t", "elf").replace(b"NAME", name))
    assert given.read_bytes().count(name) >= 2
    text.write_bytes(written(tmp_path, given, "--print-debuginfo"))
    assert written(tmp_path, text, "-t", "elf") == written(tmp_path, given, "-t", "elf")


# --- levels mix ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_raising_what_is_raised_changes_nothing(path: Path, tmp_path: Path) -> None:
    raised = written(tmp_path, path, "-p", "raise")
    assert written(tmp_path, path, "-p", "raise,raise") == raised


@pytest.mark.parametrize("pipeline", ["raise,optimize,raise", "raise,lower-to-xdp,raise", "raise,optimize,optimize"])
def test_passes_can_be_run_again(pipeline: str, tmp_path: Path) -> None:
    for path in EXAMPLES:
        again = written(tmp_path, path, "-p", f"{pipeline},lower-to-xdp", "-t", "elf", "--quiet")
        for name, data in code(path.read_bytes()).items():
            assert len(code(again)[name]) <= len(data)
