"""The pass `layout-frame`: places for the objects that passes put on the stack."""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.frame_limit import frame_limit
from fsir.analysis.frame_use import frame_depth
from fsir.analysis.liveness import solve_backward
from fsir.dialects.ebpf import (
    AllocaOp,
    AluRIOp,
    AtomicFetchOp,
    AtomicOp,
    BranchOp,
    CmpxchgOp,
    FpOp,
    FramePointerType,
    FuncOp,
    LdxOp,
    StOp,
    StxOp,
    functions,
    insn,
    int_attr,
)
from fsir.driver.diagnostics import fail
from fsir.passes._each_function import each_function

_ACCESSES = (LdxOp, StxOp, StOp, AtomicOp, AtomicFetchOp, CmpxchgOp)


class LayoutFrame(ModulePass):
    """Give each `ebpf.alloca` an offset in the stack frame, below what the function uses by itself.

    Objects whose addresses are never live at the same time share their place. Loads and stores through the address
    become loads and stores on the frame pointer. Fails when the frame gets too large: 512 bytes
    for all functions of a chain of calls together.
    """

    name = "layout-frame"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Place the objects of all functions."""
        each_function(functions(op), layout_frame)


def layout_frame(func: FuncOp) -> None:
    """Place the objects of one function."""
    objects = [op for block in func.body.blocks for op in block.ops if isinstance(op, AllocaOp)]
    if not objects:
        return
    conflicts = _Lifetimes(func, objects).conflicts()
    depth, limit = frame_depth(func), frame_limit(func)
    placed: dict[int, tuple[int, int]] = {}
    # The largest first: what is placed later fits into the gaps.
    for index in sorted(range(len(objects)), key=lambda i: -_size(objects[i])):
        taken = sorted(placed[other] for other in conflicts[index] if other in placed)
        placed[index] = _first_gap(taken, (depth + 7) // 8 * 8, _size(objects[index]))
        if placed[index][1] > limit:
            needed = f"function {func.symbol} needs {placed[index][1]} bytes of stack"
            fail(objects[index], f"{needed}, {limit} are left for it")
    frame = _frame_pointer(func)
    for index, alloca in enumerate(objects):
        _replace(alloca, frame, -placed[index][1])


def _size(op: AllocaOp) -> int:
    return (op.int_prop("size") + 7) // 8 * 8


def _first_gap(taken: Iterable[tuple[int, int]], start: int, size: int) -> tuple[int, int]:
    """The first range of `size` bytes from `start` on (counted downwards from the frame pointer) that is free."""
    for begin, end in taken:
        if start + size <= begin:
            break
        start = max(start, end)
    return start, start + size


def _frame_pointer(func: FuncOp) -> SSAValue:
    """`ebpf.frame` at the start of the entry block."""
    entry = func.entry
    first = entry.first_op
    if isinstance(first, FpOp):
        return first.res
    frame = FpOp.create(result_types=[FramePointerType()])
    assert first is not None
    entry.insert_op_before(frame, first)
    return frame.res


def _replace(alloca: AllocaOp, frame: SSAValue, offset: int) -> None:
    """Put the frame address in the place of the object's."""
    block = alloca.parent
    assert block is not None
    for use in list(alloca.res.uses):
        op = use.operation
        if isinstance(op, _ACCESSES) and use.index == 0:
            op.properties["off"] = int_attr(op.int_prop("off") + offset)
            op.operands[0] = frame
    address = insn("addi", [frame], alloca.res.type, imm=offset)
    address.location = alloca.location
    block.insert_op_before(address, alloca)
    alloca.res.replace_all_uses_with(address.results[0])
    block.erase_op(alloca)


class _Lifetimes:
    """When each object is in use: from its `ebpf.alloca` on, as long as its address, or one derived from it, is live.

    An address that is stored, returned, or handed to anything but a helper or a memory access may be kept: such an
    object lives to the end of the function.
    """

    def __init__(self, func: FuncOp, objects: list[AllocaOp]) -> None:
        self.func, self.objects = func, objects
        self.tree = DominatorTree(func.body)
        self.users: dict[Operation, set[int]] = {}
        self.kept: set[int] = set()
        self.starts: dict[Operation, int] = {op: index for index, op in enumerate(objects)}
        for index, op in enumerate(objects):
            self.find_users(index, op.res)

    def find_users(self, index: int, address: SSAValue) -> None:
        work = [address]
        while work:
            for use in work.pop().uses:
                op = use.operation
                self.users.setdefault(op, set()).add(index)
                if isinstance(op, BranchOp) or op.name.startswith("cf."):
                    self.kept.add(index)
                elif isinstance(op, AluRIOp):
                    work.append(op.res)
                elif not (isinstance(op, _ACCESSES) and use.index == 0) and op.name != "ebpf.call":
                    self.kept.add(index)

    def conflicts(self) -> list[set[int]]:
        """For each object those that are in use at the same time."""
        result: list[set[int]] = [set() for _ in self.objects]
        blocks = self.tree.rpo
        number = {block: i for i, block in enumerate(blocks)}
        used, defined = zip(*(self.local(block) for block in blocks), strict=True)
        successors = [[number[s] for s in block.last_op.successors] if block.last_op else [] for block in blocks]
        order = list(reversed(range(len(blocks))))
        _, live_out = solve_backward(used, defined, successors, order)
        for block, out in zip(blocks, live_out, strict=True):
            live = {i for i in range(len(self.objects)) if out >> i & 1} | self.kept
            for op in reversed(block.ops):
                if op in self.starts:
                    index = self.starts[op]
                    for other in live - {index}:
                        result[index].add(other)
                        result[other].add(index)
                    live -= {index} - self.kept
                live |= self.users.get(op, set())
        return result

    def local(self, block: Block) -> tuple[int, int]:
        used = defined = 0
        for op in block.ops:
            for index in self.users.get(op, set()):
                if not defined >> index & 1:
                    used |= 1 << index
            if op in self.starts:
                defined |= 1 << self.starts[op]
        return used, defined
