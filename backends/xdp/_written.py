"""What objects of the stack frame hold where: which serve again as they are, and which may be changed in part."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.dominance import DominatorTree, successors

Byte = int | tuple[SSAValue, int]
"""A number, or a value and which of its bytes."""
Content = tuple[Byte, ...]


@dataclass(eq=False)
class Written:
    """An object with some content: complete in a block, before what is done there next, written in these blocks.
    `base` is what it held before, of which the rest is left; `used_in` where helpers are given it, `user` the last
    operation that gives it to one."""

    address: SSAValue
    content: Content
    complete_in: Block
    written_in: frozenset[Block]
    base: Written | None
    used_in: set[Block] = field(default_factory=set)
    user: Operation | None = None


class WrittenObjects:
    """All objects of a function, as blocks are gone through, dominators first."""

    def __init__(self, tree: DominatorTree) -> None:
        self._tree = tree
        self._all: list[Written] = []
        self._reached: dict[Block, set[Block]] = {}

    def add(
        self,
        address: SSAValue,
        content: Content,
        complete_in: Block,
        written_in: Collection[Block],
        base: Written | None = None,
    ) -> Written:
        """Note what was written."""
        self._all.append(Written(address, content, complete_in, frozenset(written_in), base))
        return self._all[-1]

    def holding(self, content: Content, block: Block) -> Written | None:
        """An object that holds this on every path to where a block has got to."""
        return next((found for found in self.there(block) if found.content == content), None)

    def there(self, block: Block) -> Iterator[Written]:
        """What objects hold on every path to where a block has got to."""
        for found in self._all:
            if self._tree.dominates(found.complete_in, block):
                lineage = set[Written]()
                each: Written | None = found
                while each is not None:
                    lineage.add(each)
                    each = each.base
                others = (w for w in self._all if w.address is found.address and w not in lineage)
                if not any(b is block or block in self.after(b) for w in others for b in w.written_in):
                    yield found

    def may_change(self, found: Written, before: Operation, early: Collection[Block]) -> bool:
        """Whether nothing needs what an object held before, if some of it is written before an operation, and some at
        places before that in the blocks `early`."""
        same = [other for other in self._all if other.address is found.address]
        sites = set[Block]().union(*(other.written_in | other.used_in for other in same))
        block = before.parent
        assert block is not None
        if any(other.user is before for other in same) or any(sites & self.after(place) for place in (*early, block)):
            return False
        return all(place not in sites and self._tree.strictly_dominates(found.complete_in, place) for place in early)

    def after(self, block: Block) -> set[Block]:
        """The blocks that can be reached from the end of a block."""
        if block not in self._reached:
            found, work = set[Block](), list(successors(block))
            while work:
                following = work.pop()
                if following not in found:
                    found.add(following)
                    work.extend(successors(following))
            self._reached[block] = found
        return self._reached[block]
