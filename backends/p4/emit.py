"""Target `p4`: the NIC's part of a placed module as a P4_16 program for v1model, and its control plane.

text = emit(module)                  nic.p4
control = control_plane(module)      how its tables and counters relate to the program's maps (docs/p4.md)
"""

from __future__ import annotations

from typing import Any

from xdsl.dialects.builtin import ModuleOp, StringAttr

from fsir.backends.p4 import ops_map, ops_packet, ops_scalar
from fsir.backends.p4.capabilities import P4Context
from fsir.backends.p4.control import describe
from fsir.backends.p4.counting import Counting
from fsir.backends.p4.evaluate import Evaluation, Plan
from fsir.backends.p4.layout import flat_layout, make_layout
from fsir.backends.p4.prepare import prepared
from fsir.backends.p4.program import Program
from fsir.backends.p4.sites import value_layout
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.placement import EdgeOp, PartOp
from fsir.driver.diagnostics import fail
from fsir.driver.targets import EmitOptions

RULE_MODULES = (ops_scalar, ops_packet, ops_map)
"""Imported for the rules that they register."""


def emit(module: ModuleOp, options: EmitOptions | None = None) -> str:
    """The P4 program of the part that is placed on a P4 target; of several programs there, the one that the target's
    option `program` names. Raises FailedAt where there is none, or it does not fit: placement asks
    `capabilities.why_not`, so that happens to modules made by hand only."""
    chosen = options.parameters.get("program", ()) if options is not None else ()
    return compile_part(module, str(chosen[0]) if chosen else None).text()


def control_plane(module: ModuleOp, program: str | None = None) -> dict[str, Any]:
    """The control plane of what `emit` writes as plain data, for the manifest; see docs/p4.md."""
    return describe(compile_part(module, program))


def compile_part(module: ModuleOp, name: str | None = None) -> Program:
    """The P4 program of the module's part on P4, of the function of this name if there are several."""
    part = nic_part(module)
    functions = {op.symbol: op for block in part.body.blocks for op in block.ops if isinstance(op, FuncOp)}
    have = ", ".join(functions) or "none"
    if name is not None and name not in functions:
        fail(part, f"there is no function '{name}' on P4; @{part.sym_name.data} has: {have}")
    if name is None and len(functions) != 1:
        hint = "choose one with -t 'p4{program=NAME}'" if functions else "place one there"
        fail(part, f"a NIC runs one program, and @{part.sym_name.data} has {len(functions)} ({have}); {hint}")
    original = functions[name if name is not None else next(iter(functions))]
    func = prepared(original, P4Context(module).maps)
    context = P4Context(module, func)
    names = ops_packet.edge_names(op for op in module.body.block.ops if isinstance(op, EdgeOp))
    survey = Evaluation(func, context, Plan(flat_layout(context.max_parsed)), names)
    survey.run()
    layout = make_layout(survey.survey, context.max_parsed)
    values = {
        name: value_layout(accesses, survey.members(context.maps[name], "value_btf"))
        for name, accesses in survey.value_survey.items()
    }
    result = Evaluation(func, context, Plan(layout, frozenset(survey.survey.stores), values), names)
    result.run()
    file = module.attributes.get("object.file")
    origin = f" of {file.data}" if isinstance(file, StringAttr) else ""
    title = " ".join(f"{original.symbol}{origin}: the part placed on {part.target.data}".split())
    return Program(result, Counting(result), title)


def nic_part(module: ModuleOp) -> PartOp:
    """The part on a P4 target."""
    parts = [op for op in module.body.block.ops if isinstance(op, PartOp)]
    found = [part for part in parts if part.target.data.startswith("p4")]
    if len(found) != 1:
        have = ", ".join(f"@{part.sym_name.data} on {part.target.data}" for part in parts) or "none"
        fail(
            module,
            f"one part must be placed on a P4 target (there is: {have}); run decompose with one among its targets",
        )
    return found[0]
