"""`name-fields`: packet accesses by the names of protocol fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.cfg import edges
from fsir.analysis.context_fields import CONTEXT_FIELDS
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.header_lengths import added_to_length, number_of
from fsir.analysis.packet_bytes import Bytes, packet_bytes, packet_offset
from fsir.analysis.protocols import ALWAYS_FOLLOWED, HEADERS, field_name
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp
from fsir.passes._rewrite import raised_functions

Place = tuple[SSAValue, int]
"""A base address and an offset from it; the context stands for what follows the packet's Ethernet header."""

_RESIZING = (packet.AdjustHeadOp, packet.AdjustTailOp, packet.AdjustMetaOp)


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
        self.context = CONTEXT_FIELDS.get(func.type_name or "", {})
        self.ends: dict[Block, dict[Place, str]] = {}
        """The headers known at the end of each block."""
        self.selects: dict[SSAValue, tuple[Place, Mapping[int, str]]] = {}
        """Block arguments that say which header is at a place, on whatever path control came."""

    def run(self) -> None:
        resized: set[Block] = set()
        for block in self.tree.rpo:
            idom = self.tree.idom(block)
            headers = dict(self.ends[idom]) if idom is not None else {}
            preds = self.tree.predecessors(block)
            changed = any(pred in resized for pred in preds)
            self.joined(block)
            for place, protocol in self.learned_on_entry(block, headers):
                headers.setdefault(place, protocol)
            for op in block.ops:
                changed = changed or isinstance(op, _RESIZING)
                self.visit(op, headers, changed)
            if changed:
                resized.add(block)
            self.ends[block] = headers

    def visit(self, op: Operation, headers: dict[Place, str], resized: bool) -> None:
        if isinstance(op, packet.DataOp) and not resized:
            headers[op.res, 0] = "eth"
            if (op.ctx, 0) in headers:  # the context said what follows
                headers[op.res, HEADERS["eth"].length] = headers[op.ctx, 0]
        elif isinstance(op, packet.AdvanceOp):
            found = self.behind(op, headers)
            if found is not None:
                headers[op.res, found[0]] = found[1]
        elif isinstance(op, packet.LoadOp | packet.StoreOp):
            value = op.res if isinstance(op, packet.LoadOp) else op.value
            _name(op, _field(op.ptr, op.off.data, value, headers))
        elif isinstance(op, packet.CtxLoadOp | packet.CtxStoreOp):
            _name(op, self.context.get(op.off.data))

    def joined(self, block: Block) -> None:
        """Where paths meet: an address and the field that said, on each path, what is there."""
        sources = [
            (pred, values)
            for pred in self.tree.predecessors(block)
            for target, values in edges(pred)
            if target is block
        ]
        if not sources or any(pred not in self.ends for pred, _ in sources):
            return
        for address in block.args:
            if not isinstance(address.type, packet.PtrType):
                continue
            for field in block.args:
                if not isinstance(field.type, IntegerType):
                    continue
                found = [
                    self.selected_by(values[field.index], values[address.index], self.ends[p]) for p, values in sources
                ]
                if found[0] is not None and all(table is found[0] for table in found):
                    self.selects[field] = ((address, 0), found[0])

    def selected_by(self, field: SSAValue, address: SSAValue, headers: dict[Place, str]) -> Mapping[int, str] | None:
        """What may follow the header in front of an address, if the field's bytes say which it is."""
        read = packet_bytes(field)
        base, end = packet_offset(address)
        for (owner, start), protocol in headers.items():
            header = HEADERS[protocol]
            if owner is not base or start + header.length != end or header.selector is None or read is None:
                continue
            if _network(read, base, start, header.selector) == tuple(range(header.selector[1])):
                return header.following
        return None

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
        number = number_of(compared.rhs)
        if number is None:
            return
        for (base, start), following in self.proved(compared.lhs, number, headers):
            yield (base, start), following
            if following in ALWAYS_FOLLOWED:
                yield (base, start + HEADERS[following].length), ALWAYS_FOLLOWED[following]

    def proved(self, value: SSAValue, number: int, headers: dict[Place, str]) -> Iterator[tuple[Place, str]]:
        """The headers that are there when a value is this number."""
        read = packet_bytes(value)
        if read is not None:
            for place, protocol in list(headers.items()):
                following = _selected(protocol, place, read, number)
                if following is not None:
                    yield (place[0], place[1] + HEADERS[protocol].length), following
            return
        source, network = _unordered(value, number)
        if source in self.selects:
            place, table = self.selects[source]
            if network in table:
                yield place, table[network]
        elif isinstance(source.owner, packet.CtxLoadOp) and self.context.get(source.owner.off.data) == "protocol":
            following = (HEADERS["eth"].following or {}).get(network)
            if following is not None:
                yield (source.owner.ctx, 0), following
                yield from (
                    ((base, HEADERS["eth"].length), following)
                    for (base, start), protocol in list(headers.items())
                    if (start, protocol) == (0, "eth")
                )

    def behind(self, op: packet.AdvanceOp, headers: dict[Place, str]) -> tuple[int, str] | None:
        """The header that an advance by a header's own length field leads to, and its distance from there."""
        base, start = packet_offset(op.ptr)
        for (owner, at), protocol in headers.items():
            header = HEADERS[protocol]
            if owner is not base or header.scale is None:
                continue
            added = added_to_length(op.by, base, at, header)
            if added is not None and (following := headers.get((base, at + header.length))) is not None:
                return at - start + header.extra - added, following
        return None


def _unordered(value: SSAValue, number: int) -> tuple[SSAValue, int]:
    """The value that another is an extension, a cut or a reordering of, and what number it is in network order."""
    swapped = False
    width = 16
    while isinstance(op := value.owner, arith.ExtUIOp | arith.TruncIOp | arith.AndIOp | ebpf.UnaryOp):
        if isinstance(op, arith.AndIOp) and number_of(op.operands[1]) != 0xFFFF:
            break
        if isinstance(op, ebpf.UnaryOp):
            if op.row.op not in ("be", "bswap") or op.row.width != width:
                break
            swapped = not swapped
        value = op.operands[0]
    return value, number if swapped else int.from_bytes((number & 0xFFFF).to_bytes(2, "little"), "big")


def _network(read: Bytes, base: SSAValue, start: int, selector: tuple[int, int]) -> tuple[int, ...] | None:
    """At which byte of the value each byte of a header's selector is, in network order; None when one is missing."""
    offset, size = selector
    places = []
    for i in range(size):
        wanted = (base, start + offset + i)
        at = [j for j, b in enumerate(read) if b is not None and (b.base, b.offset) == wanted and b.mask == 0xFF]
        if not at:
            return None
        places.append(at[0])
    return tuple(places)


def _selected(protocol: str, place: Place, read: Bytes, number: int) -> str | None:
    """The header that follows `protocol` at `place`, given that the bytes `read` make up `number`."""
    header = HEADERS[protocol]
    if header.selector is None or header.following is None:
        return None
    base, start = place
    places = _network(read, base, start, header.selector)
    if places is None:
        return None
    network = 0
    for at in places:
        network = network << 8 | (number >> 8 * at & 0xFF)
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
