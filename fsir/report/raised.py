"""How much of what programs do to packets and maps was raised, and why the rest was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.analysis.origins import MAP, METADATA, PACKET, VALUE, Origins
from fsir.dialects import ebpf, map, packet
from fsir.dialects.ebpf import FuncOp
from fsir.interp.helpers import HELPERS, ArgKind
from fsir.report.contents import operations

_ACCESSES = (ebpf.LdxOp, ebpf.StxOp, ebpf.StOp, ebpf.AtomicOp, ebpf.AtomicFetchOp, ebpf.CmpxchgOp)
_PACKET_OPS = (packet.LoadOp, packet.StoreOp, packet.FetchOp, packet.FetchAtOp)
_MAP_HELPERS = frozenset(map.CALL_OF)
"""Calls that operate on a map, or on what only a value holds: all with a raised form. (A tail call is control.)"""


@dataclass
class Raised:
    """Counts of operations by what they touch. `missed` are those that are still machine operations, by what they
    touch and why."""

    packet: int = 0
    maps: int = 0
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def missed_packet(self) -> int:
        """Machine operations that touch the packet, or may."""
        return sum(count for (what, _), count in self.missed.items() if what == "packet access")

    @property
    def missed_maps(self) -> int:
        """Machine operations on maps and their values, or that may be."""
        return sum(count for (what, _), count in self.missed.items() if what != "packet access")


def raised_share(module: ModuleOp, funcs: Iterable[FuncOp]) -> Raised:
    """Count in functions of a raised module. An access that may be to the packet on one path and to something else on
    another counts as one to each."""
    found, origins = Raised(), Origins(module)
    for func in funcs:
        for op in operations(func):
            if isinstance(op, _PACKET_OPS):
                found.packet += 1
            elif isinstance(op, map_operations()):
                found.maps += 1
            else:
                found.missed.update(_missed(op, origins))
    return found


def map_operations() -> tuple[type[Operation], ...]:
    """The operations of the map dialect that work on contents: all but declarations and null checks."""
    return tuple(op for op in map.MAP.operations if op not in (map.DeclOp, map.HitOp))


def _missed(op: Operation, origins: Origins) -> Iterable[tuple[str, str]]:
    """What a machine operation that was not raised touches, each with the reason."""
    if isinstance(op, ebpf.RawOp):
        yield "packet access", "the code does not decode"
    elif isinstance(op, ebpf.LdAbsOp | ebpf.LdIndOp):
        yield "packet access", f"{op.name} has no raised form"
    elif isinstance(op, ebpf.CallOp) and op.helper.data in _MAP_HELPERS:
        name, args = HELPERS[op.helper.data].c_name, HELPERS[op.helper.data].args
        handles = [value for arg, value in zip(args, op.operands, strict=False) if arg.kind is ArgKind.MAP]
        handle = handles[0] if handles else op.operands[0]
        if MAP in origins.of(handle) and handle.type != ebpf.UNALLOCATED:
            yield f"{name} call", "has no raised form"
        else:
            yield f"{name} call", f"which map: {origins.lost(handle)}"
    elif isinstance(op, _ACCESSES):
        base = op.operands[0]
        typed = base.type != ebpf.UNALLOCATED
        kinds = origins.of(base)
        reason = _form(op) if typed else origins.lost(base)
        if kinds & {PACKET, METADATA}:
            yield "packet access", reason
        if VALUE in kinds:
            yield "map value access", reason


def _form(op: Operation) -> str:
    """Why an access through a base of known kind was not raised."""
    if "core" in op.properties:
        return "the loader relocates its offset"
    kinds = ", ".join(str(operand.type) if operand.type == ebpf.UNALLOCATED else "" for operand in op.operands[1:])
    name = op.name if not isinstance(op, ebpf.InsnOp) else op.row.op
    return f"the form {name}" + (" of an untyped word" if kinds.strip(", ") else "")
