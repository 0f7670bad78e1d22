"""Which version of the instruction set an object is written in."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from fsir import isa
from fsir.dialects.ebpf import InsnOp, functions
from fsir.object.code import Code

DEFAULT = 3


def cpu_version(module: ModuleOp) -> int:
    """2, 3 or 4: the lowest version that has all instructions of the module's original code; for a module that comes
    from no object, a version that every kernel since 5.1 knows."""
    found: list[int] = []
    for func in functions(module):
        if func.original is not None:
            data = Code.from_attribute(func.original).data
            found.append(max((_of_insn(data, at) for at in range(0, len(data), isa.INSN_SIZE)), default=2))
        elif func.is_allocated():
            rows = [op.row for block in func.body.blocks for op in block.ops if isinstance(op, InsnOp)]
            found.append(max((_of_row(row) for row in rows), default=2))
    return max(found, default=DEFAULT)


def has_immediate_stores(module: ModuleOp) -> bool:
    """Whether the module's original code stores immediates. Compilers do so from version 4 on only, and so for kernels
    that take it also for fields of the context (6.3)."""
    for func in functions(module):
        if func.original is not None:
            data = Code.from_attribute(func.original).data
            at = 0
            while at < len(data):
                insn = isa.decode(data, at)
                row = isa.row_of(insn) if insn is not None else None
                if row is not None and row.form is isa.Form.ST:
                    return True
                at += isa.INSN_SIZE * (row.slots if row is not None else 1)
    return False


def _of_insn(data: bytes, at: int) -> int:
    insn = isa.decode(data, at)
    row = isa.row_of(insn) if insn is not None else None
    return _of_row(row) if row is not None else 2


def _of_row(row: isa.Opcode) -> int:
    if row.signed or row.op in ("sdiv", "smod", "bswap") or row.name == "gotol":
        return 4
    jumps = (isa.Form.JCC_RR, isa.Form.JCC_RI)
    return 3 if row.form in jumps and row.width == 32 else 2
