"""How often branches are taken, from a run through the interpreter: `fs-run … --profile-out F`, `decompose{profile=F}`.

The file is JSON. A branch is named by its function and the number of its block, as blocks are numbered in the printed
function (`bb12`), in the module that ran; `shape` says what flow graph that was, so that counts are never given to
another one. Whoever decomposes brings the module to the form that was profiled: the same passes in front.

    {"format": 1, "input": "prog.o", "passes": "raise,optimize", "packets": 1000,
     "functions": {"xdp_prog": {"shape": "0a1b…", "branches": {"12": {"taken": [990, 10], "at": "prog.c:40:6"}}}}}

`attach` puts the counts on the branches, where they survive that blocks are split, copied, and joined anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import ArrayAttr, IntAttr, ModuleOp
from xdsl.ir import Operation

from fsir.analysis.dominance import successors
from fsir.dialects.ebpf import FuncOp
from fsir.driver.diagnostics import place_of
from fsir.interp.branches import Branches

FORMAT = 1
TAKEN = "profile.taken"
"""The attribute of a branch: how often each successor was taken."""


class ProfileError(Exception):
    """The file cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Profile:
    """A profile as read. `functions` by name: the shape, and by block number how often each successor was taken."""

    name: str
    packets: int
    passes: str
    functions: dict[str, tuple[str, dict[int, list[int]]]]

    def __str__(self) -> str:
        return f"profile {self.name} ({self.packets} packets)"


def collected(branches: Branches, input_name: str, passes: str, packets: int) -> dict[str, Any]:
    """The file's content, from branches counted in a run."""
    functions: dict[str, dict[str, Any]] = {}
    for number, op in enumerate(branches.ops):
        func = _function_of(op)
        block = op.parent_block()
        assert block is not None
        entry = functions.setdefault(func.symbol, {"shape": shape(func), "branches": {}})
        taken = branches.taken[2 * number : 2 * number + 2]
        entry["branches"][str(list(func.body.blocks).index(block))] = {"taken": taken, "at": str(place_of(op))}
    return {"format": FORMAT, "input": input_name, "passes": passes, "packets": packets, "functions": functions}


def read(path: str) -> Profile:
    """Raises ProfileError."""
    try:
        data = json.loads(Path(path).read_text())
        if data["format"] != FORMAT:
            raise ProfileError(f"profile={path}: format {data['format']} is not known; make it again")
        functions = {
            name: (entry["shape"], {int(at): [int(n) for n in b["taken"]] for at, b in entry["branches"].items()})
            for name, entry in data["functions"].items()
        }
        return Profile(path, int(data["packets"]), data["passes"], functions)
    except OSError as error:
        raise ProfileError(f"profile={path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProfileError(f"profile={path}: this is no profile of fs-run --profile-out") from error


def attach(module: ModuleOp, profile: Profile) -> None:
    """Put the counts on the branches of a module. Raises ProfileError where they are those of another one."""
    present = {op.symbol: op for op in module.walk() if isinstance(op, FuncOp)}
    for name, (wanted, branches) in profile.functions.items():
        func = present.get(name)
        if func is None:
            raise ProfileError(f"profile={profile.name}: it is of a function '{name}', which there is not")
        if shape(func) != wanted:
            raise ProfileError(
                f"profile={profile.name}: '{name}' has another flow graph than when it was profiled, after the passes "
                f"'{profile.passes}'; profile it with those that run before decompose (fs-run -p …)"
            )
        blocks = list(func.body.blocks)
        for number, taken in branches.items():
            last = blocks[number].last_op
            assert last is not None
            last.attributes[TAKEN] = ArrayAttr([IntAttr(n) for n in taken])


def detach(module: ModuleOp) -> None:
    """Take the counts off again."""
    for op in module.walk():
        op.attributes.pop(TAKEN, None)


def taken_of(branch: Operation | None) -> list[int] | None:
    """How often each successor of a branch was taken; None if the profile does not say."""
    counts = branch.attributes.get(TAKEN) if branch is not None else None
    if not isinstance(counts, ArrayAttr):
        return None
    found = [n.data for n in counts if isinstance(n, IntAttr)]
    return found if sum(found) else None


def shape(func: FuncOp) -> str:
    """What tells one flow graph from another."""
    numbers = {block: n for n, block in enumerate(func.body.blocks)}
    edges: Iterable[list[int]] = ([numbers[s] for s in successors(block)] for block in numbers)
    return hashlib.sha256(json.dumps(list(edges)).encode()).hexdigest()[:16]


def _function_of(op: Operation) -> FuncOp:
    parent = op.parent_op()
    while not isinstance(parent, FuncOp):
        assert parent is not None
        parent = parent.parent_op()
    return parent
