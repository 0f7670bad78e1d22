"""`--map-size`: sizes of maps that an object leaves to its loader, set in the object that is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpf_clang import compile_c

from fsir.driver.cli import main
from fsir.object.btf import load_btf
from fsir.object.elf import read_elf
from fsir.object.mapdefs import read_map_defs

SOURCE = """
struct { __uint(type, 1); __type(key, u32); __type(value, u64); } left SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 0); __type(key, u32); __type(value, u64); } zero SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 9); __type(key, u32); __type(value, u64); } nine SEC(".maps");
struct legacy { u32 type, key_size, value_size, max_entries, flags; } old SEC("maps") = { 2, 4, 8, 0, 0 };
SEC("xdp") int program(struct xdp_md *ctx)
{
    u32 key = ctx->queue;
    u64 *a = lookup(&left, &key), *b = lookup(&zero, &key), *c = lookup(&nine, &key), *d = lookup(&old, &key);
    if (!a || !b || !c || !d)
        return 1;
    *a += *b + *c + *d;
    return 2;
}
"""
SIZES = {"left": 5, "zero": 6, "nine": 7, "old": 8}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "in.o"
    path.write_bytes(compile_c(SOURCE, "-g"))
    return path


def sizes(path: Path) -> dict[str, int]:
    obj = read_elf(path.read_bytes(), str(path))
    return {m.name: m.max_entries for m in read_map_defs(obj, load_btf(obj)) if not m.internal}


def options(**wanted: int) -> list[str]:
    return [word for name, size in wanted.items() for word in ("--map-size", f"{name}={size}")]


def test_sizes_are_in_the_object(program: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.o"
    assert sizes(program) == {"left": 0, "zero": 0, "nine": 9, "old": 0}
    assert main([str(program), *options(**SIZES), "-t", "elf", "-o", str(output)]) == 0
    assert sizes(output) == SIZES
    assert main([str(output), "-p", "raise,lower-to-xdp", "-t", "elf", "-o", str(program)]) == 0
    assert sizes(program) == SIZES


def test_a_bundle_needs_them(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = "raise,decompose{targets=xdp,af-xdp cut-at=bb1},share-maps,lower"
    words = [str(program), "-p", passes, "-t", "bundle", "-o", str(tmp_path / "bundle")]
    assert main(words) == 1
    assert "give it one: --map-size" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert main([*words, *options(**SIZES)]) == 0
    assert sizes(tmp_path / "bundle" / "xdp.o").items() >= SIZES.items()


@pytest.mark.parametrize(
    ("option", "said"),
    [("other=3", "there is no map 'other' to set the size of; there are: old, left, zero, nine"), ("left=0", "NAME=N")],
)
def test_what_is_no_size(program: Path, option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main([str(program), "--map-size", option])
    except SystemExit as stopped:
        status = stopped.code
    assert status not in (0, None)
    assert said in capsys.readouterr().err
