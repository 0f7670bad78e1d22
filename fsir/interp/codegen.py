"""One `ebpf.func`, of any level, as the source of one Python function.

    source = generate(func, "f0")
    source.text    # def f0(r1, depth): ...
    source.needs   # global name → what linking must bind to it
    source.ops     # line number → the operation it executes, for messages

Values in registers live in the local variable of their register, all others in one of their own. Blocks are laid out
by `codegen_layout`; the meaning of operations is in the `emit_*` tables.

Executed instructions are counted per block as it is entered, in the local `n`. Machine code counts exactly; at higher
levels an operation counts one unless it is among `emit_base.FREE` (casts, constants, what a branch absorbs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.cfg import successor_operands
from fsir.dialects import ebpf
from fsir.dialects.ebpf.types import FRAME_POINTER
from fsir.interp import emit_map, emit_placement
from fsir.interp.branches import Branches, compared_values
from fsir.interp.codegen_layout import Layout, plan
from fsir.interp.emit_base import CONDITIONS, FREE, GOTOS, M64, RULES, Parameter, UnsupportedOp, width_of
from fsir.interp.emit_scalar import constant_value

POISON = 0xDEADBEEFDEADBEEF
"""What stands above narrow values, shifted by their width."""

Need = tuple[str, tuple[str | int, ...]]
TABLES = (emit_map, emit_placement)
"""The modules whose import fills the tables (they import the others)."""


@dataclass
class Source:
    """A function's source text."""

    name: str
    params: list[Parameter]
    """The parameters before `depth`."""
    calls: dict[str, list[Parameter]] = field(default_factory=dict)
    """What the functions that it calls take, as it passes it."""
    text: str = ""
    needs: dict[str, Need] = field(default_factory=dict)
    ops: dict[int, Operation] = field(default_factory=dict)
    frame_size: int = 0
    """Bytes of `ebpf.alloca` objects."""


def generate(
    func: ebpf.FuncOp,
    name: str,
    find: Callable[[str], ebpf.FuncOp | None],
    poison: bool = False,
    branches: Branches | None = None,
) -> Source:
    """Write a function; `find` gives the functions it may call. UnsupportedOp for an operation without a rule.

    With `poison`, the bits above a narrow value are set wherever the whole register is read: they are unspecified, and
    a result that depends on them is wrong. `branches` gets to know what is reached.
    """
    return _Writer(func, name, find, poison, branches).write()


def parameters(func: ebpf.FuncOp) -> list[Parameter]:
    """A function's parameters: in the registers of its entry block's arguments, by position once raised."""
    found = []
    for position, arg in enumerate(func.entry.args):
        register = ebpf.reg_index(arg.type)
        found.append(Parameter(register if register is not None else position + 1, width_of(arg.type)))
    return found


class _Writer:
    """The emitter (`emit_base.Emitter`) of one function."""

    def __init__(
        self,
        func: ebpf.FuncOp,
        name: str,
        find: Callable[[str], ebpf.FuncOp | None],
        poison: bool,
        branches: Branches | None,
    ):
        self.func = func
        self.poison = poison
        self.branches = branches
        self.find = find
        self.source = Source(name, parameters(func))
        self.layout: Layout = plan(func.body)
        self._lines: list[str] = []
        self._indent = 0
        self._op: Operation | None = None
        self._names: dict[SSAValue, str] = {}
        self._needs: dict[Need, str] = {}
        self._allocas: dict[Operation, int] = {}
        self._uses_frame = False
        self._uses_buffer = False
        self._inner_loop: Block | None = None

    # Emitter

    def use(self, value: SSAValue) -> str:
        return self._names.get(value) or self._name(value)

    def word(self, value: SSAValue) -> str:
        width = width_of(value.type)
        if not self.poison or width == 64:
            return self.use(value)
        return f"({self.use(value)} | {hex(POISON << width & M64)})"

    def _name(self, value: SSAValue) -> str:
        register = ebpf.reg_index(value.type)
        if register is not None:
            name = f"r{register}"
        elif isinstance(value.owner, Operation) and (constant := constant_value(value.owner)) is not None:
            name = str(constant)
        else:
            name = f"v{len(self._names)}"
        self._names[value] = name
        return name

    def set(self, result: SSAValue, expression: str, bits: int = 64) -> None:
        width = width_of(result.type)
        if width < bits:
            expression = f"({expression}) & {hex((1 << width) - 1)}"
        target = self.use(result)
        if target != expression:
            self.line(f"{target} = {expression}")

    def line(self, text: str) -> None:
        self._lines.append("    " * self._indent + text)
        if self._op is not None:
            self.source.ops[len(self._lines)] = self._op

    def need(self, kind: str, *what: str | int) -> str:
        key: Need = (kind, what)
        name = self._needs.get(key)
        if name is None:
            if what and all(isinstance(part, int) for part in what):
                name = kind + "_".join(map(str, what)).replace("-", "minus")  # a name of Python's
            else:
                name = f"{kind}_{len(self._needs)}" if what else kind
            self._needs[key] = name
            self.source.needs[name] = key
        return name

    def call_helper(self, number: int, *args: str) -> str:
        self.count_helper(number)
        padded = (*args, *("0",) * (5 - len(args)))
        return f"{self.need('helper', number)}(machine, {', '.join(padded)})"

    def count_helper(self, number: int) -> None:
        self.line(f"calls[{number}] += 1")

    def leave(self, expression: str) -> None:
        self.line("state[0] = n")
        self.line(f"return {expression}")

    def stack_offset(self, value: SSAValue) -> int | None:
        if self.branches is not None and self.branches.traces:
            return None
        if isinstance(value.owner, ebpf.FpOp) or ebpf.reg_index(value.type) == FRAME_POINTER:
            return 0
        return None

    def alloca(self, op: Operation, size: int) -> str:
        if op not in self._allocas:
            self._allocas[op] = self.source.frame_size
            self.source.frame_size += (size + 7) & ~7
        return f"objects + {self._allocas[op]}"

    def frame_pointer(self) -> str:
        self._uses_frame = True
        return "fp"

    def stack_buffer(self) -> str:
        self._uses_buffer = True
        return "stack"

    def save_state(self) -> None:
        self.line("state[0] = n")
        self.line("state[2] = depth")

    def restore_state(self) -> None:
        self.line("n = state[0]")

    def parameters(self, op: Operation, callee: str) -> list[Parameter]:
        func = self.find(callee)
        if func is None:
            raise UnsupportedOp(op, f"there is no function '{callee}' in this module")
        self.source.calls[callee] = parameters(func)
        return self.source.calls[callee]

    def call_operands(self, args: list[SSAValue], count: int) -> list[str]:
        slots = ["0"] * count
        for position, value in enumerate(args):
            register = ebpf.reg_index(value.type)
            slot = register - 1 if register is not None else position
            if slot < count:
                slots[slot] = self.word(value)
        return slots

    # Writing

    def write(self) -> Source:
        source = self.source
        params = "".join(f"{self.use(arg)}, " for arg in self.func.entry.args)
        self._indent = 1
        self._dispatch()
        head = [f"def {source.name}({params}depth):", *self._prologue()]
        source.ops = {line + len(head): op for line, op in source.ops.items()}
        source.text = "\n".join((*head, *self._lines, ""))
        return source

    def _prologue(self) -> list[str]:
        lines = ["    n = state[0]", "    if n > limit[0] or depth >= limit[1]: over_limit(n, depth)"]
        if self._uses_frame or self._uses_buffer:
            lines.append(f"    fp, stack = {self.need('frames')}[depth]")
        if self.source.frame_size:
            lines.append(f"    objects = {self.need('objects', self.source.frame_size)}[depth]")
        return lines

    def _dispatch(self) -> None:
        heads = self.layout.heads
        if len(heads) == 1 and not self.layout.loops:
            self._tree(heads[0])
            return
        self.line("b = 0")
        self.line("while True:")
        self._indent += 1
        self._arms(0, len(heads))
        self._indent -= 1

    def _arms(self, low: int, high: int) -> None:
        """A balanced tree of tests of `b`, whose leaves are the heads."""
        if high - low == 1:
            self._head(self.layout.heads[low])
            return
        middle = (low + high) // 2
        self._op = None
        self.line(f"if b < {middle}:" if middle > low + 1 else f"if b == {low}:")
        self._indent += 1
        self._arms(low, middle)
        self._indent -= 1
        self._op = None
        self.line("else:")
        self._indent += 1
        self._arms(middle, high)
        self._indent -= 1

    def _head(self, block: Block) -> None:
        looping = block in self.layout.loops
        if looping:
            self.line("while True:")
            self._indent += 1
            self._inner_loop = block
            self.line("if n > limit[0]: over_limit(n, depth)")
        self._tree(block)
        if looping:
            self._indent -= 1
            self._inner_loop = None

    def _tree(self, block: Block) -> None:
        """A block and what is written inside it. Does not return to the text after it."""
        start = self._indent
        while True:
            self._straight(block)
            last = block.last_op
            self._op = last
            if last is None or not last.successors:
                if last is None:
                    self.line("unsupported('the block has no terminator')")
                break
            taken = 0
            if len(last.successors) == 2:
                taken = self._branch(last)
            target = last.successors[taken]
            self._pass(last, taken)
            if self.layout.is_head(target):
                self._goto(target)
                break
            block = target
        self._indent = start

    def _branch(self, last: Operation) -> int:
        """Write the test and the smaller side; the successor that goes on below."""
        first, second = last.successors
        condition = CONDITIONS[last.name](last, self)
        sizes = [0 if self.layout.is_head(side) else self.layout.weight[side] for side in (first, second)]
        nested = 0 if sizes[0] <= sizes[1] else 1
        number = self._observe(last)
        self.line(f"if {condition}:" if nested == 0 else f"if not ({condition}):")
        self._indent += 1
        side = last.successors[nested]
        if number is not None:
            self._take(2 * number + nested)
        self._pass(last, nested)
        if self.layout.is_head(side):
            self._goto(side)
        else:
            self._tree(side)
        self._indent -= 1
        self._op = last
        if number is not None:
            self._take(2 * number + 1 - nested)
        return 1 - nested

    def _take(self, side: int) -> None:
        assert self.branches is not None
        self.line(f"taken[{side}] += 1" if self.branches.counting else f"taken[{side}] = 1")

    def _observe(self, last: Operation) -> int | None:
        """Note what a branch is about to compare; its number, if branches are observed."""
        if self.branches is None:
            return None
        number = self.branches.number(last)
        values = None if self.branches.counting else compared_values(last)
        if values is not None:
            left, right, added = values
            shown = right & M64 if isinstance(right, int) else self.use(right)
            self.line(f"if not (taken[{2 * number}] and taken[{2 * number + 1}]):")
            self.line(f"    compared.append(({number}, {self.use(left)} + {added}, {shown}))")
        return number

    def _pass(self, last: Operation, index: int) -> None:
        """Assign the arguments of a successor, all at once."""
        pairs = [
            (self.use(arg), self._fitted(arg, value))
            for arg, value in zip(last.successors[index].args, successor_operands(last, index), strict=True)
        ]
        pairs = [(target, value) for target, value in pairs if target != value]
        if pairs:
            self.line(f"{', '.join(t for t, _ in pairs)} = {', '.join(v for _, v in pairs)}")

    def _fitted(self, arg: SSAValue, value: SSAValue) -> str:
        width, given = width_of(arg.type), width_of(value.type)
        if width == given:
            return self.use(value)
        return f"{self.word(value)} & {hex((1 << width) - 1)}"

    def _goto(self, head: Block) -> None:
        if head is self._inner_loop:
            self.line("continue")
            return
        self.line(f"b = {self.layout.number[head]}")
        self.line("break" if self._inner_loop is not None else "continue")

    def _straight(self, block: Block) -> None:
        """The operations of a block before its branch."""
        count = sum(op.name not in FREE for op in block.ops)
        self._op = None
        if count:
            self.line(f"n += {count}")
        for op in block.ops:
            self._op = op
            rule = RULES.get(op.name)
            if rule is not None:
                rule(op, self)
            elif op.name not in CONDITIONS and op.name not in GOTOS:
                raise UnsupportedOp(op, f"the interpreter has no rule for '{op.name}'")
