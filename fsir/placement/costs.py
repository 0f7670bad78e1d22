"""What code costs on a target: nanoseconds of one execution, from the target's description."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects import arith, cf
from xdsl.ir import Block, Operation

from fsir.dialects import ebpf, packet
from fsir.dialects import map as maps
from fsir.dialects.ebpf import form_of
from fsir.dialects.map import DeclOp
from fsir.interp.helpers import HELPERS
from fsir.placement.additions import is_countable
from fsir.placement.loops import evaluate
from fsir.placement.sharing import is_mapped
from fsir.placement.targets import Target

VERDICTS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}
"""XDP verdicts by number (enum xdp_action)."""

_CLASSES: dict[type[Operation], str] = {
    arith.MuliOp: "mul",
    arith.DivUIOp: "div",
    arith.DivSIOp: "div",
    arith.RemUIOp: "div",
    arith.RemSIOp: "div",
    cf.ConditionalBranchOp: "branch",
    ebpf.JccRIOp: "branch",
    ebpf.JccRROp: "branch",
    packet.GuardOp: "guard",
    packet.DataOp: "ctx",
    packet.EndOp: "ctx",
    packet.MetaOp: "ctx",
    packet.CtxLoadOp: "ctx",
    packet.CtxStoreOp: "ctx",
    packet.LoadOp: "packet",
    packet.StoreOp: "packet",
    packet.AdjustHeadOp: "resize",
    packet.AdjustTailOp: "resize",
    packet.AdjustMetaOp: "resize",
    maps.LoadOp: "memory",
    maps.StoreOp: "memory",
    maps.AtomicOp: "atomic",
    ebpf.LdxOp: "memory",
    ebpf.StxOp: "memory",
    ebpf.StOp: "memory",
    ebpf.AtomicOp: "atomic",
    ebpf.AtomicFetchOp: "atomic",
    ebpf.CmpxchgOp: "atomic",
    ebpf.CallKfuncOp: "helper",
    ebpf.CallxOp: "call",
}
"""The cost class of an operation by its form; what is not here costs one `alu`, or nothing."""

_FREE = frozenset(
    {arith.ConstantOp, arith.ExtUIOp, arith.TruncIOp, cf.BranchOp, packet.OffsetOp, maps.HitOp}
    | {ebpf.CastOp, ebpf.FpOp, ebpf.UndefOp, ebpf.LdSymOp, ebpf.FallthroughOp, ebpf.JaOp, ebpf.EndOp}
)
_MAP_OPS = (maps.LookupOp, maps.LookupAtOp, maps.UpdateOp, maps.UpdateAtOp, maps.DeleteOp, maps.DeleteAtOp)
_HELPERS_ON_MAPS = ("map_lookup_elem", "map_update_elem", "map_delete_elem")


class Costs:
    """The costs of one module's code; those of a called function count at the call."""

    def __init__(self, declarations: Mapping[str, DeclOp], functions: Mapping[str, ebpf.FuncOp]) -> None:
        self._declarations, self._functions_by_name = declarations, functions
        self._functions: dict[tuple[str, str], float] = {}

    def block(self, block: Block, target: Target) -> float:
        """One execution of a block."""
        return sum(self.op(op, target) for op in block.ops)

    def op(self, op: Operation, target: Target) -> float:
        """One execution of an operation."""
        form = form_of(op)
        if form in _FREE:
            return 0.0
        if isinstance(op, _MAP_OPS):
            return self._map(op.map.root_reference.data, target)
        if isinstance(op, maps.RedirectOp):
            return target.helper_costs.get("redirect_map", target.costs["helper"])
        if isinstance(op, packet.VerdictOp):
            return self._verdict(op, target)
        if isinstance(op, ebpf.CallLocalOp):
            return target.costs["call"] + self._called(op.callee.root_reference.data, target)
        if isinstance(op, ebpf.CallOp):
            return self._helper(op, target)
        if target.kind == "af-xdp" and isinstance(op, maps.AtomicOp | maps.StoreOp) and is_countable(op):
            return self._addition(op, target)
        return target.costs[_CLASSES.get(form, "alu")]

    def _map(self, name: str, target: Target) -> float:
        declaration = self._declarations.get(name)
        return target.map_cost(declaration.type.data if declaration is not None else "default")

    def _addition(self, op: maps.AtomicOp | maps.StoreOp, target: Target) -> float:
        """One from user space: in memory, or in the kernel as any other access to the map."""
        names = op.value.type.names if isinstance(op.value.type, maps.ValueType) else ()
        afar = [name for name in names if name in self._declarations and not is_mapped(self._declarations[name])]
        return max((self._map(name, target) for name in afar), default=target.costs["atomic"])

    def _helper(self, op: ebpf.CallOp, target: Target) -> float:
        helper = HELPERS.get(op.helper.data)
        if helper is None:
            return target.costs["helper"]
        if helper.name in _HELPERS_ON_MAPS and isinstance(op.operands[0].type, maps.HandleType):
            return max(self._map(name, target) for name in op.operands[0].type.names)
        return target.helper_costs.get(helper.name, target.costs["helper"])

    def _verdict(self, op: packet.VerdictOp, target: Target) -> float:
        value = evaluate(op.value, {})
        name = "redirect" if isinstance(op.value.owner, maps.RedirectOp) else VERDICTS.get(value or 0, "aborted")
        return target.verdict_costs.get(name, target.costs["verdict"])

    def _called(self, name: str, target: Target) -> float:
        key = name, target.name
        if key not in self._functions:
            self._functions[key] = 0.0  # of a recursion
            func = self._functions_by_name.get(name)
            if func is not None:
                from fsir.placement.graph import FlowGraph

                graph = FlowGraph(func, self._declarations)
                self._functions[key] = sum(
                    times * self.block(block, target) for block, times in graph.frequency.items()
                )
        return self._functions[key]
