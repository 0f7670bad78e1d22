"""Comparing jumps for `cf.cond_br`; part of `lower-scalars`."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith, cf
from xdsl.ir import Block, SSAValue

from fsir.backends.xdp._build import Builder, constant_of, fits, width_of
from fsir.dialects.ebpf import OPS, branch, jump

_JUMPS = ("jeq", "jne", "jslt", "jsle", "jsgt", "jsge", "jlt", "jle", "jgt", "jge")
"""By the number of `arith.cmpi`'s predicate."""

_SWAPPED = {"jslt": "jsgt", "jsle": "jsge", "jlt": "jgt", "jle": "jge"}
_SWAPPED |= {b: a for a, b in _SWAPPED.items()}

_INVERSE = {"jeq": "jne", "jsgt": "jsle", "jsge": "jslt", "jgt": "jle", "jge": "jlt"}
_INVERSE |= {b: a for a, b in _INVERSE.items()}

_Edge = tuple[Block, list[SSAValue]]


class Branches:
    """Selects jumps. The two functions extend a value to a whole word, as unsigned and as signed."""

    def __init__(
        self,
        cpu: int,
        zero_extended: Callable[[SSAValue], SSAValue],
        sign_extended: Callable[[SSAValue], SSAValue],
    ) -> None:
        self.cpu = cpu
        self.zero_extended, self.sign_extended = zero_extended, sign_extended

    def lower(self, build: Builder, op: cf.ConditionalBranchOp) -> None:
        """Replace a conditional branch."""
        then: _Edge = (op.then_block, list(op.then_arguments))
        other: _Edge = (op.else_block, list(op.else_arguments))
        condition = op.cond.owner
        truth = constant_of(op.cond)
        if truth is not None:
            build.add(jump(*(then if truth else other)))
        elif isinstance(condition, arith.CmpiOp):
            self.compare(build, condition, then, other)
        else:
            build.add(branch("jseti", [op.cond], then, other, imm=1))
        build.finish()

    def compare(self, build: Builder, op: arith.CmpiOp, then: _Edge, other: _Edge) -> None:
        name = _JUMPS[op.predicate.value.data]
        if then[0] is build.block.next_block and other[0] is not then[0]:
            # Fall through to the next block: that edge has room for copies.
            name, then, other = _INVERSE[name], other, then
        lhs, rhs = op.lhs, op.rhs
        if constant_of(lhs) is not None:
            lhs, rhs, name = rhs, lhs, _SWAPPED.get(name, name)
        if name in ("jeq", "jne") and constant_of(rhs) == 0 and self.test_bits(build, name, lhs, then, other):
            return
        width = width_of(lhs.type)
        if width == 32 and self.cpu >= 3:
            self.jump(build, name, lhs, rhs, constant_of(rhs), "32", then, other)
            return
        number = constant_of(rhs)
        if name.startswith("js"):
            lhs = self.sign_extended(lhs)
            rhs = rhs if number is not None else self.sign_extended(rhs)
        else:
            lhs = self.zero_extended(lhs)
            rhs = rhs if number is not None else self.zero_extended(rhs)
            if number is not None and width < 64:
                number &= (1 << width) - 1
        self.jump(build, name, lhs, rhs, number, "", then, other)

    def jump(
        self,
        build: Builder,
        name: str,
        lhs: SSAValue,
        rhs: SSAValue,
        number: int | None,
        suffix: str,
        then: _Edge,
        other: _Edge,
    ) -> None:
        if number is None:
            build.add(branch(name + suffix, [lhs, rhs], then, other))
        elif fits(number):
            build.add(branch(f"{name}i{suffix}", [lhs], then, other, imm=number))
        else:
            build.add(branch(name + suffix, [lhs, build.number(number)], then, other))

    def test_bits(self, build: Builder, name: str, value: SSAValue, then: _Edge, other: _Edge) -> bool:
        """`x & m` compared with zero, and used for nothing else, as `jset`."""
        masked = value.owner
        if not isinstance(masked, OPS["and"] | OPS["andi"] | OPS["and32"] | OPS["andi32"]):
            return False
        if not value.has_one_use():
            return False
        if name == "jeq":
            then, other = other, then
        narrow = width_of(value.type) < 64 or masked.row.width == 32
        if masked.row.name.startswith("andi"):
            imm = masked.int_prop("imm")
            if "core" in masked.properties or (narrow and imm < 0):
                return False
            build.add(branch("jseti", [masked.operands[0]], then, other, imm=imm))
        else:
            if narrow:
                return False
            build.add(branch("jset", list(masked.operands), then, other))
        return True
