"""One `ebpf.func` as one C function: blocks as labels, block arguments as variables, values as locals.

A value used in one block is declared where it is defined; pure operations with a single use are written into that
use. Copies on an edge happen at once: temporaries are made where one would overwrite what another still reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.in_bounds import InBounds
from fsir.analysis.libraries import Prototype
from fsir.analysis.ranges import LayoutEffects
from fsir.backends.af_xdp import ops_ebpf, ops_map, ops_packet, ops_placement, ops_scalar
from fsir.backends.af_xdp.names import Names, hint_of
from fsir.backends.af_xdp.writer import (
    CONDITIONS,
    GOTOS,
    PURE,
    RULES,
    Needs,
    c_type,
    cut,
    needs_of,
    operand,
    plus,
    width_of,
)
from fsir.dialects import ebpf, packet
from fsir.driver.diagnostics import fail, place_of
from fsir.interp.helpers import HELPERS

TABLES = (ops_ebpf, ops_map, ops_packet, ops_placement, ops_scalar)
"""The modules whose import fills the tables."""

STACK_SIZE = 512
INLINE_LENGTH = 60
"""Longer expressions get a variable of their own."""

_LITERAL = re.compile(r"(?:UINT64_C\()?(0x[0-9a-f]+|\d+)u?\)?$")
_RELATION = re.compile(r" (==|!=|<|<=|>|>=) ")
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_WORD = re.compile(r"[A-Za-z_]\w*")


class Unit(Protocol):
    """What a function needs to know of the file it is in; `part.Part` knows it."""

    @property
    def layout_effects(self) -> LayoutEffects: ...
    def map_index(self, op: Operation, name: str) -> str: ...
    def map_sizes(self, name: str) -> tuple[int, int]: ...
    def map_counted(self, op: Operation, address: SSAValue) -> bool: ...
    def map_writable(self, op: Operation, name: str) -> None: ...
    def symbol(self, op: ebpf.LdSymOp) -> str: ...
    def function(self, op: Operation, name: str) -> tuple[str, list[SSAValue]]: ...
    def library_function(self, op: Operation, name: str) -> Prototype: ...
    def carried(self, op: Operation, resume: int, index: int) -> tuple[int, int]: ...


@dataclass
class _Text:
    """An expression that is written where its value is used. `bits` < 64: its C type may be narrower than 64 bits."""

    expression: str
    bits: int


@dataclass
class _Lines:
    """The statements of one block."""

    lines: list[str] = field(default_factory=list)
    declares: bool = False


class FunctionWriter:
    """The emitter (`writer.Emitter`) of one function. `needed` is known when it is written. An `entry` is given the
    packet's bounds; with `takes_bounds` it uses them, and does not look at those in `struct fs_run`."""

    def __init__(
        self, func: ebpf.FuncOp, c_name: str, unit: Unit, entry: bool = False, takes_bounds: bool = False
    ) -> None:
        self.needed = Needs.NOTHING
        self._entry = entry
        self._takes_bounds = takes_bounds
        self.func = func
        self.unit = unit
        self.c_name = c_name
        self._names = Names()
        self._values: dict[SSAValue, str | _Text] = {}
        self._globals: dict[str, list[str]] = {}
        self._offsets: dict[SSAValue, int | None] = {}
        self._allocas: dict[Operation, int] = {}
        self._blocks: dict[Block, _Lines] = {}
        self._labels: dict[Block, str] = {}
        self._jumped: set[Block] = set()
        self._local: set[str] = set()
        self._current = _Lines()
        self._op: Operation | None = None
        self._line = 0
        self._file = ""
        self._uses_frame = False
        self._nests = False
        self._proven: InBounds | None = None
        self._frame_size = self._layout_frame()
        self._bounds = {"data": self._names.fresh("packet"), "end": self._names.fresh("behind")} if takes_bounds else {}

    def _layout_frame(self) -> int:
        size = 0
        for block in self.func.body.blocks:
            for op in block.ops:
                if isinstance(op, ebpf.AllocaOp):
                    size += (op.int_prop("size") + 7) & ~7
                    self._allocas[op] = -STACK_SIZE - size
        return STACK_SIZE + size

    # What rules ask for: unit

    def map_index(self, op: Operation, name: str) -> str:
        return self.unit.map_index(op, name)

    def map_sizes(self, name: str) -> tuple[int, int]:
        return self.unit.map_sizes(name)

    def map_counted(self, op: Operation, address: SSAValue) -> bool:
        return self.unit.map_counted(op, address)

    def map_writable(self, op: Operation, name: str) -> None:
        self.unit.map_writable(op, name)

    def symbol(self, op: ebpf.LdSymOp) -> str:
        return self.unit.symbol(op)

    def function(self, op: Operation, name: str) -> tuple[str, list[SSAValue]]:
        return self.unit.function(op, name)

    def library_function(self, op: Operation, name: str) -> Prototype:
        return self.unit.library_function(op, name)

    def carried(self, op: Operation, resume: int, index: int) -> tuple[int, int]:
        return self.unit.carried(op, resume, index)

    # What rules ask for: values

    def fresh(self, hint: str) -> str:
        self._current.declares = True
        return self._names.fresh(hint)

    def use(self, value: SSAValue) -> str:
        if width_of(value.type) == 64:
            text = self._values[value]
            literal = isinstance(text, _Text) and _LITERAL.match(text.expression)
            return text.expression if literal and isinstance(text, _Text) else self.wide(value)
        text = self._values[value]
        return operand(text.expression) if isinstance(text, _Text) else text

    def wide(self, value: SSAValue) -> str:
        text = self._values[value]
        if isinstance(text, str):
            return text if width_of(value.type) == 64 else f"(uint64_t){text}"
        if match := _LITERAL.match(text.expression):
            return f"UINT64_C({match.group(1)})"
        return operand(text.expression) if text.bits == 64 else f"(uint64_t){operand(text.expression)}"

    def set(self, result: SSAValue, expression: str, bits: int = 64) -> None:
        width = width_of(result.type)
        whole = cut(expression, width) if width < bits else expression
        if self._inlines(result, whole):
            self._values[result] = _Text(whole, min(bits, width))
            return
        if width not in (8, 16, 32):  # to these, the assignment cuts
            expression = whole
        op = result.owner
        assert isinstance(op, Operation)
        if not any(True for _ in result.uses):
            self.line(f"(void){operand(expression)};")
            return
        local = all(use.operation.parent is op.parent for use in result.uses)
        name = self._values[result] = self._names.fresh(hint_of(result))
        comment = self._field_comment(op, name)
        if local:
            self._local.add(name)
            self._current.declares = True
            self.line(f"{c_type(width)} {name} = {expression};{comment}")
        else:
            self._declare(name, width)
            self.line(f"{name} = {expression};{comment}")

    def _inlines(self, result: SSAValue, expression: str) -> bool:
        op = result.owner
        assert isinstance(op, Operation)
        if op.name not in PURE:
            return False
        local = all(use.operation.parent is op.parent for use in result.uses)
        if _LITERAL.match(expression) or (expression.isidentifier() and (local or expression not in self._local)):
            return True  # also in other blocks: a variable changes only on edges into the block that defines it
        return local and len(list(result.uses)) == 1 and len(expression) <= INLINE_LENGTH

    def _declare(self, name: str, width: int) -> None:
        self._globals.setdefault(c_type(width), []).append(name)

    @staticmethod
    def _field_comment(op: Operation, name: str) -> str:
        data = getattr(op.properties.get("field"), "data", None)
        return f" /* {data} */" if isinstance(data, str) and name != data and "*/" not in data else ""

    def line(self, text: str) -> None:
        if self._op is not None:
            place = place_of(self._op.location)
            if place.line and place.line != self._line:
                where = f"line {place.line}" if place.file == self._file else f"{place.file}:{place.line}"
                self._line, self._file = place.line, place.file
                self._current.lines.append(f"/* {where.replace('*/', '* /')} */")
        self._current.lines.append(text)

    def leave(self, expression: str) -> None:
        if self._nests or (self._uses_frame and not self._entry):
            self.line(f"fs_leave(run, {self._frame_size if self._uses_frame else 0});")
        self.line(f"return {expression};")

    # What rules ask for: addresses

    def address(self, value: SSAValue, offset: int) -> str:
        at = self.frame_offset(value)
        if at is not None and self.in_frame(at + offset, 1):
            return plus(self.frame_pointer(), at + offset)
        return plus(self.wide(value), offset)

    def frame_offset(self, value: SSAValue) -> int | None:
        if value not in self._offsets:
            self._offsets[value] = self._find_offset(value)
        return self._offsets[value]

    def _find_offset(self, value: SSAValue) -> int | None:
        op = value.owner
        match op:
            case ebpf.FpOp():
                return 0
            case ebpf.AllocaOp():
                return self._allocas[op]
            case ebpf.CastOp():
                return self.frame_offset(op.operands[0])
            case packet.OffsetOp():
                base = self.frame_offset(op.operands[0])
                return None if base is None else base + op.int_prop("off")
            case ebpf.AluRIOp() if op.row.name == "addi":
                base = self.frame_offset(op.operands[0])
                return None if base is None else base + op.int_prop("imm")
            case ebpf.MovRROp() if op.row.name == "mov":
                return self.frame_offset(op.operands[0])
        return None

    def is_proven(self, op: Operation, base: SSAValue, offset: int, size: int) -> bool:
        if self._proven is None:
            self._proven = InBounds(self.func.body, self.unit.layout_effects, lambda name: self.map_sizes(name)[1])
        return self._proven.holds(op, base, offset, size)

    def needs(self, what: Needs) -> None:
        self.needed = max(self.needed, what)

    def bound(self, name: str) -> str:
        if self._takes_bounds:
            return self._bounds[name]
        if not self._entry:
            self.needs(Needs.BOUNDS)
        return f"run->{name}"

    def length(self) -> str | None:
        return f"{self._bounds['end']} - {self._bounds['data']}" if self._takes_bounds else None

    def frame_pointer(self) -> str:
        return "fp"

    def in_frame(self, offset: int, size: int) -> bool:
        return -self._frame_size <= offset and offset + size <= 0

    # Writing

    def write(self) -> str:
        """The definition of the function."""
        tree = DominatorTree(self.func.body)
        order = [block for block in self.func.body.blocks if tree.is_reachable(block)]
        self._uses_frame = any(isinstance(op, ebpf.FpOp | ebpf.AllocaOp) for block in order for op in block.ops)
        self._nests = not self._entry and any(_calls_back(op) for block in order for op in block.ops)
        if self._uses_frame:
            assert self._names.fresh("fp") == "fp"
        params = [self._names.fresh(hint_of(arg)) for arg in self.func.entry.args]
        for arg, name in zip(self.func.entry.args, params, strict=True):
            self._values[arg] = name
        self._name_blocks(order)
        following = dict(pairwise(order))
        for block in tree.rpo:  # definitions before their uses, which the layout does not promise
            self._current = self._blocks[block] = _Lines()
            self._line = 0
            self._block(block, following.get(block))
        return self._text(order, params)

    def prototype(self) -> str:
        """The declaration of the function."""
        params = "".join(f", {c_type(width_of(arg.type))}" for arg in self.func.entry.args)
        return f"static uint64_t {self.c_name}(struct fs_run *run{params}{', uint64_t' * len(self._bounds)});"

    def _name_blocks(self, order: Sequence[Block]) -> None:
        labels = Names()
        for index, block in enumerate(order):
            self._labels[block] = labels.fresh(getattr(block, "name_hint", None) or f"bb{index}")
            if block is self.func.entry:
                continue
            for arg in block.args:
                if not any(True for _ in arg.uses):
                    continue
                name = self._values[arg] = self._names.fresh(hint_of(arg))
                self._declare(name, width_of(arg.type))

    def _block(self, block: Block, following: Block | None) -> None:
        for op in block.ops:
            self._op = op
            if op.name in PURE and all(not any(True for _ in result.uses) for result in op.results):
                continue
            self.needs(needs_of(op.name))
            written = RULES.get(op.name)
            if written is not None:
                written(op, self)
            elif op.name in CONDITIONS:
                self._branch(op, following)
            elif op.name in GOTOS:
                self._moves(op, 0)
                self._goto(op.successors[0], following)
            else:
                fail(op, f"the AF_XDP backend does not know the operation '{op.name}'; lower it first")
        self._op = None

    def _branch(self, op: Operation, following: Block | None) -> None:
        condition = _unwrapped(CONDITIONS[op.name](op, self))
        then, otherwise = op.successors
        if then is following and otherwise is not following:
            self._guarded(_negated(condition), op, 1)
            self._moves(op, 0)
            return
        self._guarded(condition, op, 0)
        self._moves(op, 1)
        self._goto(otherwise, following)

    def _guarded(self, condition: str, op: Operation, index: int) -> None:
        """The jump of one edge under a condition."""
        outer, self._current = self._current, _Lines()
        self._moves(op, index)
        self._goto(op.successors[index], None)
        inner, self._current = self._current, outer
        inner_lines = [line for line in inner.lines if not line.startswith("/* ")]
        self.line(f"if ({condition}){'' if len(inner_lines) == 1 else ' {'}")
        self._current.lines += [f"\t{line}" for line in inner_lines]
        if len(inner_lines) > 1:
            self._current.lines.append("}")

    def _moves(self, op: Operation, index: int) -> None:
        """Assign a successor's arguments, all at once."""
        passed = zip(op.successors[index].args, successor_operands(op, index), strict=True)
        pairs = [(self._values[arg], self.use(value)) for arg, value in passed if arg in self._values]
        pending = [(str(target), source) for target, source in pairs if target != source]
        while pending:
            read = [set(_WORD.findall(source)) for _, source in pending]
            free = [
                n
                for n, (target, _) in enumerate(pending)
                if not any(target in names for m, names in enumerate(read) if m != n)
            ]
            if not free:  # a cycle: one of its targets is kept in a temporary
                target = pending[0][0]
                kept = self._names.fresh(f"old_{target}")
                width = next(width_of(a.type) for a in op.successors[index].args if self._values.get(a) == target)
                self._declare(kept, width)
                self.line(f"{kept} = {target};")
                pending = [(t, s if t == target else re.sub(rf"\b{target}\b", kept, s)) for t, s in pending]
                continue
            for n in free:
                self.line(f"{pending[n][0]} = {pending[n][1]};")
            pending = [pair for n, pair in enumerate(pending) if n not in free]

    def _goto(self, target: Block, following: Block | None) -> None:
        if target is not following:
            self._jumped.add(target)
            self.line(f"goto {self._labels[target]};")

    def _text(self, order: Sequence[Block], params: Sequence[str]) -> str:
        typed = [
            f", {c_type(width_of(arg.type))} {name}" for arg, name in zip(self.func.entry.args, params, strict=True)
        ]
        typed += [f", uint64_t {name}" for name in self._bounds.values()]
        params = [*params, *self._bounds.values()]
        head = f"static uint64_t {self.c_name}(struct fs_run *run{''.join(typed)})"
        body: list[str] = []
        for block in order:
            lines = self._blocks[block]
            labelled = block in self._jumped
            braces = labelled and lines.declares
            if labelled:
                body.append(f"{self._labels[block]}:{' {' if braces else ''}")
                if not lines.lines:
                    body.append("\t;")
            body += [f"\t{line}" for line in lines.lines]
            if braces:
                body.append("}")
        used = set(_WORD.findall("\n".join(body)))
        top = [
            f"\t(void){name};" for name in ("run", *params) if name not in used and not (name == "run" and self._nests)
        ]
        declared = [f"\t{type_} {', '.join(names)};" for type_, names in self._globals.items()]
        if self._uses_frame:
            enter = f"fs_enter(run, {self._frame_size}) + {self._frame_size}"
            declared.insert(0, f"\tconst uint64_t fp = {enter};")
            top += [] if "fp" in used else ["\t(void)fp;"]
        elif self._nests:
            top.append("\tfs_enter(run, 0);")
        start = [*declared, *top]
        return "\n".join([head, "{", *start, *([""] if start else []), *body, "}", ""])


def _calls_back(op: Operation) -> bool:
    """Whether another function of the program may run meanwhile: calls are counted, so that they cannot recurse."""
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.int_prop("helper"))
        return helper is not None and helper.calls_back
    return isinstance(op, ebpf.CallLocalOp | ebpf.CallxOp)


def _negated(condition: str) -> str:
    """The opposite: of a comparison by the opposite comparison."""
    found = [match for match in _RELATION.finditer(condition) if _depth(condition[: match.start()]) == 0]
    if len(found) != 1 or "?" in condition:
        return f"!{operand(condition)}"
    left, right = condition[: found[0].start()], condition[found[0].end() :]
    return f"{left} {_OPPOSITE[found[0].group(1)]} {right}"


def _depth(text: str) -> int:
    """How many parentheses are open at the end."""
    return text.count("(") - text.count(")")


def _unwrapped(condition: str) -> str:
    """Without parentheses around the whole."""
    if not condition.startswith("(") or not condition.endswith(")"):
        return condition
    depth = 0
    for position, letter in enumerate(condition):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and position < len(condition) - 1:
            return condition
    return condition[1:-1]
