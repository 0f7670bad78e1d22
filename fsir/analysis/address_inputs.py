"""Scalars that become part of an address or of a size, by whatever arithmetic.

The verifier must be able to bound them by its own means, which are weaker than ours (it forgets the range of a word
when its bytes are swapped, and does not relate a value to what it was computed from).  So a bound of these - a mask, an
extension, a comparison - stays even where we can prove it superfluous, and it stays on the value that it was on.
"""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import BlockArgument, Operation, Region, SSAValue

from fsir.analysis.cfg import edges
from fsir.dialects import ebpf, packet, placement
from fsir.interp.helpers import HELPERS, SIZE_KINDS


def address_inputs(region: Region) -> set[SSAValue]:
    """The scalars of a function that addresses and sizes are computed from."""
    incoming: dict[BlockArgument, list[SSAValue]] = {}
    found: set[SSAValue] = set()
    work: list[SSAValue] = []
    for block in region.blocks:
        for op in block.ops:
            work.extend(_roots(op))
        for successor, values in edges(block):
            for value, arg in zip(values, successor.args, strict=True):
                incoming.setdefault(arg, []).append(value)
    while work:
        value = work.pop()
        if value in found:
            continue
        found.add(value)
        owner = value.owner
        if isinstance(value, BlockArgument):
            work += incoming.get(value, ())
        elif isinstance(owner, Operation) and (isinstance(owner, _ARITHMETIC) or owner.name.startswith("arith.")):
            work += owner.operands
    return {value for value in found if not _is_address(value)}


_ARITHMETIC = (ebpf.AluRROp, ebpf.AluRIOp, ebpf.UnaryOp, ebpf.MovRROp, ebpf.CastOp, arith.ConstantOp)


# Who takes the value may make an address of it.
_PASSED_ON = (ebpf.CallLocalOp, ebpf.CallKfuncOp, ebpf.CallxOp, ebpf.ExitOp, placement.HandoffOp)


def _is_address(value: SSAValue) -> bool:
    return isinstance(value.type, ebpf.WordType)


def _roots(op: Operation) -> Iterator[SSAValue]:
    if isinstance(op, packet.AdvanceOp):
        yield op.by
    elif isinstance(op, ebpf.AluRROp):
        if not all(isinstance(value.type, IntegerType) for value in (*op.operands, op.res)):
            yield from op.operands
    elif isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        for index, value in enumerate(op.operands):
            if helper is None or index >= len(helper.args) or helper.args[index].kind in SIZE_KINDS:
                yield value
    elif isinstance(op, _PASSED_ON):
        yield from op.operands


def compared_values(region: Region) -> set[SSAValue]:
    """The values that some comparison bounds, themselves or by way of an extension or a cast."""
    found: set[SSAValue] = set()
    work = [
        value
        for block in region.blocks
        for op in block.ops
        if isinstance(op, arith.CmpiOp | ebpf.JccRROp | ebpf.JccRIOp)
        for value in op.operands
    ]
    while work:
        value = work.pop()
        if value in found:
            continue
        found.add(value)
        if isinstance(value.owner, _SAME_WORD):
            work += value.owner.operands
        work += [use.operation.results[0] for use in value.uses if isinstance(use.operation, _SAME_WORD)]
    return found


_SAME_WORD = (arith.ExtUIOp, arith.ExtSIOp, arith.TruncIOp, ebpf.CastOp, ebpf.MovRROp)
