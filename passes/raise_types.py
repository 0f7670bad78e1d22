"""`raise-types`: words get their kinds as types."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import set_successor_operands, successor_operands
from fsir.analysis.word_kinds import WordKinds
from fsir.dialects.ebpf import UNALLOCATED, CastOp, FuncOp, functions, set_type


@dataclass(frozen=True)
class RaiseTypesPass(ModulePass):
    """Say of each value whether it is a scalar or an address, and of what.

    `!ebpf.reg` becomes `i64`, `!ebpf.fp`, `!packet.ctx`, `!packet.ptr`, `!packet.end_ptr`, `!packet.meta_ptr`,
    `!map.handle<@m>` or `!map.value<@m>`; it stays where the kind is unknown or depends on the path. Where a value
    meets a block argument of another type, an `ebpf.cast` is inserted. The operations stay those of `ebpf`.
    """

    name = "raise-types"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        funcs = [func for func in functions(op) if not func.is_allocated() and not func.is_raw()]
        kinds = WordKinds(op, funcs)
        for func in funcs:
            for block in func.body.blocks:
                for value in (*block.args, *(result for inner in block.ops for result in inner.results)):
                    if value.type == UNALLOCATED:
                        set_type(value, kinds.of(value))
            _cast_on_edges(func)


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
