"""Map contents as `maps.json`: the file, and in and out of a machine.

    {"NAME": [{"key": "hex", "value": "hex"}, ...], ...}

Bytes are hex in memory order. An entry is, by the type of its map:

    {"key", "value"}          arrays (zero entries are left out), hashes, tries, and global data as `.bss`
    {"key", "values": [...]}  per-CPU types, one value per possible CPU
    {"key", "ifindex"}        device maps; CPU maps have "qsize", XSK maps "socket"; "program" where one is set
    {"key", "program"}        program arrays, by name
    {"key", "map": [...]}     maps of maps
    {"value"}                 queues, stacks, ring buffers and perf events, oldest first

Output is sorted by key. `fsir.kernel.contents` reads and writes the same entries in the kernel.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsir.interp.machine import Machine
from fsir.interp.map_base import Map, MapError
from fsir.interp.maps import create_map
from fsir.interp.maps_array import ArrayMap
from fsir.interp.maps_handles import ProgArrayMap
from fsir.interp.maps_nested import MapOfMaps
from fsir.interp.maps_queue import QueueMap
from fsir.interp.maps_redirect import RedirectMap, Target
from fsir.interp.maps_ringbuf import UserRingBufMap

LARGEST = 256 << 20
Entry = dict[str, Any]
Contents = dict[str, list[Entry]]


class MapFileError(Exception):
    """A file that is not a maps file; the message is `FILE: error: what and what to do`."""


def read_contents(path: str | Path) -> Contents:
    """Read a maps file. What its entries hold is checked when they are stored in maps."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise MapFileError(f"{path}: error: more than {LARGEST >> 20} MiB; give a maps file")
        content = json.loads(data)
    except OSError as error:
        raise MapFileError(f"{path}: error: {error.strerror or error}; give an existing maps file") from error
    except (ValueError, RecursionError) as error:
        raise MapFileError(f"{path}: error: not JSON ({error}); correct it there") from error
    if not isinstance(content, dict):
        raise MapFileError(f"{path}: error: must be an object of lists by map name, as --maps-out writes it")
    for name, entries in content.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise MapFileError(f"{path}: error: map {name!r} must be a list of objects with a key and a value")
    return content


def format_contents(contents: Contents) -> str:
    """A maps file, one entry a line, so that two of them can be compared with diff."""
    blocks = []
    for name in sorted(contents):
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in contents[name])
        blocks.append(f"{json.dumps(name)}: [\n{lines}\n]" if lines else f"{json.dumps(name)}: []")
    return "{" + ",\n".join(blocks) + "}\n"


def fill_maps(machine: Machine, contents: Contents) -> None:
    """Store entries in the machine's maps; others stay as they are. Global data that is listed without an entry holds
    zeros, as in what `dump_maps` gives. MapError says which entry is wrong."""
    for name, entries in contents.items():
        target = machine.maps.get(name)
        if target is None:
            known = ", ".join(sorted(machine.maps)) or "none"
            raise MapError(f"map {name}: the program has no such map; it has {known}")
        fill_map(target, entries)
        if not entries and isinstance(target, ArrayMap) and not target.per_cpu:
            for key, value in list(target.set_items()):
                target.sys_update(key, bytes(len(value)))


def fill_map(target: Map, entries: list[Entry]) -> None:
    """Store entries in one map."""
    store = next((store for family, store in _STORES if isinstance(target, family)), None)
    if store is None:
        store = _store_value if target.entry_kind == "value" else _refuse
    for entry in entries:
        error = store(target, entry)
        if error:
            reason = errno.errorcode.get(-error, str(error))
            raise MapError(f"map {target.name}: entry {json.dumps(entry)} is refused with {reason}")


def dump_maps(machine: Machine) -> Contents:
    """The contents of all maps."""
    return {name: dump_map(machine.maps[name]) for name in sorted(machine.maps)}


def dump_map(source: Map) -> list[Entry]:
    """The entries of one map."""
    if isinstance(source, MapOfMaps):
        return [{"key": key.hex(), "map": dump_map(inner)} for key, inner in source.inner_maps()]
    if isinstance(source, RedirectMap):
        return [_redirect_entry(source, index, target) for index, target in source.targets()]
    if isinstance(source, ProgArrayMap):
        return [{"key": _index(index), "program": program} for index, program in source.programs()]
    if source.entry_kind == "queue":
        return [{"value": value.hex()} for _, value in source.items() if isinstance(value, bytes)]
    entries: list[Entry] = []
    elements = source.set_items() if isinstance(source, ArrayMap) else source.items()
    for key, value in sorted(elements, key=lambda item: item[0]):
        text: Entry = {"value": value.hex()} if isinstance(value, bytes) else {"values": [v.hex() for v in value]}
        entries.append({"key": key.hex(), **text} if key else text)
    return entries


# One entry


def _index(number: int) -> str:
    return number.to_bytes(4, "little").hex()


def _redirect_entry(source: RedirectMap, index: int, target: Target) -> Entry:
    entry: Entry = {"key": _index(index), source.symbol: target.number}
    if target.program is not None:
        entry["program"] = target.program
    return entry


def _bytes(target: Map, entry: Entry, field: str, size: int, text: object = None) -> bytes:
    text = entry.get(field) if text is None else text
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None or len(data) != size:
        raise MapError(
            f"map {target.name}: {field!r} must be {size} bytes in hex, not {json.dumps(text)}, in {json.dumps(entry)}"
        )
    return data


def _key(target: Map, entry: Entry) -> bytes:
    return _bytes(target, entry, "key", target.key_size)


def _store_value(target: Map, entry: Entry) -> int:
    key = _key(target, entry)
    if not target.per_cpu:
        return target.sys_update(key, _bytes(target, entry, "value", target.value_size))
    values = entry.get("values")
    if not isinstance(values, list) or len(values) > target.ncpu:
        raise MapError(f"map {target.name}: 'values' must list a value for each of at most {target.ncpu} CPUs")
    given = [_bytes(target, entry, "values", target.value_size, value) for value in values]
    return target.sys_update(key, given + [bytes(target.value_size)] * (target.ncpu - len(given)))


def _store_redirect(target: RedirectMap, entry: Entry) -> int:
    number, program = entry.get(target.symbol), entry.get("program")
    if not isinstance(number, int) or not 0 <= number < 1 << 32:
        raise MapError(f"map {target.name}: {target.symbol!r} must be a number of 32 bits, in {json.dumps(entry)}")
    if program is not None and (not isinstance(program, str) or target.value_size < 8):
        raise MapError(f"map {target.name}: 'program' must be a name, and the map's values of 8 bytes")
    key = _key(target, entry)
    error = target.admits(int.from_bytes(key, "little"))
    return error or target.set_target(int.from_bytes(key, "little"), Target(number, program))


def _store_program(target: ProgArrayMap, entry: Entry) -> int:
    program = entry.get("program")
    if not isinstance(program, str):
        raise MapError(f"map {target.name}: 'program' must name a program, in {json.dumps(entry)}")
    return target.set_program(int.from_bytes(_key(target, entry), "little"), program)


def _store_inner(target: MapOfMaps, entry: Entry) -> int:
    inner, entries = target.spec.inner, entry.get("map")
    if inner is None:
        raise MapError(f"map {target.name}: the object does not say what its inner maps are")
    if not isinstance(entries, list):
        raise MapError(f"map {target.name}: 'map' must be the list of the inner map's entries")
    key = _key(target, entry)
    new = create_map(replace(inner, name=f"{target.name}[{key.hex()}]"), target.memory, target.ncpu)
    fill_map(new, entries)
    return target.set_inner(key, new)


def _store_queued(target: QueueMap, entry: Entry) -> int:
    return target.sys_update(b"", _bytes(target, entry, "value", target.value_size))


def _store_record(target: UserRingBufMap, entry: Entry) -> int:
    text = entry.get("value")
    return target.sys_update(b"", _bytes(target, entry, "value", len(text) // 2 if isinstance(text, str) else 0))


def _refuse(target: Map, entry: Entry) -> int:
    raise MapError(f"map {target.name}: a {target.spec.type_name} cannot be filled from a file")


_STORES: tuple[tuple[type[Map], Callable[[Any, Entry], int]], ...] = (
    (RedirectMap, _store_redirect),
    (ProgArrayMap, _store_program),
    (MapOfMaps, _store_inner),
    (QueueMap, _store_queued),
    (UserRingBufMap, _store_record),
)
"""How an entry is stored, by family; the first that fits."""
