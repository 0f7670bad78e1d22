"""CO-RE accesses in user space: they have the places that the compiler knew, and run where the kernel has the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from af_xdp_helpers import needs_compiler
from bpf_clang import compile_c

from fsir.driver.cli import main as fs_opt
from fsir.object.elf import read_elf
from fsir.run.cli import main as fs_run

pytestmark = needs_compiler
STRUCT = "struct __attribute__((preserve_access_index)) head { %s };\n"
SAME, MOVED = "u8 kind, size; u16 port; u32 to;", "u32 to; u16 port; u8 kind, size;"
PROGRAM = """
SEC("xdp") int program(struct xdp_md *ctx)
{
    void *end = (void *)(long)ctx->data_end;
    struct head *h = (void *)(long)ctx->data;
    if ((void *)(h + 1) > end)
        return 1;
    if (h->kind == 7)
        return 3;
    return h->port == 8 ? 2 : 1;
}
"""
TYPES = 'struct head *head; SEC("xdp") int all(struct xdp_md *ctx) { return head->to; }'


def run(tmp_path: Path, fields: str) -> int:
    """The exit status of the split program's run, where the kernel has a structure with these fields."""
    original, bundle, types = tmp_path / "in.o", tmp_path / "bundle", tmp_path / "types"
    original.write_bytes(compile_c(STRUCT % SAME + PROGRAM, "-g"))
    section = read_elf(compile_c(STRUCT % fields + TYPES, "-g"), "types.o").section_by_name(".BTF")
    assert section is not None
    types.write_bytes(section.data)
    passes = "raise,decompose{targets=xdp,af-xdp cut-at=bb2},share-maps,lower"
    assert fs_opt([str(original), "-p", passes, "-t", "bundle", "-o", str(bundle)]) == 0
    frames = [f"--hex={number:02x}00{port}{'00' * 60}" for number in (1, 7) for port in ("0800", "0900")]
    against = ["--compare", str(original), "--compare-engine", "interp", "--kernel-btf", str(types)]
    return fs_run([str(bundle), *frames, *against, "--no-packets"])


def test_where_the_kernel_has_the_same_structure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, SAME) == 0
    assert "equal: 4 packets" in capsys.readouterr().out


def test_where_the_kernel_has_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, MOVED) == 1
    said = capsys.readouterr()
    assert "part af_xdp accesses a field that is elsewhere in this kernel" in said.err
    assert "equal" not in said.out
