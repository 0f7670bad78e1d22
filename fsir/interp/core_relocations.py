"""CO-RE relocations carried out, as a loader does: a module for the types of one kernel."""

from __future__ import annotations

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, ModuleOp, StringAttr
from xdsl.ir import Operation
from xdsl.traits import IsTerminator

from fsir.dialects import ebpf
from fsir.dialects.ebpf.base import InsnOp, int_attr
from fsir.dialects.ebpf.insn import OPS, insn
from fsir.interp.core_values import Value, local_value, value_of
from fsir.interp.engine_maps import ModuleData
from fsir.interp.helper_calls import UNRESOLVED
from fsir.interp.kernel_types import KernelTypes

_WIDTHS = {1: "8", 2: "16", 4: "32", 8: "64"}


def has_relocations(module: ModuleOp) -> bool:
    """Whether there is anything that a kernel's types decide."""
    return any("core" in op.properties for func in ebpf.functions(module) for op in func.walk())


def relocated(module: ModuleOp, kernel: KernelTypes) -> ModuleOp:
    """The module with its relocations carried out: itself where none changes anything, else a copy. An instruction
    that cannot be served becomes a call that fails when the program gets there. ObjectError as `value_of`."""
    changes = _changes(module, kernel)
    if not changes:
        return module
    copy = module.clone()
    for old, new in zip(list(module.walk()), list(copy.walk()), strict=True):
        if old in changes:
            _patch(new, *changes[old])
    return copy


def moved(module: ModuleOp, kernel: KernelTypes) -> list[Operation]:
    """The operations for which the kernel's types have something else than the compiler wrote. ObjectError as
    `value_of`."""
    return list(_changes(module, kernel))


Change = tuple[Value | None, Value | None]


def _changes(module: ModuleOp, kernel: KernelTypes) -> dict[Operation, Change]:
    """What the program's types say, and what the kernel's, where that is not the same."""
    local = ModuleData(module).btf
    if local is None:
        return {}
    known: dict[tuple[int, str, int], Change] = {}
    changes: dict[Operation, Change] = {}
    for func in ebpf.functions(module):
        for op in func.walk():
            core = op.properties.get("core")
            if not isinstance(core, DictionaryAttr) or _place(op) not in op.properties:
                continue
            type_id, access, kind = core.data["type"], core.data["access"], core.data["kind"]
            assert isinstance(type_id, IntAttr) and isinstance(access, StringAttr) and isinstance(kind, IntAttr)
            key = type_id.data, access.data, kind.data
            if key not in known:
                known[key] = local_value(local, *key), value_of(local, kernel, *key)
            before, after = known[key]
            if before != after or after is None or op.properties[_place(op)] != int_attr(after.number):
                changes[op] = known[key]
    return changes


def _place(op: Operation) -> str:
    """The field of an instruction that a loader patches."""
    return "off" if "off" in op.properties else "imm"


def _patch(op: Operation, before: Value | None, after: Value | None) -> None:
    place = _place(op)
    if after is None:
        _poison(op)
        return
    op.properties[place] = int_attr(after.number)
    if place == "off" and before is not None and before.size != after.size:
        if before.resizable and after.resizable and after.size in _WIDTHS and isinstance(op, InsnOp):
            _resize(op, after.size)
        else:
            _poison(op)


def _resize(op: InsnOp, size: int) -> None:
    block = op.parent
    assert block is not None
    types = [result.type for result in op.results]
    new = OPS[op.row.op + _WIDTHS[size]].create(operands=op.operands, result_types=types, properties=op.properties)
    _replace(op, new)


def _poison(op: Operation) -> None:
    result = op.results[0].type if op.results else ebpf.UNALLOCATED
    call = insn("call", [], result, helper=UNRESOLVED)
    if op.has_trait(IsTerminator):
        assert op.parent is not None
        op.parent.insert_op_before(call, op)
    else:
        _replace(op, call)


def _replace(op: Operation, new: Operation) -> None:
    block = op.parent
    assert block is not None
    new.location = op.location
    block.insert_op_before(new, op)
    for old, result in zip(op.results, new.results, strict=False):
        old.replace_all_uses_with(result)
    block.erase_op(op)
