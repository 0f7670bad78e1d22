"""Machine code to SSA: the blocks of one function, in allocated-register form.

Values are found by following, for each register and block, where its content comes from: one definition, or several
that meet, which makes a block argument.  Arguments are pruned by liveness.  Nothing is dropped and nothing is judged:
dead and unreachable code becomes operations like any other, and code that is no control-flow graph (undecodable
instructions, jumps out of the function) becomes `ebpf.raw`, eight bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from xdsl.dialects.builtin import (
    DictionaryAttr,
    FileLineColLoc,
    IntAttr,
    LocationAttr,
    NameLoc,
    StringAttr,
    SymbolRefAttr,
    UnknownLoc,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from fsir import isa
from fsir.dialects.ebpf import (
    OPS,
    EndOp,
    FallthroughOp,
    FpOp,
    LdSymOp,
    RawOp,
    UndefOp,
    int_attr,
    reg,
)
from fsir.dialects.ebpf.base import SEGMENTS, segments
from fsir.isa import Form
from fsir.object.code import UNDEFINED, Code, Line, Ref
from fsir.object.elf import R_BPF_64_32, R_BPF_64_64

FP = 10
_CLOBBERED = 0b111111  # r0 … r5
_ARGS = range(1, 6)
_CALLS = (Form.CALL, Form.CALL_LOCAL, Form.CALL_KFUNC, Form.CALLX)
_LEGACY_LOADS = (Form.LD_ABS, Form.LD_IND)
_CONDITIONAL = (Form.JCC_RR, Form.JCC_RI, Form.MAY_GOTO)

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
    **{f: (lambda i: 0) for f in (Form.CMPXCHG, *_CALLS, *_LEGACY_LOADS)},
}
_FIELDS: dict[Form, tuple[str, ...]] = {
    Form.ALU_RI: ("imm",),
    Form.MOV_RI: ("imm",),
    Form.LDX: ("off",),
    Form.STX: ("off",),
    Form.ST: ("off", "imm"),
    Form.ATOMIC: ("off",),
    Form.ATOMIC_FETCH: ("off",),
    Form.CMPXCHG: ("off",),
    Form.LOAD_ACQ: ("off",),
    Form.STORE_REL: ("off",),
    Form.LD_ABS: ("imm",),
    Form.LD_IND: ("imm",),
    Form.JCC_RI: ("imm",),
    Form.CALL_KFUNC: ("imm", "off"),
}
"""Instruction fields that are properties of the same name."""


@dataclass(slots=True)
class _Step:
    """One instruction: where, what, and which registers it reads and writes."""

    offset: int
    insn: isa.Insn
    row: isa.Opcode
    uses: tuple[int, ...]
    defines: int | None
    clobbers: int
    local_call: bool


@dataclass(slots=True)
class _Node:
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


def lift(code: Code, arg_count: int | None, in_section: str) -> Region:
    """The function's blocks. `arg_count` is the number of machine arguments that are surely passed in (1 for a
    program's context; None when unknown, which is taken as all five). `in_section` names the section in locations."""
    try:
        return _Lifter(code, arg_count, in_section).region()
    except NotAGraph:
        return raw_region(code, in_section)


def why_raw(code: Code) -> str | None:
    """The reason why a function's code is kept as `ebpf.raw`, or None when it lifts."""
    try:
        _Lifter(code, None, "").nodes()
    except NotAGraph as reason:
        return str(reason)
    return None


def raw_region(code: Code, in_section: str) -> Region:
    """The code as one block of `ebpf.raw`."""
    block = Block()
    for offset in range(0, len(code.data), isa.INSN_SIZE):
        chunk = code.data[offset : offset + isa.INSN_SIZE]
        properties: dict[str, Attribute] = {"bytes": StringAttr(chunk.hex())}
        if (ref := code.refs.get(offset)) is not None:
            properties |= {"sym": SymbolRefAttr(ref.target), "via": StringAttr(ref.via)}
            properties["reloc_type"] = int_attr(ref.type)
        op = RawOp.create(properties=properties)
        op.location = _location(code, in_section, offset)
        block.add_op(op)
    block.add_op(EndOp.create())
    return Region(block)


def _location(code: Code, in_section: str, offset: int) -> LocationAttr:
    """The source line, else section and offset; both where the compiler says that no one line is meant."""
    line = code.lines.get(offset)
    if line is not None and line[1] > 0:
        return _line_location(line)
    place = UnknownLoc() if line is None else _line_location(line)
    return (
        NameLoc(StringAttr(f"{in_section}+{code.start + offset:#x}"), place)
        if in_section or line is not None
        else place
    )


@lru_cache(maxsize=1024)
def _line_location(line: Line) -> LocationAttr:
    return FileLineColLoc(StringAttr(line[0]), IntAttr(line[1]), IntAttr(line[2]))


class _Lifter:
    def __init__(self, code: Code, arg_count: int | None, in_section: str) -> None:
        self.code = code
        self.in_section = in_section
        self.entry_defined = sum(1 << r for r in _ARGS[: 5 if arg_count is None else arg_count]) | 1 << FP
        self.steps: list[_Step] = []
        self.index: dict[int, int] = {}  # byte offset -> step

    # --- decoding and the graph --------------------------------------------------------------------------------------

    def decode(self) -> None:
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
            clobbers = _CLOBBERED if row.form in _CALLS + _LEGACY_LOADS else 0
            self.index[offset] = len(self.steps)
            self.steps.append(_Step(offset, insn, row, uses, defines, clobbers, row.form is Form.CALL_LOCAL))
            offset += isa.INSN_SIZE * row.slots
        if not self.steps:
            raise NotAGraph("no code")
        if inside := self.code.refs.keys() - self.index.keys():
            raise NotAGraph(f"a relocation at offset {min(inside):#x} patches the inside of an instruction")

    def target(self, step: _Step) -> int:
        """Index of the step that a jump leads to."""
        distance = step.insn.imm if step.row.name == "gotol" else step.insn.off
        offset = step.offset + isa.INSN_SIZE * (1 + distance)
        if offset not in self.index:
            raise NotAGraph(f"the jump at offset {step.offset:#x} leaves the function or lands in an instruction")
        return self.index[offset]

    def nodes(self) -> list[_Node]:
        """The basic blocks in layout order, with their edges."""
        self.decode()
        jumps = {i: self.target(s) for i, s in enumerate(self.steps) if s.row.form in (*_CONDITIONAL, Form.JA)}
        ends = {i for i, s in enumerate(self.steps) if s.row.form is Form.EXIT or i in jumps}
        leaders = sorted({0, *jumps.values(), *(i + 1 for i in ends if i + 1 < len(self.steps))})
        bounds = [*leaders, len(self.steps)]
        number = {leader: n for n, leader in enumerate(leaders)}
        nodes = [_Node(a, list(range(a, b))) for a, b in zip(leaders, bounds[1:], strict=False)]
        for n, node in enumerate(nodes):
            last = node.steps[-1]
            form = self.steps[last].row.form
            if last in jumps:
                node.succs.append(number[jumps[last]])
            if form not in (Form.EXIT, Form.JA) and n + 1 < len(nodes):
                node.succs.append(n + 1)
            elif form in _CONDITIONAL:
                raise NotAGraph(f"the code runs off its end after offset {self.steps[last].offset:#x}")
            for s in node.succs:
                nodes[s].preds.append(n)
        return nodes

    # --- dataflow over registers -------------------------------------------------------------------------------------

    def complete_uses(self, nodes: list[_Node], order: Sequence[int], roots: set[int]) -> None:
        """Find the registers surely defined before each step; they are the operands of calls and of `exit`."""
        out: dict[int, int] = {}
        changed = True
        while changed:
            changed = False
            for n in order:
                state = self.defined_before(nodes[n], n, out, roots)
                for i in nodes[n].steps:
                    state = _after(state, self.steps[i])
                if out.get(n) != state:
                    out[n] = state
                    changed = True
        for n in order:
            state = self.defined_before(nodes[n], n, out, roots)
            for i in nodes[n].steps:
                step = self.steps[i]
                if step.row.form in _CALLS:
                    step.uses += tuple(r for r in _ARGS if state >> r & 1)
                elif step.row.form is Form.EXIT and state & 1:
                    step.uses = (0,)
                state = _after(state, step)

    def defined_before(self, node: _Node, n: int, out: dict[int, int], roots: set[int]) -> int:
        state = (1 << FP + 1) - 1
        for p in node.preds:
            state &= out.get(p, state)
        if n == 0:
            state &= self.entry_defined
        elif n in roots:
            state &= 1 << FP
        return state

    def find_live(self, nodes: list[_Node], order: Sequence[int]) -> None:
        """Registers whose content on entry to a block is read later (the frame pointer is always there)."""
        changed = True
        while changed:
            changed = False
            for n in reversed(order):
                live = 0
                for s in nodes[n].succs:
                    live |= nodes[s].live_in
                for i in reversed(nodes[n].steps):
                    step = self.steps[i]
                    live &= ~step.clobbers
                    if step.defines is not None:
                        live &= ~(1 << step.defines)
                    for r in step.uses:
                        live |= 1 << r
                live &= ~(1 << FP)
                if live != nodes[n].live_in:
                    nodes[n].live_in = live
                    changed = True

    def find_sources(self, nodes: list[_Node], order: Sequence[int], roots: set[int]) -> None:
        """Where each live-in register's content comes from."""
        for n in roots:
            for r in _registers(nodes[n].live_in):
                argument = n == 0 and self.entry_defined >> r & 1
                nodes[n].entering[r] = ("arg", n) if nodes[n].preds or argument else None
        visited: set[int] = set()
        changed = True
        while changed:
            changed = False
            for n in order:
                node = nodes[n]
                for r in _registers(node.live_in) if n not in roots else ():
                    if node.entering.get(r) == ("arg", n):
                        continue
                    met = {nodes[p].leaving.get(r) for p in node.preds if p in visited}
                    source = met.pop() if len(met) == 1 else ("arg", n)
                    if r not in node.entering or node.entering[r] != source:
                        node.entering[r] = source
                        changed = True
                leaving = dict(node.entering)
                for i in node.steps:
                    step = self.steps[i]
                    for r in _registers(step.clobbers):
                        leaving[r] = None
                    if step.defines is not None:
                        leaving[step.defines] = i
                if leaving != node.leaving or n not in visited:
                    node.leaving = leaving
                    visited.add(n)
                    changed = True

    # --- building the region -----------------------------------------------------------------------------------------

    def region(self) -> Region:
        nodes = self.nodes()
        order, roots = _reverse_postorder(nodes)
        self.complete_uses(nodes, order, roots)
        self.find_live(nodes, order)
        self.find_sources(nodes, order, roots)
        return _Builder(self, nodes, order).build()


class _Builder:
    """Makes the operations, once it is known where every register's content comes from."""

    def __init__(self, lifter: _Lifter, nodes: list[_Node], order: Sequence[int]) -> None:
        self.lifter, self.nodes, self.order = lifter, nodes, order
        self.args = [[r for r in _registers(n.live_in) if n.entering[r] == ("arg", i)] for i, n in enumerate(nodes)]
        self.blocks = [Block(arg_types=[reg(r) for r in regs]) for regs in self.args]
        self.results: dict[int, SSAValue] = {}
        self.fp: SSAValue | None = None
        self.preamble = self.make_preamble()

    def make_preamble(self) -> Block | None:
        """An extra entry block where the first block is also jumped to, or has no arguments that a caller passes."""
        if not self.nodes[0].preds:
            return None
        passed = [r for r in self.args[0] if self.lifter.entry_defined >> r & 1]
        block = Block(arg_types=[reg(r) for r in passed])
        values = dict(zip(passed, block.args, strict=True))
        undefined = {r: UndefOp.create(result_types=[reg(r)]) for r in self.args[0] if r not in values}
        block.add_ops(undefined.values())
        operands = [values[r] if r in values else undefined[r].res for r in self.args[0]]
        block.add_op(FallthroughOp.create(operands=operands, successors=[self.blocks[0]]))
        return block

    def frame_pointer(self) -> SSAValue:
        if self.fp is None:
            op = FpOp.create(result_types=[reg(FP)])
            entry = self.preamble or self.blocks[0]
            if entry.first_op is None:
                entry.add_op(op)
            else:
                entry.insert_op_before(op, entry.first_op)
            self.fp = op.res
        return self.fp

    def build(self) -> Region:
        for n in self.order:
            self.fill(n)
        return Region(([self.preamble] if self.preamble else []) + self.blocks)

    def fill(self, n: int) -> None:
        node, block = self.nodes[n], self.blocks[n]
        content: dict[int, SSAValue] = dict(zip(self.args[n], block.args, strict=True))
        for r, source in node.entering.items():
            if isinstance(source, int):
                content[r] = self.results[source]
            elif source is not None and source != ("arg", n):
                content[r] = self.argument(source, r)
        ops: list[Operation] = []

        def read(r: int) -> SSAValue:
            if r == FP:
                return self.frame_pointer()
            if r not in content:
                undef = UndefOp.create(result_types=[reg(r)])
                ops.append(undef)
                content[r] = undef.res
            return content[r]

        for i in node.steps:
            step = self.lifter.steps[i]
            operands = [read(r) for r in step.uses]
            successors = [self.blocks[s] for s in node.succs] if i == node.steps[-1] else []
            if step.row.form in (*_CONDITIONAL, Form.JA):
                passed = [[read(r) for r in self.args[s]] for s in node.succs]
                op = self.terminator(step, operands, successors, passed)
            else:
                op = self.instruction(step, operands)
            op.location = self.location(step.offset)
            ops.append(op)
            for r in _registers(step.clobbers):
                content.pop(r, None)
            if step.defines is not None:
                content[step.defines] = self.results[i] = op.results[0]
        if self.lifter.steps[node.steps[-1]].row.form not in (*_CONDITIONAL, Form.JA, Form.EXIT):
            if node.succs:
                passed_on = [read(r) for r in self.args[node.succs[0]]]
                after = self.lifter.steps[node.steps[-1]].offset
                target = [self.blocks[node.succs[0]]]
                place = self.location(after)
                ops.append(FallthroughOp.create(operands=passed_on, successors=target, location=place))
            else:
                ops.append(EndOp.create())
        block.add_ops(ops)

    def argument(self, source: object, register: int) -> SSAValue:
        assert isinstance(source, tuple)
        block = source[1]
        return self.blocks[block].args[self.args[block].index(register)]

    def location(self, offset: int) -> LocationAttr:
        return _location(self.lifter.code, self.lifter.in_section, offset)

    def terminator(
        self, step: _Step, operands: list[SSAValue], successors: list[Block], passed: list[list[SSAValue]]
    ) -> Operation:
        properties = _properties(step, self.lifter.code)
        if len(successors) == 2:
            properties[SEGMENTS] = segments(*[1] * len(operands), *map(len, passed))
        return OPS[step.row.name].create(
            operands=[*operands, *(value for values in passed for value in values)],
            properties=properties,
            successors=successors,
        )

    def instruction(self, step: _Step, operands: list[SSAValue]) -> Operation:
        result = [] if step.defines is None else [reg(step.defines)]
        properties = _properties(step, self.lifter.code)
        ref = self.lifter.code.refs.get(step.offset)
        if step.row.form is Form.LDDW and ref is not None:
            return LdSymOp.create(result_types=result, properties=properties)
        if step.row.form is Form.CALL_LOCAL and ref is not None and ref.place == UNDEFINED:
            return OPS["call_kfunc"].create(operands=operands, result_types=result, properties=properties)
        return OPS[step.row.name].create(operands=operands, result_types=result, properties=properties)


def _properties(step: _Step, code: Code) -> dict[str, Attribute]:
    insn, row = step.insn, step.row
    properties: dict[str, Attribute] = {name: int_attr(getattr(insn, name)) for name in _FIELDS.get(row.form, ())}
    unused = {name: int_attr(v) for name in isa.unused_fields(row) if (v := getattr(insn, name))}
    ref = code.refs.get(step.offset)
    if row.form is Form.LDDW:
        properties |= _lddw_properties(step, code)
    elif row.form is Form.CALL:
        properties["helper"] = int_attr(insn.imm)
    elif row.form is Form.CALL_KFUNC and ref is not None:
        properties |= {"callee": SymbolRefAttr(ref.target), "via": StringAttr(ref.via)}
    elif ref is not None:
        properties |= _call_properties(insn, ref)
    if (core := code.cores.get(step.offset)) is not None:
        properties["core"] = DictionaryAttr(
            {"type": int_attr(core[0]), "access": StringAttr(core[1]), "kind": int_attr(core[2])}
        )
    if unused:
        properties["unused"] = DictionaryAttr(unused)
    return properties


def _call_properties(insn: isa.Insn, ref: Ref) -> dict[str, Attribute]:
    properties: dict[str, Attribute] = {"callee": SymbolRefAttr(ref.target)}
    if ref.via:
        properties["via"] = StringAttr(ref.via)
    if ref.place == UNDEFINED:
        properties |= {"imm": int_attr(insn.imm), "pseudo": int_attr(insn.src)}
    return properties


def _lddw_properties(step: _Step, code: Code) -> dict[str, Attribute]:
    insn, ref = step.insn, code.refs.get(step.offset)
    pseudo: dict[str, Attribute] = {"pseudo": int_attr(insn.src)} if insn.src else {}
    if ref is None:
        value = (insn.imm & 0xFFFFFFFF) | (insn.imm_hi & 0xFFFFFFFF) << 32
        return {"imm": int_attr(value)} | pseudo
    properties: dict[str, Attribute] = {"sym": SymbolRefAttr(ref.target), "via": StringAttr(ref.via)} | pseudo
    if ref.place is not None and ref.place != UNDEFINED:
        properties["offset"] = int_attr(ref.place)
    if insn.imm:
        properties["imm"] = int_attr(insn.imm)
    if insn.imm_hi:
        properties["imm_hi"] = int_attr(insn.imm_hi)
    return properties


def _after(state: int, step: _Step) -> int:
    state &= ~step.clobbers
    return state if step.defines is None else state | 1 << step.defines


def _registers(mask: int) -> list[int]:
    return [r for r in range(FP) if mask >> r & 1]


def _reverse_postorder(nodes: list[_Node]) -> tuple[list[int], set[int]]:
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
