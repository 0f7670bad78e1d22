"""Packets, and contents of maps, that take a program through every branch that the interpreter can reach.

The search is guided by what runs compare: where a side of a branch was not taken yet, the two numbers that its
comparison saw are looked for in the packet (in all widths and byte orders), and one is put in the place of the other.
Distances between addresses become lengths of the packet; keys that are looked up become entries of the maps, and
global data that the program reads takes other values. All choices follow from the seed. What was not reached may still
be reachable.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.dialects import ebpf
from fsir.dialects.map import DeclOp
from fsir.interp.branches import Branches
from fsir.interp.engine import ExecutionError, InterpProgram
from fsir.interp.environment import FROZEN
from fsir.interp.map_base import Map, MapError, MapSpec
from fsir.interp.mapfile import Contents
from fsir.interp.maps_nested import MapOfMaps
from fsir.interp.maps_redirect import RedirectMap
from fsir.run.frames import SMALLEST, frames, with_checksum
from fsir.run.solved_input import joined

RUNS = 2000
"""Packets that are tried with empty maps."""
LATER = 0.25
"""The share of that for each other state of the maps."""
STATES = 24
"""The most states of maps."""
IDLE = 8
"""States in a row that take no new side, after which no more are tried."""
ENTRIES = 32
"""The most entries put into a map."""
INNER = 4
"""Entries of a map in a map."""
LONGEST = 3000
AT_BOUNDS = 96
HAVOC = 32
"""Packets that are run besides those that reach something new: of lengths at bounds, and with bytes changed."""
AIMED = 0.7
"""How often global data that changes takes a number that it was compared with, or one near it."""
FULL = 0.2
"""The share of values in which no word is zero."""
KEPT = 0.5
"""The share of a map's entries that stay from one state to the next."""
BASIC = 12
"""Frames to begin with that are kept whatever they reach."""
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000


@dataclass(frozen=True)
class Case:
    """Packets to run in this order, from these contents of the maps."""

    maps: Contents
    packets: tuple[bytes, ...]


@dataclass(frozen=True)
class Coverage:
    """What a search found. `open` are the sides (the branch, and 0 or 1) that no packet of the cases takes, among
    `sides` in all; those that no input can take are `impossible`, and counted in neither."""

    cases: tuple[Case, ...]
    sides: int
    open: tuple[tuple[Operation, int], ...]
    impossible: tuple[tuple[Operation, int], ...] = ()


@dataclass(frozen=True)
class Cell:
    """Bytes of global data that a program reads at once: the map of their section, offset and size."""

    section: str
    offset: int
    size: int


def global_data(module: ModuleOp) -> tuple[Cell, ...]:
    """The global data that instructions of a module read, and the beginning of what it takes the address of."""
    internal = {op.sym_name.data: op for op in module.walk() if isinstance(op, DeclOp) and op.internal is not None}
    found: dict[Cell, None] = {}
    for op in module.walk():
        if not isinstance(op, ebpf.LdSymOp) or (name := op.sym.root_reference.data) not in internal:
            continue
        for use in op.res.uses if _is_data(name) else ():
            reader, start = use.operation, op.int_prop("offset")
            reads = isinstance(reader, ebpf.LdxOp)
            at, size = (start + reader.int_prop("off"), reader.row.width // 8) if reads else (start, 4)
            if at >= 0 and at + size <= internal[name].value_size.data:
                found.setdefault(Cell(name, at, size))
    return tuple(found)


def _is_data(section: str) -> bool:
    return section not in (FROZEN, ".kconfig") and not section.startswith(".rodata.str")


Side = tuple[Operation, int]
Opened = Callable[[Contents, Branches], InterpProgram]
"""Gives the program to search packets for, with these contents of its maps, observed by these branches."""


def explore(
    opened: Opened,
    cells: Iterable[Cell] = (),
    seed: int = 0,
    runs: int = RUNS,
    states: int = STATES,
    solve: bool = False,
) -> Coverage:
    """Search packets for one program, and values for `cells` of its global data (`global_data`), in up to `states`
    states of the maps. With `solve`, z3 is asked for what that does not reach, and for proofs that nothing does. Raises
    ExecutionError, MapError or SelectionError where it cannot be run."""
    search = _Search(opened, tuple(cells), random.Random(seed))
    cases = [search.case({}, runs)]
    idle = 0
    while len(cases) < states and idle < IDLE and search.branches.open_sides():
        before = sum(search.branches.taken)
        cases.append(search.case(search.contents(cases[-1].maps), int(runs * LATER)))
        idle = 0 if sum(search.branches.taken) > before else idle + 1
    proven: set[Side] = set()
    if solve:
        cases += search.solved(proven)
    final = Branches()
    kept = [case for case in (search.replayed(case, final) for case in cases) if case.packets]
    impossible = {side for op in final.ops for side in _impossible(op)} | proven
    left = [side for side in final.open_sides() if side not in impossible]
    if solve and left:
        impossible |= set(_proven(left))
    missing = dict.fromkeys(side for side in final.open_sides() if side in impossible)
    open_ = tuple(side for side in final.open_sides() if side not in impossible)
    return Coverage(tuple(kept), len(final.taken) - len(missing), open_, tuple(missing))


def _proven(sides: Sequence[Side]) -> list[Side]:
    """Those of the sides that z3 proves impossible."""
    from fsir.smt.infeasible import Infeasible

    module = sides[0][0].get_toplevel_object()
    return Infeasible(module).among(sides) if isinstance(module, ModuleOp) else []


def clock(index: int) -> int:
    """The time at which the packet of this number of a case arrives."""
    return START_NS + index * STEP_NS


def _impossible(branch: Operation) -> list[tuple[Operation, int]]:
    """The sides of a branch that nothing takes: the address of a map or of global data is not 0."""
    if not isinstance(branch, ebpf.JccRIOp) or branch.row.op not in ("jeq", "jne") or branch.imm.data != 0:
        return []
    address, module = branch.lhs.owner, branch.get_toplevel_object()
    if not isinstance(address, ebpf.LdSymOp) or not isinstance(module, ModuleOp):
        return []
    name = address.sym.root_reference.data
    declared = any(isinstance(op, DeclOp) and op.sym_name.data == name for op in module.body.block.ops)
    return [(branch, 0 if branch.row.op == "jeq" else 1)] if declared else []


class _Search:
    def __init__(self, opened: Opened, cells: tuple[Cell, ...], rng: random.Random) -> None:
        self.program, self.cells, self.rng = opened, cells, rng
        self.branches = Branches()
        self.replay, self.idle = Branches(), Branches()
        self.wanted: dict[int, None] = {}
        self.kept: list[bytes] = []
        self.discovered: list[tuple[Contents, bytes]] = []
        """What took a side that nothing before it took."""

    def solved(self, proven: set[Side]) -> list[Case]:
        """Cases for sides that changing packets did not reach; adds to `proven` what cannot be reached from where
        packets come by."""
        from fsir.run.concolic import Concolic

        near = [side for side in self.branches.open_sides() if self.branches.is_taken((side[0], 1 - side[1]))]
        proven |= {side for op in self.branches.ops for side in _impossible(op)}
        near = [side for side in near if side not in proven]
        if near:
            proven |= set(_proven(near))

        def is_open(side: Side) -> bool:
            return side not in proven and not self.branches.is_taken(side)

        concolic = Concolic(self.program, is_open, self.tried)
        return self.grouped(list(concolic.search(reversed(self.discovered))))

    def tried(self, maps: Contents, packet: bytes) -> bool:
        """Run a packet on contents of the maps; whether it takes a side that none took before."""
        before = sum(self.branches.taken)
        try:
            self.program(maps, self.branches).run(packet, clock_ns=clock(0))
        except (ExecutionError, MapError):
            return False
        return sum(self.branches.taken) > before

    def grouped(self, found: list[tuple[Contents, bytes]]) -> list[Case]:
        """Cases for packets that each have contents of their own: together where these agree and nothing is lost."""
        groups: list[tuple[Contents, tuple[bytes, ...], set[Side]]] = []
        for maps, packet in found:
            alone = self.sides_of(maps, (packet,))
            for position, (known, packets, sides) in enumerate(groups):
                both = joined(known, maps)
                if both is not None and (taken := self.sides_of(both, (*packets, packet))) >= sides | alone:
                    groups[position] = both, (*packets, packet), taken
                    break
            else:
                groups.append((maps, (packet,), alone))
        return [Case(maps, packets) for maps, packets, _ in groups]

    def sides_of(self, maps: Contents, packets: Iterable[bytes]) -> set[Side]:
        """The sides that packets take, one after the other."""
        seen = self.replayer()
        with suppress(MapError):
            program = self.program(maps, seen)
            for index, packet in enumerate(packets):
                seen.compared.clear()
                _runs(program, packet, clock(index))
        return {(seen.ops[side // 2], side % 2) for side, taken in enumerate(seen.taken) if taken}

    def replayer(self) -> Branches:
        """Branches that have seen nothing: the same ones again, as code is generated for each."""
        self.replay.taken[:] = [0] * len(self.replay.taken)
        self.replay.compared.clear()
        self.replay.looked_up.clear()
        return self.replay

    def case(self, maps: Contents, runs: int) -> Case:
        """Packets for one state of the maps: what the states before have found, and what is new from it."""
        program = self.program(maps, self.branches)
        again = dict.fromkeys(self.kept)
        kept = self.kept or list(frames()[:BASIC])
        seeds = deque([*again, *frames()])
        flips: list[tuple[int, bytes]] = []
        tried = set[bytes]()
        while len(tried) < runs:
            packet = self.next_packet(seeds, flips, len(tried))
            if packet in tried:
                continue
            tried.add(packet)
            before = sum(self.branches.taken)
            self.branches.compared.clear()
            try:
                program.run(packet, clock_ns=clock(len(tried)))
            except ExecutionError:
                continue
            if sum(self.branches.taken) > before:
                self.discovered.append((maps, packet))
            if sum(self.branches.taken) > before or packet in again:
                kept.append(packet)
                flips += self.mutations(packet)
                if not any(map(self.branches.is_open, range(len(self.branches.ops)))):
                    break
        self.kept = list(dict.fromkeys(kept))
        more = [*self.at_bounds(maps), *(self.havoc() for _ in range(HAVOC))]
        return Case(maps, tuple(dict.fromkeys((*self.kept, *more))))

    def at_bounds(self, maps: Contents) -> list[bytes]:
        """The packets kept, each cut or filled up to just what its guards ask for, and to one byte less."""
        seen = self.replayer()
        program = self.program(maps, seen)
        found: dict[bytes, None] = {}
        for packet in self.kept:
            seen.taken[:] = [0] * len(seen.taken)
            seen.compared.clear()
            with suppress(ExecutionError):
                program.run(packet)
            for _, left, right in seen.compared:
                found |= dict.fromkeys(_resized(packet, left, right))
        fitting = [packet for packet in found if SMALLEST <= len(packet) <= LONGEST]
        return fitting[:AT_BOUNDS]

    def replayed(self, case: Case, branches: Branches) -> Case:
        """The case without the packets on which the program does what no verifier would let through."""
        packets = case.packets
        while True:
            program = self.program(case.maps, branches)
            fit = tuple(packet for index, packet in enumerate(packets) if _runs(program, packet, clock(index)))
            if len(fit) == len(packets):
                return Case(case.maps, packets)
            packets = fit

    # Packets

    def next_packet(self, seeds: deque[bytes], flips: list[tuple[int, bytes]], turn: int) -> bytes:
        """By turns one to begin with, and one that may take a side that is still open, the newest of them."""
        if seeds and turn % 2 == 0:
            return seeds.popleft()
        while flips:
            number, packet = flips.pop()
            if self.branches.is_open(number):
                return packet
        return seeds.popleft() if seeds else self.havoc()

    def mutations(self, packet: bytes) -> list[tuple[int, bytes]]:
        """Packets that may take the sides of branches that this one came by and that were never taken, with the branch;
        those for the branch that it came to last at the end."""
        found: dict[tuple[int, bytes], None] = {}
        for number, left, right in self.branches.compared[:256]:
            if self.branches.is_open(number):
                self.wanted.setdefault(left & _M32)
                self.wanted.setdefault(right & _M32)
                for changed in (*_resized(packet, left, right), *_replaced(packet, left, right)):
                    if SMALLEST <= len(changed) <= LONGEST:
                        found.setdefault((number, with_checksum(changed)))
                        found.setdefault((number, changed))
        return list(found)

    def havoc(self) -> bytes:
        """A packet that was kept, with some bytes changed, or cut."""
        data = bytearray(self.rng.choice(self.kept or frames()))
        for _ in range(self.rng.randint(1, 4)):
            at = self.rng.randrange(min(len(data), 96))
            data[at] = self.rng.choice((0, 1, 4, 6, 17, 0x45, 0xFF, data[at] ^ 1 << self.rng.randrange(8)))
        if self.rng.random() < 0.1:
            del data[max(SMALLEST, self.rng.randrange(len(data))) :]
        return bytes(data)

    # Maps

    def contents(self, before: Contents) -> Contents:
        """Contents with entries under the keys that the packets kept so far look up. Entries that were there `before`
        stay, with numbers changed where that may take a branch."""
        seen = self.replayer()
        program = self.program(before, seen)
        compared: dict[tuple[int, int], None] = {}
        for packet in self.kept:
            seen.compared.clear()
            with suppress(ExecutionError):
                program.run(packet)
            for number, left, right in seen.compared:
                if seen.is_open(number):
                    compared |= {(left, right): None, (right, left): None}
        empty = self.program({}, self.idle)
        found = self.globals(empty, before, compared)
        for name, keys in seen.looked_up.items():
            old = {entry["key"]: entry for entry in before.get(name, ()) if "key" in entry}
            target = empty.machine.maps.get(name)
            for key in list(keys)[: min(ENTRIES, target.max_entries) if target is not None else 0]:
                assert target is not None
                kept = old.get(key.hex()) if self.rng.random() < KEPT else None
                entry = self.entry(target, key) if kept is None else self.changed(kept, compared)
                if entry is not None and _accepts(empty, name, entry):
                    found.setdefault(name, []).append(entry)
        return found

    def globals(self, empty: InterpProgram, before: Contents, compared: Iterable[tuple[int, int]]) -> Contents:
        """Global data in which about half of the cells read are other than `before`: what they were compared with, or
        near it, or any number."""
        sections: dict[str, bytearray] = {}
        for cell in self.cells:
            if cell.section not in sections:
                held = before.get(cell.section)
                start = empty.machine.maps[cell.section].sys_lookup(bytes(4))
                sections[cell.section] = bytearray(bytes.fromhex(held[0]["value"]) if held else cast(bytes, start))
            if self.rng.random() < KEPT:
                data, end = sections[cell.section], cell.offset + cell.size
                now = int.from_bytes(data[cell.offset : end], "little")
                others = [other for mine, other in compared if mine == now]
                near = [number + by for number in others for by in (0, 0, 0, 0, 1, -1)]
                number = self.rng.choice(near) if near and self.rng.random() < AIMED else self.number()
                data[cell.offset : end] = (number & ((1 << 8 * cell.size) - 1)).to_bytes(cell.size, "little")
        return {name: [{"key": "00000000", "value": data.hex()}] for name, data in sections.items()}

    def entry(self, target: Map, key: bytes) -> dict[str, Any] | None:
        if isinstance(target, RedirectMap):
            return {"key": key.hex(), target.symbol: self.rng.choice((1, 2, 3))}
        if isinstance(target, MapOfMaps):
            return {"key": key.hex(), "map": self.inner(target.spec.inner)}
        if target.entry_kind != "value":
            return None
        if target.per_cpu:
            return {"key": key.hex(), "values": [self.value(target.value_size) for _ in range(target.ncpu)]}
        return {"key": key.hex(), "value": self.value(target.value_size)}

    def changed(self, entry: dict[str, Any], compared: Iterable[tuple[int, int]]) -> dict[str, Any]:
        """An entry with a number of its value replaced by one that it was compared with, if there is such a number."""
        data = bytes.fromhex(str(entry.get("value", "")))
        found: list[bytes] = []
        for mine, other in compared:
            for width in (4, 8, 2, 1):
                if mine >> 8 * width or other >> 8 * width:
                    continue
                old = mine.to_bytes(width, "little")
                if old in data:
                    found.append(data.replace(old, other.to_bytes(width, "little"), 1))
                    break
        return entry | {"value": self.rng.choice(found).hex()} if found else entry

    def inner(self, spec: MapSpec | None) -> list[dict[str, Any]]:
        """Contents of a map in a map: the first of an array, of others some under numbers that the program compares."""
        if spec is None or spec.type_name not in ("array", "hash", "lru_hash"):
            return []
        numbers = range(INNER) if spec.type_name == "array" else {self.number() for _ in range(INNER)}
        keys = [number.to_bytes(8, "little")[: spec.key_size].ljust(spec.key_size, b"\0") for number in numbers]
        return [{"key": key.hex(), "value": self.value(spec.value_size)} for key in keys[: spec.max_entries]]

    def value(self, size: int) -> str:
        """Words that are zero, small, what the program compares with, or anything; now and then none is zero."""
        words = bytearray()
        full = self.rng.random() < FULL
        while len(words) < size:
            words += (self.number() or full * self.rng.randrange(1, 8)).to_bytes(4, "little")
        return words[:size].hex()

    def number(self) -> int:
        wanted = list(self.wanted) or [0]
        return self.rng.choice((0, self.rng.randrange(8), self.rng.choice(wanted), self.rng.getrandbits(32)))


def _runs(program: InterpProgram, packet: bytes, clock_ns: int) -> bool:
    """Whether a run comes to its end."""
    try:
        program.run(packet, clock_ns=clock_ns)
    except ExecutionError:
        return False
    return True


_M32 = (1 << 32) - 1
_M64 = (1 << 64) - 1
_WIDTHS = (2, 4, 1, 8)
_NEAR = 2048
_ADDRESS = 1 << 20


def _resized(packet: bytes, left: int, right: int) -> Iterator[bytes]:
    """The packet longer or shorter, where two addresses are compared, or its length is compared with a number."""
    size = len(packet)
    if min(left, right) > _ADDRESS and abs(left - right) < _NEAR:
        for by in (left - right, left - right - 1, right - left + 1):
            yield packet + bytes(by) if by > 0 else packet[: size + by]
    for mine, other in ((left, right), (right, left)):
        if mine == size and 0 < other <= LONGEST:
            for wanted in (other, other + 1, other - 1):
                yield packet[:wanted].ljust(wanted, b"\0")


def _replaced(packet: bytes, left: int, right: int) -> Iterator[bytes]:
    """The packet with one number in the place of the other, also one more and one less."""
    for mine, other in ((left, right), (right, left)):
        for width in _WIDTHS:
            mask = (1 << 8 * width) - 1
            if mine > mask:
                continue
            for order in ("big", "little") if width > 1 else ("big",):
                old = mine.to_bytes(width, order)
                for at in _places(packet, old):
                    for wanted in (other, other + 1, other - 1):
                        new = (wanted & mask).to_bytes(width, order)
                        yield packet[:at] + new + packet[at + width :]

    for mine, other in ((left, right), (right, left)):
        for scale in (1, 4):  # half a byte, in fours where it is a header's length
            if mine % scale == 0 and 0 < mine // scale < 16:
                yield from _half_bytes(
                    packet, mine // scale, [wanted // scale for wanted in (other, other + 1, other - 1)]
                )


def _half_bytes(packet: bytes, mine: int, wanted: list[int]) -> Iterator[bytes]:
    for at, byte in enumerate(packet[:64]):
        for shift in (0, 4):
            if byte >> shift & 15 == mine:
                for number in wanted:
                    changed = byte & ~(15 << shift) | (number & 15) << shift
                    yield packet[:at] + bytes([changed]) + packet[at + 1 :]


def _places(packet: bytes, needle: bytes) -> Iterable[int]:
    """Where in the headers a number stands, the first few."""
    found: list[int] = []
    at = packet.find(needle)
    while 0 <= at < 128 and len(found) < 6:
        found.append(at)
        at = packet.find(needle, at + 1)
    return found


def _accepts(program: InterpProgram, name: str, entry: dict[str, Any]) -> bool:
    """Whether a map takes an entry."""
    try:
        program.set_maps({name: [entry]})
    except MapError:
        return False
    return True
