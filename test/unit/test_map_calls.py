"""Operations that are calls of one helper each: they are written and read again, and are that call to lowering, to the
table of effects and to the frame's analysis."""

from __future__ import annotations

import pytest
from codegen_helpers import parse

from fsir.analysis.effects import EffectTable
from fsir.analysis.frame import Frame, How, declared_maps
from fsir.backends.xdp.lower_maps import LowerMaps
from fsir.dialects import ebpf, map
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.interp.helpers import HELPERS, ArgKind
from fsir.placement.access import ANY_MAP, Kind, MapAccesses
from fsir.report.access import access_report

MAPS = """
map.decl @wide "hash" key 8 value 16 entries 4 flags 0
map.decl @small "hash" key 4 value 8 entries 4 flags 0
map.decl @like "hash" key 4 value 24 entries 4 flags 0 {template = unit}
map.decl @outer "array_of_maps" key 4 value 4 entries 4 flags 0 {inner = @like}
map.decl @closed "array_of_maps" key 4 value 4 entries 4 flags 0
"""


def only_call(name: str, arguments: list[str]) -> str:
    """A function with one operation; `arguments` are the types of its operands."""
    values = ", ".join(f"%a{n} : {type_}" for n, type_ in enumerate(arguments))
    operands, types = ", ".join(f"%a{n}" for n in range(len(arguments))), ", ".join(arguments)
    helper = map.CALLS[name].HELPER
    line = f'%r = "map.{name}"({operands}) <{{helper = #builtin.int<{helper}>}}> : ({types}) -> i64'
    return MAPS + f'ebpf.func @f section "xdp" {{\n^entry({values}):\n  {line}\n  ebpf.end\n}}'


@pytest.mark.parametrize("name", map.CALLS)
def test_it_is_written_and_read_and_lowered_as_a_call(name: str) -> None:
    helper = HELPERS[map.CALLS[name].HELPER]
    types = ["!map.handle<@wide>" if arg.kind is ArgKind.MAP else "!ebpf.fp" for arg in helper.args]
    module = parse(only_call(name, types))
    again = parse(str(module))
    assert again.is_structurally_equivalent(module)
    (func,) = functions(again)
    entry = func.entry
    operands = tuple(entry.args)
    LowerMaps().apply(make_context(), again)
    (call,) = (op for op in entry.ops if isinstance(op, ebpf.CallOp))
    assert call.name == "ebpf.call" and call.helper.data == helper.number and tuple(call.operands) == operands


@pytest.mark.parametrize(
    ("handle", "size"),
    [("@wide", 8), ("@small", 4), ("@small, @wide", 8), ("@outer::@inner", 4), ("@closed::@inner", None)],
)
def test_a_key_is_as_long_as_the_longest_that_the_map_may_have(handle: str, size: int | None) -> None:
    text = only_call("lookup_via", [f"!map.handle<{handle}>", "!ebpf.fp"])
    text = text.replace(", %a1 : !ebpf.fp", "").replace("%r =", "%f = ebpf.frame -> !ebpf.fp\n  %r =")
    text = text.replace("%a0, %a1)", "%a0, %k)").replace(
        "%r =", "%k = ebpf.addi %f, -24 : !ebpf.fp -> !ebpf.fp\n  %r ="
    )
    module = parse(text)
    (func,) = functions(module)
    frame = Frame(func, declared_maps(module))
    assert frame.escaped is None
    (access,) = frame.accesses
    assert (access.how, access.start, access.end) == (How.READ, -24, 0 if size is None else -24 + size)


def effects_of(name: str, handle: str) -> tuple[EffectTable, int, int]:
    module = parse(
        only_call(name, [f"!map.handle<{handle}>", *["i64"] * (len(HELPERS[map.CALLS[name].HELPER].args) - 1)])
    )
    table = EffectTable(module)
    (op,) = (op for func in functions(module) for op in func.walk() if isinstance(op, map.MapCallOp))
    found = table.of(op)
    return table, found.reads, found.writes


def test_an_update_changes_all_maps_that_it_may_be_of() -> None:
    table, _, writes = effects_of("update_via", "@small, @wide")
    for name in ("small", "wide"):
        assert writes & table.values(name) and writes & table.entries(name)
    assert not writes & table.values("like")


def test_a_map_in_a_map_of_maps_may_be_any() -> None:
    table, _, writes = effects_of("update_via", "@outer::@inner")
    assert all(writes & table.values(name) for name in ("small", "wide", "like"))
    assert table.values("outer::inner") & table.values("small")
    assert table.values("outer::inner") & table.values("closed::inner")


def test_a_look_up_is_no_change_where_no_map_keeps_a_trace() -> None:
    assert effects_of("lookup_via", "@small, @wide")[2] == 0
    assert effects_of("lookup_via", "@outer::@inner")[2] == 0
    assert effects_of("lookup_via", "@closed::@inner")[2] != 0


def test_an_access_by_a_handle_is_one_to_each_map_that_it_may_be() -> None:
    text = (
        MAPS
        + """
    ebpf.func @f section "xdp" {
    ^entry(%one : !map.handle<@small>, %in : !map.handle<@outer::@inner>, %key : !ebpf.fp, %x : i64):
      %two = ebpf.cast %one : !map.handle<@small> -> !map.handle<@small, @wide>
      %a = map.update_via %two[%key], %key flags %x : !map.handle<@small, @wide>, !ebpf.fp, !ebpf.fp, i64 -> i64
      %b = map.lookup_via %in[%key] : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
      ebpf.end
    }"""
    )
    module = parse(text)
    (func,) = functions(module)
    found = {(name, kind) for name, kind, _ in MapAccesses(module, [func]).of_function(func)}
    assert found == {("small", Kind.UPDATE), ("wide", Kind.UPDATE), (ANY_MAP, Kind.OPAQUE)}


@pytest.mark.parametrize(
    ("name", "stateful"), [("push", True), ("update_via", True), ("output", False), ("lookup_via", False)]
)
def test_the_report_says_what_a_call_does_to_a_map(name: str, stateful: bool) -> None:
    helper = HELPERS[map.CALLS[name].HELPER]
    types = ["!map.handle<@small, @wide>" if arg.kind is ArgKind.MAP else "!ebpf.fp" for arg in helper.args]
    (found,) = access_report(parse(only_call(name, types)))["functions"]
    use = name.removesuffix("_via")
    assert found["maps"] == {"small": {use: 1}, "wide": {use: 1}}
    assert (found["stateful"], found["not_raised"]) == (stateful, {})
