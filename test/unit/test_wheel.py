"""What a wheel holds: all that the code reads at run time is among it."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from fsir.backends.af_xdp import emit
from fsir.placement import targets

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("fsir", "fsir/backends", "fsir/passes", "fsir/tools")
DATA = {".h", ".mk", ".toml", ".json", ".typed"}


@pytest.fixture(scope="module")
def held() -> set[str]:
    """The files that the build takes, by its own list."""
    setuptools = pytest.importorskip("setuptools")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    data = {package.replace("*", ""): patterns for package, patterns in settings["package-data"].items()}
    packages = setuptools.find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build = setuptools.Distribution(
            {"script_name": "setup.py", "packages": packages, "package_data": data}
        ).get_command_obj("build_py")
        build.ensure_finalized()
        modules = {str(Path(name)) for name in build.get_source_files()}
        return modules | {f"{folder}/{name}" for _, folder, _, names in build.data_files for name in names}


def test_every_file_of_the_packages(held: set[str]) -> None:
    """Found in the tree through the links, as the build does."""
    found = set()
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in DATA | {".py"} and "__pycache__" not in file.parts:
                found.add(str(file.relative_to(ROOT)))
    assert len(found) > 300
    assert found - held == set()


def test_what_the_c_backend_is_made_of(held: set[str]) -> None:
    pieces = (*emit.BEFORE_TABLES, "map_table.h", *emit.BEFORE_PROGRAM, *emit.AFTER_PROGRAM, *emit.IN_PROCESS)
    for name in (*pieces, *emit.SOCKET, "af_xdp.mk"):
        assert f"fsir/backends/af_xdp/runtime/{name}" in held
        assert (files("fsir.backends.af_xdp.runtime") / name).is_file()


def test_the_targets(held: set[str]) -> None:
    assert "fsir/backends/targets/xdp.toml" in held
    assert targets.load("xdp").name == "xdp"
