"""`raise-types`: words get their kinds as types."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import set_successor_operands, successor_operands
from fsir.analysis.unread import unread_operands
from fsir.analysis.word_kinds import WordKinds
from fsir.dialects.ebpf import UNALLOCATED, CastOp, FuncOp, UndefOp, functions, set_type


@dataclass(frozen=True)
class RaiseTypesPass(ModulePass):
    """Say of each value whether it is a scalar or an address, and of what.

    `!ebpf.reg` becomes `i64`, `!ebpf.fp`, `!packet.ctx`, `!packet.ptr`, `!packet.end_ptr`, `!packet.meta_ptr`,
    `!map.handle<@m>` or `!map.value<@m>`; it stays where the kind is unknown or depends on the path. Where a value
    meets a block argument of another type, an `ebpf.cast` is inserted. What an edge passes that nobody reads is no part
    of a kind: it becomes `ebpf.undef` where it would be one. The operations stay those of `ebpf`.
    """

    name = "raise-types"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        funcs = [func for func in functions(op) if not func.is_allocated() and not func.is_raw()]
        kinds = WordKinds(op, funcs)
        if [func for func in funcs if _forget_unread(func, kinds)]:
            kinds = WordKinds(op, funcs)
        for func in funcs:
            for block in func.body.blocks:
                for value in (*block.args, *(result for inner in block.ops for result in inner.results)):
                    if value.type == UNALLOCATED:
                        set_type(value, kinds.of(value))
            _drop_casts(func)
            _cast_on_edges(func)


def _forget_unread(func: FuncOp, kinds: WordKinds) -> bool:
    """Pass `ebpf.undef` instead of what nobody reads where that makes the kind of a block argument unknown: a flag that
    says whether there is an address is asked before the address is used, and where it says no, the register holds
    whatever it held. Gives whether there were any."""
    changed = False
    for terminator, index, position in list(unread_operands(func.body)):
        values = list(successor_operands(terminator, index))
        arg, block = terminator.successors[index].args[position], terminator.parent
        if kinds.of(arg) != UNALLOCATED or arg.type != UNALLOCATED or isinstance(values[position].owner, UndefOp):
            continue
        assert block is not None
        undef = UndefOp.create(result_types=[values[position].type])
        undef.location = terminator.location
        block.insert_op_before(undef, terminator)
        values[position] = undef.res
        set_successor_operands(terminator, index, values)
        changed = True
    return changed


def _drop_casts(func: FuncOp) -> None:
    """Remove the casts of words to the type that they have."""
    for block in func.body.blocks:
        for op in list(block.ops):
            if isinstance(op, CastOp) and op.value.type == op.res.type:
                op.res.replace_all_uses_with(op.value)
                block.erase_op(op)


def _cast_on_edges(func: FuncOp) -> None:
    """Make the types of passed values and block arguments agree."""
    for block in func.body.blocks:
        terminator = block.last_op
        for index, successor in enumerate(terminator.successors if terminator is not None else ()):
            assert terminator is not None
            values: list[SSAValue] = list(successor_operands(terminator, index))
            changed = False
            for position, arg in enumerate(successor.args):
                if values[position].type != arg.type:
                    cast = CastOp.create(operands=[values[position]], result_types=[arg.type])
                    cast.location = terminator.location
                    block.insert_op_before(cast, terminator)
                    values[position] = cast.res
                    changed = True
            if changed:
                set_successor_operands(terminator, index, values)
