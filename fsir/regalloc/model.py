"""The function under allocation: nodes, steps, blocks.

A *node* is what gets a register: nodes 0 … 10 are the machine's registers themselves, the others stand for values.
Every constraint of the machine is made of copies between nodes. `Copies` is a parallel copy, all sources are read
before any destination is written; `Insn` is an operation of the function. A block argument with several incoming edges
is a node that each predecessor copies to at its end, so that it has several definitions; so has the result of a
two-address instruction, which starts as a copy of its first operand. All other nodes have one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from xdsl.ir import Block, Operation

from fsir.dialects.ebpf import FuncOp

FP = 10
FIRST = 11
"""The first node that is not a register of the machine."""
ALLOCATABLE = (1 << 10) - 1
CALLER_SAVED = 0b111111


class AllocationError(Exception):
    """The function cannot be allocated; the message says why."""


class Kind(IntEnum):
    """Where a node lives."""

    REGISTER = 0
    TEMPLATE = 1
    """Nowhere: an operation without operands makes the value when it is copied from."""
    SLOT = 2
    """In a slot of the stack frame."""
    GONE = 3
    """Nowhere any more: each use makes the value again from its template."""


@dataclass(slots=True)
class Insn:
    """An operation. `uses` are its own operands by position (not what it passes to successors); `op` None is a
    fallthrough that the allocator added. With `tied`, the result is also operand and the step before copies to it."""

    op: Operation | None
    uses: list[int]
    defs: list[int]
    clobbers: int = 0
    tied: bool = False


@dataclass(slots=True)
class Copies:
    """A parallel copy of (destination, source) pairs; `at` is the operation that it is made for."""

    pairs: list[tuple[int, int]]
    at: Operation | None


Step = Insn | Copies


@dataclass(slots=True, eq=False)
class CodeBlock:
    """A block; `weight` estimates how often it runs. `joins` are the nodes that several edges define."""

    index: int
    source: Block | None
    weight: float
    steps: list[Step] = field(default_factory=list)
    succs: list[int] = field(default_factory=list)
    preds: list[int] = field(default_factory=list)
    idom: int = -1
    joins: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class MachineCode:
    """A function. Lists over nodes: `hint` is the register that a node had in the code it comes from, `origin` the node
    whose value it is a copy of, `template` the template node of a value that can be made again, else 0."""

    func: FuncOp
    entry_registers: list[int]
    blocks: list[CodeBlock] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    kind: list[Kind] = field(default_factory=lambda: [Kind.REGISTER] * FIRST)
    hint: list[int | None] = field(default_factory=lambda: list(range(FIRST)))
    origin: list[int] = field(default_factory=lambda: list(range(FIRST)))
    template: list[int] = field(default_factory=lambda: [0] * FIRST)
    makers: dict[int, Operation] = field(default_factory=dict)
    slot: dict[int, int] = field(default_factory=dict)
    joins: set[int] = field(default_factory=set)
    short: set[int] = field(default_factory=set)
    """Nodes that hold a spilled value from one call to the next."""
    tight: set[int] = field(default_factory=set)
    """Nodes that live from one step to the next and so cannot be spilled."""
    known: dict[tuple[int, int], int] = field(default_factory=dict)
    """Templates of constants that a register holds already, by block and the node that it is copied to there."""
    slots: int = 0
    below: list[tuple[int, int]] = field(default_factory=list)
    """By block, the first and last number of the blocks that it dominates; made when first asked for."""

    def node(self, hint: int | None = None, origin: int | None = None, template: int = 0) -> int:
        """A new node."""
        number = len(self.kind)
        self.kind.append(Kind.REGISTER)
        self.hint.append(hint)
        self.origin.append(number if origin is None else origin)
        self.template.append(template)
        return number

    def dominates(self, a: int, b: int) -> bool:
        """Whether block `a` dominates block `b`, or is it. (For blocks that are all made.)"""
        if not self.below:
            self.below = _subtrees([block.idom for block in self.blocks])
        first, last = self.below[a]
        return first <= self.below[b][0] <= last

    def common_dominator(self, a: int, b: int) -> int:
        """The nearest block that dominates both."""
        while not self.dominates(a, b):
            a = self.blocks[a].idom
        return a

    def template_node(self, maker: Operation) -> int:
        """A new node for the value that `maker` makes."""
        number = self.node()
        self.kind[number] = Kind.TEMPLATE
        self.makers[number] = maker
        return number


def _subtrees(idom: list[int]) -> list[tuple[int, int]]:
    """For each vertex of the forest with these parents (-1, or itself, is none) the preorder numbers of its subtree."""
    children: list[list[int]] = [[] for _ in idom]
    stack: list[int] = []
    for vertex, above in enumerate(idom):
        (stack if above < 0 or above == vertex else children[above]).append(vertex)
    order: list[int] = []
    while stack:
        order.append(vertex := stack.pop())
        stack += children[vertex]
    first = [0] * len(idom)
    size = [1] * len(idom)
    for number, vertex in enumerate(order):
        first[vertex] = number
    for vertex in reversed(order):
        size[vertex] += sum(size[child] for child in children[vertex])
    return [(start, start + count - 1) for start, count in zip(first, size, strict=True)]
