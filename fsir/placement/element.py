"""An element of a map that is held, by whatever way: the lookups that it may be from, and what happened since."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.dialects import map as maps
from fsir.placement.stack import Piece
from fsir.placement.ways import happens_between

Lookup = maps.LookupOp | maps.LookupAtOp


@dataclass(frozen=True)
class Element:
    """The address `value` of an element: the result of one of `lookups`, to which it came by the ways `passed`: a
    value, and the blocks that it is passed from and to."""

    value: SSAValue
    lookups: tuple[Lookup, ...]
    passed: tuple[tuple[SSAValue, Block, Block], ...] = ()

    def happens_since(self, block: Block, matters: Callable[[Operation], bool]) -> bool:
        """Whether an operation that matters may lie between the lookup that the element is from and a block which that
        value comes to. On the way of a lookup, not on those of others."""
        if any(happens_between(_start(value), to, matters, by) for value, by, to in self.passed):
            return True
        return _start(self.value) is not block and happens_between(_start(self.value), block, matters)


def element_of(value: SSAValue, tree: DominatorTree) -> Element | None:
    """The element that a value is the address of, if it is what lookups in one map have given, unchanged."""
    found: dict[Lookup, None] = {}
    passed: list[tuple[SSAValue, Block, Block]] = []
    seen, work = {value}, [value]
    while work:
        current = work.pop()
        if not isinstance(current, BlockArgument):
            if not isinstance(current.owner, maps.LookupOp | maps.LookupAtOp) or current.type != value.type:
                return None
            found[current.owner] = None
            continue
        sources = [source for source in tree.predecessors(current.owner) if tree.is_reachable(source)]
        for source in sources:
            given = [values[current.index] for target, values in edges(source) if target is current.owner]
            passed += [(each, source, current.owner) for each in given]
            work += [each for each in dict.fromkeys(given) if each not in seen]
            seen.update(given)
        if not sources:
            return None
    names = {op.map.root_reference.data for op in found}
    return Element(value, tuple(found), tuple(passed)) if len(names) == 1 else None


def same_key(keys: Iterable[list[Piece] | None]) -> bool:
    """Whether keys are known and the same: numbers, and bytes of the same values. A value from which each of several
    lookups that meet took its key is there, and the same, wherever what met is: it dominates all of them."""
    split = [_bytes(key) if key else None for key in keys]
    return split[0] is not None and all(each == split[0] for each in split)


def _bytes(key: list[Piece]) -> list[tuple[SSAValue | int, int]] | None:
    found: list[tuple[SSAValue | int, int]] = []
    for piece, bits in key:
        if bits % 8:
            return None
        for at in range(bits // 8):
            found.append((piece >> 8 * at & 0xFF, -1) if isinstance(piece, int) else (piece, at))
    return found


def _start(value: SSAValue) -> Operation | Block:
    """From where on a value is what it is."""
    owner = value.owner
    assert isinstance(owner, Operation | Block)
    return owner


__all__ = ["Element", "Lookup", "element_of", "same_key"]
