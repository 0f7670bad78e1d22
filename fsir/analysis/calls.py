"""Which operations of raised code become calls: registers r1 to r5 do not survive them."""

from __future__ import annotations

from xdsl.ir import Operation

from fsir.dialects import ebpf, map, packet

CALLS = (
    *(ebpf.CallOp, ebpf.CallLocalOp, ebpf.CallKfuncOp, ebpf.CallxOp, ebpf.LdAbsOp, ebpf.LdIndOp),
    *(map.LookupOp, map.LookupAtOp, map.UpdateOp, map.UpdateAtOp, map.DeleteOp, map.DeleteAtOp, map.RedirectOp),
    *(packet.AdjustHeadOp, packet.AdjustTailOp, packet.AdjustMetaOp),
)


def is_call(op: Operation) -> bool:
    """Whether an operation becomes a call."""
    return isinstance(op, CALLS)
