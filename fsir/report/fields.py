"""Names of protocol fields as people read them: one that is accessed in pieces is accessed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from fsir.analysis.protocols import HEADERS

_PIECE = re.compile(r"(\w+)\.(\w+)\[(\d+)(?::(\d+))?\]")


def whole_fields(counts: Counter[str]) -> Counter[str]:
    """The same accesses, with fields of which all bytes are accessed instead of their pieces: as often as the byte that
    is accessed the least. Pieces of which there are more stay."""
    pieces: defaultdict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    for name in counts:
        found = _PIECE.fullmatch(name)
        if found is not None:
            start = int(found[3])
            pieces[found[1], found[2]].append((start, int(found[4] or start + 1), name))
    result = Counter(counts)
    for (protocol, field), parts in pieces.items():
        times = min(
            sum(counts[name] for a, b, name in parts if a <= byte < b) for byte in range(_size(protocol, field))
        )
        if not times:
            continue
        result[f"{protocol}.{field}"] += times
        for _, _, name in parts:
            result[name] -= min(times, result[name])
    return +result


def in_packet_order(counts: Counter[str]) -> dict[str, int]:
    """The accesses from the outermost header inwards, those without a name last."""
    return dict(sorted(counts.items(), key=lambda item: (_position(item[0]), -item[1], item[0])))


_ORDER = list(HEADERS)


def _position(name: str) -> tuple[int, int]:
    protocol, _, field = name.partition(".")
    if protocol not in HEADERS:
        return len(_ORDER), 0
    first = re.split(r"[+\[]", field)[0]
    return _ORDER.index(protocol), next((at for (at, _), name in HEADERS[protocol].fields.items() if name == first), 0)


def _size(protocol: str, field: str) -> int:
    return next(size for (_, size), name in HEADERS[protocol].fields.items() if name == field)
