"""The pass `lower-scalars`: instruction selection."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.components import components
from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.upper_bits import UpperBits
from fsir.backends.xdp._branches import Branches
from fsir.backends.xdp._build import Builder, constant_of, drop_dead, fits, signed, virtual_functions, width_of
from fsir.backends.xdp._cpu import cpu_version
from fsir.dialects.ebpf import CastOp, FramePointerType, FuncOp, LdxOp, jump
from fsir.dialects.map import ValueType
from fsir.dialects.packet import MetaType, PtrType
from fsir.driver.diagnostics import fail
from fsir.passes._each_function import each_function

_BINARY: dict[type[Operation], str] = {
    arith.AddiOp: "add",
    arith.SubiOp: "sub",
    arith.MuliOp: "mul",
    arith.AndIOp: "and",
    arith.OrIOp: "or",
    arith.XOrIOp: "xor",
    arith.ShLIOp: "lsh",
    arith.ShRUIOp: "rsh",
    arith.ShRSIOp: "arsh",
    arith.DivUIOp: "div",
    arith.RemUIOp: "mod",
    arith.DivSIOp: "sdiv",
    arith.RemSIOp: "smod",
}
_EXTENSIONS = (arith.ExtUIOp, arith.ExtSIOp, arith.TruncIOp)
_COMMUTATIVE = frozenset({"add", "mul", "and", "or", "xor"})
_NEED_ZEROS = frozenset({"rsh", "div", "mod"})
_NEED_SIGN = frozenset({"arsh", "sdiv", "smod"})


@dataclass(frozen=True)
class LowerScalars(ModulePass):
    """Select machine instructions for `arith` and `cf` operations.

    64-bit values get 64-bit instructions, all narrower ones 32-bit instructions, whose upper half is zero: so most
    extensions cost nothing. Constants become immediates, comparisons part of the jumps that use them. `cpu` bounds the
    instruction set (2: as RFC 9669's base; 3: 32-bit jumps; 4: sign extension, signed division); 0 takes what the
    object itself uses.
    """

    name = "lower-scalars"

    cpu: int = 0

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions that are not machine code."""
        cpu = self.cpu or cpu_version(op)
        each_function(virtual_functions(op), lambda func: _Selector(func, cpu).run())


class _Selector:
    def __init__(self, func: FuncOp, cpu: int) -> None:
        self.func, self.cpu = func, cpu
        self.bits = UpperBits(func.body)
        self.zeroed: dict[SSAValue, SSAValue] = {}
        self.extended: dict[SSAValue, SSAValue] = {}
        self.replaced: list[Operation] = []
        self.in_loops: set[Block] = set()

    def run(self) -> None:
        tree = DominatorTree(self.func.body)
        self.in_loops = {block for each in components(tree.rpo, successors) if len(each) > 1 for block in each}
        branches = Branches(self.cpu, self.zero_extended, self.sign_extended)
        later: list[Operation] = []
        for block in tree.rpo:
            for op in list(block.ops):
                if isinstance(op, arith.CmpiOp | arith.ConstantOp):
                    later.append(op)
                elif isinstance(op, cf.ConditionalBranchOp):
                    branches.lower(Builder(op), op)
                elif isinstance(op, cf.BranchOp):
                    _replace_jump(op)
                elif type(op) in _BINARY:
                    self.binary(Builder(op), _BINARY[type(op)])
                elif isinstance(op, _EXTENSIONS) and (number := constant_of(op.results[0])) is not None:
                    later.append(_folded(Builder(op), number))
                elif isinstance(op, arith.ExtUIOp):
                    self.finish(Builder(op), self.zero_extended(op.input))
                elif isinstance(op, arith.ExtSIOp):
                    self.finish(Builder(op), self.sign_extended(op.input, self.alone(op)))
                elif isinstance(op, arith.TruncIOp):
                    self.finish(Builder(op), op.input)
                elif op.name.startswith(("arith.", "cf.")):
                    fail(op, f"'{op.name}' has no machine instruction here")
        for op in reversed(later):
            if isinstance(op, arith.ConstantOp) and op.result.first_use:
                _constant(Builder(op))
            elif not op.results[0].first_use:
                assert op.parent is not None
                op.parent.erase_op(op)
            else:
                fail(op, f"'{op.name}' is used as a value; lower-conditions comes first")

        drop_dead(self.replaced)

    def finish(self, build: Builder, value: SSAValue) -> None:
        """Replace an extension or truncation by a word that is its result as it stands."""
        cast = CastOp.create(operands=[value], result_types=[build.op.results[0].type])
        self.bits.copy(cast.res, value)
        build.add(cast)
        build.finish(cast.res)

    # --- extensions --------------------------------------------------------------------------------------------------

    def zero_extended(self, value: SSAValue) -> SSAValue:
        """The word with zeros above the value's width.

        Made once, right after the value: a bound that a comparison finds for it later holds for all its uses.
        """
        width = width_of(value.type)
        if self.bits.of(value) <= width:
            return value
        if value not in self.zeroed:
            build = _after(value)
            if width == 32:
                self.zeroed[value] = build.insn("mov32", [value])
            else:
                self.zeroed[value] = build.insn("andi", [value], imm=(1 << width) - 1)
        return self.zeroed[value]

    def sign_extended(self, value: SSAValue, at: Operation | None = None) -> SSAValue:
        """The word with the value's sign above its width, made right after the value, or where `at` is."""
        width = width_of(value.type)
        if self.bits.of(value) < width or width == 64:
            return value
        number = constant_of(value)
        if value not in self.extended and self.cpu >= 4 and _is_extendable_load(value):
            load = value.owner
            assert isinstance(load, LdxOp)
            signed_load = Builder(load).insn(f"ldxs{width}", [load.base], off=load.off.data)
            self.extended[value] = signed_load
            self.replaced.append(load)
        if value not in self.extended:
            build = _after(value) if at is None else Builder(at)
            if number is not None:
                self.extended[value] = build.number(number)
            elif self.cpu >= 4 and width > 1:
                self.extended[value] = build.insn(f"movsx{width}", [value])
            else:
                up = build.insn("lshi", [value], imm=64 - width)
                self.extended[value] = build.insn("arshi", [up], imm=64 - width)
        return self.extended[value]

    def alone(self, op: Operation) -> Operation | None:
        """An extension that nothing else computes with the value of: it can be made where it stands, and ways that do
        not come there do without it. In a loop it had better be made before."""
        value = op.operands[0]
        home = value.owner if isinstance(value.owner, Block) else value.owner.parent
        others = (use.operation for use in value.uses if use.operation is not op)
        needed = any(other.name.startswith("arith.") for other in others)
        return None if needed or op.parent is home or op.parent in self.in_loops else op

    # --- arithmetic --------------------------------------------------------------------------------------------------

    def binary(self, build: Builder, name: str) -> None:
        op = build.op
        type_ = op.results[0].type
        width = width_of(type_)
        lhs, rhs = op.operands
        if name in _COMMUTATIVE and constant_of(lhs) is not None:
            lhs, rhs = rhs, lhs
        if name in ("sdiv", "smod") and self.cpu < 4:
            self.signed_division(build, name, lhs, rhs)
            return
        number = constant_of(rhs)
        if width < 32 and name in _NEED_ZEROS:
            lhs, rhs = self.zero_extended(lhs), rhs if number is not None else self.zero_extended(rhs)
        elif width < 32 and name in _NEED_SIGN:
            lhs = self.sign_extended(lhs)
            rhs = rhs if number is not None or name == "arsh" else self.sign_extended(rhs)
        suffix = "" if width == 64 else "32"
        if name == "sub" and constant_of(lhs) == 0 and number is None:
            result = build.insn("neg" + suffix, [rhs], type_)
        elif number is None:
            result = build.insn(name + suffix, [lhs, rhs], type_)
        else:
            # Narrow immediates are zero-extended, but for the operations that look at the sign.
            if width < 32 and name not in _NEED_SIGN:
                number &= (1 << width) - 1
            result = _with_immediate(build, name, suffix, lhs, number)
        self.bits.copy(result, op.results[0])
        build.finish(result)

    def signed_division(self, build: Builder, name: str, lhs: SSAValue, rhs: SSAValue) -> None:
        """Signed division where there is only an unsigned one: of the absolute values, the sign put on afterwards.
        (`(x ^ s) - s`, with s the sign of x as all its bits, is x without its sign, and gives it back.)"""
        type_ = build.op.results[0].type
        suffix = "" if width_of(type_) == 64 else "32"
        top = 63 if suffix == "" else 31
        sign: list[SSAValue] = []

        def without_sign(value: SSAValue) -> SSAValue:
            word = self.sign_extended(value) if width_of(type_) < 32 else value
            sign.append(build.insn(f"arshi{suffix}", [word], type_, imm=top))
            return apply(word, sign[-1])

        def apply(value: SSAValue, by: SSAValue) -> SSAValue:
            flipped = build.insn(f"xor{suffix}", [value, by], type_)
            return build.insn(f"sub{suffix}", [flipped, by], type_)

        number = constant_of(rhs)
        dividend = without_sign(lhs)
        if number is not None:
            result = _with_immediate(build, name[1:], suffix, dividend, signed(abs(number), top + 1))
            by = sign[0] if name == "smod" or number > 0 else None
            if by is None:
                by = build.insn(f"xori{suffix}", [sign[0]], type_, imm=-1)
        else:
            result = build.insn(name[1:] + suffix, [dividend, without_sign(rhs)], type_)
            by = sign[0] if name == "smod" else build.insn(f"xor{suffix}", sign, type_)
        result = apply(result, by)
        self.bits.copy(result, build.op.results[0])
        build.finish(result)


def _with_immediate(build: Builder, name: str, suffix: str, lhs: SSAValue, number: int) -> SSAValue:
    type_ = build.op.results[0].type
    if name == "and" and not suffix and number == 0xFFFFFFFF:
        return build.insn("mov32", [lhs], type_)
    if name == "sub" and fits(-number):
        name, number = "add", -number
    if fits(number):
        return build.insn(f"{name}i{suffix}", [lhs], type_, imm=number)
    return build.insn(name + suffix, [lhs, build.number(number)], type_)


def _is_extendable_load(value: SSAValue) -> bool:
    """Whether a value is loaded from memory, and only for what it is when sign-extended. (The kernel does not
    sign-extend fields of the context.)"""
    load = value.owner
    return (
        isinstance(load, LdxOp)
        and isinstance(load.base.type, PtrType | MetaType | ValueType | FramePointerType)
        and not load.row.signed
        and "core" not in load.properties
        and value.has_one_use()
    )


def _folded(build: Builder, number: int) -> Operation:
    """Replace the extension or truncation of a constant by a constant."""
    type_ = build.op.results[0].type
    assert isinstance(type_, IntegerType)
    constant = arith.ConstantOp.create(properties={"value": IntegerAttr(number, type_)}, result_types=[type_])
    build.add(constant)
    build.finish(constant.result)
    return constant


def _constant(build: Builder) -> None:
    """A constant in a register, with zeros above its width."""
    op = build.op
    width = width_of(op.results[0].type)
    number = constant_of(op.results[0])
    assert number is not None
    if width < 64:
        number &= (1 << width) - 1
    type_ = op.results[0].type
    if fits(number):
        build.finish(build.insn("movi", (), type_, imm=number))
    elif width == 64 and not 0 <= number < 1 << 32:
        build.finish(build.insn("lddw", (), type_, imm=number & (1 << 64) - 1))
    else:
        build.finish(build.insn("movi32", (), type_, imm=signed(number, 32)))


def _after(value: SSAValue) -> Builder:
    """A builder right after the value's definition."""
    owner = value.owner
    if isinstance(owner, Block):
        first = owner.first_op
        assert first is not None
        return Builder(first)
    following = owner.next_op
    assert following is not None
    return Builder(following)


def _replace_jump(op: cf.BranchOp) -> None:
    block = op.parent
    assert block is not None
    new = jump(op.successor, list(op.arguments))
    new.location = op.location
    block.insert_op_before(new, op)
    block.erase_op(op)
