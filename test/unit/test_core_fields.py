"""Accesses that CO-RE relocations move: raised, named, and still relocated in the object that comes out."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.ir import Operation

from fsir.analysis import context_fields
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import functions, int_attr
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.object.btf import Btf, load_btf
from fsir.object.btf_ext import load_btf_ext
from fsir.object.elf import read_elf
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

RELOCATED = "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)\n"
PLAIN = "#pragma clang attribute pop\n"
ETHERNET = f"{RELOCATED}struct ethhdr {{ u8 h_dest[6], h_source[6]; u16 h_proto; }};\n{PLAIN}"
CONTEXT = f"{RELOCATED}struct xdp_md___mine {{ %s }};\n{PLAIN}"
SOURCE = """
SEC("xdp") int program(struct xdp_md___mine *ctx)
{
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = (void *)(long)ctx->data;
    if ((void *)(eth + 1) > end)
        return 1;
    return eth->h_proto == 8 ? 2 : 3;
}
"""


def raised(fields: str, *passes: str) -> ModuleOp:
    """The program over a context that it declares with these fields, after `raise` and more passes."""
    data = compile_c(ETHERNET + CONTEXT % fields + SOURCE, "-g")
    module = import_object(data, "in.o")
    for name in ("raise", *passes):
        run_pipeline(make_context(), module, name)
    return module


def ops(module: ModuleOp, *kinds: type) -> list[Operation]:
    return [op for func in functions(module) for op in func.walk() if isinstance(op, kinds) and "core" in op.properties]


def relocations(data: bytes) -> list[tuple[str, str]]:
    """The structure and the field of each relocation of an object."""
    obj = read_elf(data, "out.o")
    btf: Btf | None = load_btf(obj)
    assert btf is not None
    ext = load_btf_ext(obj, btf)
    assert ext is not None
    found = [(btf.resolve(r.type_id), btf.string(r.access_str_off)) for r in ext.core_relos]
    return [(btf.name(struct), btf.members(struct)[int(access.split(":")[1])].name) for struct, access in found]


FIELDS = [("xdp_md___mine", "data"), ("xdp_md___mine", "data_end"), ("ethhdr", "h_proto")]


def test_accesses_of_context_and_packet_are_raised_and_keep_their_relocation() -> None:
    module = raised("u32 data, data_end;")
    assert len(ops(module, packet.DataOp, packet.EndOp)) == 2
    (load,) = ops(module, packet.LoadOp)
    assert isinstance(load, packet.LoadOp) and load.field is not None and load.field.data == "eth.h_proto"
    for passes in (("lower-to-xdp",), ("optimize", "lower-to-xdp")):
        again = relocations(export_object(raised("u32 data, data_end;", *passes)))
        assert sorted(again) == sorted(FIELDS)


def test_a_field_is_what_its_name_says_wherever_the_program_has_it() -> None:
    """The loader makes 0 of the 4, and 4 of the 0: the packet's start is no less known, its instruction kept."""
    module = raised("u32 data_end, data;")
    assert not ops(module, packet.DataOp, packet.EndOp)
    types = [op.results[0].type for op in ops(module, ebpf.LdxOp)]
    assert sorted(map(str, types)) == ["!packet.end_ptr", "!packet.ptr"]
    assert len(ops(module, packet.LoadOp)) == 1
    assert sorted(relocations(export_object(raised("u32 data_end, data;", "lower-to-xdp")))) == sorted(FIELDS)


@pytest.mark.parametrize(
    ("struct", "access", "kind", "offset"),
    [
        ("xdp_md", "0:1", 0, 4),
        ("xdp_md___v2", "0:1", 0, 4),
        ("xdp_md", "1:1", 0, None),  # of the next of an array
        ("xdp_md", "0:7", 0, None),  # there is no such member
        ("xdp_md", "0", 0, None),
        ("xdp_md", "0:1", 1, None),  # its size
        ("other", "0:1", 0, None),
    ],
)
def test_where_the_loader_makes_an_access_go(
    struct: str, access: str, kind: int, offset: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    btf = Btf()
    number = btf.add_int("unsigned", 4)
    type_id = btf.add_struct(struct, 8, [("rx_queue_index", number, 0), ("data_end", number, 32)])
    monkeypatch.setattr(context_fields, "btf_of", lambda module: btf)
    core = DictionaryAttr({"type": int_attr(type_id), "access": StringAttr(access), "kind": int_attr(kind)})
    fields = context_fields.RelocatedFields(ModuleOp([]))
    assert fields.offset(core) == offset == fields.offset(core, "xdp")
    assert fields.offset(core, "sched_cls") is None
