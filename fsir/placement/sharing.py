"""Maps that more than one part touches: what is legal, by which mechanism, and what it promises.

Legality is a matter of pairs: one access here, another there. `conflict` says of two accesses of one map whether they
can be on different targets; `mechanisms` gives, for accesses without conflicts, how the map is shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fsir.dialects.map import DeclOp
from fsir.placement.access import CHANGES, Kind
from fsir.placement.targets import Target

MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
_READS = frozenset({Kind.LOOKUP, Kind.READ, Kind.REDIRECT})
_IN_PLACE = frozenset({Kind.ADD, Kind.WRITE})
_COUNTS = frozenset({Kind.ADD, Kind.LOOKUP})
_BY_KEY = frozenset({Kind.UPDATE, Kind.DELETE})


@dataclass(frozen=True)
class Sharing:
    """How a map is shared: see the table in the design, "Map sharing"."""

    mechanism: str
    consistency: str
    reason: str
    commutes: bool
    """Whether the accesses of the parts give the same in any order."""


def is_mapped(declaration: DeclOp) -> bool:
    """Whether user space reaches the map's values by mapping them: arrays, where the flag can be set."""
    if declaration.type.data != "array":
        return False
    return bool(declaration.int_prop("flags") & MMAPABLE) or not declaration.int_prop("pinning")


def conflict(
    declaration: DeclOp, one: tuple[Target, Kind], other: tuple[Target, Kind], turns: bool = False
) -> str | None:
    """Why two accesses of a map cannot be where they are, None if they can. The order does not matter. `turns`: of
    packets whose accesses conflict, kernel and user space never work on two at a time (`fsir.placement.order`)."""
    (low, low_kind), (high, high_kind) = sorted((one, other), key=lambda access: access[0].level)
    name = declaration.sym_name.data
    if low.kind == "p4":
        return _with_nic(name, low_kind, high, high_kind)
    if low is high:
        return None
    return _with_user(declaration, low_kind, high_kind, turns)


def _with_nic(name: str, nic: Kind, other: Target, kind: Kind) -> str | None:
    if nic in _READS and kind in CHANGES:
        return f"map '{name}' is read on the NIC, where its content is a copy, and changed on {other.name}"
    if nic is Kind.ADD and kind in (CHANGES | {Kind.READ}) - {Kind.ADD}:
        return f"map '{name}' is counted in on the NIC, and read or written on {other.name}"
    if nic not in _READS | {Kind.ADD}:
        return f"map '{name}' is changed on the NIC"
    return None


def _with_user(declaration: DeclOp, kernel: Kind, user: Kind, turns: bool) -> str | None:
    name, kind = declaration.sym_name.data, declaration.type.data
    if Kind.OPAQUE in (kernel, user):
        return f"the address of a value of map '{name}' goes where it cannot be followed"
    if is_mapped(declaration):
        return None
    if turns:
        return None
    counted = {kernel, user} <= _COUNTS and not declaration.int_prop("pinning")
    if "percpu" in kind and not counted:
        return f"map '{name}' has a value per CPU, and user space is on none"
    if user is Kind.WRITE:
        return f"map '{name}' is changed in place from user space, where that is a copy written back"
    if user in _BY_KEY and kernel in _IN_PLACE:
        return f"elements of map '{name}' are replaced from user space while the kernel changes them in place"
    return None


def mechanisms(
    declaration: DeclOp, touching: Mapping[Target, frozenset[Kind]], turns: bool = False
) -> list[tuple[Sharing, list[Target]]]:
    """How a map is shared whose accesses are without conflicts: between whom by which mechanism. The NIC has its own,
    whatever the others have among themselves, which comes last. `turns`: see `conflict`."""
    nic = [t for t in touching if t.kind == "p4"]
    others = {t: kinds for t, kinds in touching.items() if t.kind != "p4"}
    found: list[tuple[Sharing, list[Target]]] = []
    if nic:
        found.append((_of_nic(touching[nic[0]]), list(touching)))
    if len(others) > 1 or any(t.kind == "af-xdp" for t in others) or (others and not nic):
        found.append((_of_hosts(declaration, others, turns), list(others)))
    return found


def _of_nic(kinds: frozenset[Kind]) -> Sharing:
    if Kind.ADD in kinds:
        return Sharing(
            "split",
            "exact when the parts' counts are added up",
            "only added to; the NIC counts by itself, whoever reads the map adds both",
            True,
        )
    return Sharing(
        "mirror",
        "the NIC's tables are as old as the last time the control plane wrote them",
        "only looked up by packets; the control plane writes the map and the NIC's tables",
        True,
    )


def _of_hosts(declaration: DeclOp, touching: Mapping[Target, frozenset[Kind]], turns: bool) -> Sharing:
    commutes = _commutes(touching)
    if any(t.kind == "af-xdp" for t in touching) and is_mapped(declaration):
        return Sharing(
            "mmap",
            "word by word: no aligned word is torn, atomics are atomic",
            "an array, mapped into user space" + ("" if len(touching) > 1 else " (no other part touches it)"),
            commutes,
        )
    if len(touching) < 2:
        return Sharing("private", "that of one part", "only one part touches it", True)
    if turns and any(
        conflict(declaration, (one, kind), (other, another))
        for one, kinds in touching.items()
        for other, others in touching.items()
        for kind in kinds
        for another in others
    ):
        return Sharing(
            "turns",
            "exact with one queue: kernel and user space never change it at a time",
            "user space works on copies, while packets that would touch the map in the kernel wait behind",
            commutes,
        )
    if any(Kind.ADD in kinds for target, kinds in touching.items() if target.kind == "af-xdp"):
        return Sharing(
            "counted",
            "exact: what all parts add to a value is its sum at any time",
            "user space only looks at it, replaces whole values, or adds, which a program in the kernel does for it",
            commutes,
        )
    return Sharing(
        "pinned",
        "that of the map's own operations",
        "user space only looks keys up, or replaces whole values that the kernel does not change in place",
        commutes,
    )


def _commutes(touching: Mapping[Target, frozenset[Kind]]) -> bool:
    kinds = [set(k) for k in touching.values() if k]
    return len(kinds) < 2 or all(k <= _READS for k in kinds) or all(k <= _COUNTS for k in kinds)
