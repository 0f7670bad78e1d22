"""`name-fields`: packet accesses by the names of protocol fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.packet_bytes import Bytes, packet_bytes, packet_offset
from fsir.analysis.protocols import ALWAYS_FOLLOWED, HEADERS, field_name
from fsir.dialects import packet
from fsir.dialects.ebpf import FuncOp
from fsir.passes._rewrite import raised_functions

Place = tuple[SSAValue, int]
"""A base address and an offset from it."""

_RESIZING = (packet.AdjustHeadOp, packet.AdjustTailOp, packet.AdjustMetaOp)
_CONTEXT = {
    "xdp": {
        0: "data", 4: "data_end", 8: "data_meta", 12: "ingress_ifindex", 16: "rx_queue_index", 20: "egress_ifindex",
    },
    "sched_cls": {
        0: "len", 4: "pkt_type", 8: "mark", 12: "queue_mapping", 16: "protocol", 20: "vlan_present", 24: "vlan_tci",
        28: "vlan_proto", 32: "priority", 36: "ingress_ifindex", 40: "ifindex", 44: "tc_index", 48: "cb[0]",
        52: "cb[1]", 56: "cb[2]", 60: "cb[3]", 64: "cb[4]", 68: "hash", 72: "tc_classid", 76: "data", 80: "data_end",
    },
}  # fmt: skip
_CONTEXT["sched_act"] = _CONTEXT["sched_cls"]
"""Fields of `struct xdp_md` and `struct __sk_buff` (uapi linux/bpf.h) by offset."""


@dataclass(frozen=True)
class NameFieldsPass(ModulePass):
    """Name what packet and context accesses touch: `field = "ipv4.saddr"`.

    Headers are inferred from the checks that dominate an access: the packet starts with Ethernet, what follows a header
    is what its type field was compared with, behind a header of variable length only when the program computed the
    distance from the header's own length field. An access that no such check explains gets no name, and loses
    one that it had. Names are for readers and reports; no transformation relies on them.
    """

    name = "name-fields"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for func in raised_functions(op):
            _Namer(func).run()


class _Namer:
    def __init__(self, func: FuncOp) -> None:
        self.func = func
        self.tree = DominatorTree(func.body)
        self.context = _CONTEXT.get(
            func.type_name or "", _CONTEXT["sched_cls"] if func.type_name == "sched_act" else {}
        )

    def run(self) -> None:
        stack: list[tuple[Block, dict[Place, str], bool]] = [(self.func.entry, {}, False)]
        while stack:
            block, headers, resized = stack.pop()
            headers = dict(headers)
            for place, protocol in self.learned_on_entry(block, headers):
                headers.setdefault(place, protocol)
            for op in block.ops:
                resized = resized or isinstance(op, _RESIZING)
                self.visit(op, headers, resized)
            stack += [(child, headers, resized) for child in self.tree.children(block)]

    def visit(self, op: Operation, headers: dict[Place, str], resized: bool) -> None:
        if isinstance(op, packet.DataOp) and not resized:
            headers[op.res, 0] = "eth"
        elif isinstance(op, packet.AdvanceOp):
            found = self.behind(op, headers)
            if found is not None:
                headers[op.res, 0] = found
        elif isinstance(op, packet.LoadOp | packet.StoreOp):
            value = op.res if isinstance(op, packet.LoadOp) else op.value
            _name(op, _field(op.ptr, op.off.data, value, headers))
        elif isinstance(op, packet.CtxLoadOp | packet.CtxStoreOp):
            _name(op, self.context.get(op.off.data))

    def learned_on_entry(self, block: Block, headers: dict[Place, str]) -> Iterator[tuple[Place, str]]:
        """Headers that the one branch leading here has proved."""
        preds = self.tree.predecessors(block)
        branch = preds[0].last_op if len(preds) == 1 else None
        if not isinstance(branch, cf.ConditionalBranchOp) or branch.then_block is branch.else_block:
            return
        compared = branch.cond.owner
        if not isinstance(compared, arith.CmpiOp):
            return
        predicate = int(compared.predicate.value.data)
        if predicate != (0 if branch.then_block is block else 1):  # equal on the true side, or not unequal
            return
        number = _number(compared.rhs)
        read = packet_bytes(compared.lhs)
        if number is None or read is None:
            return
        for place, protocol in list(headers.items()):
            following = _selected(protocol, place, read, number)
            if following is not None:
                base, start = place
                yield (base, start + HEADERS[protocol].length), following
                if following in ALWAYS_FOLLOWED:
                    behind = start + HEADERS[protocol].length + HEADERS[following].length
                    yield (base, behind), ALWAYS_FOLLOWED[following]

    def behind(self, op: packet.AdvanceOp, headers: dict[Place, str]) -> str | None:
        """The header that an advance by a header's own length field leads to."""
        base, start = packet_offset(op.ptr)
        for (owner, at), protocol in headers.items():
            header = HEADERS[protocol]
            if owner is not base or header.scale is None or at + header.length not in (start, start + header.length):
                continue
            if start == at and _is_length(op.by, base, at, header.scale):
                return headers.get((base, at + header.length))
        return None


def _is_length(value: SSAValue, base: SSAValue, at: int, scale: tuple[int, int, int]) -> bool:
    """Whether a value is four times the length field of the header at `base + at`."""
    byte, mask, shift = scale
    op = value.owner
    while isinstance(op, arith.ExtUIOp | arith.TruncIOp):
        op = op.operands[0].owner
    wanted: tuple[int, ...] = (mask,)
    if isinstance(op, arith.ShLIOp) and _number(op.operands[1]) == 2 and shift == 0:
        read = packet_bytes(op.operands[0])
    elif isinstance(op, arith.AndIOp) and (inner := _unshifted(op)) is not None:  # (byte << 2) & 60, (byte >> 2) & 60
        read, wanted = packet_bytes(inner), (mask, 0xFF)
    else:
        return False
    return (
        read is not None
        and read[0] is not None
        and (read[0].base, read[0].offset) == (base, at + byte)
        and read[0].mask in wanted
    )


def _unshifted(op: arith.AndIOp) -> SSAValue | None:
    """x in `(x << 2) & 60` or `(x >> 2) & 60`."""
    for value, mask in (op.operands, op.operands[::-1]):
        if _number(mask) == 60:
            inner = value.owner
            while isinstance(inner, arith.ExtUIOp | arith.TruncIOp):
                inner = inner.operands[0].owner
            if isinstance(inner, arith.ShLIOp | arith.ShRUIOp) and _number(inner.operands[1]) == 2:
                return inner.operands[0]
    return None


def _number(value: SSAValue) -> int | None:
    op = value.owner
    if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr) and isinstance(value.type, IntegerType):
        return int(op.value.value.data) & ((1 << int(value.type.width.data)) - 1)
    return None


def _selected(protocol: str, place: Place, read: Bytes, number: int) -> str | None:
    """The header that follows `protocol` at `place`, given that the bytes `read` make up `number`."""
    header = HEADERS[protocol]
    if header.selector is None or header.following is None:
        return None
    base, start = place
    offset, size = header.selector
    network = 0
    for i in range(size):
        wanted = (base, start + offset + i)
        at = [j for j, b in enumerate(read) if b is not None and (b.base, b.offset) == wanted and b.mask == 0xFF]
        if not at:
            return None
        network = network << 8 | (number >> 8 * at[0] & 0xFF)
    return header.following.get(network)


def _field(address: SSAValue, offset: int, value: SSAValue, headers: dict[Place, str]) -> str | None:
    base, distance = packet_offset(address)
    at = distance + offset
    size = value.type.width.data // 8 if isinstance(value.type, IntegerType) else 0
    found = [
        (start, protocol)
        for (owner, start), protocol in headers.items()
        if owner is base and start <= at and at + size <= start + HEADERS[protocol].length
    ]
    if not found:
        return None
    start, protocol = max(found)
    return field_name(protocol, at - start, size)


def _name(op: Operation, field: str | None) -> None:
    if field is None:
        op.properties.pop("field", None)
    else:
        op.properties["field"] = StringAttr(field)
