"""Target descriptions: what `decompose{targets=…}` can name, read from `backends/targets/*.toml`.

A path to another TOML file names the targets that it describes, one table each, in their order. These extend the ones
here by what holds on one machine: costs and cores (`fs-run --calibrate` writes such files).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

DIRECTORY = Path(__file__).resolve().parent.parent / "backends" / "targets"

Kind = Literal["p4", "xdp", "af-xdp"]
KINDS = ("p4", "xdp", "af-xdp")


class TargetError(Exception):
    """There is no such target, or its description is not well formed."""


@dataclass(frozen=True)
class Target:
    """A place where a part can run.

    `kind` says which rules and which backend are its own, `level` where it lies on the packet's way (0 NIC, 1 kernel,
    2 user space), `part` names its part of a bundle. `kernel` is (major, minor) where there is one. Costs are
    nanoseconds, `limits` by name (see the TOML files). Targets with the same `core_set` run on the same `cores`.
    `measured` is the file that its costs come from where that is not the description itself.
    """

    name: str
    summary: str
    kind: Kind
    level: int
    part: str
    kernel: tuple[int, int] | None
    isa: int
    cores: int
    core_set: str
    limits: dict[str, int]
    costs: dict[str, float]
    helper_costs: dict[str, float]
    map_costs: dict[str, float]
    verdict_costs: dict[str, float]
    send: float
    receive: float
    transport: str
    measured: str = ""

    def __hash__(self) -> int:
        return hash(self.name)

    def map_cost(self, map_type: str) -> float:
        """One lookup, update or delete in a map of this type."""
        return self.map_costs.get(map_type, self.map_costs["default"])

    @property
    def header_limit(self) -> int:
        """The bytes that a handoff header may have when this target sends it."""
        return self.limits.get("metadata" if self.transport == "metadata" else "header", 0)


def names() -> list[str]:
    """All targets."""
    return sorted(file.stem for file in DIRECTORY.glob("*.toml"))


@cache
def load(name: str) -> Target:
    """The target `name`. Raises TargetError."""
    return _target(name, _read(name))


def _target(name: str, data: dict[str, Any], measured: str = "") -> Target:
    costs = data.get("costs", {})
    kernel = data.get("kernel")
    handoff = data.get("handoff", {})
    try:
        if data["kind"] not in KINDS:
            raise TargetError(f"target '{name}': kind is '{data['kind']}'; it must be one of {', '.join(KINDS)}")
        return Target(
            name=name,
            summary=data["summary"],
            kind=cast(Kind, data["kind"]),
            level=data["level"],
            part=data["part"],
            kernel=None if kernel is None else _version(kernel),
            isa=data.get("isa", 4),
            cores=data.get("cores", 1),
            core_set=data.get("core_set", data["part"]),
            limits=data["limits"],
            costs={key: float(value) for key, value in costs.items() if not isinstance(value, dict)},
            helper_costs=costs.get("helpers", {}),
            map_costs=costs["maps"],
            verdict_costs=costs.get("verdicts", {}),
            send=float(handoff.get("send", 0.0)),
            receive=float(handoff.get("receive", 0.0)),
            transport=handoff.get("transport", ""),
            measured=measured,
        )
    except KeyError as error:
        raise TargetError(f"target '{name}': its description has no {error}") from error


def load_file(path: str) -> list[Target]:
    """The targets that a file describes, in the order of the packet's way. Raises TargetError."""
    try:
        data = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    found = []
    for name, table in data.items():
        if not isinstance(table, dict):
            raise TargetError(f"{path}: '{name}' is no table; a file of targets has one table for each, as [xdp]")
        change = dict(table)
        base = change.pop("extends", name)
        other = change.keys() - _MEASURABLE
        if other:
            raise TargetError(f"{path}: [{name}] says '{min(other)}'; it can say {', '.join(sorted(_MEASURABLE))}")
        if change.get("handoff", {}).keys() - {"send", "receive"}:
            raise TargetError(f"{path}: [{name}.handoff] can say send and receive")
        _check_numbers(change, f"{path}: [{name}]")
        found.append(_target(base, _merged(_read(base), change), path))
    return sorted(found, key=lambda target: target.level)


_MEASURABLE = frozenset({"extends", "summary", "cores", "core_set", "costs", "handoff"})


def _check_numbers(table: dict[str, Any], where: str) -> None:
    for name, value in table.items():
        if isinstance(value, dict):
            _check_numbers(value, f"{where} {name}:")
        elif name in ("summary", "core_set"):
            if not isinstance(value, str):
                raise TargetError(f"{where} {name} is no string")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise TargetError(f"{where} {name} is no number of at least 0")
        elif name == "cores" and (not isinstance(value, int) or value < 1):
            raise TargetError(f"{where} cores is no number of at least 1")


def load_all(wanted: Iterable[str]) -> list[Target]:
    """Targets in the order of the packet's way. Raises TargetError unless each is further up than the one before."""
    names_wanted = tuple(wanted)
    targets: list[Target] = []
    for name in names_wanted:
        targets += load_file(name) if name.endswith(".toml") else [load(name)]
    for before, after in pairwise(targets):
        if after.level <= before.level:
            raise TargetError(
                f"targets={','.join(names_wanted)}: a packet cannot travel from {before.name} to {after.name}; "
                "list them in the order NIC, kernel, user space, one of each"
            )
    return targets


def stages_of(targets: Iterable[Target]) -> tuple[list[int], list[int]]:
    """Cores by target, and by target the number of the set that they belong to."""
    among = list(targets)
    sets = list(dict.fromkeys(target.core_set for target in among))
    return [target.cores for target in among], [sets.index(target.core_set) for target in among]


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _read(name: str) -> dict[str, Any]:
    file = DIRECTORY / f"{name}.toml"
    if not file.is_file():
        raise TargetError(f"there is no target '{name}'; there are: {', '.join(names())}")
    try:
        data = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{file.name}: {error}") from error
    base = data.pop("extends", None)
    return data if base is None else _merged(_read(base), data)


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return result
