"""What an object holds: programs, maps, helpers, kernel functions, and the kernel that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.dialects import ebpf, map
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp
from fsir.interp.helpers import HELPERS
from fsir.object.encode import instruction_count

_MAP_HELPERS: dict[type[Operation], int] = {
    map.LookupOp: 1,
    map.LookupAtOp: 1,
    map.UpdateOp: 2,
    map.UpdateAtOp: 2,
    map.DeleteOp: 3,
    map.DeleteAtOp: 3,
    map.RedirectOp: 51,
}
"""The helper that a map operation is a call of."""


def contents_report(module: ModuleOp) -> dict[str, Any]:
    """The report as JSON-able data: `programs`, `subprograms`, `maps`, `license`, `kernel` (the oldest release that
    has all helpers used, as text; the lower bound of what is needed)."""
    funcs = list(functions(module))
    called = {number for func in funcs for number in helpers_of(func)}
    return {
        "programs": [_function(f) for f in funcs if f.type_name is not None],
        "subprograms": [_function(f) for f in funcs if f.type_name is None],
        "maps": [_map(op) for op in module.body.block.ops if isinstance(op, DeclOp)],
        "license": _license(module),
        "kernel": "{}.{}".format(*max((HELPERS[n].since for n in called if n in HELPERS), default=(3, 18))),
    }


def operations(func: FuncOp) -> Iterator[Operation]:
    """Every operation of a function in layout order."""
    for block in func.body.blocks:
        yield from block.ops


def helpers_of(func: FuncOp) -> dict[int, int]:
    """How often each helper is called in a function's code, by number."""
    counts: dict[int, int] = {}
    for op in operations(func):
        number = int(op.helper.data) if isinstance(op, ebpf.CallOp) else _MAP_HELPERS.get(type(op))
        if number is not None:
            counts[number] = counts.get(number, 0) + 1
    return counts


def helper_name(number: int) -> str:
    """The kernel's name of a helper; its number for an unknown one."""
    return HELPERS[number].name if number in HELPERS else f"helper {number}"


def _function(func: FuncOp) -> dict[str, Any]:
    calls = [op for op in operations(func) if isinstance(op, ebpf.CallKfuncOp)]
    return {
        "name": func.symbol,
        "section": func.section.data,
        "type": func.type_name,
        "instructions": instruction_count(func) if func.is_allocated() or func.is_raw() else None,
        "blocks": sum(1 for _ in func.body.blocks),
        "helpers": {helper_name(n): count for n, count in sorted(helpers_of(func).items())},
        "kfuncs": sorted({op.callee.root_reference.data for op in calls if op.callee is not None}),
        "calls": sorted({op.symbol_prop("callee") for op in operations(func) if isinstance(op, ebpf.CallLocalOp)}),
        "understood": not func.is_raw(),
    }


def _map(op: DeclOp) -> dict[str, Any]:
    return {
        "name": op.sym_name.data,
        "type": op.type.data,
        "key": op.int_prop("key_size"),
        "value": op.int_prop("value_size"),
        "entries": op.int_prop("max_entries"),
        "flags": op.int_prop("flags"),
        "internal": op.internal is not None,
    }


def _license(module: ModuleOp) -> str | None:
    for op in module.body.block.ops:
        if isinstance(op, SectionOp) and op.section.data == "license":
            return op.content.rstrip(b"\0").decode(errors="replace")
    return None
