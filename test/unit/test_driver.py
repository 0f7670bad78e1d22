"""The pieces of the driver, each by itself."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from xdsl.context import Context
from xdsl.dialects import test
from xdsl.dialects.builtin import FileLineColLoc, FusedLoc, IntAttr, ModuleOp, NameLoc, NoneAttr, StringAttr
from xdsl.ir import Attribute
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import ParseError

from fsir.driver.diagnostics import Diagnostic, Diagnostics, Place, Severity, collecting, place_of, remark
from fsir.driver.errors import UsageError, describe
from fsir.driver.expectations import mismatches
from fsir.driver.inputs import parse_text
from fsir.driver.output import write_artifact, write_directory, write_file
from fsir.driver.pass_manager import PassManager, run_pipeline
from fsir.driver.pipeline import parse_pipeline, print_pipeline
from fsir.driver.pipeline_pass import PipelinePass
from fsir.driver.registry import PassRegistry
from fsir.driver.shell import guard
from fsir.driver.timing import Timer
from fsir.object.errors import ObjectError

PIPELINES = {
    "": "",
    "raise": "raise",
    "raise,lower-to-xdp": "raise,lower-to-xdp",
    " raise , lower ": "raise,lower",
    "builtin.module(a,func.func(b,c),d)": "a,b,c,d",
    "any(a)": "a",
    "builtin.module()": "",
    "a{}": "a",
    "a{x=1 y=2.5 z=true w=name}": 'a{x=1 y=2.5 z=true w="name"}',
    "raise,decompose{targets=xdp,af-xdp},share-maps": 'raise,decompose{targets="xdp","af-xdp"},share-maps',
    "decompose{ targets=p4-v1model,xdp,af-xdp order=per-flow }": (
        'decompose{targets="p4-v1model","xdp","af-xdp" order="per-flow"}'
    ),
    'a{path="x.o,}{"}': 'a{path="x.o,}{"}',
    "a{flag}": "a{flag}",
    "a{x=/tmp/a-b.toml,c f=~/d.json}": 'a{x="/tmp/a-b.toml","c" f="~/d.json"}',
}


@pytest.mark.parametrize(("text", "flat"), PIPELINES.items())
def test_pipelines(text: str, flat: str) -> None:
    specs = parse_pipeline(text)
    assert print_pipeline(specs) == flat
    assert parse_pipeline(flat) == specs


@pytest.mark.parametrize(
    "text", ["a,", ",a", "a b", "a(b)", "m.x", "m.x(a", "m.x(a))", "a{b", "a{b=}", "a{b=c:d}", "ä"]
)
def test_pipelines_refused(text: str) -> None:
    with pytest.raises(UsageError, match="pass pipeline, column"):
        parse_pipeline(text)


def loc(line: int) -> FileLineColLoc:
    return FileLineColLoc(StringAttr("f.c"), IntAttr(line), IntAttr(2))


LOCATIONS: list[tuple[Attribute, str]] = [
    (loc(7), "f.c:7:2"),
    (NameLoc(StringAttr("xdp+0x18"), NoneAttr()), "in.o:xdp+0x18"),
    (NameLoc(StringAttr("xdp+0x18"), loc(7)), "f.c:7:2"),
    (FusedLoc((NameLoc(StringAttr("xdp+0x18"), NoneAttr()), loc(7)), NoneAttr()), "f.c:7:2"),
]


@pytest.mark.parametrize(("location", "text"), LOCATIONS)
def test_places(location: Attribute, text: str) -> None:
    assert str(place_of(location, "in.o")) == text


def test_an_operation_without_location_is_where_its_parent_is() -> None:
    inner = test.TestOp()
    outer = test.TestOp(regions=[[inner]])
    assert str(place_of(inner, "in.o")) == "in.o"
    outer.location = loc(3)
    assert str(place_of(inner, "in.o")) == "f.c:3:2"


ERRORS: list[tuple[BaseException, str]] = [
    (ObjectError("cut off", "in.o", "xdp", 0x18), "in.o:xdp+0x18: error: cut off"),
    (ObjectError("cut off"), "IN: error: cut off"),
    (UsageError("say -o"), "IN: error: say -o"),
    (FileNotFoundError(2, "No such file or directory", "x.o"), "x.o: error: no such file or directory; check the path"),
    (RecursionError(), "IN: error: the input is nested too deeply for this tool"),
]


@pytest.mark.parametrize(("error", "text"), ERRORS)
def test_errors(error: BaseException, text: str) -> None:
    assert str(describe(error, "IN")) == text


def test_text_that_is_no_utf8_does_not_stop_a_message() -> None:
    assert str(Diagnostic(Severity.ERROR, Place("a\udcff"), "b")) == "a\\udcff: error: b"


class Note(ModulePass):
    """Reports once per operation of the module."""

    name = "note"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Report."""
        for inner in op.body.ops:
            remark(inner, "seen")


def test_remarks_are_collected_per_run() -> None:
    op = test.TestOp()
    op.location = loc(5)
    with collecting(Diagnostics("in.o")) as messages:
        PassManager(Context()).run(ModuleOp([op]), [Note()])
    assert [str(message) for message in messages.emitted] == ["f.c:5:2: remark: seen"]
    assert not messages.has_errors()


def test_a_composite_pass_runs_its_parts_in_the_manager_at_work() -> None:
    class Parts(PipelinePass):
        name = "parts"
        passes = ("dce", "cse")

    timer = Timer()
    PassManager(Context(), registry_with_xdsl(), timer=timer).run(ModuleOp([]), [Parts()])
    assert [(row.name, row.depth) for row in timer.rows] == [("parts", 0), ("dce", 1), ("cse", 1)]


def registry_with_xdsl() -> PassRegistry:
    from fsir.driver.plugins import installed

    return PassRegistry(installed)


def test_unknown_passes_are_refused_before_any_runs() -> None:
    module = ModuleOp([test.TestOp()])
    with pytest.raises(UsageError, match="unknown pass 'rais'"):
        run_pipeline(Context(), module, "rais")


EXPECTATIONS = {
    "met on its line": ("x // expected-error {{bad}}", [(1, "very bad")], []),
    "met below": ("// expected-error@below {{bad}}\nx", [(2, "bad")], []),
    "met above": ("x\n// expected-error@above {{bad}}", [(1, "bad")], []),
    "met at a distance": ("// expected-error@+2 {{bad}}\n\nx", [(3, "bad")], []),
    "without a line": ("// expected-error@unknown {{bad}}", [(0, "bad")], []),
    "twice": ("// expected-error@below 2 {{bad}}\nx", [(2, "bad"), (2, "bad")], []),
    "twice, once met": ("// expected-error@below 2 {{bad}}\nx", [(2, "bad")], ["was not produced on line 2"]),
    "other text": ("x // expected-error {{bad}}", [(1, "good")], ["unexpected error: good", "was not produced"]),
    "other line": ("x\n// expected-error {{bad}}", [(1, "bad")], ["unexpected error: bad", "was not produced"]),
    "other severity": ("x // expected-remark {{bad}}", [(1, "bad")], ["unexpected error", "was not produced"]),
    "no braces": ("// expected-error bad", [], ["malformed"]),
    "mentioned in the text": ("// expected-error@below {{expected-error}}\nx", [(2, "expected-error")], []),
    "nothing at all": ("x", [], []),
}


@pytest.mark.parametrize(("text", "messages", "problems"), EXPECTATIONS.values(), ids=EXPECTATIONS.keys())
def test_expectations(text: str, messages: list[tuple[int, str]], problems: list[str]) -> None:
    emitted = [Diagnostic(Severity.ERROR, Place("f", line, 1), message) for line, message in messages]
    found = mismatches(text, "f", emitted)
    assert len(found) == len(problems)
    for problem, part in zip(found, problems, strict=True):
        assert part in problem.message


def test_a_file_is_replaced_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "new", b"1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o600)
    write_file(tmp_path / "new", "zwei")
    assert (tmp_path / "new").read_text() == "zwei"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["new"]


def test_a_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    bundle = tmp_path / "out"
    write_directory(bundle, {"manifest.json": b"{}", "old": b""})
    write_artifact({"manifest.json": b"[]", "sub/new": b"x"}, str(bundle))
    found = sorted(str(file.relative_to(bundle)) for file in bundle.rglob("*"))
    assert found == ["manifest.json", "sub", "sub/new"]

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").write_text("…")
    with pytest.raises(UsageError, match="is no bundle"):
        write_directory(mine, {"manifest.json": b"{}"})
    assert (mine / "thesis").exists()
    with pytest.raises(ValueError, match="outside"):
        write_directory(tmp_path / "evil", {"../evil": b""})
    assert sorted(os.listdir(tmp_path)) == ["mine", "out"]


def test_a_directory_does_not_go_to_stdout() -> None:
    with pytest.raises(UsageError, match="-o DIR"):
        write_artifact({}, "-")


def test_the_shell_gets_a_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    def action(error: BaseException) -> int:
        raise error

    assert guard(lambda: 0, "in.o") == 0
    assert guard(lambda: action(UsageError("say -o")), "in.o") == 1
    assert guard(lambda: action(KeyboardInterrupt()), "in.o") == 130
    assert capsys.readouterr().err == "in.o: error: say -o\ninterrupted\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("PLUGIN = Universe(all_passes={'theirs': lambda: Theirs})", "theirs [their-plugin] Do nothing."),
        ("raise RuntimeError('no luck')", "their-plugin' (theirs:PLUGIN) does not load: RuntimeError: no luck; repair"),
        ("PLUGIN = 3", "the installed plugin 'their-plugin' (theirs:PLUGIN) is no xdsl.universe.Universe"),
    ],
)
def test_installed_plugins_are_found_by_entry_point(tmp_path: Path, source: str, said: str) -> None:
    head = "from xdsl.passes import ModulePass\nfrom xdsl.universe import Universe\n"
    theirs = (
        'class Theirs(ModulePass):\n    """Do nothing."""\n    name = "theirs"\n    def apply(self, ctx, op): pass\n'
    )
    (tmp_path / "theirs.py").write_text(head + theirs + source)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[frankenstack.plugins]\ntheir-plugin = theirs:PLUGIN\n")
    done = subprocess.run(
        [sys.executable, "-m", "fsir.tools.fs_opt", "--list-passes"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert said in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr


def test_an_excerpt_fits_a_terminal() -> None:
    text = " " * 5000 + "(" * 5000
    with pytest.raises(ParseError) as error:
        parse_text(Context(), f"\n{text}", "in.mlir")
    said = str(describe(error.value, "in.mlir"))
    assert said.startswith("in.mlir:2:5001: error: ") and len(said) < 500
    line, marker = said.splitlines()[1:]
    assert line[marker.index("^")] == "(" and line[marker.index("^") - 1] == " "
