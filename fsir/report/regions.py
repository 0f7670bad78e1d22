"""Where in a program its state is: the stretches of code that touch it, with the maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xdsl.ir import Block

from fsir.analysis.dominance import successors
from fsir.dialects.ebpf import FuncOp
from fsir.driver.diagnostics import place_of
from fsir.placement.access import Kind, MapAccesses

_ADDS = frozenset({Kind.ADD, Kind.LOOKUP, Kind.REDIRECT})


def stateful_regions(func: FuncOp, stateful: Iterable[Block], accesses: MapAccesses) -> list[dict[str, Any]]:
    """Each group of neighbouring blocks that touch state: `blocks` by number in the layout, `lines` of the source where
    there is debug information, `maps`."""
    numbers = {block: number for number, block in enumerate(func.body.blocks)}
    left = dict.fromkeys(stateful)
    found = []
    while left:
        group = [next(iter(left))]
        for block in group:
            left.pop(block, None)
            neighbours = [b for b in left if b in successors(block) or block in successors(b)]
            group += [b for b in neighbours if b not in group]
        found.append(
            {
                "blocks": sorted(numbers[block] for block in group),
                "lines": _lines(group),
                "maps": sorted({name for block in group for name, _, _ in accesses.of_block(block)}),
            }
        )
    return found


def commutative_maps(func: FuncOp, accesses: MapAccesses) -> list[str]:
    """Maps that a function only ever adds to: the order of packets does not matter to what they hold."""
    kinds: dict[str, set[Kind]] = {}
    for name, kind, _ in accesses.of_function(func):
        kinds.setdefault(name, set()).add(kind)
    return sorted(name for name, found in kinds.items() if Kind.ADD in found and found <= _ADDS)


def _lines(blocks: Iterable[Block]) -> str:
    """`file.c:12-30`; empty without debug information."""
    places = [place_of(op) for block in blocks for op in block.ops]
    known = [place for place in places if place.line]
    if not known:
        return ""
    numbers = [place.line for place in known if place.file == known[0].file]
    first, last = min(numbers), max(numbers)
    return f"{known[0].file}:{first}" + (f"-{last}" if last > first else "")
