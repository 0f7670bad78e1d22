"""What keys of maps are made of, in words: header fields, fields of the context, numbers."""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.ir import BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import predecessors, successor_operands
from fsir.analysis.evaluate import width_of
from fsir.analysis.header_lengths import number_of
from fsir.dialects import ebpf, map, packet
from fsir.report.contents import helper_name

_PASSED_ON = (arith.ExtUIOp, arith.TruncIOp, ebpf.CastOp, ebpf.UnaryOp)
"""What changes the width, the kind or the byte order of a number only."""


def key_of(op: map.LookupOp | map.UpdateOp | map.DeleteOp) -> list[str]:
    """The parts of the key of a map operation in memory order."""
    return [described(value) for value in op.operands[: op.int_prop("key_count")]]


def described(value: SSAValue, depth: int = 6, bits: int = 64) -> str:
    """A number in a few words: `ipv4.saddr`, `7` (constants are unsigned, and as wide as the number), `rx_queue_index`,
    `tcp.dest or udp.dest` by path, and `of ipv4.saddr, ipv4.daddr` for one that is computed. No more than the lowest
    `bits` of it count."""
    bits = min(bits, width_of(value.type))
    while isinstance(value.owner, _PASSED_ON):
        value = value.owner.operands[0]
        bits = min(bits, width_of(value.type))
    if isinstance(value, BlockArgument):
        sources = _incoming(value) if depth else []
        return " or ".join(dict.fromkeys(described(source, depth - 1, bits) for source in sources)) or "?"
    assert isinstance(value.owner, Operation)
    number = number_of(value)
    if number is not None:
        return str(number & ((1 << bits) - 1))
    name = _leaf(value.owner)
    if name is not None or not depth:
        return name or "?"
    parts = [described(operand, depth - 1).removeprefix("of ") for operand in value.owner.operands]
    names = dict.fromkeys(name for part in parts for name in part.split(", ") if not name.isdigit())
    return f"of {', '.join(names) or '?'}"


def _incoming(value: BlockArgument) -> list[SSAValue]:
    region = value.owner.parent
    if region is None or region.blocks.first is value.owner:
        return []
    return [successor_operands(op, i)[value.index] for op, i in predecessors(region)[value.owner]]


def _leaf(op: object) -> str | None:
    """What an operation brings in; None for one that computes."""
    if isinstance(op, packet.LoadOp):
        return op.field.data if op.field is not None else "a packet byte"
    if isinstance(op, packet.CtxLoadOp):
        return op.field.data if op.field is not None else "a context field"
    if isinstance(op, map.LoadOp):
        return f"a value of {' or '.join(op.value.type.names)}" if isinstance(op.value.type, map.ValueType) else "?"
    if isinstance(op, ebpf.CallOp):
        return helper_name(int(op.helper.data))
    if isinstance(op, ebpf.CallLocalOp):
        return f"@{op.symbol_prop('callee')}"
    return "memory" if isinstance(op, ebpf.LdxOp) else None
