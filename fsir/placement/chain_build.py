"""A planned chain as functions: each link a copy of the program, handing over by a call.

The first link stays the program. Every other is a global function in `.text`, where loaders look for functions, of a
BTF prototype `int (struct xdp_md *, unsigned long long, …)`: the kernel verifies it by itself, for any numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp, StringAttr, i64
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import erase_unreachable
from fsir.analysis.frame_limit import frame_limit
from fsir.analysis.frame_use import frame_depth
from fsir.analysis.signatures import btf_of
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp, int_attr
from fsir.dialects.object import SectionOp
from fsir.dialects.placement import AcceptOp, CarriedOp, HandoffOp, ResumeOp
from fsir.object.btf import Btf, Kind
from fsir.passes._rewrite import constant, extend, replace, truncate
from fsir.placement.chain import FRAMES, WORD, Chain, ChainPlan, call_depth, packed
from fsir.placement.crossing import Crossing
from fsir.placement.split import ResumePoint, Split, build

_TEXT = ".text"
_PROGBITS, _ALLOC_EXECUTE = 1, 6
_SCALARS = frozenset({Kind.INT, Kind.ENUM})
CONTEXTS = {"xdp": "xdp_md", "sched_cls": "__sk_buff", "sched_act": "__sk_buff"}
"""Program types that can be chained, with the structure that their context points to."""
_PART = "chain"


class NoPrototype(Exception):
    """The object cannot say to the kernel what the functions of a chain take; the message says why."""


class ChainBuilder:
    """Puts a chain in the place of its program, in the program's module or a copy of that. `names` are those of the
    new functions, by first block."""

    def __init__(self, module: ModuleOp, chain: Chain, plan: ChainPlan) -> None:
        self.module, self.chain, self.plan = module, chain, plan
        func = chain.func
        cuts = [block for block in plan.links if block is not func.entry]
        self.points = {block: ResumePoint(n, self._crossing(block)) for n, block in enumerate(cuts, 1)}
        taken = {op.sym_name.data for op in module.body.block.ops if isinstance(op, FuncOp)}
        self.names: dict[Block, str] = {}
        number = 0
        for block in cuts:
            number += 1
            while f"{func.symbol}_chain{number}" in taken:
                number += 1
            self.names[block] = f"{func.symbol}_chain{number}"
        self.by_number = {point.number: block for block, point in self.points.items()}

    def _crossing(self, block: Block) -> Crossing:
        crossing = self.plan.links[block].crossing
        assert crossing is not None
        return crossing

    def run(self) -> list[FuncOp]:
        """Replace the program; its links, the program itself first. Raises NoPrototype."""
        funcs = [op for op in self.module.body.block.ops if isinstance(op, FuncOp)]
        (func,) = [op for op in funcs if op.symbol == self.chain.func.symbol]
        prototypes = Prototypes(self.module, func)
        built = [self._build(block) for block in self.plan.links]
        for made, block in zip(built, self.plan.links, strict=True):
            if block is not self.chain.func.entry:
                made.properties["btf_func"] = int_attr(self._declare(prototypes, made))
        prototypes.store()
        body = self.module.body.block
        body.insert_op_before(built[0], func)
        for made in reversed(built[1:]):
            body.insert_op_after(made, funcs[-1])
        body.erase_op(func, safe_erase=False)
        _need_text(self.module)
        return built

    def _build(self, start: Block) -> FuncOp:
        link = self.plan.links[start]
        first = start is self.chain.func.entry
        split = Split(
            _PART,
            starts=first,
            resumes=not first,
            leaves={block: (_PART, self.points[block]) for block in link.cuts.leaves},
            enters=[] if first else [self.points[start]],
        )
        func = build(self.chain.func, split, link.cuts.live_in)
        if not first:
            self._receive(func, start)
        for op in [op for op in func.walk() if isinstance(op, HandoffOp)]:
            self._send(op, first)
        if first:
            self._conclude(func)
        erase_unreachable(func.body)
        simplify_block_args(func.body)
        return func

    # --- the transport (chain_turns.py has another one) --------------------------------------------------------------

    def _declare(self, prototypes: Prototypes, func: FuncOp) -> int:
        """The BTF type of a link that is called."""
        return prototypes.add(func.symbol, [arg.name_hint or "value" for arg in func.entry.args])

    def _arrive(self, func: FuncOp, landing: Block, point: ResumePoint) -> list[SSAValue]:
        """Have a link begin at its first block: the words that it is passed."""
        places = packed(point.crossing.widths)
        entry = func.entry
        arguments = [entry.insert_arg(i64, 1 + n) for n in range(words_of(places))]
        for number, (argument, _) in reversed(list(enumerate(places))):
            arguments[argument].name_hint = _hint(point.crossing.fields[number].name)
        assert landing.first_op is not None
        entry.add_op(cf.BranchOp.create(successors=[landing], location=landing.first_op.location))
        return list(arguments)

    def _pass(self, op: HandoffOp, block: Block, words: list[SSAValue], is_program: bool) -> list[Operation]:
        """End a link: the one that begins at `block` goes on, with these words."""
        call = self.call(block, [op.operands[0], *words])
        verdict = [call.results[0]]
        return [call, packet.VerdictOp.create(operands=verdict) if is_program else ebpf.insn("exit", verdict)]

    def _leave(self, func: FuncOp, verdict: SSAValue) -> list[Operation]:
        """End a link with a verdict."""
        return [ebpf.insn("exit", [verdict])]

    def _conclude(self, func: FuncOp) -> None:
        """What the program has to have besides."""

    def call(self, block: Block, operands: list[SSAValue]) -> Operation:
        """The call of the link that begins at a block."""
        call = ebpf.insn("call_local", operands, i64, sym=self.names[block])
        call.properties["via"] = StringAttr(self.names[block])
        return call

    # --- the receiver ------------------------------------------------------------------------------------------------

    def _receive(self, func: FuncOp, start: Block) -> None:
        """Make a function of a part that takes over: what is carried comes in arguments."""
        func.properties["sym_name"] = StringAttr(self.names[start])
        func.properties["section"] = StringAttr(_TEXT)
        for name in ("prog_type", "bind", "btf_func", "keep"):
            func.properties.pop(name, None)
        point = self.points[start]
        places = packed(point.crossing.widths)
        entry = func.entry
        (landing,) = {op.parent for op in func.walk() if isinstance(op, AcceptOp)}
        assert landing is not None
        for op in list(entry.ops)[::-1]:
            entry.erase_op(op, safe_erase=False)
        arguments = self._arrive(func, landing, point)
        erase_unreachable(func.body)
        for op in list(func.walk()):
            if isinstance(op, CarriedOp):
                number = op.int_prop("index")
                argument, shift = places[number]
                known = self.chain.bits(point.crossing, number)
                width = point.crossing.fields[number].width
                replace(op, *_unpacked(arguments[argument], shift, width, known))
            elif isinstance(op, AcceptOp):
                replace(op, [])
            elif isinstance(op, packet.VerdictOp):
                replace(op, self._leave(func, op.operands[0]))
            assert not isinstance(op, ResumeOp)

    # --- the sender --------------------------------------------------------------------------------------------------

    def _send(self, op: HandoffOp, is_program: bool) -> None:
        """Pass on what the next link takes."""
        block = self.by_number[op.int_prop("resume")]
        fields = op.operands[1:]
        ops: list[Operation] = []
        words: dict[int, SSAValue] = {}
        for value, (argument, shift) in zip(fields, packed(self._crossing(block).widths), strict=True):
            piece = _shifted(value, shift, ops)
            if argument in words:
                ops.append(arith.OrIOp(words[argument], piece))
                piece = ops[-1].results[0]
            words[argument] = piece
        replace(op, [*ops, *self._pass(op, block, [words[n] for n in sorted(words)], is_program)])


def words_of(places: Iterable[tuple[int, int]]) -> int:
    """How many words some fields take."""
    return max((argument for argument, _ in places), default=-1) + 1


def _shifted(value: SSAValue, shift: int, ops: list[Operation]) -> SSAValue:
    if value.type != i64:
        ops.append(extend(value))
        value = ops[-1].results[0]
    if shift:
        amount = constant(shift)
        ops += [amount, arith.ShLIOp(value, amount.result)]
        value = ops[-1].results[0]
    return value


def _unpacked(word: SSAValue, shift: int, width: int, bits: int) -> tuple[list[Operation], SSAValue]:
    """The operations that take a field out of a word, and it; they say again that it has no more than so many bits."""
    ops: list[Operation] = []
    if shift:
        amount = constant(shift)
        ops += [amount, arith.ShRUIOp(word, amount.result)]
        word = ops[-1].results[0]
    if bits < WORD - shift:
        mask = constant((1 << bits) - 1)
        ops += [mask, arith.AndIOp(word, mask.result)]
        word = ops[-1].results[0]
    if width < WORD:
        ops.append(truncate(word, IntegerType(width)))
        word = ops[-1].results[0]
    return ops, word


def _hint(name: str) -> str | None:
    cleaned = "".join(c if c.isalnum() or c == "_" else "_" for c in name).strip("_")
    return cleaned if cleaned and not cleaned[0].isdigit() else None


# --- the object ------------------------------------------------------------------------------------------------------


class Prototypes:
    """Adds to a module's BTF what the functions of a program's chain are. Raises NoPrototype."""

    def __init__(self, module: ModuleOp, program: FuncOp) -> None:
        self.module = module
        btf = btf_of(module)
        has_infos = any(isinstance(op, SectionOp) and op.section.data == ".BTF.ext" for op in module.body.block.ops)
        if btf is None or not has_infos or program.btf_func is None:
            raise NoPrototype("the object has no BTF for it, which says what a global function takes; build it with -g")
        self.btf: Btf = btf
        type_id = program.btf_func.data
        if btf.kind(type_id) is not Kind.FUNC:
            raise NoPrototype(f"BTF type {type_id} is to be its function, and is none")
        params = btf.params(type_id)
        self.context = self._context(params[0][1] if params else None, program)
        self.result = btf.target(btf.target(type_id))
        if btf.kind(btf.resolve(self.result)) not in _SCALARS:
            self.result = btf.add_int("int", 4, signed=True)

    def _context(self, first: int | None, program: FuncOp) -> int:
        """A pointer to the structure that the kernel knows as the context."""
        name = CONTEXTS[program.type_name or ""]
        if first is not None:
            pointer = self.btf.resolve(first)
            if self.btf.kind(pointer) is Kind.PTR:
                target = self.btf.resolve(self.btf.target(pointer))
                if self.btf.kind(target) is Kind.STRUCT and self.btf.name(target) == name:
                    return first
        struct = self.btf.find(Kind.STRUCT, name)
        if struct is None:
            raise NoPrototype(f"the object's BTF does not have 'struct {name}', which a global function has to take")
        return self.btf.add_ptr(struct)

    def add(self, name: str, arguments: list[str]) -> int:
        """The id of a global function of this name: the context, then numbers."""
        number = self.btf.add_int("unsigned long long", 8)
        params = [("ctx", self.context), *((argument, number) for argument in arguments[1:])]
        return self.btf.add_func(name, self.btf.add_func_proto(self.result, params))

    def add_for_state(self, name: str, words: int) -> int:
        """The id of a global function of this name: the context, then the address of so many words."""
        number = self.btf.add_int("unsigned long long", 8)
        state = self.btf.add_ptr(self.btf.add_array(number, words))
        return self.btf.add_func(name, self.btf.add_func_proto(self.result, [("ctx", self.context), ("state", state)]))

    def store(self) -> None:
        """Put the BTF back into the module."""
        for op in self.module.body.block.ops:
            if isinstance(op, SectionOp) and op.section.data == ".BTF":
                op.properties["data"] = StringAttr(self.btf.to_bytes().hex())


def _need_text(module: ModuleOp) -> None:
    """A section `.text`, if there is none: the last, for sections have numbers."""
    sections = [op for op in module.body.block.ops if isinstance(op, SectionOp)]
    if any(op.section.data == _TEXT for op in sections):
        return
    numbers = {"type": _PROGBITS, "flags": _ALLOC_EXECUTE, "align": 8}
    new = SectionOp.create(properties={"section": StringAttr(_TEXT), **{k: int_attr(v) for k, v in numbers.items()}})
    module.body.block.insert_op_after(new, sections[-1])


def stack_problem(module: ModuleOp, links: list[FuncOp]) -> str | None:
    """Why the kernel would not take the calls of a chain, None if it would: too many, or too much stack."""
    functions = {op.symbol: op for op in module.body.block.ops if isinstance(op, FuncOp)}
    if (depth := call_depth(functions, links[0].symbol)) > FRAMES:
        return f"{depth} functions would be under way at a time; the kernel allows {FRAMES}"
    for func in links:
        if frame_limit(func) < frame_depth(func):
            return f"the functions under way at a time would take more stack than 512 bytes ('{func.symbol}')"
    return None


__all__ = ["CONTEXTS", "ChainBuilder", "NoPrototype", "Prototypes", "stack_problem", "words_of"]
