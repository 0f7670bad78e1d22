"""The tree is the map: what a reader and the packaging rely on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fsir.driver.registry import own_passes

ROOT = Path(__file__).parent.parent.parent
CODE = ("fsir", "passes", "backends", "tools")
LINKS = ("passes", "backends", "tools")
MODULES = sorted(
    file.relative_to(ROOT)
    for top in CODE
    for file in (ROOT / top).rglob("*.py")
    if not any((ROOT / parent).is_symlink() for parent in file.relative_to(ROOT).parents)
)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def import_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts if parts[0] == "fsir" else ("fsir", *parts)).removesuffix(".__init__")


def test_no_bare_module_gets_loaded() -> None:
    """Everything imports as fsir.…, and nothing brings in a top-level `passes`, `backends` or `tools`."""
    names = [import_name(file) for file in MODULES if file.name != "__main__.py"]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    loaded = run(code + "print(*sys.modules, sep='\\n')").split()
    assert not {name for name in loaded if name.split(".")[0] in LINKS}


@pytest.mark.parametrize("name", LINKS)
def test_links_are_relative(name: str) -> None:
    assert (ROOT / "fsir" / name).readlink() == Path("..") / name


def test_every_package_can_be_found() -> None:
    for file in MODULES:
        assert (ROOT / file.parent / "__init__.py").exists(), f"{file.parent} lacks __init__.py"


@pytest.mark.parametrize("file", [str(file) for file in MODULES])
def test_every_module_says_what_it_is_for(file: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / file).read_text())), f"{file} has no docstring"


@pytest.mark.parametrize("name", own_passes())
def test_every_pass_is_documented_and_tested(name: str) -> None:
    from fsir.driver.listing import summary

    assert summary(own_passes()[name].load()), f"{name} has no docstring"
    assert list((ROOT / "test" / "filecheck").rglob(f"{name}.mlir")), f"test/filecheck/passes/{name}.mlir is missing"


def test_every_dialect_loads() -> None:
    from fsir.driver.context import make_context, own_dialects

    ctx = make_context()
    for name in own_dialects():
        ctx.load_registered_dialect(name)


def test_help_imports_nothing_of_the_compiler() -> None:
    """What keeps `fs-opt --help` quick."""
    code = """
import sys
from fsir.driver.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print("imported:", *(name for name in sys.modules if name.split(".")[0] in ("xdsl", "rich", "elftools", "dpkt")))
"""
    assert run(code).splitlines()[-1] == "imported:"
