"""What runs of a program reached: sides of conditional branches taken, numbers compared, keys looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.ir import Operation, SSAValue

from fsir.dialects import ebpf, packet
from fsir.interp.map_base import Map

if TYPE_CHECKING:
    from fsir.interp.helper_base import Call
    from fsir.interp.machine import Machine


class Branches:
    """Gathers over all runs of the programs that it is given to. A branch is the operation; its sides are its
    successors.

    taken      1 at twice a branch's number plus the number of the side, once that side was taken
    compared   (branch, left, right) of each comparison made while a side of the branch had not been taken yet: what
               to change in the input to take it; cleared by whoever reads it
    looked_up  the keys that were looked up, by map

    `attach` is called with the machine of each program, before anything is linked.

    With `counting`, `taken` says how often each side was taken, and nothing else is gathered.
    """

    traces = False
    """Whether every access to memory is to be seen, those in the frame too."""

    def __init__(self, counting: bool = False) -> None:
        self.counting = counting
        self.ops: list[Operation] = []
        self.taken: list[int] = []
        self.compared: list[tuple[int, int, int]] = []
        self.looked_up: dict[str, dict[bytes, None]] = {}
        self._numbers: dict[Operation, int] = {}

    def number(self, op: Operation) -> int:
        """The number of a branch; each has one."""
        if op not in self._numbers:
            self._numbers[op] = len(self.ops)
            self.ops.append(op)
            self.taken += [0, 0]
        return self._numbers[op]

    def is_open(self, number: int) -> bool:
        """Whether a side of the branch was not taken yet."""
        return not (self.taken[2 * number] and self.taken[2 * number + 1])

    def is_taken(self, side: tuple[Operation, int]) -> bool:
        """Whether a side of a branch was taken."""
        number = self._numbers.get(side[0])
        return number is not None and bool(self.taken[2 * number + side[1]])

    def open_sides(self) -> list[tuple[Operation, int]]:
        """The sides that were never taken."""
        return [(self.ops[i // 2], i % 2) for i, taken in enumerate(self.taken) if not taken]

    def names(self) -> dict[str, object]:
        """What generated code finds under these names."""
        return {"taken": self.taken, "compared": self.compared}

    def attach(self, machine: Machine) -> None:
        """Observe what programs do to a machine."""
        for target in machine.maps.values():
            self.watch(target)

    def helper(self, number: int, call: Call) -> Call:
        """The implementation of a helper as programs are to call it."""
        return call

    def watch(self, target: Map) -> None:
        """Note the keys that the program looks up in a map."""
        if self.counting:
            return
        lookup = target.lookup
        keys = self.looked_up.setdefault(target.name, {})

        def noting(key: bytes, cpu: int) -> int:
            keys.setdefault(key)
            return lookup(key, cpu)

        target.lookup = noting  # type: ignore[method-assign]


def compared_values(branch: Operation) -> tuple[SSAValue, SSAValue | int, int] | None:
    """What a branch compares: two values, or a value and a number; and what is added to the first before. None for a
    branch on something else."""
    if isinstance(branch, ebpf.BranchOp):
        fixed = branch.fixed_operands()
        if len(fixed) == 2:
            return fixed[0], fixed[1], 0
        return (fixed[0], branch.int_prop("imm"), 0) if fixed else None
    test = branch.operands[0].owner
    if isinstance(test, arith.CmpiOp):
        return test.lhs, test.rhs, 0
    return (test.ptr, test.end, test.size.data) if isinstance(test, packet.GuardOp) else None
