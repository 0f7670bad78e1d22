"""Where in the packet a function's accesses find which protocol header.

`header_names(func, passed)` gives every packet and context access with the name of what it touches. Places are relative
to an address that is no constant distance from another one, or to where the packet started when the program did: a
start that was moved by a constant, and taken again, is still the same packet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.context_fields import CONTEXT_FIELDS
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.frame_contents import FrameContents
from fsir.analysis.header_lengths import added_to_length, number_of
from fsir.analysis.packet_bytes import packet_bytes, packet_offset
from fsir.analysis.packet_starts import packet_starts
from fsir.analysis.protocols import ALWAYS_FOLLOWED, EXTENSION, HEADERS, field_name, one_of
from fsir.analysis.selected import Choice, Owner, Place, Selected, blocks_reached, number_in
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import FuncOp, functions

START: Final = "start"
"""What offsets from the first byte of the packet, as the program found it, are relative to."""

Headers = dict[Place, str]

_Way = tuple[Place, Sequence[SSAValue], Headers]
"""A way to where an address is joined: where it is there, the values passed, what is known."""
_Said = tuple[Mapping[int, str], tuple[int, ...]]
"""What may follow, and the number in network order of each byte of the field that says which."""
_Assumption = tuple[SSAValue, Block, int, str | None]
"""What was concluded of an address that is joined in a block: the header at a distance, or (without one) the number of
the block argument that says what is there."""

_ETHERNET = HEADERS["eth"]


@dataclass(frozen=True)
class _Call:
    """What a function is called with: `headers` at the addresses that are passed, by the number of the argument and the
    offset from there, and `numbers`, the constants among the arguments."""

    headers: Mapping[tuple[int, int], str]
    numbers: Mapping[int, int]


class Passed:
    """What functions of a module find in their arguments and in frames: the calls of static functions, addresses that
    were stored."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module
        self._calls: defaultdict[str, list[_Call]] = defaultdict(list)

    def stored(self, load: ebpf.LdxOp) -> list[SSAValue]:
        """The addresses that a load may give; none where that is not known."""
        stored = self._contents.stored(load)
        return [value for value in stored or () if isinstance(value, SSAValue)]

    @cached_property
    def _contents(self) -> FrameContents:
        return FrameContents(
            self._module, (f for f in functions(self._module) if not f.is_allocated() and not f.is_raw())
        )

    def callers_first(self, funcs: Iterable[FuncOp]) -> list[FuncOp]:
        """The functions in an order in which every one comes after those that call it, recursion aside."""
        by_name = {func.symbol: func for func in funcs}
        done: dict[str, None] = {}

        def visit(name: str, active: frozenset[str]) -> None:
            if name in done or name in active or name not in by_name:
                return
            for op in by_name[name].walk():
                if isinstance(op, ebpf.CallLocalOp):
                    visit(op.callee.root_reference.data, active | {name})
            done[name] = None

        for name in by_name:
            visit(name, frozenset())
        return [by_name[name] for name in reversed(done)]

    def note(self, call: ebpf.CallLocalOp, found: _Call) -> None:
        """A function is called."""
        self._calls[call.callee.root_reference.data].append(found)

    def to(self, func: FuncOp) -> Sequence[_Call]:
        """The calls of a function, if nobody else can call it."""
        return self._calls[func.symbol] if func.bind is not None and func.bind.data == 0 else ()


def header_names(func: FuncOp, passed: Passed) -> Iterator[tuple[Operation, str | None]]:
    """The accesses of a raised function to the packet and to the context, each with the name of what it touches."""
    rejected: set[_Assumption] = set()
    while True:
        flow = _Flow(func, passed, rejected)
        flow.run()
        wrong = {what for what in flow.assumed - rejected if not flow.holds(what)}
        if not wrong:
            break
        rejected |= wrong
    flow.note_calls()
    yield from flow.names.items()


class _Flow:
    def __init__(self, func: FuncOp, passed: Passed, rejected: set[_Assumption]) -> None:
        self.func, self.passed, self.rejected = func, passed, rejected
        self.tree = DominatorTree(func.body)
        self.context = CONTEXT_FIELDS.get(func.type_name or "", {})
        self.starts = packet_starts(func)
        self._places: dict[SSAValue, Place] = {}
        self._parts: dict[tuple[Owner, int, int], dict[SSAValue, tuple[int, ...]]] = {}
        self._behind: dict[tuple[Owner, int, str], list[Place]] = {}
        self.told: dict[tuple[Place, SSAValue], _Said] = {}
        """Fields that say what is at an address, of those that are joined together."""
        self.called: dict[Block, Headers] = {}
        """What is at arguments, by the calls that lead to a block."""
        self.constants: dict[Place, int | None] = {}
        """What the block at hand has stored."""
        self.names: dict[Operation, str | None] = {}
        self.ends: dict[Block, Headers] = {}
        """The headers known at the end of each block."""
        self.selected = Selected(self.tree)
        self.assumed: set[_Assumption] = set()
        """What was concluded of block arguments without having seen all that comes there."""

    # What is known where

    def run(self) -> None:
        for block in self.tree.rpo:
            idom = self.tree.idom(block)
            headers = dict(self.ends[idom]) if idom is not None else self.at_entry()
            for (base, start), protocol in self.selected.at(block):
                headers.setdefault((base, start), protocol)
                if protocol in ALWAYS_FOLLOWED:
                    headers.setdefault((base, start + HEADERS[protocol].length), ALWAYS_FOLLOWED[protocol])
            for place, protocol in self.called.get(block, {}).items():
                headers.setdefault(place, protocol)
            self.joined(block, headers)
            self.constants.clear()
            for op in block.ops:
                self.visit(op, headers)
            for op in block.ops:
                if isinstance(op, packet.StoreOp):  # also before the type field of the header in front is written
                    self.names[op] = _field(self.place(op.ptr, op.off.data), _size(op.value), headers)
            self.choices(block, headers)
            self.ends[block] = headers

    def at_entry(self) -> Headers:
        arguments = self.func.entry.args
        said = [op.res for op in self.func.walk() if isinstance(op, packet.CtxLoadOp) and self._is_type(op)]
        if said and _ETHERNET.following is not None:
            parts: dict[SSAValue, tuple[int, ...]] = dict.fromkeys(said, (0, 1))  # it is in network order
            self.selected.add(Choice((START, _ETHERNET.length), _ETHERNET.following, 2, parts), self.func.entry)
        calls = self.passed.to(self.func)
        if any(call.headers for call in calls):
            numbers: list[dict[SSAValue, int]] = [{arguments[i]: n for i, n in call.numbers.items()} for call in calls]
            ways = [(c.headers, blocks_reached(self.func.entry, n)) for c, n in zip(calls, numbers, strict=True)]
            for block in self.tree.rpo:
                for (index, at), protocol in _agreed([headers for headers, reached in ways if block in reached]):
                    self.called.setdefault(block, {})[arguments[index], at] = protocol
        return {(START, 0): "eth"} if self.fetches else {}

    def _is_type(self, op: packet.CtxLoadOp) -> bool:
        return self.context.get(op.off.data) == "protocol"

    def visit(self, op: Operation, headers: Headers) -> None:
        if isinstance(op, packet.DataOp):
            self.begin(self.place(op.res, 0), headers)
        elif isinstance(op, packet.AdvanceOp):
            self.go_on(op, headers)
        elif isinstance(op, packet.LoadOp | packet.StoreOp):
            place = self.place(op.ptr, op.off.data)
            if isinstance(op, packet.LoadOp):
                self.names[op] = _field(place, _size(op.res), headers)
            else:
                self.written(place, _size(op.value), number_in(op.value), headers)
        elif isinstance(op, packet.FetchOp):
            self.names[op] = _field((START, op.off.data), _size(op.res), headers)
        elif isinstance(op, packet.CtxLoadOp | packet.CtxStoreOp):
            self.names[op] = self.context.get(op.off.data)

    def go_on(self, op: packet.AdvanceOp, headers: Headers) -> None:
        """What was known to follow a header is where that ends."""
        for (owner, start), protocol in list(headers.items()):
            following = headers.get((owner, start + HEADERS[protocol].length))
            distance = self.distance(op, owner, start, protocol) if following is not None else None
            if following is not None and distance is not None:
                headers[op.res, distance] = following

    def begin(self, place: Place, headers: Headers) -> None:
        """The packet starts here, and with Ethernet: a start that was moved takes the place of what was there."""
        if place not in headers:
            _forget(headers, place, _ETHERNET.length)
            headers[place] = "eth"

    def written(self, place: Place, size: int, number: int | None, headers: Headers) -> None:
        """A constant in a type field, stored at once or in pieces, says what follows."""
        owner, at = place
        for i in range(size):
            self.constants[owner, at + i] = None if number is None else number >> 8 * i & 0xFF
        for (base, start), protocol in list(headers.items()):
            header = HEADERS[protocol]
            if base != owner or header.selector is None or header.following is None:
                continue
            first = start + header.selector[0]
            last = first + header.selector[1]
            stored = [self.constants.get((owner, i)) for i in range(first, last)]
            if at >= last or at + size <= first or None in stored:
                continue
            following = header.following.get(int.from_bytes(bytes(b for b in stored if b is not None), "big"))
            behind = base, start + header.length
            if following is not None and headers.get(behind) != following:
                _forget(headers, behind, HEADERS[following].length)
                headers[behind] = following

    def choices(self, block: Block, headers: Headers) -> None:
        """Type fields of headers that are known from here on: what follows depends on them."""
        for (base, start), protocol in headers.items():
            header = HEADERS[protocol]
            places = [place for place in self.behind(base, start, protocol) if place not in headers]
            if header.selector is None or header.following is None or not places:
                continue
            first, count = header.selector
            parts = self.parts(base, start + first, count)
            for place in places if parts else ():
                self.selected.add(Choice(place, header.following, count, parts), block)

    def parts(self, base: Owner, first: int, count: int) -> Mapping[SSAValue, tuple[int, ...]]:
        """What the function reads of a field: the values, and which bytes of the field they have."""
        if (base, first, count) in self._parts:
            return self._parts[base, first, count]
        parts = self._parts[base, first, count] = dict[SSAValue, tuple[int, ...]]()
        for load in self.loads.get(base, ()):
            at, size = self.place(load.ptr, load.off.data)[1] - first, _size(load.res)
            if 0 <= at <= count - size:
                parts[load.res] = tuple(range(at, at + size))
        for fetch in self.fetches if base == START else ():
            at, size = fetch.off.data - first, _size(fetch.res)
            if 0 <= at <= count - size:
                parts[fetch.res] = tuple(range(at + size - 1, at - 1, -1))
        return parts

    # Where paths meet

    def joined(self, block: Block, headers: Headers) -> None:
        """An address is what it is on every path; and a field that said, on each, what is at the address still does.
        What has not been seen yet (the end of a loop) is assumed to agree, and asked again (`holds`)."""
        if block is self.func.entry:
            return
        sure = all(pred in self.ends for pred, _, _ in self.sources(block))
        addresses: list[SSAValue] = [arg for arg in block.args if isinstance(arg.type, packet.PtrType)]
        for address in addresses + [op.res for op in self.indexed.get(block, ())]:
            ways = self.ways(address, block)
            if not ways:
                continue
            for at, protocol in self.agreed(ways):
                if self.assume((address, block, at, protocol), sure):
                    headers.setdefault((address, at), protocol)
            for field in block.args:
                said = self.said(field, ways)
                if said is not None and self.assume((address, block, field.index, None), sure):
                    following, order = said
                    self.told[(address, 0), field] = said
                    self.selected.add(Choice((address, 0), following, len(order), {field: order}), block)

    def assume(self, what: _Assumption, sure: bool) -> bool:
        if not sure:
            self.assumed.add(what)
        return sure or what not in self.rejected

    def holds(self, what: _Assumption) -> bool:
        """Whether what was assumed of a joined address is so, now that all paths are known."""
        address, block, number, protocol = what
        ways = self.ways(address, block)
        if protocol is not None:
            return (number, protocol) in self.agreed(ways)
        return self.said(block.args[number], ways) is not None

    def sources(self, block: Block) -> list[tuple[Block, int, Sequence[SSAValue]]]:
        """The blocks in front of another, which successor of theirs it is, and what they pass."""
        preds = [pred for pred in self.tree.predecessors(block) if self.tree.is_reachable(pred)]
        return [(p, i, values) for p in preds for i, (target, values) in enumerate(edges(p)) if target is block]

    def ways(self, address: SSAValue, block: Block) -> list[_Way]:
        """The ways into a block that are known, on which an address that is joined there is not null."""
        known = [(values, self.on_way(pred, i)) for pred, i, values in self.sources(block) if pred in self.ends]
        places = [(self.joins(address, values), values, headers) for values, headers in known]
        return [(place, values, headers) for place, values, headers in places if place is not None]

    def on_way(self, pred: Block, index: int) -> Headers:
        """What is known where control leaves a block for one of its successors."""
        headers = self.ends[pred]
        learned = {place: name for place, name in self.selected.at((pred, index)) if place not in headers}
        return headers | learned if learned else headers

    def joins(self, address: SSAValue, values: Sequence[SSAValue]) -> Place | None:
        """Where an address is on one of the ways to where it is joined; None for null. It may be an index that is."""
        if isinstance(address, BlockArgument):
            value = values[address.index]
            return None if _is_null(value) else self.place(value, 0)
        op = address.owner
        assert isinstance(op, packet.AdvanceOp) and isinstance(op.by, BlockArgument)
        number = number_in(values[op.by.index])
        return (op.res, 0) if number is None or number >> 16 else self.place(op.ptr, number)

    @cached_property
    def indexed(self) -> dict[Block, list[packet.AdvanceOp]]:
        """Advances by a number that is joined, by where it is."""
        found: dict[Block, list[packet.AdvanceOp]] = {}
        for op in self.func.walk():
            if isinstance(op, packet.AdvanceOp) and isinstance(op.by, BlockArgument):
                found.setdefault(op.by.owner, []).append(op)
        return found

    def agreed(self, ways: Sequence[_Way]) -> set[tuple[int, str]]:
        """The headers that are at distances from an address on all ways."""
        return set(_agreed([dict(_near(place, headers)) for place, _, headers in ways]))

    def said(self, field: BlockArgument, ways: Sequence[_Way]) -> _Said | None:
        """What may follow in front of an address, and in which order the field that says so holds its bytes."""
        if not isinstance(field.type, IntegerType):
            return None
        found = [self.type_of(values[field.index], place, headers) for place, values, headers in ways]
        return found[0] if all(f is not None and f == found[0] for f in found) else None

    def type_of(self, field: SSAValue, place: Place, headers: Headers) -> _Said | None:
        if (place, field) in self.told:
            return self.told[place, field]
        read = packet_bytes(field)
        if read is None:
            return None
        for (owner, start), protocol in headers.items():
            header = HEADERS[protocol]
            if header.selector is None or header.following is None or place not in self.behind(owner, start, protocol):
                continue
            first, count = header.selector
            at = [self.place(b.base, b.offset) for b in read if b is not None and b.mask == 0xFF]
            order = tuple(at - start - first for _, at in at)
            full = len(at) == count and all(b is None for b in read[count:])
            if full and {owner for owner, _ in at} == {owner} and sorted(order) == list(range(count)):
                return header.following, order
        return None

    # Addresses

    def place(self, address: SSAValue, offset: int) -> Place:
        """Where an address is: also one that was kept in a frame."""
        base, distance = packet_offset(address)
        start = self.starts.get(base)
        if start is not None:
            return START, start + distance + offset
        if isinstance(base.owner, ebpf.LdxOp) and base not in self._places:
            self._places[base] = (base, 0)  # also while it is asked for itself
            stored = self.passed.stored(base.owner)
            places = {self.place(value, 0) for value in stored if not _is_null(value)}
            if len(places) == 1 and _is_local(stored, self.func):
                self._places[base] = places.pop()
        owner, at = self._places.get(base, (base, 0))
        return owner, at + distance + offset

    def behind(self, owner: Owner, start: int, protocol: str) -> Sequence[Place]:
        """The places of what follows a header: behind its fixed part, and where the program goes on by the length that
        the header has."""
        key = owner, start, protocol
        if key not in self._behind:
            found = self._behind[key] = [(owner, start + HEADERS[protocol].length)]
            for op in self.advances.get(owner, ()):
                distance = self.distance(op, owner, start, protocol)
                if distance is not None:
                    found.append((op.res, distance))
        return self._behind[key]

    def distance(self, op: packet.AdvanceOp, owner: Owner, start: int, protocol: str) -> int | None:
        """How far from an advance by a header's own length field the end of that header is."""
        base, offset = self.place(op.ptr, 0)
        header = HEADERS[protocol]
        if base != owner or header.scale is None:
            return None
        for load in self.loads.get(owner, ()):
            raw, _ = packet_offset(load.ptr)
            added = added_to_length(op.by, raw, start - self.starts.get(raw, 0), header)
            if added is not None:
                return start - offset + header.extra - added
        return 0 if protocol == EXTENSION and offset == start else None  # in one of several ways

    @cached_property
    def fetches(self) -> list[packet.FetchOp]:
        """The reads of the function from the start of the packet, whose numbers have the last byte lowest."""
        return [op for op in self.func.walk() if isinstance(op, packet.FetchOp)]

    @cached_property
    def advances(self) -> dict[Owner, list[packet.AdvanceOp]]:
        """The advances of the function by what they start from."""
        found: dict[Owner, list[packet.AdvanceOp]] = {}
        for op in self.func.walk():
            if isinstance(op, packet.AdvanceOp):
                found.setdefault(self.place(op.ptr, 0)[0], []).append(op)
        return found

    @cached_property
    def loads(self) -> dict[Owner, list[packet.LoadOp]]:
        """The loads of the function by what their address is relative to."""
        found: dict[Owner, list[packet.LoadOp]] = {}
        for op in self.func.walk():
            if isinstance(op, packet.LoadOp):
                found.setdefault(self.place(op.ptr, 0)[0], []).append(op)
        return found

    def note_calls(self) -> None:
        """Tell what static functions are passed."""
        for block in self.tree.rpo:
            for op in block.ops:
                if isinstance(op, ebpf.CallLocalOp):
                    addresses = [(i, v) for i, v in enumerate(op.operands) if isinstance(v.type, packet.PtrType)]
                    near = {
                        (i, at): name for i, v in addresses for at, name in _near(self.place(v, 0), self.ends[block])
                    }
                    numbers = {i: n for i, v in enumerate(op.operands) if (n := number_in(v)) is not None}
                    self.passed.note(op, _Call(near, numbers))


_Key = TypeVar("_Key")


def _agreed(found: Sequence[Mapping[_Key, str]]) -> Iterator[tuple[_Key, str]]:
    """The headers that are in the same places of several."""
    for key in set.intersection(*(set(names) for names in found)) if found else ():
        name = one_of({names[key] for names in found})
        if name is not None:
            yield key, name


def _near(place: Place, headers: Headers) -> set[tuple[int, str]]:
    """The headers at known distances from a place."""
    return {(start - place[1], protocol) for (owner, start), protocol in headers.items() if owner == place[0]}


def _is_null(value: SSAValue) -> bool:
    return isinstance(value.owner, ebpf.CastOp) and number_of(value.owner.operands[0]) == 0


def _is_local(values: Iterable[SSAValue], func: FuncOp) -> bool:
    blocks = (v.owner if isinstance(v.owner, Block) else v.owner.parent for v in values)
    return all(block is not None and block.parent_op() is func for block in blocks)


def _forget(headers: Headers, place: Place, length: int) -> None:
    """Headers that are overwritten by another."""
    owner, at = place
    for base, start in list(headers):
        if base == owner and start < at + length and at < start + HEADERS[headers[base, start]].length:
            del headers[base, start]


def _size(value: SSAValue) -> int:
    return value.type.width.data // 8 if isinstance(value.type, IntegerType) else 0


def _field(place: Place, size: int, headers: Headers) -> str | None:
    base, at = place
    found = [
        (start, protocol)
        for (owner, start), protocol in headers.items()
        if owner == base and start <= at and at + size <= start + HEADERS[protocol].length
    ]
    if not found:
        return None
    start, protocol = max(found)
    return field_name(protocol, at - start, size)
