"""Compiles C to BPF objects for unit tests; a test that needs it is skipped, with a reason, without clang."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*/*.o"))

PRELUDE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, what) __typeof__(what) *name
#define __array(name, what) __typeof__(what) *name[]
struct xdp_md { u32 data, data_end, data_meta, ifindex, queue, egress; };
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*tail_call)(void *, void *, u32) = (void *)12;
char _license[] SEC("license") = "GPL";
"""


@cache
def compile_c(body: str, *flags: str) -> bytes:
    """The object that clang makes of ``PRELUDE`` and ``body``."""
    if shutil.which("clang") is None:
        pytest.skip("needs clang, which is not installed")
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "program.c"), Path(folder, "program.o")
        source.write_text(PRELUDE + body)
        subprocess.run(["clang", "-target", "bpf", "-O2", *flags, "-c", source, "-o", output], check=True)
        return output.read_bytes()
