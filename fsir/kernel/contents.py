"""Map contents in and out of the kernel, in the form of `maps.json`.

`Contents` gives for a map's name its entries; each is a dictionary, bytes are hex in memory order:

    {"key", "value"}          arrays (non-zero entries), hashes, LPM tries, and internal maps such as `.bss`
    {"key", "values": [...]}  per-CPU maps: one value per possible CPU
    {"key", "ifindex"}        device maps, with "program" where an entry has one
    {"key", "qsize"}          CPU maps, with "program" likewise
    {"key", "socket"}         XSK maps, where the number means nothing: a socket is there
    {"key", "program"}        program arrays, by name
    {"key", "map": [...]}     maps of maps
    {"value"}                 queues, stacks, ring buffers, perf events: oldest first

Reading changes nothing that the next run could see: queues are refilled, ring buffers are not consumed.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fsir.kernel import syscalls
from fsir.kernel.errors import KernelError
from fsir.kernel.uapi import ARRAYS, PER_CPU, MapFlag, MapType

Entry = dict[str, Any]
Contents = dict[str, list[Entry]]

AF_XDP = 44


@dataclass(frozen=True)
class Shape:
    """What bpf(2) needs to know about a map to read and write it."""

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    inner: Shape | None = None

    @property
    def value_bytes(self) -> int:
        return syscalls.value_bytes(self.type, self.value_size)


def shape_of(fd: int, name: str) -> Shape:
    """The shape of an existing map, without what its inner maps would be."""
    info = syscalls.map_facts(fd)
    return Shape(name, MapType(info.type), info.key_size, info.value_size, info.max_entries, int(info.map_flags))


@dataclass
class World:
    """What entries refer to by name, and what must stay open for them to exist."""

    programs: Mapping[str, int] = field(default_factory=dict)  # name: fd
    occupied: dict[str, dict[bytes, int]] = field(default_factory=dict)  # XSK map: sockets, unreadable in the kernel
    sockets: list[socket.socket] = field(default_factory=list)
    events: dict[str, list[bytes]] = field(default_factory=dict)  # perf event array: what arrived

    def program_fd(self, name: str, where: str) -> int:
        if name not in self.programs:
            raise KernelError(
                f"{where}: there is no loaded program {name!r}; there are: {', '.join(sorted(self.programs))}"
            )
        return self.programs[name]

    def program_name(self, prog_id: int) -> str:
        ids = {syscalls.prog_facts(fd).id: name for name, fd in self.programs.items()}
        return ids.get(prog_id, f"id:{prog_id}")

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


def interfaces_in(maps: Contents) -> set[int]:
    """The interfaces that entries name; they must exist where the maps are filled."""
    entries = [entry for found in maps.values() for entry in found]
    nested = [interfaces_in({"": entry["map"]}) for entry in entries if isinstance(entry.get("map"), list)]
    return {entry["ifindex"] for entry in entries if isinstance(entry.get("ifindex"), int)}.union(*nested)


def write_map(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    """Store `entries` in an existing map. Entries already there stay, unless a key is the same; but global data that is
    given no entry holds zeros, as in what `read_map` gives."""
    writer = WRITERS.get(shape.type)
    if writer is None:
        if entries:
            raise KernelError(f"maps.json: {shape.name}: a map of type {shape.type.name} cannot be filled")
        return
    writer(fd, shape, entries, world)


def read_map(fd: int, shape: Shape, world: World) -> list[Entry]:
    """All entries, sorted by key where there are keys. Types that user space cannot read give none."""
    reader = READERS.get(shape.type)
    if reader is None:
        return []
    entries = reader(fd, shape, world)
    return sorted(entries, key=lambda entry: str(entry["key"])) if entries and "key" in entries[0] else entries


# Bytes of an entry


def value_of(entry: Entry, name: str, size: int) -> bytes:
    """The value of a plain entry of map `name`."""
    return _field(entry, "value", name, size)


def _bytes(entry: Entry, what: str, shape: Shape, size: int) -> bytes:
    return _field(entry, what, shape.name, size)


def _field(entry: Entry, what: str, name: str, size: int) -> bytes:
    text = entry.get(what)
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None or len(data) != size:
        raise KernelError(f"maps.json: {name}: {what!r} must be {size} bytes in hex ({2 * size} digits), not {text!r}")
    return data


def _key(entry: Entry, shape: Shape) -> bytes:
    return _bytes(entry, "key", shape, shape.key_size)


def _number(entry: Entry, what: str, shape: Shape) -> int:
    number = entry.get(what)
    if not isinstance(number, int) or not 0 <= number < 1 << 32:
        raise KernelError(f"maps.json: {shape.name}: {what!r} must be a number of 32 bits, not {number!r}")
    return number


# Plain and per-CPU values


def _write_plain(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    size = shape.value_size
    syscalls.map_update_batch(fd, [(_key(e, shape), _bytes(e, "value", shape, size)) for e in entries])
    if not entries and shape.type == MapType.ARRAY and shape.max_entries == 1 and any(_only_value(fd, shape)):
        syscalls.map_update(fd, _ONLY, bytes(size))


_ONLY = bytes(4)
"""The key of global data."""


def _only_value(fd: int, shape: Shape) -> bytes:
    return syscalls.map_lookup(fd, _ONLY, shape.value_size) or b""


def _read_plain(fd: int, shape: Shape, world: World) -> list[Entry]:
    found = syscalls.map_entries(fd, shape.key_size, shape.value_bytes, shape.max_entries)
    sparse = shape.type in ARRAYS
    return [{"key": k.hex(), "value": v.hex()} for k, v in found if not sparse or any(v)]


def _write_per_cpu(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    cpus = syscalls.possible_cpus()
    padding = bytes(-shape.value_size % 8)
    for entry in entries:
        values = entry.get("values")
        if not isinstance(values, list) or len(values) > cpus:
            raise KernelError(
                f"maps.json: {shape.name}: 'values' must list at most {cpus} values, one per possible CPU"
            )
        parts = [_bytes({"values": value}, "values", shape, shape.value_size) + padding for value in values]
        syscalls.map_update(fd, _key(entry, shape), b"".join(parts).ljust(shape.value_bytes, b"\0"))


def _read_per_cpu(fd: int, shape: Shape, world: World) -> list[Entry]:
    sparse = shape.type in ARRAYS
    stride, size = (shape.value_size + 7) // 8 * 8, shape.value_size
    entries: list[Entry] = []
    for key, value in syscalls.map_entries(fd, shape.key_size, shape.value_bytes, shape.max_entries):
        values = [value[i : i + size].hex() for i in range(0, len(value), stride)]
        if not sparse or any(value):
            entries.append({"key": key.hex(), "values": values})
    return entries


# Symbolic values


def _with_program(number: str) -> tuple[_Writer, _Reader]:
    """Device and CPU maps: a number and, in values of 8 bytes, the program that runs there."""

    def write(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
        for entry in entries:
            value = _number(entry, number, shape).to_bytes(4, "little")
            if "program" in entry:
                if shape.value_size < 8:
                    raise KernelError(f"maps.json: {shape.name}: values of 4 bytes have no room for a program")
                value += world.program_fd(entry["program"], f"maps.json: {shape.name}").to_bytes(4, "little")
            _store(fd, shape, entry, value.ljust(shape.value_size, b"\0"))

    def read(fd: int, shape: Shape, world: World) -> list[Entry]:
        entries: list[Entry] = []
        for key in syscalls.map_keys(fd, shape.key_size):
            value = syscalls.map_lookup(fd, key, shape.value_size)
            if value is None or not any(value):
                continue
            entry: Entry = {"key": key.hex(), number: int.from_bytes(value[:4], "little")}
            if any(value[4:8]):
                entry["program"] = world.program_name(int.from_bytes(value[4:8], "little"))
            entries.append(entry)
        return entries

    return write, read


def _store(fd: int, shape: Shape, entry: Entry, value: bytes) -> None:
    try:
        syscalls.map_update(fd, _key(entry, shape), value)
    except KernelError as refused:
        raise KernelError(f"maps.json: {shape.name}: the kernel refuses {entry}", refused.errno) from refused


def _write_programs(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    for entry in entries:
        name = entry.get("program")
        if not isinstance(name, str):
            raise KernelError(f"maps.json: {shape.name}: 'program' must name a program, not {name!r}")
        target = world.program_fd(name, f"maps.json: {shape.name}")
        _store(fd, shape, entry, target.to_bytes(4, "little"))


def _read_programs(fd: int, shape: Shape, world: World) -> list[Entry]:
    found = ((key, syscalls.map_lookup(fd, key, 4)) for key in syscalls.map_keys(fd, shape.key_size))
    return [
        {"key": key.hex(), "program": world.program_name(int.from_bytes(value, "little"))}
        for key, value in found
        if value is not None
    ]


def _write_sockets(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    """Each slot gets an unbound AF_XDP socket: enough for a redirect to it to be a test run's verdict."""
    for entry in entries:
        number = _number(entry, "socket", shape)
        sock = socket.socket(AF_XDP, socket.SOCK_RAW)
        world.sockets.append(sock)
        _store(fd, shape, entry, sock.fileno().to_bytes(4, "little"))
        world.occupied.setdefault(shape.name, {})[_key(entry, shape)] = number


def _read_sockets(fd: int, shape: Shape, world: World) -> list[Entry]:
    return [{"key": key.hex(), "socket": number} for key, number in world.occupied.get(shape.name, {}).items()]


# Maps of maps


def _write_inner(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    if entries and shape.inner is None:
        raise KernelError(f"maps.json: {shape.name}: the object does not say what its inner maps are")
    for entry in entries:
        inner = shape.inner
        assert inner is not None
        wanted = entry.get("map")
        if not isinstance(wanted, list):
            raise KernelError(f"maps.json: {shape.name}: 'map' must be the list of the inner map's entries")
        new = create(inner)
        try:
            write_map(new, inner, wanted, world)
            _store(fd, shape, entry, new.to_bytes(4, "little"))
        finally:
            os.close(new)


def _read_inner(fd: int, shape: Shape, world: World) -> list[Entry]:
    entries: list[Entry] = []
    for key in syscalls.map_keys(fd, shape.key_size):
        value = syscalls.map_lookup(fd, key, 4)
        if value is None:
            continue
        inner = syscalls.map_by_id(int.from_bytes(value, "little"))
        try:
            entries.append({"key": key.hex(), "map": read_map(inner, shape_of(inner, shape.name), world)})
        finally:
            os.close(inner)
    return entries


def create(shape: Shape, inner_fd: int = 0) -> int:
    """A new map of this shape."""
    flags = shape.flags & ~MapFlag.NUMA_NODE
    return syscalls.map_create(
        shape.type, shape.key_size, shape.value_size, shape.max_entries, flags=flags, inner_fd=inner_fd
    )


# Queues and rings


def _write_queue(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    for entry in entries:
        syscalls.map_update(fd, b"", _bytes(entry, "value", shape, shape.value_size))


def _read_queue(fd: int, shape: Shape, world: World) -> list[Entry]:
    values: list[bytes] = []
    while (value := syscalls.map_lookup(fd, b"", shape.value_size, pop=True)) is not None:
        values.append(value)
    if shape.type == MapType.STACK:
        values.reverse()
    for value in values:
        syscalls.map_update(fd, b"", value)
    return [{"value": value.hex()} for value in values]


RING_BUSY, RING_DISCARD, RING_LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1


def _read_ring(fd: int, shape: Shape, world: World) -> list[Entry]:
    """Walk the ring's memory: a page with the consumer's position, one with the producer's, then the data."""
    page, size = mmap.PAGESIZE, shape.max_entries
    with (
        mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ) as consumer,
        mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page) as producer,
    ):
        (position,) = struct.unpack_from("<Q", consumer)
        (end,) = struct.unpack_from("<Q", producer)
        entries: list[Entry] = []
        while position < end:
            at = page + position % size
            (header,) = struct.unpack_from("<I", producer, at)
            if header & RING_BUSY:
                break
            length = header & RING_LENGTH
            if not header & RING_DISCARD:
                entries.append({"value": producer[at + 8 : at + 8 + length].hex()})
            position += (length + 8 + 7) // 8 * 8
        return entries


def _write_ring(fd: int, shape: Shape, entries: list[Entry], world: World) -> None:
    """Add records to a ring that programs drain."""
    page, size = mmap.PAGESIZE, shape.max_entries
    with mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=page) as producer:
        (position,) = struct.unpack_from("<Q", producer)
        for entry in entries:
            text = entry.get("value")
            data = _bytes(entry, "value", shape, len(text) // 2 if isinstance(text, str) else 0)
            span = (len(data) + 8 + 7) // 8 * 8
            if position + span > size:
                raise KernelError(f"maps.json: {shape.name}: the records do not fit its {size} bytes")
            at = page + position % size
            struct.pack_into("<II", producer, at, len(data), 0)
            producer[at + 8 : at + 8 + len(data)] = data
            position += span
        struct.pack_into("<Q", producer, 0, position)


def _read_events(fd: int, shape: Shape, world: World) -> list[Entry]:
    return [{"value": event.hex()} for event in world.events.get(shape.name, ())]


_Writer = Callable[[int, Shape, list[Entry], World], None]
_Reader = Callable[[int, Shape, World], list[Entry]]

_DEVICE = _with_program("ifindex")
_CPU = _with_program("qsize")
_PLAIN = frozenset({MapType.HASH, MapType.ARRAY, MapType.LRU_HASH, MapType.LPM_TRIE})
_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
_QUEUES = (MapType.QUEUE, MapType.STACK)

WRITERS: dict[MapType, _Writer] = {
    **dict.fromkeys(_PLAIN, _write_plain),
    **dict.fromkeys(PER_CPU, _write_per_cpu),
    **dict.fromkeys(_MAPS, _write_inner),
    **dict.fromkeys(_QUEUES, _write_queue),
    MapType.DEVMAP: _DEVICE[0],
    MapType.DEVMAP_HASH: _DEVICE[0],
    MapType.CPUMAP: _CPU[0],
    MapType.XSKMAP: _write_sockets,
    MapType.PROG_ARRAY: _write_programs,
    MapType.USER_RINGBUF: _write_ring,
}

READERS: dict[MapType, _Reader] = {
    **dict.fromkeys(_PLAIN, _read_plain),
    **dict.fromkeys(PER_CPU, _read_per_cpu),
    **dict.fromkeys(_MAPS, _read_inner),
    **dict.fromkeys(_QUEUES, _read_queue),
    MapType.DEVMAP: _DEVICE[1],
    MapType.DEVMAP_HASH: _DEVICE[1],
    MapType.CPUMAP: _CPU[1],
    MapType.XSKMAP: _read_sockets,
    MapType.PROG_ARRAY: _read_programs,
    MapType.RINGBUF: _read_ring,
    MapType.USER_RINGBUF: _read_ring,
    MapType.PERF_EVENT_ARRAY: _read_events,
}
