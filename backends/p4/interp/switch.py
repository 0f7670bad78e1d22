"""A v1model switch that runs a program, one packet after the other.

Follows BMv2's simple_switch where the architecture leaves things open: user metadata starts as zeros, a packet
whose `egress_spec` nobody sets goes to port 0, `egress_spec` 511 drops, counters count the bytes that arrived.
What the language leaves undefined (fields of a header just made valid, uninitialised variables, reads beyond a
register) is zero with `undefined=0`, and junk that depends on the number otherwise: a program whose output
differs between the two relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fsir.backends.p4.interp import tables, values
from fsir.backends.p4.interp.errors import ControlPlaneError, P4RuntimeError
from fsir.backends.p4.interp.externs import DROP_PORT, Counter, Meter, Register, Runtime, index_in
from fsir.backends.p4.interp.instances import ActionInfo, ExternInfo, TableInfo
from fsir.backends.p4.interp.layout import undefined_names
from fsir.backends.p4.interp.program import Program
from fsir.backends.p4.interp.tables import Entry, KeyField, KeyMatch, Table
from fsir.backends.p4.interp.tree import AnySet, Binary, Const, Expr
from fsir.backends.p4.interp.types import BOOL, IntType, Type, representation, width_of

REPLICATION = 5  # instance_type of multicast copies
RUNTIME_NAMES: dict[str, Any] = {
    "Struct": values.Struct,
    "Header": values.Header,
    "Union": values.Union,
    "Stack": values.Stack,
    "Reject": values.Reject,
    "ExitBlock": values.ExitBlock,
    "reject": values.reject,
    "verify": values.verify,
    "join": values.join,
    "plain": values.plain,
}


@dataclass(frozen=True, slots=True)
class Output:
    """A packet that leaves the switch."""

    port: int
    data: bytes


class Switch:
    """Tables, counters and registers of one running program. `seed` is that of the `random` extern."""

    def __init__(self, program: Program, seed: int = 0, undefined: int = 0) -> None:
        self.program = program
        self.runtime = Runtime(seed)
        self.tables: dict[str, tuple[Table, TableInfo]] = {}
        self.objects: dict[str, Counter | Register | Meter | None] = {}
        self.multicast: dict[int, list[tuple[int, int]]] = {}
        self.undefined = undefined
        space: dict[str, Any] = {
            **RUNTIME_NAMES,
            **undefined_names(set(program.scalars), undefined),
            "RT": self.runtime,
        }
        for info in program.externs:
            space[info.variable] = self.objects[info.name] = self.extern(info)
        for table in program.tables:
            space[table.variable] = self.new_table(table)
        exec(program.classes, space)
        exec(program.code, space)
        self.parser, self.verify, self.ingress = space["main_parser"], space["main_verify"], space["main_ingress"]
        self.egress, self.compute, self.deparser = space["main_egress"], space["main_compute"], space["main_deparser"]
        self.classes = [space[name] for name in (program.headers, program.metadata, program.standard_metadata)]
        self.last: tuple[Any, Any, Any] | None = None

    # -- construction ----------------------------------------------------------------------------------------

    def extern(self, info: ExternInfo) -> Counter | Register | Meter | None:
        size = int(info.args[0]) if info.args else 0
        match info.type.name:
            case "counter":
                return Counter(info.name, size)
            case "register":
                width = width_of(info.type.args[0])
                signed = isinstance(representation(info.type.args[0]), IntType)
                mark = ("i" if signed else "u", width or 0)
                return Register(info.name, size, int(undefined_names({mark}, self.undefined)[f"{mark[0]}{mark[1]}"]))
            case "meter" | "direct_meter":
                return Meter(info.name)
            case "direct_counter":
                return None  # counted in the table's entries
        raise ControlPlaneError(f"extern object {info.name} of type {info.type} is not modelled")

    def new_table(self, info: TableInfo) -> Table:
        fields = []
        for key in info.keys:
            low = representation(key.expr.type)
            fields.append(KeyField(key.name, width_of(low) or 32, key.kind))
        action, args = info.default
        table = Table(info.name, fields, info.size, Entry((), action, tuple(args), 0, hit=False))
        count = len(info.entries)
        for position, (sets, number, values_, priority) in enumerate(info.entries):
            match = [constant_match(item, field) for item, field in zip(sets, fields, strict=True)]
            table.add(match, number, tuple(values_), count - position if priority is None else priority)
        self.tables[info.name] = (table, info)
        return table

    # -- control plane ---------------------------------------------------------------------------------------

    def table(self, name: str) -> tuple[Table, TableInfo]:
        return self.tables[qualified(name, list(self.tables), "table")]

    def insert(self, table: str, key: list[KeyMatch], action: str, params: list[int], priority: int = 0) -> None:
        """Add an entry. Where not all keys are exact or lpm, the larger `priority` wins, as in P4Runtime."""
        found, info = self.table(table)
        if info.const_entries:
            raise ControlPlaneError(f"table {info.name} has constant entries")
        number, values_ = chosen_action(info, action, params)
        if number < len(info.actions) and info.actions[number].default_only:
            raise ControlPlaneError(f"table {info.name}: action {action} is for the default action only")
        found.insert(key, number, values_, priority)

    def delete(self, table: str, key: list[KeyMatch], priority: int = 0) -> None:
        found, info = self.table(table)
        if info.const_entries:
            raise ControlPlaneError(f"table {info.name} has constant entries")
        found.delete(key, priority)

    def clear(self, table: str) -> None:
        """Remove all entries; the default action stays."""
        found, info = self.table(table)
        if info.const_entries:
            raise ControlPlaneError(f"table {info.name} has constant entries")
        found.clear()

    def set_default(self, table: str, action: str, params: list[int]) -> None:
        found, info = self.table(table)
        if info.const_default:
            raise ControlPlaneError(f"table {info.name} has a constant default action")
        number, values_ = chosen_action(info, action, params)
        if info.actions[number].table_only:
            raise ControlPlaneError(f"table {info.name}: action {action} is for entries only")
        found.default = Entry((), number, values_, 0, hit=False)

    def entries(self, table: str) -> list[tuple[list[KeyMatch], str, list[int], int]]:
        """(key, action, params, priority) of every entry, in the order of insertion."""
        found, info = self.table(table)
        return [
            (list(entry.key), info.actions[entry.action].name, list(entry.args), entry.priority)
            for entry in found.entries.values()
        ]

    def object(self, name: str, kind: type) -> Any:
        found = self.objects[qualified(name, list(self.objects), "extern object")]
        if not isinstance(found, kind):
            raise ControlPlaneError(f"{name} is not a {kind.__name__.lower()}")
        return found

    @property
    def counters(self) -> dict[str, list[tuple[int, int]]]:
        """(packets, bytes) of every indexed counter by its full name."""
        return {
            name: list(zip(counter.packets, counter.bytes, strict=True))
            for name, counter in self.objects.items()
            if isinstance(counter, Counter)
        }

    def counter(self, name: str, index: int) -> tuple[int, int]:
        counter = self.object(name, Counter)
        place = index_in(counter.size, index, name)
        return counter.packets[place], counter.bytes[place]

    def direct_counter(self, table: str, key: list[KeyMatch], priority: int = 0) -> tuple[int, int]:
        """(packets, bytes) of one entry of a table with a direct counter."""
        found, info = self.table(table)
        if info.counter is None:
            raise ControlPlaneError(f"table {info.name} has no direct counter")
        entry = found.find(key, priority)
        return entry.packets, entry.bytes

    def register(self, name: str) -> list[int]:
        """The cells of a register, to read and write in place."""
        cells: list[int] = self.object(name, Register).cells
        return cells

    def set_multicast(self, group: int, copies: list[tuple[int, int]]) -> None:
        """The (port, rid) copies that a packet with `mcast_grp` = `group` becomes."""
        self.multicast[group] = list(copies)

    @property
    def digests(self) -> list[tuple[int, Any]]:
        """(receiver, data) of every digest so far."""
        return self.runtime.digests

    @property
    def log(self) -> list[str]:
        return self.runtime.log

    @property
    def metadata_of_last(self) -> dict[str, Any]:
        """Headers (None where invalid), user and standard metadata after the last packet's last block."""
        if self.last is None:
            return {}
        names = ("headers", "metadata", "standard_metadata")
        found = {name: value.dump() for name, value in zip(names, self.last, strict=True)}
        number = found["standard_metadata"]["parser_error"]
        found["standard_metadata"]["parser_error"] = self.program.errors[number]
        return found

    # -- packets -----------------------------------------------------------------------------------------------

    def process(self, packet: bytes, port: int, timestamp_ns: int = 0) -> list[Output]:
        """Run one packet through the pipeline; the packets that leave, none where it is dropped."""
        if not 0 <= port < DROP_PORT:
            raise ControlPlaneError(f"ingress port {port} is not within 0 to {DROP_PORT - 1}")
        runtime = self.runtime
        runtime.length = len(packet)
        runtime.truncated = None
        make_headers, make_metadata, make_standard = self.classes
        headers, metadata, standard = make_headers(), make_metadata(), make_standard()
        metadata.zero()
        standard.zero()
        runtime.standard_metadata = standard
        standard.f_ingress_port = port
        standard.f_packet_length = len(packet)
        standard.f_ingress_global_timestamp = timestamp_ns // 1000 & 0xFFFF_FFFF_FFFF
        source = values.PacketIn(packet)
        try:
            self.parser(source, headers, metadata, standard)
        except values.Reject as error:
            standard.f_parser_error = error.code
        if source.pos & 7:
            raise P4RuntimeError(f"the parser stopped at bit {source.pos}, which is not the begin of a byte")
        runtime.payload = packet[source.pos >> 3 :]
        self.last = (headers, metadata, standard)
        self.run(self.verify, headers, metadata)
        self.run(self.ingress, headers, metadata, standard)
        if standard.f_mcast_grp:
            copies = self.multicast.get(standard.f_mcast_grp, [])
            return [
                output
                for out_port, rid in copies
                for output in self.send(headers.clone(), metadata.clone(), standard.clone(), out_port, rid)
            ]
        if standard.f_egress_spec == DROP_PORT:
            return []
        return self.send(headers, metadata, standard, standard.f_egress_spec, None)

    def send(self, headers: Any, metadata: Any, standard: Any, port: int, rid: int | None) -> list[Output]:
        """From the queue to the port."""
        runtime = self.runtime
        runtime.standard_metadata = standard
        standard.f_egress_port = port
        standard.f_egress_spec = 0
        standard.f_egress_global_timestamp = standard.f_ingress_global_timestamp
        standard.f_enq_timestamp = standard.f_ingress_global_timestamp & 0xFFFF_FFFF
        if rid is not None:
            standard.f_egress_rid, standard.f_instance_type = rid, REPLICATION
        self.last = (headers, metadata, standard)
        self.run(self.egress, headers, metadata, standard)
        if standard.f_egress_spec == DROP_PORT:
            return []
        self.run(self.compute, headers, metadata)
        chunks: list[bytes] = []
        self.run(self.deparser, chunks, headers)
        chunks.append(runtime.payload)
        data = b"".join(chunks)
        return [Output(port, data if runtime.truncated is None else data[: runtime.truncated])]

    def run(self, block: Any, *args: Any) -> None:
        try:
            block(*args)
        except values.ExitBlock:
            return


def qualified(name: str, known: list[str], what: str) -> str:
    """The full name that `name`, full or a unique end of one, stands for."""
    if name in known:
        return name
    found = [full for full in known if full.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ControlPlaneError(f"{what} {name} is ambiguous: {', '.join(sorted(found))}")
    raise ControlPlaneError(f"there is no {what} {name}: there are {', '.join(sorted(known)) or 'none'}")


def chosen_action(info: TableInfo, name: str, params: list[int]) -> tuple[int, tuple[Any, ...]]:
    """The number of an action of a table and its arguments, checked."""
    names = [action.qualified for action in info.actions]
    plain = [action.name for action in info.actions]
    if name in plain and plain.count(name) == 1:
        number = plain.index(name)
    else:
        number = names.index(qualified(name, names, f"action of table {info.name} called"))
    action: ActionInfo = info.actions[number]
    if len(params) != len(action.params):
        raise ControlPlaneError(f"action {action.qualified} takes {len(action.params)} parameters, {len(params)} given")
    pairs = zip(params, action.params, strict=True)
    return number, tuple(action_argument(value, type_, f"{action.qualified}.{p}") for value, (p, type_) in pairs)


def action_argument(value: int, type_: Type, what: str) -> int | bool:
    low = representation(type_)
    if low == BOOL:
        return bool(value)
    width = width_of(low) or 32
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise ControlPlaneError(f"{value:#x} does not fit parameter {what} ({type_})")
    value &= (1 << width) - 1
    if isinstance(low, IntType) and value >> (width - 1):
        value -= 1 << width
    return value


def constant_match(item: Expr, field: KeyField) -> KeyMatch:
    """An entry's set expression as a match."""
    full = (1 << field.width) - 1
    match item:
        case AnySet():
            wild: dict[str, KeyMatch] = {"lpm": tables.Lpm(0, 0), "range": tables.Range(0, full)}
            return wild.get(field.kind, tables.Ternary(0, 0))
        case Binary(op="..", left=Const(value=low), right=Const(value=high)):
            return tables.Range(int(low), int(high))
        case Binary(op="&&&", left=Const(value=value), right=Const(value=mask)):
            if field.kind == "lpm":
                return tables.Lpm(int(value) & full, (int(mask) & full).bit_count())
            return tables.Ternary(int(value), int(mask))
        case Const(value=value):
            return tables.Exact(int(value))
    raise AssertionError(item)
