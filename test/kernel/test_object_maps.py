"""Objects written by the compiler, in the kernel through libbpf: added maps exist, legacy maps load again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsir.interp.engine import InterpProgram
from fsir.kernel.engine import KernelProgram
from fsir.object.btf import Btf, load_btf
from fsir.object.btf_ext import load_btf_ext, store_btf_ext
from fsir.object.elf import read_elf, write_elf
from fsir.object.importer import import_object
from fsir.object.map_resize import resize_maps
from fsir.object.mapdefs import MapDef, add_btf_map, modernise_maps, read_map_defs

LEGACY = """
struct bpf_elf_map { __u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
struct bpf_elf_map SEC("maps") counts = { .type = 2, .size_key = 4, .size_value = 8, .max_elem = 4 };
struct bpf_elf_map SEC("maps") inner =
    { .type = 2, .size_key = 4, .size_value = 4, .max_elem = 1, .id = 7, .inner_idx = 3 };
struct bpf_elf_map SEC("maps") outer =
    { .type = 12, .size_key = 4, .size_value = 4, .max_elem = 4, .inner_id = 7, .inner_idx = -1 };
SEC("xdp") int prog(struct xdp_md *ctx) {
    __u32 zero = 0, three = 3;
    __u64 *count = bpf_map_lookup_elem(&counts, &zero);
    if (count)
        __sync_fetch_and_add(count, 1);
    void *held = bpf_map_lookup_elem(&outer, &three);
    return held && bpf_map_lookup_elem(held, &zero) ? XDP_TX : XDP_DROP;
}
"""


@pytest.mark.parametrize("name", ["router", "firewall", "maglev"])
def test_added_maps_exist(example: Callable[[str], bytes], name: str) -> None:
    obj = read_elf(example(name), f"{name}.o")
    btf = load_btf(obj)
    ext = load_btf_ext(obj, btf)
    assert btf is not None and ext is not None
    before = {m.name for m in read_map_defs(obj, btf)}
    add_btf_map(obj, btf, MapDef("fs_xsks", type=17, key_size=4, value_size=4, max_entries=8))
    key, value = btf.add_int("fs_key", 4), btf.add_int("fs_value", 8)
    add_btf_map(obj, btf, MapDef("fs_typed", type=1, key_btf_id=key, value_btf_id=value, max_entries=3))
    store_btf_ext(obj, ext, btf)
    written = write_elf(obj)
    with KernelProgram(written) as program:
        assert {"fs_xsks", "fs_typed"} <= set(program.maps)
        assert {m for m in before if not m.startswith(".")} <= set(program.maps)
        assert program.run(bytes(64)) == KernelProgram(example(name)).run(bytes(64))


@pytest.mark.parametrize("flags", [("-g",), ("-g0",)])
def test_modernised_maps_load_and_work(compile_c: Callable[..., bytes], flags: tuple[str, ...]) -> None:
    obj = read_elf(compile_c(LEGACY, *flags), "legacy.o")
    modernise_maps(obj, load_btf(obj) or Btf())
    with KernelProgram(write_elf(obj)) as program:
        assert program.run(bytes(64)).verdict == 3
        contents = program.dump_maps()
    assert contents["counts"] == [{"key": "00000000", "value": "0100000000000000"}]


COUNTDOWN = """
int left = 1;
SEC("xdp") int prog(struct xdp_md *ctx) { return left-- ? XDP_PASS : XDP_DROP; }
"""


def test_global_data_that_became_zero_is_read_back_as_zero(compile_c: Callable[..., bytes]) -> None:
    """Its list is empty then, like that of any array of zeros; the initial value must not come back."""
    elf = compile_c(COUNTDOWN)
    with KernelProgram(elf) as program:
        assert program.run(bytes(64)).verdict == 2
        contents = program.dump_maps()
    assert contents[".data"] == []
    module = import_object(elf, "countdown.o")
    interpreted = InterpProgram(module, "prog")
    assert interpreted.run(bytes(64)).verdict == 2
    assert interpreted.dump_maps() == contents
    with KernelProgram(elf, maps=contents) as program:
        assert program.run(bytes(64)).verdict == 1
    assert InterpProgram(module, "prog", maps=contents).run(bytes(64)).verdict == 1


SIZELESS = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); } left SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    four SEC(".maps");
SEC("xdp") int prog(struct xdp_md *ctx) {
    __u32 key = 7;
    __u64 one = 1;
    return bpf_map_update_elem(&left, &key, &one, 0) || bpf_map_lookup_elem(&four, &key) ? XDP_DROP : XDP_PASS;
}
"""


def test_maps_have_the_sizes_that_were_set(compile_c: Callable[..., bytes]) -> None:
    obj = read_elf(compile_c(SIZELESS), "in.o")
    resize_maps(obj, {"left": 3, "four": 5})
    with KernelProgram(write_elf(obj)) as program:
        assert {name: m.max_entries for name, m in program.maps.items()} == {"left": 3, "four": 5}
        assert program.run(bytes(64)).verdict == 2
        assert program.dump_maps()["left"] == [{"key": "07000000", "value": "0100000000000000"}]
