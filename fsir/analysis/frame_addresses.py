"""Which words may be addresses in a stack frame, for the order of the operands of additions.

The kernel's verifier (seen on 6.18) takes `number += address` for an address in the frame of the program itself,
whichever frame the address is in: it keeps the number of the frame in `address += number` only. What is stored through
the sum in a subprogram then counts as stored in the program's frame. So the operands of an addition of a frame address
are not exchanged in functions that are called.
"""

from __future__ import annotations

from collections import defaultdict

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FramePointerType, FuncOp, WordType

_WORD = 64
_MOVED = frozenset({"ebpf.add", "ebpf.sub", "ebpf.addi", "ebpf.subi", "ebpf.mov", "ebpf.cast"})
_SCALAR_MOVED = (arith.AddiOp, arith.SubiOp, arith.SelectOp)
_LOADS = (ebpf.LdxOp, ebpf.AtomicFetchOp, ebpf.CmpxchgOp)


def called_frame_addresses(func: FuncOp) -> set[SSAValue]:
    """The values of a function that may be addresses in a stack frame, its own or a caller's: of its frame, of
    arguments and 64-bit words in memory that have no other type, and what is computed from these. None in a program:
    nothing calls it, and it is in the frame that the verifier supposes."""
    if func.type_name is not None:
        return set()
    passed: defaultdict[SSAValue, list[SSAValue]] = defaultdict(list)
    work: list[SSAValue] = [arg for arg in func.entry.args if not _is_other(arg)]
    for block in func.body.blocks:
        work += [value for op in block.ops for value in op.results if _is_root(op, value)]
        for successor, values in edges(block):
            for value, arg in zip(values, successor.args, strict=True):
                passed[value].append(arg)
    found: set[SSAValue] = set()
    while work:
        value = work.pop()
        if value in found:
            continue
        found.add(value)
        work += passed[value]
        for use in value.uses:
            if use.operation.name in _MOVED or isinstance(use.operation, _SCALAR_MOVED):
                work += use.operation.results
    return found


def _is_root(op: Operation, value: SSAValue) -> bool:
    if isinstance(op, _LOADS):
        return op.row.width == _WORD and not _is_other(value)
    return isinstance(value.type, FramePointerType) or isinstance(op, ebpf.FpOp)


def _is_other(value: SSAValue) -> bool:
    """Whether a value has a type that no frame address has."""
    return isinstance(value.type, IntegerType | WordType) and not isinstance(value.type, FramePointerType)
