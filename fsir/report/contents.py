"""What an object holds: programs, maps, helpers, kernel functions, and the kernel that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.dialects import ebpf, map
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp
from fsir.interp.helpers import HELPERS
from fsir.object.encode import instruction_count
from fsir.report import kernels
from fsir.report.needs import Need, of_code, of_map, of_type

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
    """The report as JSON-able data: `programs`, `subprograms`, `maps`, `license`, `kernel` (the oldest release that has
    all that is used and known, as text), `needs` (what is used, with the release that brought it or null, newest
    first)."""
    funcs = list(functions(module))
    needs = _needs(module, funcs)
    known = [need.since for need in needs if need.since is not None]
    return {
        "programs": [_function(f) for f in funcs if f.type_name is not None],
        "subprograms": [_function(f) for f in funcs if f.type_name is None],
        "maps": [_map(op) for op in module.body.block.ops if isinstance(op, DeclOp)],
        "license": _license(module),
        "kernel": _release(max(known, default=kernels.OLDEST)),
        "needs": [
            {"kind": n.kind, "name": n.name, "since": None if n.since is None else _release(n.since)} for n in needs
        ],
    }


def _needs(module: ModuleOp, funcs: Sequence[FuncOp]) -> list[Need]:
    """Everything that the kernel must have, unknown things first, then newest first."""
    symbols = frozenset(func.symbol for func in funcs)
    found: set[Need] = set()
    for func in funcs:
        found.update(of_type(func.type_name, func.section.data))
        found.update(of_code(func, helpers_of(func), _size(func), symbols))
    for op in module.body.block.ops:
        if isinstance(op, DeclOp):
            found.update(of_map(op))
    return sorted(found, key=lambda n: (n.since is not None, *(-part for part in n.since or ()), n.kind, n.name))


def _release(release: kernels.Release) -> str:
    return "{}.{}".format(*release)


def _size(func: FuncOp) -> int | None:
    """Instructions; None where that is only known after lowering."""
    return instruction_count(func) if func.is_allocated() or func.is_raw() else None


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
        "instructions": _size(func),
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
