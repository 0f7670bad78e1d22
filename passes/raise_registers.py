"""`raise-registers`: from allocated registers to plain SSA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.block_args import simplify_block_args
from fsir.analysis.cfg import erase_unreachable
from fsir.analysis.signatures import Signatures
from fsir.dialects.ebpf import (
    UNALLOCATED,
    CallLocalOp,
    CallOp,
    FuncOp,
    MovRROp,
    UndefOp,
    functions,
    reg,
    reg_index,
    set_type,
)
from fsir.interp.helpers import HELPERS
from fsir.object.encode import encode


@dataclass(frozen=True)
class RaiseRegistersPass(ModulePass):
    """Free values from the registers that the compiler of the object chose for them.

    Every `!ebpf.reg<rN>` becomes `!ebpf.reg`; the former register stays as the value's name, a hint for the allocator.
    Calls keep only the arguments that the helper's prototype or the called function takes, copies between registers
    are replaced by what they copy, unreachable blocks and block arguments that carry nothing go.  The function
    remembers its machine code (`original`), to which lowering returns when it cannot do better.

    Functions with `ebpf.raw` are left as they are.
    """

    name = "raise-registers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        funcs = [func for func in functions(op) if func.is_allocated() and not func.is_raw()]
        for func in funcs:
            if func.original is None:
                func.properties["original"] = encode(func).to_attribute()
            erase_unreachable(func.body)
            _narrow_helper_calls(func)
            simplify_block_args(func.body)
        signatures = Signatures(op)
        parameters = {func.symbol: _complete_parameters(func, signatures) for func in funcs}
        for func in funcs:
            _pass_by_position(func, parameters)
        for func in funcs:
            _free(func)
            _forward_copies(func)
            simplify_block_args(func.body)


def _narrow_helper_calls(func: FuncOp) -> None:
    """Take from helper calls the registers that the helper does not read."""
    for block in func.body.blocks:
        for op in block.ops:
            if isinstance(op, CallOp):
                helper = HELPERS.get(op.helper.data)
                if helper is not None and not helper.variadic:
                    op.operands = _by_register(op.operands, len(helper.args), op)


def _by_register(values: Iterable[SSAValue], count: int, before: CallOp | CallLocalOp) -> list[SSAValue]:
    """The values of r1 to r`count`, in this order; what was never defined is `ebpf.undef`."""
    found = {reg_index(value.type): value for value in values}
    result: list[SSAValue] = []
    for register in range(1, count + 1):
        if register not in found:
            undef = UndefOp.create(result_types=[reg(register)])
            block = before.parent
            assert block is not None
            block.insert_op_before(undef, before)
            found[register] = undef.res
        result.append(found[register])
    return result


def _complete_parameters(func: FuncOp, signatures: Signatures) -> int:
    """Make the entry's arguments r1 to rN without gaps, and give N. A program has its context; a global function has
    the parameters of its prototype, read or not: the kernel checks every call against it."""
    entry = func.entry
    have = [reg_index(arg.type) or 0 for arg in entry.args]
    promised = 1 if func.prog_type is not None else min(signatures.arity(func) or 0, 5)
    count = max([*have, promised])
    for register in range(1, count + 1):
        if register not in have:
            entry.insert_arg(reg(register), register - 1)
    return count


def _pass_by_position(func: FuncOp, parameters: dict[str, int]) -> None:
    for block in func.body.blocks:
        for op in block.ops:
            if isinstance(op, CallLocalOp):
                callee = op.callee.root_reference.data
                if callee in parameters:
                    op.operands = _by_register(op.operands, parameters[callee], op)


def _free(func: FuncOp) -> None:
    """Strip the registers from all types, leaving them as names."""
    for block in func.body.blocks:
        for arg in block.args:
            _strip(arg)
        for op in block.ops:
            for result in op.results:
                _strip(result)


def _strip(value: SSAValue) -> None:
    index = reg_index(value.type)
    if index is not None:
        set_type(value, UNALLOCATED)
        if value.name_hint is None:
            value.name_hint = "fp" if index == 10 else f"r{index}"


def _forward_copies(func: FuncOp) -> None:
    """Replace 64-bit copies by what they copy."""
    for block in func.body.blocks:
        for op in list(block.ops):
            if isinstance(op, MovRROp) and op.row.name == "mov" and op.unused is None:
                op.res.replace_all_uses_with(op.value)
                block.erase_op(op)
