"""The control-flow graph of machine code: instructions decoded, and the blocks that jumps divide them into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fsir import isa
from fsir.isa import Form
from fsir.object.code import UNDEFINED, Code
from fsir.object.elf import R_BPF_64_32, R_BPF_64_64

FP = 10
_CLOBBERED = 0b111111  # r0 … r5
CALLS = (Form.CALL, Form.CALL_LOCAL, Form.CALL_KFUNC, Form.CALLX)
_LEGACY_LOADS = (Form.LD_ABS, Form.LD_IND)
CONDITIONAL = (Form.JCC_RR, Form.JCC_RI, Form.MAY_GOTO)

_RELOCATION = {Form.LDDW: R_BPF_64_64} | dict.fromkeys((Form.CALL, Form.CALL_LOCAL, Form.CALL_KFUNC), R_BPF_64_32)
"""The type of the relocations that an instruction may have."""

# Registers read, in operand order, by the fields of the instruction; calls and `exit` are found by dataflow.
_USES: dict[Form, Callable[[isa.Insn], tuple[int, ...]]] = {
    Form.ALU_RR: lambda i: (i.dst, i.src),
    Form.ALU_RI: lambda i: (i.dst,),
    Form.UNARY: lambda i: (i.dst,),
    Form.MOV_RR: lambda i: (i.src,),
    Form.MOV_RI: lambda i: (),
    Form.LDDW: lambda i: (),
    Form.LDX: lambda i: (i.src,),
    Form.STX: lambda i: (i.dst, i.src),
    Form.ST: lambda i: (i.dst,),
    Form.ATOMIC: lambda i: (i.dst, i.src),
    Form.ATOMIC_FETCH: lambda i: (i.dst, i.src),
    Form.CMPXCHG: lambda i: (i.dst, 0, i.src),
    Form.LOAD_ACQ: lambda i: (i.src,),
    Form.STORE_REL: lambda i: (i.dst, i.src),
    Form.LD_ABS: lambda i: (6,),
    Form.LD_IND: lambda i: (6, i.src),
    Form.JA: lambda i: (),
    Form.JCC_RR: lambda i: (i.dst, i.src),
    Form.JCC_RI: lambda i: (i.dst,),
    Form.MAY_GOTO: lambda i: (),
    Form.CALLX: lambda i: (i.dst,),
}
_DEFINES: dict[Form, Callable[[isa.Insn], int]] = {
    **{f: (lambda i: i.dst) for f in (Form.ALU_RR, Form.ALU_RI, Form.UNARY, Form.MOV_RR, Form.MOV_RI, Form.LDDW)},
    **{f: (lambda i: i.dst) for f in (Form.LDX, Form.LOAD_ACQ)},
    Form.ATOMIC_FETCH: lambda i: i.src,
    **{f: (lambda i: 0) for f in (Form.CMPXCHG, *CALLS, *_LEGACY_LOADS)},
}


@dataclass(slots=True)
class Step:
    """One instruction: where, what, and which registers it reads and writes."""

    offset: int
    insn: isa.Insn
    row: isa.Opcode
    uses: tuple[int, ...]
    defines: int | None
    clobbers: int
    local_call: bool


@dataclass(slots=True)
class Node:
    """A basic block before it is SSA. A source of a register's content is an instruction index, ("arg", block), or
    None for content that no instruction put there."""

    first: int
    steps: list[int]
    succs: list[int] = field(default_factory=list)
    preds: list[int] = field(default_factory=list)
    live_in: int = 0
    entering: dict[int, object] = field(default_factory=dict)
    leaving: dict[int, object] = field(default_factory=dict)


class NotAGraph(Exception):
    """The code is no control-flow graph of known instructions; the message says where and why."""


class ControlGraph:
    """The steps of a function, and its blocks in layout order with their edges. Raises NotAGraph."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.steps: list[Step] = []
        self._index: dict[int, int] = {}  # byte offset -> step
        self._decode()
        self.nodes = self._divide()

    def _decode(self) -> None:
        offset, data = 0, self.code.data
        while offset < len(data):
            insn = isa.decode(data, offset)
            row = isa.row_of(insn) if insn is not None else None
            if insn is None or row is None:
                raise NotAGraph(f"no instruction at offset {offset:#x}: {data[offset : offset + 8].hex()}")
            ref = self.code.refs.get(offset)
            if ref is not None and ref.type and ref.type != _RELOCATION.get(row.form):
                raise NotAGraph(f"a relocation of type {ref.type} at offset {offset:#x} patches '{row.name}'")
            if row.form is Form.CALL_LOCAL and (ref is None or ref.place not in (None, UNDEFINED)):
                raise NotAGraph(f"the call at offset {offset:#x} leads to no function")
            uses = _USES[row.form](insn) if row.form in _USES else ()
            defines = _DEFINES[row.form](insn) if row.form in _DEFINES else None
            if defines == FP:
                raise NotAGraph(f"offset {offset:#x} writes the frame pointer")
            clobbers = _CLOBBERED if row.form in CALLS + _LEGACY_LOADS else 0
            self._index[offset] = len(self.steps)
            self.steps.append(Step(offset, insn, row, uses, defines, clobbers, row.form is Form.CALL_LOCAL))
            offset += isa.INSN_SIZE * row.slots
        if not self.steps:
            raise NotAGraph("no code")
        if inside := self.code.refs.keys() - self._index.keys():
            raise NotAGraph(f"a relocation at offset {min(inside):#x} patches the inside of an instruction")

    def _target(self, step: Step) -> int:
        """Index of the step that a jump leads to."""
        distance = step.insn.imm if step.row.name == "gotol" else step.insn.off
        offset = step.offset + isa.INSN_SIZE * (1 + distance)
        if offset not in self._index:
            raise NotAGraph(f"the jump at offset {step.offset:#x} leaves the function or lands in an instruction")
        return self._index[offset]

    def _divide(self) -> list[Node]:
        jumps = {i: self._target(s) for i, s in enumerate(self.steps) if s.row.form in (*CONDITIONAL, Form.JA)}
        ends = {i for i, s in enumerate(self.steps) if s.row.form is Form.EXIT or i in jumps}
        leaders = sorted({0, *jumps.values(), *(i + 1 for i in ends if i + 1 < len(self.steps))})
        bounds = [*leaders, len(self.steps)]
        number = {leader: n for n, leader in enumerate(leaders)}
        nodes = [Node(a, list(range(a, b))) for a, b in zip(leaders, bounds[1:], strict=False)]
        for n, node in enumerate(nodes):
            last = node.steps[-1]
            form = self.steps[last].row.form
            if last in jumps:
                node.succs.append(number[jumps[last]])
            if form not in (Form.EXIT, Form.JA) and n + 1 < len(nodes):
                node.succs.append(n + 1)
            elif form in CONDITIONAL:
                raise NotAGraph(f"the code runs off its end after offset {self.steps[last].offset:#x}")
            for s in node.succs:
                nodes[s].preds.append(n)
        return nodes


def reverse_postorder(nodes: list[Node]) -> tuple[list[int], set[int]]:
    """All blocks so that, but for loops, predecessors come first; and the blocks where no edge leads from those before
    them: the entry, and the first block of each piece of unreachable code."""
    order: list[int] = []
    roots: set[int] = set()
    seen: set[int] = set()
    for root in range(len(nodes)):
        if root in seen:
            continue
        roots.add(root)
        seen.add(root)
        piece: list[int] = []
        stack = [(root, iter(nodes[root].succs))]
        while stack:
            n, succs = stack[-1]
            following = next((s for s in succs if s not in seen), None)
            if following is None:
                piece.append(n)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(nodes[following].succs)))
        order += reversed(piece)
    return order, roots
