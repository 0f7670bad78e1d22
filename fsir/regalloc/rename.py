"""Values of allocated code that live in one block only, put into another register: so that one keeps what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import Block, Operation, Region, SSAValue

from fsir.analysis.calls import CALLER_SAVED, CLOBBERING
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.liveness import bits, solve_backward
from fsir.dialects.ebpf import (
    AluRIOp,
    AluRROp,
    JccRIOp,
    JccRROp,
    LddwOp,
    LdSymOp,
    LdxOp,
    MovRIOp,
    MovRROp,
    StOp,
    StxOp,
    UnaryOp,
    reg,
    reg_index,
    set_type,
)

_STARTS = (MovRROp, MovRIOp, LddwOp, LdSymOp, LdxOp)
_GOES_ON = (AluRROp, AluRIOp, UnaryOp)
"""Two-address instructions: the result has the register of the first operand."""
_READS = (*_GOES_ON, MovRROp, LdxOp, StxOp, StOp, JccRROp, JccRIOp)
_REGISTERS = range(10)


@dataclass(frozen=True)
class _Span:
    """A value from where it is made, as number of an operation, to its last use, with what is made of it in place."""

    values: list[SSAValue]
    start: int
    end: int


def registers_live_out(region: Region) -> dict[Block, set[int]]:
    """The registers, by block, that hold something at its end which is needed after it."""
    blocks = list(region.blocks)
    number = {block: index for index, block in enumerate(blocks)}
    used, defined = [0] * len(blocks), [0] * len(blocks)
    for index, block in enumerate(blocks):
        defined[index] = _mask(block.args)
        for op in block.ops:
            used[index] |= _mask(op.operands) & ~defined[index]
            defined[index] |= _mask(op.results)
    order = [number[block] for block in reversed(DominatorTree(region).rpo)]
    order += sorted(set(range(len(blocks))) - set(order))
    _, live_out = solve_backward(used, defined, [[number[s] for s in successors(b)] for b in blocks], order)
    return {block: set(bits(live_out[index])) for index, block in enumerate(blocks)}


def keep_after(op: Operation, register: int, live_out: set[int]) -> bool:
    """Put what is written to a register after an operation, up to the end of its block, into others: False, and
    nothing done, if that is impossible. `live_out` are the registers that are live at the end of the block."""
    block = op.parent
    assert block is not None
    ops = list(block.ops)
    first = ops.index(op) + 1
    spans = _spans(ops, first, register)
    if spans is None:
        return False
    live = _live_after(ops, first, live_out)
    chosen: list[tuple[_Span, int]] = []
    for span in spans:
        free = next((r for r in _REGISTERS if r != register and _is_free(ops, span, r, live, chosen)), None)
        if free is None:
            return False
        chosen.append((span, free))
    for span, free in chosen:
        for value in span.values:
            set_type(value, reg(free))
    return True


def _mask(values: Sequence[SSAValue]) -> int:
    mask = 0
    for value in values:
        register = reg_index(value.type)
        if register is not None and register < len(_REGISTERS):
            mask |= 1 << register
    return mask


def _spans(ops: Sequence[Operation], first: int, register: int) -> list[_Span] | None:
    """All that is written to a register from the operation number `first` on; None if some of it has to stay there."""
    spans: list[_Span] = []
    number = {op: index for index, op in enumerate(ops)}
    inside: set[SSAValue] = set()
    for index in range(first, len(ops)):
        op = ops[index]
        if isinstance(op, CLOBBERING) and register in CALLER_SAVED:
            return None
        for result in op.results:
            if reg_index(result.type) != register or result in inside:
                continue
            values = _in_place(result) if isinstance(op, _STARTS) else None
            if values is None:
                return None
            inside.update(values)
            uses = [use.operation for value in values for use in value.uses]
            if not all(user in number for user in uses):
                return None
            spans.append(_Span(values, index, max((number[user] for user in uses), default=index)))
    return spans


def _in_place(value: SSAValue) -> list[SSAValue] | None:
    """A value and what two-address instructions make of it; None if one of them has to be in its register."""
    found = [value]
    for each in found:
        for use in each.uses:
            op = use.operation
            if not isinstance(op, _READS) or (isinstance(op, JccRROp | JccRIOp) and use.index >= _compared(op)):
                return None
            if isinstance(op, _GOES_ON) and use.index == 0:
                found.append(op.results[0])
    return found


def _compared(op: Operation) -> int:
    return 2 if isinstance(op, JccRROp) else 1


def _live_after(ops: Sequence[Operation], first: int, live_out: set[int]) -> dict[int, set[int]]:
    """The registers that are live after each operation from number `first` on."""
    live = set(live_out)
    after: dict[int, set[int]] = {}
    for index in range(len(ops) - 1, first - 1, -1):
        after[index] = set(live)
        live -= set(bits(_mask(ops[index].results)))
        live |= set(bits(_mask(ops[index].operands)))
    return after


def _is_free(
    ops: Sequence[Operation],
    span: _Span,
    register: int,
    live: dict[int, set[int]],
    chosen: Sequence[tuple[_Span, int]],
) -> bool:
    """Whether nothing else needs or changes a register in a span."""
    if any(register in live[index] for index in range(span.start, max(span.end, span.start + 1))):
        return False
    if any(taken == register and other.start <= span.end and span.start <= other.end for other, taken in chosen):
        return False
    for op in ops[span.start + 1 : span.end]:
        if isinstance(op, CLOBBERING) and register in CALLER_SAVED:
            return False
        if any(reg_index(result.type) == register for result in op.results):
            return False
    return True
