"""Machine code to SSA: the blocks of one function, in allocated-register form.

Values are what `register_flow` finds for each register and block. Nothing is dropped and nothing is judged: dead and
unreachable code becomes operations like any other, and code that is no control-flow graph (undecodable instructions,
jumps out of the function) becomes `ebpf.raw`, eight bytes each.
"""

from __future__ import annotations

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
from fsir.object.control_graph import CONDITIONAL, FP, ControlGraph, NotAGraph, Step
from fsir.object.register_flow import RegisterFlow, registers

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


def lift(code: Code, arg_count: int | None, in_section: str) -> Region:
    """The function's blocks. `arg_count` is the number of machine arguments that are surely passed in (1 for a
    program's context; None when unknown, which is taken as all five). `in_section` names the section in locations."""
    try:
        graph = ControlGraph(code)
    except NotAGraph:
        return raw_region(code, in_section)
    return _Builder(graph, RegisterFlow(graph, arg_count), in_section).build()


def why_raw(code: Code) -> str | None:
    """The reason why a function's code is kept as `ebpf.raw`, or None when it lifts."""
    try:
        ControlGraph(code)
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


class _Builder:
    """Makes the operations, once it is known where every register's content comes from."""

    def __init__(self, graph: ControlGraph, flow: RegisterFlow, in_section: str) -> None:
        self.graph, self.code, self.in_section = graph, graph.code, in_section
        self.nodes, self.order, self.entry_defined = graph.nodes, flow.order, flow.entry_defined
        self.args = [[r for r in registers(n.live_in) if n.entering[r] == ("arg", i)] for i, n in enumerate(self.nodes)]
        self.blocks = [Block(arg_types=[reg(r) for r in regs]) for regs in self.args]
        self.results: dict[int, SSAValue] = {}
        self.fp: SSAValue | None = None
        self.preamble = self.make_preamble()

    def make_preamble(self) -> Block | None:
        """An extra entry block where the first block is also jumped to, or has no arguments that a caller passes."""
        if not self.nodes[0].preds:
            return None
        passed = [r for r in self.args[0] if self.entry_defined >> r & 1]
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
            step = self.graph.steps[i]
            operands = [read(r) for r in step.uses]
            successors = [self.blocks[s] for s in node.succs] if i == node.steps[-1] else []
            if step.row.form in (*CONDITIONAL, Form.JA):
                passed = [[read(r) for r in self.args[s]] for s in node.succs]
                op = self.terminator(step, operands, successors, passed)
            else:
                op = self.instruction(step, operands)
            op.location = self.location(step.offset)
            ops.append(op)
            for r in registers(step.clobbers):
                content.pop(r, None)
            if step.defines is not None:
                content[step.defines] = self.results[i] = op.results[0]
        if self.graph.steps[node.steps[-1]].row.form not in (*CONDITIONAL, Form.JA, Form.EXIT):
            if node.succs:
                passed_on = [read(r) for r in self.args[node.succs[0]]]
                after = self.graph.steps[node.steps[-1]].offset
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
        return _location(self.code, self.in_section, offset)

    def terminator(
        self, step: Step, operands: list[SSAValue], successors: list[Block], passed: list[list[SSAValue]]
    ) -> Operation:
        properties = _properties(step, self.code)
        if len(successors) == 2:
            properties[SEGMENTS] = segments(*[1] * len(operands), *map(len, passed))
        return OPS[step.row.name].create(
            operands=[*operands, *(value for values in passed for value in values)],
            properties=properties,
            successors=successors,
        )

    def instruction(self, step: Step, operands: list[SSAValue]) -> Operation:
        result = [] if step.defines is None else [reg(step.defines)]
        properties = _properties(step, self.code)
        ref = self.code.refs.get(step.offset)
        if step.row.form is Form.LDDW and ref is not None:
            return LdSymOp.create(result_types=result, properties=properties)
        if step.row.form is Form.CALL_LOCAL and ref is not None and ref.place == UNDEFINED:
            return OPS["call_kfunc"].create(operands=operands, result_types=result, properties=properties)
        return OPS[step.row.name].create(operands=operands, result_types=result, properties=properties)


def _properties(step: Step, code: Code) -> dict[str, Attribute]:
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


def _lddw_properties(step: Step, code: Code) -> dict[str, Attribute]:
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
