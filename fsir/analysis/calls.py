"""Which operations are calls, or become calls: registers r0 to r5 do not survive them."""

from __future__ import annotations

from xdsl.ir import Operation

from fsir.dialects import ebpf, map, packet

CALLER_SAVED = frozenset(range(6))
"""The registers that a call takes away."""
CALL_INSTRUCTIONS = (ebpf.CallOp, ebpf.CallLocalOp, ebpf.CallKfuncOp, ebpf.CallxOp)
CLOBBERING = (*CALL_INSTRUCTIONS, ebpf.LdAbsOp, ebpf.LdIndOp)
"""Instructions that take them away."""

CALLS = (
    *CLOBBERING,
    *(map.LookupOp, map.LookupAtOp, map.UpdateOp, map.UpdateAtOp, map.DeleteOp, map.DeleteAtOp, map.RedirectOp),
    *(packet.FetchOp, packet.FetchAtOp, packet.AdjustHeadOp, packet.AdjustTailOp, packet.AdjustMetaOp),
)


def is_call(op: Operation) -> bool:
    """Whether an operation is a call, or becomes one."""
    return isinstance(op, CALLS)
