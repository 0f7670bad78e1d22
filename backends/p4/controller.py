"""The control plane of a program at work on the interpreter's switch.

controller = Controller(switch, control, ports={2: 0})
controller.mirror(contents)          # whenever the maps have changed
additions = controller.collect()     # what was counted since the last time
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fsir.backends.p4.interp import ControlPlaneError, Exact, KeyMatch, Lpm, Switch
from fsir.backends.p4.mirror import Contents, Control, MapAddition, Match, defaults, mirror_entries, read_back


class Controller:
    """Keeps the tables of a switch like the maps, and its counters merged with them."""

    def __init__(self, switch: Switch, control: Control, ports: Mapping[int, int] | None = None) -> None:
        self.switch = switch
        self.control = control
        self.ports = dict(ports or {})
        self._merged: dict[tuple[str, bytes, int], int] = {}

    def mirror(self, contents: Contents) -> None:
        """Make the tables those of these contents."""
        keyed = [table["table"] for table in self.control["tables"] if table["keys"]]
        for name in (*keyed, *(name for name in self.control["ports"].values() if name is not None)):
            self.switch.clear(name)
        for entry in (*defaults(self.control, contents), *mirror_entries(self.control, contents, self.ports)):
            if entry.key:
                self.switch.insert(entry.table, [_match(key) for key in entry.key], entry.action, list(entry.params))
            else:
                self.switch.set_default(entry.table, entry.action, list(entry.params))

    def collect(self) -> list[MapAddition]:
        """What was counted since the last call."""
        found: list[MapAddition] = []
        for total in read_back(self.control, self._cells):
            place = total.map, total.key, total.offset
            amount = (total.amount - self._merged.get(place, 0)) % (1 << 8 * total.size)
            self._merged[place] = total.amount
            if amount:
                found.append(MapAddition(total.map, total.key, total.offset, total.size, amount))
        return found

    def _cells(self, name: str, kind: str) -> Sequence[tuple[int, int] | int]:
        if kind == "register":
            return self.switch.register(name)
        if name not in self.switch.counters:
            raise ControlPlaneError(f"there is no counter {name}")
        return self.switch.counters[name]


def _match(match: Match) -> KeyMatch:
    return Exact(match.value) if match.prefix is None else Lpm(match.value, match.prefix)
