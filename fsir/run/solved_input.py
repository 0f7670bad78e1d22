"""From the numbers that a solver gives for a run's unknowns (`fsir.interp.tracer`) to a packet and contents of maps."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from fsir.interp.engine import Contents, InterpProgram
from fsir.interp.tracer import SHORTEST, Lookup, Path
from fsir.smt.terms import Term, evaluate

Entry = dict[str, Any]


@dataclass(frozen=True)
class Numbers:
    """What the unknowns are: as the solver says, and what it does not say as they were in the run."""

    solved: dict[Any, int]
    before: dict[Any, int]

    def of(self, name: Any) -> int:
        """The number of an unknown."""
        return self.solved.get(name, self.before.get(name, 0))

    def changed(self) -> list[tuple[Any, int]]:
        """Those that are other than in the run."""
        return [(name, number) for name, number in self.solved.items() if number != self.before.get(name)]


def solved_input(
    numbers: Numbers,
    lookups: dict[tuple[Path, bytes], Lookup],
    maps: Contents,
    packet: bytes,
    program: InterpProgram,
) -> tuple[Contents, bytes]:
    """The input that differs from `maps` and `packet` where the numbers do. `program` is one that ran on these."""
    data = bytearray(packet)
    values: dict[tuple[Path, bytes], dict[int, int]] = {}
    sections: dict[str, dict[int, int]] = {}
    for (kind, *place), number in numbers.changed():
        if kind == "packet":
            data[place[0]] = number
        elif kind == "value":
            values.setdefault((place[0], place[1]), {})[place[2]] = number
        elif kind == "data":
            sections.setdefault(place[0], {})[place[1]] = number
    length = max(numbers.of(("length",)) or len(data), SHORTEST)
    changed = copy.deepcopy(maps)
    for section, wanted in sections.items():
        _set_data(changed, section, wanted, program)
    other = {name for name, _ in numbers.changed()}
    for place, lookup in lookups.items():
        name = ("present", *place)
        there = bool(numbers.of(name)) if name in numbers.solved else lookup.present
        moved = any(isinstance(term, Term) and term.unknowns & other for term in lookup.terms)
        key = bytes(evaluate(term, numbers.of) & 0xFF for term in lookup.terms) if moved else lookup.key
        if place in values or there != lookup.present or (key != lookup.key and there):
            _set_entry(changed, lookup, key if there else lookup.key, values.get(place, {}), there, program.machine.cpu)
    return changed, bytes(data[:length].ljust(length, b"\0"))


def _set_data(maps: Contents, section: str, wanted: dict[int, int], program: InterpProgram) -> None:
    held = maps.get(section)
    start = bytes.fromhex(held[0]["value"]) if held else program.machine.maps[section].sys_lookup(bytes(4))
    assert isinstance(start, bytes)
    maps[section] = [{"key": "00000000", "value": _with(start, wanted).hex()}]


def _with(data: bytes, wanted: dict[int, int]) -> bytes:
    changed = bytearray(data)
    for index, number in wanted.items():
        changed[index] = number
    return bytes(changed)


def _set_entry(maps: Contents, lookup: Lookup, key: bytes, wanted: dict[int, int], there: bool, cpu: int) -> None:
    """Put the entry of a look-up under a key, or take it away."""
    if lookup.entries is not None and int.from_bytes(key, "little") >= lookup.entries:
        return
    entries = _entries(maps, lookup.path)
    old = next((entry for entry in entries if entry.get("key") == key.hex()), None)
    if old is not None:
        entries.remove(old)
    if there:
        entries.append({"key": key.hex()} | _content(lookup, _with(lookup.value, wanted), old or {}, cpu))


def _content(lookup: Lookup, value: bytes, old: Entry, cpu: int) -> Entry:
    if lookup.holds_maps:
        return {"map": old.get("map", [])}
    if lookup.cpus:
        others = old.get("values", [bytes(len(value)).hex()] * lookup.cpus)
        return {"values": [value.hex() if number == cpu else other for number, other in enumerate(others)]}
    return {"value": value.hex()}


def _entries(maps: Contents, path: Path) -> list[Entry]:
    """The entries of a map, or of one in a map."""
    entries = maps.setdefault(path[0], [])
    for key in path[1:]:
        outer = next((entry for entry in entries if entry.get("key") == key.hex()), None)
        if outer is None:
            outer = {"key": key.hex(), "map": []}
            entries.append(outer)
        entries = outer.setdefault("map", [])
    return entries


def joined(a: Contents, b: Contents) -> Contents | None:
    """Contents with the entries of both; None where they disagree about one."""
    result = copy.deepcopy(a)
    for name, entries in b.items():
        mine = {entry.get("key"): entry for entry in result.setdefault(name, [])}
        for entry in entries:
            known = mine.get(entry.get("key"))
            if known is None:
                result[name].append(copy.deepcopy(entry))
            elif known != entry:
                return None
    return result
