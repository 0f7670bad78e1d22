"""A run of a program whose input is unknown: what every branch on its way asks of packet, maps and global data.

    tracer = Tracer()
    program = InterpProgram(module, name, maps=maps, branches=tracer)
    tracer.begin(packet)
    program.run(packet)
    tracer.log.steps        what was asked, in order
    tracer.inputs           the unknowns, with what they were in this run

Unknowns are named ("length",), ("packet", index), ("value", map, key, index) for a byte of a map's value,
("present", map, key) for whether there is one, and ("data", section, index). A map within a map is named by the name of
the outer one and its key there. Results of helpers other than look-ups are the numbers that they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsir.interp.branches import Branches
from fsir.interp.environment import FROZEN
from fsir.interp.helper_base import Call, s32
from fsir.interp.helpers import HELPERS
from fsir.interp.map_base import Map
from fsir.interp.maps_array import ArrayMap
from fsir.interp.maps_nested import MapOfMaps
from fsir.interp.memory import Memory
from fsir.interp.traced import Bytes, Cell, Log, Word, joined, number_of, swap64, with_cells, word
from fsir.smt.terms import Term, TooDeep, Value, between, choice, from_bytes, operate, unknown

if TYPE_CHECKING:
    from fsir.interp.machine import Machine

SHORTEST, LONGEST = 14, 3000
Path = tuple[Any, ...]
"""The name of a map, or the name and key of the outer map and so on."""
_SHORTENS = {"xdp_adjust_head": 1, "xdp_adjust_tail": -1}
"""Helpers that take bytes away, and with which sign of their argument."""
_NOT_INPUT = (FROZEN, ".kconfig")
"""Global data that is filled by whoever runs the program."""
_ELSEWHERE = 1 << 60
"""Stands for the address of a value that is not there."""
_LENGTHS = {"xdp": {4: "end"}, "skb": {0: "length", 16: "protocol", 80: "end", 160: "length"}}
"""Fields of the context that say something of the packet, by offset."""


@dataclass(frozen=True)
class Lookup:
    """A key that was looked up: its bytes as terms, whether anything was under it before the run, and what (a map in a
    map has no value). `cpus` is 0 for a map that has one value for all of them."""

    path: Path
    key: bytes
    terms: tuple[Value, ...]
    present: bool
    value: bytes
    cpus: int
    entries: int | None
    """How many indices an array has."""
    holds_maps: bool


class _Taken(list[int]):
    """The list that generated code notes the sides of branches in."""

    log: Log

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        self.log.took(index)


class Tracer(Branches):
    """Follows the runs of one program. Ask `ops[side // 2]` for the branch of a side."""

    traces = True

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.taken = _Taken()
        self.taken.log = self.log
        self.inputs: dict[Any, int] = {}
        self.lookups: dict[tuple[Path, bytes], Lookup] = {}
        self._cells: dict[int, Cell | None] = {}
        self._values: dict[int, list[tuple[int, int, Any]]] = {}
        self._inner: dict[int, Path] = {}
        self._watched: set[int] = set()
        self._packet = b""

    def begin(self, packet: bytes) -> None:
        """Before a run. What the run before left in maps is taken for what they hold."""
        self.log.steps.clear()
        self.compared.clear()
        self.inputs.clear()
        self.lookups.clear()
        self._cells.clear()
        self._packet = packet

    def names(self) -> dict[str, object]:
        """What generated code finds under these names."""
        return super().names() | {"swap64": swap64}

    def attach(self, machine: Machine) -> None:
        """Follow what a machine's programs read and write."""
        self._machine = machine
        for name, target in machine.maps.items():
            self._follow(target, (name,))
            single = isinstance(target, ArrayMap) and target.max_entries == 1 and not target.per_cpu
            if isinstance(target, ArrayMap) and single and name not in _NOT_INPUT:
                base = target.values_addr
                self._values.setdefault(base >> 32, []).append((0, target.value_size, ("data", name)))
        memory, buffer = machine.memory, machine.packet
        map_at, read, write = machine.map_at, buffer.read, buffer.write
        self._wrap(memory)

        def followed(addr: int) -> Map:
            found = map_at(addr)
            if id(found) not in self._watched:
                self._follow(found, self._inner.get(int(addr), (found.name,)))
            return found

        def reading(offset: int, size: int) -> bytes | None:
            offset, size = self.log.pin(offset), self.log.pin(size)
            data = read(offset, size)
            self._asked_length(offset + size, data is not None)
            return data if data is None else with_cells(data, self._cells_at(buffer.base + buffer.data + offset, size))

        def writing(offset: int, content: bytes) -> bool:
            offset = self.log.pin(offset)
            done = write(offset, content)
            self._asked_length(offset + len(content), done)
            if done:
                self._note(buffer.base + buffer.data + offset, content)
            return done

        machine.map_at = followed  # type: ignore[method-assign]
        buffer.read, buffer.write = reading, writing  # type: ignore[method-assign]

    # The packet's length

    def _length(self) -> Term:
        self.inputs.setdefault(("length",), len(self._packet))
        return between(("length",), SHORTEST, LONGEST)

    def _asked_length(self, end: int, reaches: bool) -> None:
        """A helper went by whether the packet, as it is now, has so many bytes."""
        now = len(self._machine.packet)
        test = operate("le", end - now + len(self._packet), self._length())
        if isinstance(test, Term):
            self.log.asked(test, reaches)

    def helper(self, number: int, call: Call) -> Call:
        """A helper that gets plain numbers, and whose success is known to depend on the packet's length."""
        name = HELPERS[number].name if number in HELPERS else ""

        def followed(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
            plain = [self.log.pin(arg) for arg in (r1, r2, r3, r4, r5)]
            before = len(machine.packet)
            result = call(machine, *plain)
            now = operate("add", self._length(), before - len(self._packet))
            if name == "xdp_get_buff_len":
                return word(int(result), now, self.log)
            by = _SHORTENS[name] * s32(plain[1]) if name in _SHORTENS else 0
            test = operate("le", by + SHORTEST, now)
            if by > 0 and isinstance(test, Term):
                self.log.asked(test, result == 0)
            return result

        return followed

    def _context(self, offset: int, value: int) -> int:
        kind = _LENGTHS[self._machine.hook].get(offset)
        if kind is None:
            return value
        if kind == "protocol":
            ether = [self._input(self._machine.packet.base + self._machine.packet.headroom + at) for at in (12, 13)]
            same = value == int.from_bytes(self._packet[12:14], "little")
            cells = [cell[0] for cell in ether if cell is not None]
            return word(value, from_bytes([*cells, 0, 0]), self.log) if same and len(cells) == 2 else value
        return word(value, operate("add", self._length(), int(value) - len(self._packet)), self.log)

    # Memory

    def _wrap(self, memory: Memory) -> None:
        for size in (1, 2, 4, 8):
            name = f"{8 * size}"
            setattr(memory, f"load{name}", self._loading(getattr(memory, f"load{name}"), size))
            setattr(memory, f"store{name}", self._storing(getattr(memory, f"store{name}"), size))
        read_bytes, write_bytes = memory.read_bytes, memory.write_bytes

        def reading(addr: int, size: int) -> bytes:
            addr, size = self.log.pin(addr), self.log.pin(size)
            return with_cells(read_bytes(addr, size), self._cells_at(addr, size))

        def writing(addr: int, data: bytes | bytearray | memoryview) -> None:
            addr = self.log.pin(addr)
            write_bytes(addr, data)
            self._note(addr, data)

        memory.read_bytes, memory.write_bytes = reading, writing  # type: ignore[method-assign]

    def _loading(self, load: Callable[[int], int], size: int) -> Callable[[int], int]:
        context = self._machine.ctx_addr >> 32

        def loading(addr: int) -> int:
            addr = self.log.pin(addr)
            value = load(addr)
            if addr >> 32 == context:
                return self._context(addr & 0xFFFFFFFF, value)
            cells = self._cells_at(addr, size)
            if not any(cells):
                return value
            return word(value, joined(value.to_bytes(size, "little"), cells), self.log)

        return loading

    def _storing(self, store: Callable[[int, int], None], size: int) -> Callable[[int, int], None]:
        mask = (1 << 8 * size) - 1

        def storing(addr: int, value: int) -> None:
            addr = self.log.pin(addr)
            store(addr, int(value))
            term: Value | None = None
            if isinstance(value, Word):
                try:
                    term = operate("and", value.term, mask)
                except TooDeep:
                    term = None
            for index in range(size):
                self._cells[addr + index] = (term, index) if isinstance(term, Term) else None

        return storing

    def _note(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Bytes were written."""
        cells = data.cells if isinstance(data, Bytes) else [None] * len(data)
        for index, cell in enumerate(cells):
            self._cells[addr + index] = cell

    def _cells_at(self, addr: int, size: int) -> Sequence[Cell | None]:
        known = self._cells
        return [known[at] if at in known else self._input(at) for at in range(addr, addr + size)]

    def _input(self, addr: int) -> Cell | None:
        """The unknown that a byte is which was not written in this run."""
        region, offset = addr >> 32, addr & 0xFFFFFFFF
        packet = self._machine.packet
        if region == packet.base >> 32:
            index = offset - packet.headroom
            if not 0 <= index < len(self._packet):
                return None
            name: Any = ("packet", index)
            self.inputs.setdefault(name, self._packet[index])
            return unknown(name, 8), 0
        for low, high, origin in self._values.get(region, ()):
            if low <= offset < high:
                name = (*origin, offset - low)
                whole = self._machine.memory.region_at(addr)
                if whole is None:
                    return None
                self.inputs.setdefault(name, whole.buf[offset])
                return unknown(name, 8), 0
        return None

    # Maps

    def watch(self, target: Map) -> None:
        """Nothing: `attach` does it."""

    def _follow(self, target: Map, path: Path) -> None:
        self._watched.add(id(target))
        lookup = target.lookup
        if target.entry_kind not in ("value", "map"):
            return

        def looking(key: bytes, cpu: int) -> int:
            addr = lookup(key, cpu)
            if isinstance(target, MapOfMaps):
                self._inner[addr] = (*path, bytes(key))
            return self._looked_up(target, path, key, addr)

        target.lookup = looking  # type: ignore[method-assign]

    def _looked_up(self, target: Map, path: Path, key: bytes, addr: int) -> int:
        plain = bytes(key)
        number = number_of(key)
        is_array = isinstance(target, ArrayMap)
        if (path, plain) not in self.lookups:
            nested = isinstance(target, MapOfMaps)
            value = bytes(target.value_size)
            if addr and not nested:
                value = bytes(self._machine.memory.read_bytes(addr, target.value_size))
                low = addr & 0xFFFFFFFF
                self._values.setdefault(addr >> 32, []).append((low, low + len(value), ("value", path, plain)))
            terms = [plain[i] if cell is None else joined([plain[i]], [cell]) for i, cell in enumerate(_cells_of(key))]
            cpus = target.ncpu if target.per_cpu else 0
            entries = target.max_entries if is_array else None
            found = Lookup(path, plain, tuple(terms), addr != 0, value, cpus, entries, nested)
            self.lookups[path, plain] = found
        if is_array:
            there: Value = operate("lt", number, target.max_entries)
        else:
            name = ("present", path, plain)
            self.inputs.setdefault(name, int(addr != 0))
            there = unknown(name, 1)
        return word(addr, choice(there, addr or _ELSEWHERE, 0), self.log)


def _cells_of(data: bytes) -> Sequence[Cell | None]:
    return data.cells if isinstance(data, Bytes) else [None] * len(data)
