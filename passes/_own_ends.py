"""Ends of their own for constant results, in allocated code that came out too long.

Where several ways set the same constant for one end of a function (`r3 = 1; if r0 == 0 goto end; …; end: r0 = r3;
exit`), they go to an end that sets it, `r0 = 1; exit`: one instruction less on each way, and two more in the code.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Block, Region

from fsir.analysis.cfg import erase_unreachable, predecessors
from fsir.dialects.ebpf import BranchOp, ExitOp, MovRIOp, MovRROp, reg, set_type

_RESULT = 0
_LEAST = 3
"""How many instructions an end must spare: it takes two itself."""
_Edge = tuple[BranchOp, int]


def own_ends(region: Region) -> int:
    """Give constants ends of their own where that makes a body shorter. Gives the number of ends that were made."""
    made = 0
    for end in list(region.blocks):
        if not _is_end(end):
            continue
        for constants in _by_constant(end, region).values():
            setting = [constant for constant, edges in constants.items() if len(edges) == _uses(constant)]
            if len(setting) >= _LEAST:
                _redirect(region, end, {constant: constants[constant] for constant in setting})
                made += 1
    erase_unreachable(region)
    return made


def _is_end(block: Block) -> bool:
    """Whether a block only returns its argument, or a copy of it."""
    first, last = block.first_op, block.last_op
    if len(block.args) != 1 or not isinstance(last, ExitOp):
        return False
    if first is last:
        return last.value is block.args[0]
    copied = isinstance(first, MovRROp) and first.row.name == "mov" and first.operands[0] is block.args[0]
    return copied and first is not None and first.next_op is last and last.value is first.results[0]


def _by_constant(end: Block, region: Region) -> dict[tuple[str, int], dict[MovRIOp, list[_Edge]]]:
    """What sets the constants that an end is given, with the edges on which it is."""
    found: dict[tuple[str, int], dict[MovRIOp, list[_Edge]]] = {}
    for op, index in predecessors(region)[end]:
        assert isinstance(op, BranchOp)
        passed = op.successor_operands(index)[0].owner
        if isinstance(passed, MovRIOp) and "core" not in passed.properties:
            setting = found.setdefault((passed.name, passed.imm.data), {})
            setting.setdefault(passed, []).append((op, index))
    return found


def _uses(constant: MovRIOp) -> int:
    return sum(1 for _ in constant.res.uses)


def _redirect(region: Region, end: Block, constants: dict[MovRIOp, Sequence[_Edge]]) -> None:
    first, last = next(iter(constants)), end.last_op
    assert isinstance(last, ExitOp)
    result = first.clone()
    set_type(result.res, reg(_RESULT))
    leaving = last.clone()
    leaving.operands = [result.res]
    region.add_block(own := Block([result, leaving]))
    for constant, edges in constants.items():
        for op, index in edges:
            op.set_successor_operands(index, ())
            following = list(op.successors)
            following[index] = own
            op.successors = following
        assert constant.parent is not None
        constant.parent.erase_op(constant)
