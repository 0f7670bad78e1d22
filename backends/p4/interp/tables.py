"""Match-action tables at run time.

An entry's key is one match per key field. Where several entries match, the longest prefix wins in a table whose
only non-exact key is lpm; in a table with ternary, range or optional keys the highest priority wins, and among
equal priorities the entry inserted first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fsir.backends.p4.interp.errors import ControlPlaneError

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Exact:
    """Exactly this value (in an lpm, ternary, range or optional key: this value in full)."""

    value: int


@dataclass(frozen=True, slots=True)
class Lpm:
    """The `prefixlen` highest bits of `value`."""

    value: int
    prefixlen: int


@dataclass(frozen=True, slots=True)
class Ternary:
    """The bits of `value` that are set in `mask`; mask 0 matches everything."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Range:
    """`lo` to `hi`, both included."""

    lo: int
    hi: int


KeyMatch = Exact | Lpm | Ternary | Range


@dataclass(eq=False, slots=True)
class Entry:
    """An installed entry, or (`hit` false) the default action."""

    key: tuple[KeyMatch, ...]
    action: int
    args: tuple[Any, ...]
    priority: int
    hit: bool = True
    packets: int = 0
    bytes: int = 0

    def count(self, length: int) -> None:
        if self.hit:
            self.packets += 1
            self.bytes += length


@dataclass(frozen=True, slots=True)
class KeyField:
    """A key of a table: control-plane name, width in bits, match kind."""

    name: str
    width: int
    kind: str


class Table:
    """Entries with the fastest lookup that their match kinds allow; `lookup(key)` never fails."""

    def __init__(self, name: str, fields: list[KeyField], size: int | None, default: Entry) -> None:
        self.name = name
        self.fields = fields
        self.size = size
        self.default = default
        self.entries: dict[tuple[Any, ...], Entry] = {}
        self.kinds = [field.kind for field in fields]
        others = [kind for kind in self.kinds if kind != "exact"]
        self.prefix = self.kinds.index("lpm") if others == ["lpm"] else None
        self.scan = bool(others) and self.prefix is None
        self.exact: dict[Any, Entry] = {}
        self.prefixes: list[tuple[int, dict[Any, Entry]]] = []
        self.ranked: list[tuple[tuple[tuple[str, int, int], ...], Entry]] = []
        self.lookup: Callable[[Any], Entry] = self.lookup_exact
        if self.scan:
            self.lookup = self.lookup_scan
        elif self.prefix is not None:
            self.lookup = self.lookup_prefix_only if len(fields) == 1 else self.lookup_prefix

    # -- lookups; a key is the bare value where there is one field, a tuple otherwise ------------------------------

    def lookup_exact(self, key: Any) -> Entry:
        return self.exact.get(key, self.default)

    def lookup_prefix_only(self, key: Any) -> Entry:
        for mask, entries in self.prefixes:
            found = entries.get(key & mask)
            if found is not None:
                return found
        return self.default

    def lookup_prefix(self, key: Any) -> Entry:
        place = self.prefix
        assert place is not None
        head, value, tail = key[:place], key[place], key[place + 1 :]
        for mask, entries in self.prefixes:
            found = entries.get((*head, value & mask, *tail))
            if found is not None:
                return found
        return self.default

    def lookup_scan(self, key: Any) -> Entry:
        values = key if len(self.fields) > 1 else (key,)
        for tests, entry in self.ranked:
            for value, (how, a, b) in zip(values, tests, strict=True):
                if (value & b != a) if how == "mask" else not a <= value <= b:
                    break
            else:
                return entry
        return self.default

    # -- control plane -------------------------------------------------------------------------------------------

    def normal(self, key: list[KeyMatch] | tuple[KeyMatch, ...]) -> tuple[KeyMatch, ...]:
        """`key` checked against the fields and in one canonical form per set."""
        if len(key) != len(self.fields):
            raise ControlPlaneError(f"table {self.name} has {len(self.fields)} keys, {len(key)} given")
        return tuple(self.normal_field(field, match) for field, match in zip(self.fields, key, strict=True))

    def normal_field(self, field: KeyField, match: KeyMatch) -> KeyMatch:
        full = (1 << field.width) - 1

        def inside(value: int) -> int:
            if not -(full + 1) // 2 <= value <= full:
                raise ControlPlaneError(
                    f"table {self.name}: {value:#x} does not fit key {field.name} ({field.width} bits)"
                )
            return value & full

        match field.kind, match:
            case "exact", Exact(value):
                return Exact(inside(value))
            case "lpm", Exact(value):
                return Lpm(inside(value), field.width)
            case "lpm", Lpm(value, length):
                if not 0 <= length <= field.width:
                    raise ControlPlaneError(f"table {self.name}: prefix length {length} for {field.width} bits")
                return Lpm(inside(value) & prefix_mask(length, field.width), length)
            case "ternary", Exact(value):
                return Ternary(inside(value), full)
            case "ternary", Ternary(value, mask):
                return Ternary(inside(value) & inside(mask), inside(mask))
            case "range", Exact(value):
                return Range(inside(value), inside(value))
            case "range", Range(low, high):
                if low > high:
                    raise ControlPlaneError(f"table {self.name}: range {low} to {high} is empty")
                return Range(inside(low), inside(high))
            case "optional", Exact(value):
                return Ternary(inside(value), full)
            case "optional", Ternary(value, mask) if mask in (0, full):
                return Ternary(inside(value) & mask, mask)
            case _:
                pass
        raise ControlPlaneError(f"table {self.name}: {match} cannot be used for the {field.kind} key {field.name}")

    def identity(self, key: tuple[KeyMatch, ...], priority: int) -> tuple[Any, ...]:
        return (*key, priority) if self.scan else key

    def insert(self, key: list[KeyMatch], action: int, args: tuple[Any, ...], priority: int) -> Entry:
        found = self.normal(key)
        if not self.fields:
            raise ControlPlaneError(f"table {self.name} has no key: only its default action can be set")
        identity = self.identity(found, priority)
        if identity in self.entries:
            raise ControlPlaneError(f"table {self.name} already has an entry for {found}: delete it first")
        if self.size is not None and len(self.entries) >= self.size:
            raise ControlPlaneError(f"table {self.name} is full: size {self.size}")
        return self.add(key, action, args, priority)

    def add(self, key: list[KeyMatch], action: int, args: tuple[Any, ...], priority: int) -> Entry:
        """Insert without asking whether there is room (constant entries) or the key is taken."""
        entry = Entry(self.normal(key), action, args, priority)
        self.entries[self.identity(entry.key, priority)] = entry
        self.index(entry)
        return entry

    def delete(self, key: list[KeyMatch], priority: int) -> None:
        identity = self.identity(self.normal(key), priority)
        if identity not in self.entries:
            raise ControlPlaneError(f"table {self.name} has no entry for {key} with priority {priority}")
        del self.entries[identity]
        self.rebuild()

    def find(self, key: list[KeyMatch], priority: int) -> Entry:
        identity = self.identity(self.normal(key), priority)
        if identity not in self.entries:
            raise ControlPlaneError(f"table {self.name} has no entry for {key} with priority {priority}")
        return self.entries[identity]

    def clear(self) -> None:
        self.entries.clear()
        self.rebuild()

    def rebuild(self) -> None:
        self.exact.clear()
        self.prefixes.clear()
        self.ranked.clear()
        for entry in self.entries.values():
            self.index(entry)

    def index(self, entry: Entry) -> None:
        if self.scan:
            tests = tuple(as_test(m, f.width) for m, f in zip(entry.key, self.fields, strict=True))
            place = len(self.ranked)
            while place and self.ranked[place - 1][1].priority < entry.priority:
                place -= 1
            self.ranked.insert(place, (tests, entry))
            return
        values = [getattr(match, "value", 0) for match in entry.key]
        lookup_key: Any = values[0] if len(values) == 1 else tuple(values)
        if self.prefix is None:
            self.exact[lookup_key] = entry
            return
        match = entry.key[self.prefix]
        assert isinstance(match, Lpm)
        mask = prefix_mask(match.prefixlen, self.fields[self.prefix].width)
        for known, entries in self.prefixes:
            if known == mask:
                entries[lookup_key] = entry
                return
        self.prefixes.append((mask, {lookup_key: entry}))
        self.prefixes.sort(key=lambda pair: -pair[0])


def prefix_mask(length: int, width: int) -> int:
    return ((1 << length) - 1) << (width - length)


def as_test(match: KeyMatch, width: int) -> tuple[str, int, int]:
    """A match as ("mask", value, mask) or ("range", low, high)."""
    match match:
        case Exact(value):
            return "mask", value, (1 << width) - 1
        case Lpm(value, length):
            return "mask", value, prefix_mask(length, width)
        case Ternary(value, mask):
            return "mask", value, mask
        case Range(low, high):
            return "range", low, high
