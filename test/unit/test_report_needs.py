"""What an object needs of the kernel, and since when there is that."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp

from fsir.driver.context import make_context
from fsir.driver.inputs import parse_text
from fsir.interp.helpers import HELPERS
from fsir.isa import OPCODES
from fsir.object.map_model import MAP_TYPES
from fsir.object.sections import PROGRAM_TYPES
from fsir.report import kernels
from fsir.report.contents import contents_report


def needs(
    body: str, head: str = 'section "xdp" attributes {prog_type = "xdp"}', rest: str = ""
) -> dict[str, str | None]:
    text = f"ebpf.func @p {head} {{\n^a(%ctx : !ebpf.reg<r1>):\n{body}\n}}\n{rest}"
    module = parse_text(make_context(), text, "in.mlir")
    assert isinstance(module, ModuleOp)
    return {f"{need['kind']} {need['name']}": need["since"] for need in contents_report(module)["needs"]}


EXIT = "  %r = ebpf.movi 2 -> r0\n  ebpf.exit (%r) : r0"
CASES: dict[str, tuple[str, dict[str, str | None]]] = {
    "nothing": (EXIT, {}),
    "signed division": (
        "  %x = ebpf.movi 7 -> r0\n  %y = ebpf.sdivi %x, 2 : r0 -> r0\n  ebpf.exit (%y) : r0",
        {"instruction sdiv": "6.6"},
    ),
    "or is as old as eBPF": ("  %x = ebpf.movi 7 -> r0\n  %y = ebpf.ori %x, 2 : r0 -> r0\n  ebpf.exit (%y) : r0", {}),
    "a loop": (
        "  %x = ebpf.movi 7 -> r0\n  ebpf.fallthrough ^b\n"
        "^b:\n  ebpf.jeqi %x, 0, ^b, ^c : r0\n^c:\n  ebpf.exit (%x) : r0",
        {"feature loops": "5.3"},
    ),
    "a 32-bit comparison": (
        "  %x = ebpf.movi 7 -> r0\n  ebpf.jeqi32 %x, 0, ^c, ^b : r0\n^b:\n  ebpf.ja ^c\n^c:\n  ebpf.exit (%x) : r0",
        {"instruction 32-bit conditional jumps": "5.1"},
    ),
    "a helper": ("  %x = ebpf.call 5() -> r0\n  ebpf.exit (%x) : r0", {"helper ktime_get_ns": "4.1"}),
    "a helper that nobody knows": ("  %x = ebpf.call 9999() -> r0\n  ebpf.exit (%x) : r0", {"helper 9999": None}),
}


@pytest.mark.parametrize(("body", "expected"), CASES.values(), ids=CASES)
def test_needs_of_code(body: str, expected: dict[str, str | None]) -> None:
    assert needs(body) == {"program type xdp": "4.8", **expected}


def test_needs_of_maps_and_sections() -> None:
    found = needs(
        EXIT,
        'section "xdp.frags" attributes {prog_type = "xdp"}',
        'map.decl @m "ringbuf" key 0 value 0 entries 4096 flags 0\n'
        'map.decl @a "array" key 4 value 4 entries 1 flags 1024\n'
        'map.decl @new "type99" key 4 value 4 entries 1 flags 0\n',
    )
    assert found == {
        "program type xdp": "4.8",
        "section xdp.frags": "5.18",
        "map type ringbuf": "5.8",
        "map type array": "3.19",
        "map flag BPF_F_MMAPABLE": "5.5",
        "map type type99": None,
    }


def test_the_tables_know_what_the_compiler_knows() -> None:
    assert set(MAP_TYPES) - {"unspec"} == set(kernels.MAP_TYPES)
    assert set(PROGRAM_TYPES) <= set(kernels.PROGRAM_TYPES)
    operations = {row.op for row in OPCODES} | {"ldxs", "gotol"} | {f"fetch_{op}" for op in ("add", "or", "and", "xor")}
    assert set(kernels.OPERATIONS) <= operations
    assert all(helper.since >= kernels.OLDEST for helper in HELPERS.values())
