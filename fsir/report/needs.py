"""What an object asks of the kernel, and since which release there is that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsir.analysis.dominance import DominatorTree
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp, InsnOp
from fsir.dialects.map import DeclOp
from fsir.interp.helpers import HELPERS
from fsir.report import kernels
from fsir.report.kernels import Release

if TYPE_CHECKING:
    from xdsl.ir import Operation

TAIL_CALL = 12


@dataclass(frozen=True, order=True)
class Need:
    """`since` is None where it is not known."""

    since: Release | None
    kind: str
    name: str


def of_type(type_name: str | None, section: str) -> Iterator[Need]:
    """What a program's type and section need."""
    if type_name is not None:
        yield Need(kernels.PROGRAM_TYPES.get(type_name), "program type", type_name)
    if section in kernels.SECTIONS:
        yield Need(kernels.SECTIONS[section], "section", section)


def of_code(func: FuncOp, helpers: Iterable[int], size: int | None, symbols: frozenset[str]) -> Iterator[Need]:
    """What a function's code needs. `helpers` are those that it calls, `size` its instructions, `symbols` the names of
    functions."""
    called = set(helpers)
    for number in called:
        known = HELPERS.get(number)
        yield Need(known.since if known else None, "helper", known.name if known else str(number))
    calls_down = False
    for block in func.body.blocks:
        for op in block.ops:
            if isinstance(op, ebpf.CallLocalOp):
                calls_down = True
            elif isinstance(op, ebpf.CallKfuncOp) and op.callee is not None:
                name = op.callee.root_reference.data
                yield Need(kernels.KFUNCS.get(name), "kfunc", name)
            elif isinstance(op, ebpf.LdSymOp) and op.sym.root_reference.data in symbols:
                yield Need(kernels.CALLBACKS, "feature", "addresses of functions (callbacks)")
            yield from _of_instruction(op)
    if calls_down:
        yield Need(kernels.SUBPROGRAMS, "feature", "calls between functions")
        if TAIL_CALL in called:
            yield Need(kernels.TAIL_CALLS_BESIDE_SUBPROGRAMS, "feature", "tail calls beside calls of functions")
    if size is not None and size > kernels.LARGE_FROM:
        yield Need(kernels.LARGE, "feature", f"more than {kernels.LARGE_FROM} instructions")
    if _loops(func):
        yield Need(kernels.LOOPS, "feature", "loops")


def of_map(declaration: DeclOp) -> Iterator[Need]:
    """What a map needs. (Flags of global data are the loader's business.)"""
    if declaration.internal is not None:
        yield Need(kernels.GLOBAL_DATA, "feature", "global data")
        return
    yield Need(kernels.MAP_TYPES.get(declaration.type.data), "map type", declaration.type.data)
    flags = declaration.int_prop("flags")
    for bit, (name, since) in kernels.MAP_FLAGS.items():
        if flags & bit:
            yield Need(since, "map flag", name)


def _of_instruction(op: Operation) -> Iterator[Need]:
    if not isinstance(op, InsnOp):
        return
    row = op.row
    name = row.op
    if name in ("or", "and", "xor") and not isinstance(op, ebpf.AtomicOp):
        return
    if isinstance(op, ebpf.LdxOp) and row.signed:
        name = "ldxs"
    elif isinstance(op, ebpf.JaOp) and row.width == 32:
        name = "gotol"
    elif isinstance(op, ebpf.JccRROp | ebpf.JccRIOp) and row.width == 32:
        yield Need((5, 1), "instruction", "32-bit conditional jumps")
        return
    if name in kernels.OPERATIONS and name != "call_kfunc":
        shown = f"atomic {name}" if isinstance(op, ebpf.AtomicOp) else name
        yield Need(kernels.OPERATIONS[name], "instruction", shown)


def _loops(func: FuncOp) -> bool:
    tree = DominatorTree(func.body)
    return any(
        tree.rpo_number(successor) <= tree.rpo_number(block)
        for block in tree.rpo
        for successor in (block.last_op.successors if block.last_op is not None else ())
    )
