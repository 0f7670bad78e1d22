"""A program's own metadata crosses a cut: the header goes behind it, and user space finds it where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpf_clang import PRELUDE, compile_c

from fsir.backends.af_xdp.inprocess import compiler
from fsir.bundle.emit import emit
from fsir.dialects.placement import EdgeOp
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.interp.engine import InterpProgram
from fsir.interp.packet_io import Packet
from fsir.object.importer import import_object
from fsir.run.bundle import BundleEngine
from fsir.run.engines import Settings, Subject

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
PROGRAM = """
static long (*bpf_xdp_adjust_meta)(struct xdp_md *, int) = (void *)54;
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 20 > end) return 1;
    int more = data[14] > 9, none = data[14] == 0;
    if (!none) {
        if (bpf_xdp_adjust_meta(ctx, more ? -12 : -4)) return 0;
        u32 *meta = (void *)(long)ctx->data_meta;
        data = (void *)(long)ctx->data;
        if ((void *)(meta + 1) > (void *)data) return 0;
        meta[0] = 0x11223344;
    }
    data = (void *)(long)ctx->data, end = (void *)(long)ctx->data_end;
    if (data + 20 > end) return 1;
    data[0] = data[15];
    u32 *meta = (void *)(long)ctx->data_meta;
    if ((void *)(meta + 3) <= (void *)data) { meta[1] = 5; meta[2] = meta[0] + data[16]; }
    return data[1] > 3 ? 3 : 2;
}
"""
LINE = next(n for n, line in enumerate((PRELUDE + PROGRAM).splitlines(), 1) if "data[0] =" in line)
FRAMES = [bytes([1, n]) * 7 + bytes([first, 7, 8, 9, 10, 11]) for n in (2, 5) for first in (0, 5, 12)]


def test_own_metadata_of_several_sizes(tmp_path: Path) -> None:
    elf = compile_c(PROGRAM, "-g")
    module, before = import_object(elf, "program.o"), import_object(elf, "program.o")
    run_pipeline(make_context(), module, f"raise,decompose{{cut-at={LINE}}},share-maps,lower")
    found = [op.metadata for op in module.body.block.ops if isinstance(op, EdgeOp)]
    assert [[size.data for size in sizes or ()] for sizes in found] == [[4, 12]]
    for name, content in emit(module, EmitOptions("program.o")).items():
        (tmp_path / name).write_bytes(content)
    engine = BundleEngine(Subject(str(tmp_path)), Settings(program="prog", prog_type="xdp"))
    original, parts = InterpProgram(before, "prog"), InterpProgram(module, "prog")
    try:
        for number, frame in enumerate(FRAMES):
            wanted = original.run(frame)
            run = engine.run(number, Packet(frame, 0), 0)
            assert (run.verdict, run.data, run.metadata) == (wanted.verdict, wanted.data, wanted.meta)
            inside = parts.run(frame)
            assert (inside.verdict, inside.data, inside.meta) == (wanted.verdict, wanted.data, wanted.meta)
    finally:
        engine.close()
