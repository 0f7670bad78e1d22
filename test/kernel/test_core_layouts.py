"""CO-RE relocations of compiled programs: libbpf finds every one, and they lead where those of the original lead.

The types that stand for the kernel's are another program's: the same structures with members moved, widened, and gone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.interp.kernel_types import KernelTypes
from fsir.kernel.engine import KernelProgram
from fsir.object.btf import load_btf
from fsir.object.btf_ext import load_btf_ext
from fsir.object.elf import read_elf
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

AS_COMPILED = """
struct inner { __u8 first; __u16 second; } CORE;
struct head {
    __u8 kind, low:3, high:5;
    __u16 port;
    __u32 from, to;
    __u8 list[4];
    struct inner in;
    __u64 gone;
} CORE;
struct value { __u64 hits, bytes; __u32 last; __u64 found[14]; } CORE;
enum way { WAY_IN = 1, WAY_OUT = 2, WAY_LOST = 3 };
"""

ELSEWHERE = """
struct inner { __u32 more, second; __u8 first; };
struct head {
    __u32 to, spare;
    __u8 list[4], high:5, :0, kind, low:2, :0;
    struct inner in;
    __u32 port;
    __u32 from;
};
struct value { __u32 last; __u64 found[14], spare, bytes, hits; };
enum way { WAY_OUT = 70, WAY_IN = 71 };
"""

TYPES = (
    "#define CORE\n"
    + ELSEWHERE
    + """
struct head *head; struct value *value; enum way *way;
SEC("xdp") int all(struct xdp_md *ctx) { return head->to + value->last + *way; }
"""
)

PROGRAM = (
    "#include <bpf/bpf_core_read.h>\n#define CORE __attribute__((preserve_access_index))\n"
    + AS_COMPILED
    + """
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __uint(value_size, 256);
} values SEC(".maps");

SEC("xdp") int relocated(struct xdp_md *ctx)
{
    void *end = (void *)(long)ctx->data_end;
    struct head *h = (void *)(long)ctx->data;
    if ((void *)h + 100 > end)
        return XDP_ABORTED;
    __u32 key = h->kind & 3;
    struct value *v = bpf_map_lookup_elem(&values, &key);
    if (!v)
        return XDP_DROP;
    ((__u64 *)v)[17] = 5;
    v->hits++;
    v->bytes += end - (void *)h;
    v->last = h->from;
    v->found[0] = h->port;
    v->found[1] = h->from + h->to;
    v->found[2] = h->list[1] << 8 | h->list[2];
    v->found[3] = h->in.second;
    v->found[4] = BPF_CORE_READ_BITFIELD(h, low);
    v->found[5] = BPF_CORE_READ_BITFIELD(h, high);
    v->found[6] = bpf_core_field_offset(h->in.first) << 16 | bpf_core_field_size(h->port);
    v->found[7] = bpf_core_type_size(struct head);
    v->found[8] = bpf_core_enum_value(enum way, WAY_OUT);
    v->found[9] = bpf_core_enum_value_exists(enum way, WAY_LOST);
    v->found[10] = (__u16)(h->port << 1) + (h->in.first == 3);
    v->found[12] = bpf_core_field_size(h->in.second);
    ((__u8 *)h)[33] = h->kind;
    v->found[13] = h->from;
    ((__u8 *)h)[33] = 0;
    if (bpf_core_field_exists(h->gone))
        v->found[11] = h->gone;
    __u8 *some = &h->list[h->kind & 3];
    if ((void *)(some + 1) > end)
        return XDP_ABORTED;
    if (*some > 128 && h->in.second > 1000)
        h->in.first = h->list[0];
    h->to = v->last;
    h->port = 0x1234;
    return h->kind > 100 ? XDP_TX : XDP_PASS;
}
"""
)
PIPELINES = ["raise,lower-to-xdp", "raise,optimize,lower-to-xdp", "raise,optimize,chain{at=bb5},lower-to-xdp"]


def packets() -> list[bytes]:
    chosen = random.Random(7)
    return [chosen.randbytes(104) for _ in range(60)]


def compiled(data: bytes, pipeline: str) -> bytes:
    module = import_object(data, "in.o")
    run_pipeline(make_context(), module, pipeline)
    assert [func.keep for func in functions(module) if func.keep is not None] == []
    return export_object(module)


def behaviour(program: KernelProgram | InterpProgram) -> tuple[list[Any], Any]:
    with program:
        outcomes = [program.run(packet) for packet in packets()]
        return [(o.verdict, o.data) for o in outcomes], program.dump_maps()


def relocations(data: bytes) -> set[tuple[str, str, int]]:
    obj = read_elf(data, "out.o")
    btf = load_btf(obj)
    ext = load_btf_ext(obj, btf)
    assert btf is not None and ext is not None
    return {(btf.name(r.type_id), btf.string(r.access_str_off), r.kind) for r in ext.core_relos}


@pytest.mark.parametrize("flags", [("-mcpu=v2",), ("-mcpu=v3",)], ids=["v2", "v3"])
def test_relocations_lead_where_they_led(compile_c: Callable[..., bytes], tmp_path: Path, flags: tuple[str]) -> None:
    types = tmp_path / "other.btf"
    section = read_elf(compile_c(TYPES), "types.o").section_by_name(".BTF")
    assert section is not None
    types.write_bytes(section.data)
    data = compile_c(PROGRAM, *flags)
    expected = behaviour(KernelProgram(data, "relocated", kernel_btf=types))
    assert expected != behaviour(InterpProgram(import_object(data, "in.o"), "relocated"))  # the layout matters
    assert len({verdict for verdict, _ in expected[0]}) == 2
    for pipeline in PIPELINES:
        again = compiled(data, pipeline)
        assert relocations(again) <= relocations(data)
        assert behaviour(KernelProgram(again, "relocated", kernel_btf=types)) == expected, pipeline
        known = KernelTypes(types.read_bytes())
        module = import_object(again, "out.o")
        assert behaviour(InterpProgram(module, "relocated", kernel_types=known)) == expected, pipeline
