"""Between map contents and an emitted program's tables and counters, by the description that `control_plane` gives.

    entries = mirror_entries(control, contents, ports={2: 0, 3: 1})    # contents of maps.json → table entries
    additions = read_back(control, counts)                             # NIC counters → additions to map values
    contents = add_to(contents, control, additions)

Nothing here knows a switch: `fsir.backends.p4.controller` works one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Contents = Mapping[str, Sequence[Mapping[str, Any]]]
"""As in maps.json: entries by map name (`fsir.interp.mapfile`)."""
Control = Mapping[str, Any]


class MirrorError(Exception):
    """Map contents that cannot be put into tables; the message says which entry, and why."""


@dataclass(frozen=True)
class Match:
    """What one key of a table has to be: `value`, of which the highest `prefix` bits count (None: all)."""

    value: int
    prefix: int | None = None


@dataclass(frozen=True)
class TableEntry:
    """An entry of a table by its full name; one without `key` is the table's default action."""

    table: str
    key: tuple[Match, ...]
    action: str
    params: tuple[int, ...]


@dataclass(frozen=True)
class MapAddition:
    """Something to add to bytes `offset` to `offset + size` of the value under a key, modulo its size."""

    map: str
    key: bytes
    offset: int
    size: int
    amount: int


def mirror_entries(control: Control, contents: Contents, ports: Mapping[int, int] | None = None) -> list[TableEntry]:
    """The entries of all tables for these contents. `ports` gives the port of each interface that is one of the NIC's;
    without it ports have the numbers of their interfaces, and every redirection is left to the kernel."""
    entries = [
        entry
        for table in control["tables"]
        for content in contents.get(table["map"], ())
        if (entry := _entry(table, content)) is not None
    ]
    seen: dict[tuple[str, tuple[Match, ...]], TableEntry] = {}
    for entry in entries:
        if seen.setdefault((entry.table, entry.key), entry) is not entry:
            raise MirrorError(f"table {entry.table}: two entries of its map have one key")
    return entries + _ports(control["ports"], ports or {})


def defaults(control: Control, contents: Contents) -> list[TableEntry]:
    """The default actions of tables without keys where these contents have no entry: nothing; or for arrays, whose zero
    elements are not listed, zero; or the initial value of one that is not among the contents at all."""
    return [
        TableEntry(table["table"], (), table["action"], _params(table, _unlisted(table, contents)))
        if table["absent"] is not None
        else TableEntry(table["table"], (), "NoAction", ())
        for table in control["tables"]
        if not table["keys"]
    ]


def _unlisted(table: Mapping[str, Any], contents: Contents) -> bytes:
    initial = bytes.fromhex(table["absent"])
    return bytes(len(initial)) if table["map"] in contents else initial


def _entry(table: Mapping[str, Any], content: Mapping[str, Any]) -> TableEntry | None:
    """The entry for one element of a map; None where the table's lookup can never ask for it."""
    where = f"map {table['map']}"
    key = _hex(content.get("key", "00000000" if table["role"] == "data" else None), table["key_size"], "key", where)
    for constant in table["constants"]:
        expected = bytes.fromhex(constant["bytes"])
        if key[constant["offset"] : constant["offset"] + len(expected)] != expected:
            return None
    value = (
        _target(content, where)
        if table["role"] == "redirect"
        else _hex(content.get("value"), table["value_size"], "value", where)
    )
    matches = tuple(_match(part, key) for part in table["keys"])
    return TableEntry(table["table"], matches, table["action"], _params(table, value))


def _match(part: Mapping[str, Any], key: bytes) -> Match:
    value = _number(part, key)
    return Match(value, int.from_bytes(key[:4], "little")) if part["match"] == "lpm" else Match(value)


def _params(table: Mapping[str, Any], value: bytes) -> tuple[int, ...]:
    return tuple(_number(part, value) for part in table["params"])


def _number(part: Mapping[str, Any], data: bytes) -> int:
    return int.from_bytes(data[part["offset"] : part["offset"] + part["size"]], part["order"])


def _target(content: Mapping[str, Any], where: str) -> bytes:
    """The value of a device map's entry: the interface."""
    if "program" in content:
        raise MirrorError(f"{where}: an entry with a program cannot be on the NIC: keep this map in the kernel")
    ifindex = content.get("ifindex")
    if not isinstance(ifindex, int) or not 0 < ifindex < 1 << 31:
        raise MirrorError(f"{where}: an entry needs 'ifindex', the number of an interface, not {ifindex!r}")
    return ifindex.to_bytes(4, "little")


def _hex(text: object, size: int, what: str, where: str) -> bytes:
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None or len(data) != size:
        raise MirrorError(f"{where}: {what} must be {size} bytes in hex, not {text!r}")
    return data


def _ports(tables: Mapping[str, str | None], ports: Mapping[int, int]) -> list[TableEntry]:
    found: list[TableEntry] = []
    for ifindex, port in sorted(ports.items()):
        if tables["ifindex_of_port"] is not None:
            found.append(TableEntry(tables["ifindex_of_port"], (Match(port),), "NicIngress.set_ifindex", (ifindex,)))
        if tables["port_of_ifindex"] is not None:
            found.append(TableEntry(tables["port_of_ifindex"], (Match(ifindex),), "NicIngress.set_port", (port,)))
    return found


Reader = Callable[[str, str], Sequence[tuple[int, int] | int]]
"""Gives, by full name and kind, the cells of a counter as (packets, bytes) or of a register as numbers."""


def read_back(control: Control, read: Reader) -> list[MapAddition]:
    """What the NIC has counted, as additions to map values; zeros are left out."""
    found: list[MapAddition] = []
    for tally in control["counters"]:
        for index, cell in enumerate(read(tally["object"], tally["kind"])):
            for count in tally["counts"]:
                amount = _amount(cell, count["what"])
                if amount:
                    key = index.to_bytes(4, "little")
                    found.append(MapAddition(tally["map"], key, count["offset"], count["size"], amount))
    return found


def _amount(cell: tuple[int, int] | int, what: str) -> int:
    if isinstance(cell, int):
        return cell
    return cell[0] if what == "packets" else cell[1]


def add_to(contents: Contents, control: Control, additions: Sequence[MapAddition], cpu: int = 0) -> dict[str, Any]:
    """Contents with the additions made: to the value of `cpu` where the map has one per CPU. Elements that are not
    listed are zero; every per-CPU element has as many values as the map's others, or one."""
    result = {name: [dict(deepcopy(entry)) for entry in entries] for name, entries in contents.items()}
    tallies = {tally["map"]: tally for tally in control["counters"]}
    for addition in additions:
        tally = tallies[addition.map]
        entries = result.setdefault(addition.map, [])
        entry = next((entry for entry in entries if entry.get("key") == addition.key.hex()), None)
        if entry is None:
            entry = _zero(tally, addition.key, entries)
            entries.append(entry)
            entries.sort(key=lambda each: str(each["key"]))
        if "values" in entry:
            entry["values"][cpu] = _added(entry["values"][cpu], addition)
        else:
            entry["value"] = _added(entry["value"], addition)
    return result


def _zero(tally: Mapping[str, Any], key: bytes, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An element that nobody wrote yet."""
    zero = bytes(tally["value_size"]).hex()
    if tally["type"].startswith("percpu"):
        count = len(entries[0]["values"]) if entries else 1
        return {"key": key.hex(), "values": [zero] * count}
    return {"key": key.hex(), "value": zero}


def _added(text: str, addition: MapAddition) -> str:
    data = bytearray.fromhex(text)
    end = addition.offset + addition.size
    old = int.from_bytes(data[addition.offset : end], "little")
    new = (old + addition.amount) % (1 << 8 * addition.size)
    data[addition.offset : end] = new.to_bytes(addition.size, "little")
    return data.hex()
