"""`fold-constants`: compute now what is known now."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import erase_unreachable, successor_operands
from fsir.analysis.effects import EffectTable
from fsir.analysis.known_bits import KnownBits
from fsir.dialects.ebpf import FuncOp, form_of
from fsir.passes import _algebra, _algebra_compare, _algebra_machine
from fsir.passes._algebra import New, Rule
from fsir.passes._rewrite import constant, operations, raised_functions, replace

_RULES: dict[type[Operation], tuple[Rule, ...]] = {
    **_algebra.RULES,
    **_algebra_compare.RULES,
    **_algebra_machine.RULES,
}


@dataclass(frozen=True)
class FoldConstantsPass(ModulePass):
    """Replace what is always the same by its value, branches that always go one way by jumps, and arithmetic by less.

    Constants are propagated through the parts of a function that can be reached, bit by bit (sparse and conditional);
    then identities are applied: neutral operands, nested masks, shifts and extensions, shift pairs that are extensions,
    double byte swaps, comparisons of swapped bytes with constants, constant operands as immediates.  Arithmetic has
    the ISA's meaning where the operation is one of the ISA's (division by zero gives 0).

    No rewrite adds an instruction.  Masks, extensions and comparisons that bound an address or a size stay even when
    they are provably superfluous: the verifier's proof is weaker. Global data (`.rodata`) is not constant: loaders
    write it.
    """

    name = "fold-constants"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = EffectTable(op)
        for func in raised_functions(op):
            _fold(func, effects)


def _fold(func: FuncOp, effects: EffectTable) -> None:
    facts = KnownBits(func.body)
    for block in func.body.blocks:
        if facts.is_reached(block):
            _fold_args(block, facts)
    for op in operations(func):
        if op.parent is not None and facts.is_reached(op.parent):
            _simplify(op, facts, effects)
    erase_unreachable(func.body)


def _fold_args(block: Block, facts: KnownBits) -> None:
    """Replace block arguments of known value."""
    for arg in block.args:
        value = facts.constant(arg)
        first = block.first_op
        if value is not None and first is not None and arg.uses and isinstance(arg.type, IntegerType):
            known = constant(value, arg.type)
            known.location = first.location
            block.insert_op_before(known, first)
            facts.visit(known)
            arg.replace_all_uses_with(known.result)


def _simplify(op: Operation, facts: KnownBits, effects: EffectTable) -> None:
    """Replace an operation by its value or by what an identity makes of it, until nothing applies."""
    if op.successors and _fold_branch(op, facts):
        return
    work = [op]
    while work:
        at = work.pop()
        if at.parent is None or _fold_value(at, facts, effects):
            continue
        for rule in _RULES.get(form_of(at), ()):
            new = New(facts)
            outcome = rule(at, new)
            if outcome is None:
                continue
            if isinstance(outcome, SSAValue):
                if at.results[0] in facts.addresses:
                    facts.addresses |= {outcome, *(added.results[0] for added in new.ops)}
                replace(at, new.ops, outcome)
                work += reversed(new.ops)
            else:
                work.append(at)
            break


def _fold_branch(op: Operation, facts: KnownBits) -> bool:
    """Make a branch that goes one way only a jump."""
    taken = [index for index in range(len(op.successors)) if facts.is_taken(op, index)]
    if len(op.successors) < 2 or len(taken) != 1:
        return False
    values = list(successor_operands(op, taken[0]))
    replace(op, [cf.BranchOp.create(operands=values, successors=[op.successors[taken[0]]])])
    return True


def _fold_value(op: Operation, facts: KnownBits, effects: EffectTable) -> bool:
    """Replace a pure operation whose value is known."""
    if len(op.results) != 1 or isinstance(op, arith.ConstantOp):
        return False
    result = op.results[0]
    value = facts.constant(result)
    if value is None or not isinstance(result.type, IntegerType) or not effects.of(op).pure:
        return False
    known = constant(value, result.type)
    facts.visit(known)
    replace(op, [known])
    return True
