"""Parts in the form that their targets take: the work of `lower`.

The lowered form of part `xdp` is a `builtin.module` called `xdp.o` inside the placed module: a whole object, ready for
export.
"""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation

from fsir.dialects.ebpf import FuncOp
from fsir.dialects.placement import EdgeOp, PartOp, ShareOp
from fsir.driver.diagnostics import fail
from fsir.driver.pass_manager import run_pipeline
from fsir.placement.externs import forget_unused
from fsir.placement.targets import Target, load


def parts_of(module: ModuleOp) -> list[PartOp]:
    """The parts of a placed module, in the order in which packets meet them."""
    return [op for op in module.body.block.ops if isinstance(op, PartOp)]


def object_name(part: str) -> str:
    """The file that a part on XDP becomes."""
    return f"{part}.o"


def lowered_of(module: ModuleOp, part: PartOp) -> ModuleOp | None:
    """The lowered form of a part, None before `lower` or where its target has none."""
    for op in module.body.block.ops:
        if isinstance(op, ModuleOp) and op.sym_name is not None and op.sym_name.data == object_name(part.sym_name.data):
            return op
    return None


def without_lowered(module: ModuleOp) -> ModuleOp:
    """A copy of a module in its placed form."""
    copied = module.clone()
    for op in list(copied.body.block.ops):
        if isinstance(op, ModuleOp):
            copied.body.block.erase_op(op)
    return copied


def lower_parts(ctx: Context, module: ModuleOp) -> None:
    """Add the lowered form of each part that has one. Fails where a part cannot be lowered."""
    parts = parts_of(module)
    if not parts:
        fail(module, "nothing is placed; run decompose before lower (or lower-to-xdp for a module that is not split)")
    placed = without_lowered(module)
    for op in [op for op in module.body.block.ops if isinstance(op, ModuleOp)]:
        module.body.block.erase_op(op)
    for part in parts:
        target = load(part.target.data)
        if target.kind == "xdp":
            lowered = object_module(ctx, placed.clone(), part.sym_name.data, target)
            module.body.block.insert_op_after(lowered, parts[-1])


def object_module(ctx: Context, placed: ModuleOp, name: str, target: Target) -> ModuleOp:
    """The object of the XDP part `name`: `placed` is taken apart."""
    run_pipeline(ctx, placed, "lower-handoff")
    result = ModuleOp([], dict(placed.attributes), StringAttr(object_name(name)))
    (part,) = [op for op in parts_of(placed) if op.sym_name.data == name]
    own = {op.symbol for op in part.body.block.ops if isinstance(op, FuncOp)}
    for op in list(placed.body.block.ops):
        if op is part:
            _move(list(op.body.block.ops), result)
        elif isinstance(op, FuncOp) and op.symbol in own:
            continue  # programs outside of the parts call it, too: the part has a copy
        elif not isinstance(op, PartOp | EdgeOp | ShareOp):
            _move([op], result)
    run_pipeline(ctx, result, f"lower-to-xdp{{cpu={target.isa}}}" if target.isa < 4 else "lower-to-xdp")
    forget_unused(result)
    return result


def _move(ops: list[Operation], to: ModuleOp) -> None:
    for op in ops:
        block = op.parent
        assert block is not None
        block.detach_op(op)
        to.body.block.add_op(op)
