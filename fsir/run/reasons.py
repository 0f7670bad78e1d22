"""Why a side of a branch stays open: the helpers whose results the branch asks about."""

from __future__ import annotations

from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.dialects import ebpf
from fsir.interp.branches import compared_values
from fsir.interp.helpers import HELPERS

_BY_CONTENTS = frozenset({"map_lookup_elem", "map_lookup_percpu_elem"})
"""What these give follows from the contents of maps, which a search chooses."""
_MOST = 200


def deciding_helpers(branch: Operation) -> list[str]:
    """The names of the helpers from whose results a branch's condition is computed, other than look-ups."""
    compared = compared_values(branch)
    work: list[SSAValue] = [value for value in (compared or ())[:2] if isinstance(value, SSAValue)]
    seen: set[SSAValue] = set()
    found: dict[str, None] = {}
    while work and len(seen) < _MOST:
        value = work.pop()
        if value in seen:
            continue
        seen.add(value)
        owner = value.owner
        if isinstance(value, BlockArgument):
            work += _passed(value.block, value)
        elif isinstance(owner, ebpf.CallOp):
            helper = HELPERS.get(owner.helper.data)
            if helper is not None and helper.name not in _BY_CONTENTS:
                found.setdefault(helper.c_name)
        elif isinstance(owner, Operation) and not isinstance(owner, ebpf.LdxOp | ebpf.CallLocalOp):
            work += owner.operands
    return list(found)


def _passed(block: Block, argument: BlockArgument) -> list[SSAValue]:
    """What an argument of a block is given."""
    region = block.parent
    if region is None:
        return []
    return [successor_operands(last, index)[argument.index] for last, index in predecessors(region)[block]]
