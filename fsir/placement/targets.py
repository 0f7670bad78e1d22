"""Target descriptions: what `decompose{targets=…}` can name, read from `backends/targets/*.toml`."""

from __future__ import annotations

import tomllib
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
    nanoseconds, `limits` by name (see the TOML files).
    """

    name: str
    summary: str
    kind: Kind
    level: int
    part: str
    kernel: tuple[int, int] | None
    isa: int
    cores: int
    limits: dict[str, int]
    costs: dict[str, float]
    helper_costs: dict[str, float]
    map_costs: dict[str, float]
    verdict_costs: dict[str, float]
    send: float
    receive: float
    transport: str

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
    data = _read(name)
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
            limits=data["limits"],
            costs={key: float(value) for key, value in costs.items() if not isinstance(value, dict)},
            helper_costs=costs.get("helpers", {}),
            map_costs=costs["maps"],
            verdict_costs=costs.get("verdicts", {}),
            send=float(handoff.get("send", 0.0)),
            receive=float(handoff.get("receive", 0.0)),
            transport=handoff.get("transport", ""),
        )
    except KeyError as error:
        raise TargetError(f"target '{name}': its description has no {error}") from error


def load_all(wanted: tuple[str, ...]) -> list[Target]:
    """Targets in the order of the packet's way. Raises TargetError unless each is further up than the one before."""
    targets = [load(name) for name in wanted]
    for before, after in pairwise(targets):
        if after.level <= before.level:
            raise TargetError(
                f"targets={','.join(wanted)}: a packet cannot travel from {before.name} to {after.name}; "
                "list them in the order NIC, kernel, user space, one of each"
            )
    return targets


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
