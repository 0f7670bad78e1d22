"""What a program holds, or has seen, when control comes to a block, and what it will still change: the state apart from
values that forbids a cut there, or makes it depend on the order of packets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xdsl.ir import Block, Operation

from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects import ebpf, packet
from fsir.dialects import map as maps
from fsir.interp.helpers import HELPERS
from fsir.placement.access import CHANGES, Kind, MapAccesses

LOCK = "a spin lock may be held"
SECTION = "it may be inside of a critical section (RCU, preemption or interrupts off)"
REFERENCE = "a reference that must be released may be held"
REDIRECT = "the packet's way out was already chosen (redirect), which only the kernel knows"
METADATA = "the program has put metadata of its own in front of the packet"

_TAKES = {"spin_lock": LOCK, "redirect": REDIRECT, "redirect_map": REDIRECT, "xdp_adjust_meta": METADATA}
_GIVES = {"spin_unlock": LOCK}
_KFUNC_TAKES = ("bpf_rcu_read_lock", "bpf_preempt_disable", "bpf_local_irq_save", "bpf_res_spin_lock")
_KFUNC_GIVES = ("bpf_rcu_read_unlock", "bpf_preempt_enable", "bpf_local_irq_restore", "bpf_res_spin_unlock")
_SPOILT: dict[Kind, frozenset[Kind]] = {
    Kind.READ: CHANGES,
    Kind.LOOKUP: CHANGES - {Kind.ADD, Kind.WRITE},
}
"""Ways of looking at a map, and the later changes that may have been decided on by that."""


@dataclass
class _Facts:
    held: set[str] = field(default_factory=set)
    seen: set[tuple[str, Kind]] = field(default_factory=set)
    changes: set[tuple[str, Kind]] = field(default_factory=set)


class Held:
    """May-facts at the start of each reachable block of a function."""

    def __init__(self, tree: DominatorTree, accesses: MapAccesses) -> None:
        self._at = {block: _Facts() for block in tree.rpo}
        touched = {block: {(name, kind) for name, kind, _ in accesses.of_block(block)} for block in tree.rpo}
        again = True
        while again:
            again = False
            for block in tree.rpo:
                facts = self._at[block]
                held = _after(block.ops, facts.held, accesses)
                seen = facts.seen | {access for access in touched[block] if access[1] in _SPOILT}
                for target in successors(block):
                    at = self._at[target]
                    again |= not (held <= at.held and seen <= at.seen)
                    at.held |= held
                    at.seen |= seen
            for block in reversed(tree.rpo):
                changes = {access for access in touched[block] if access[1] in CHANGES}
                changes = changes.union(*(self._at[target].changes for target in successors(block)))
                again |= changes != self._at[block].changes
                self._at[block].changes = changes

    def reasons(self, block: Block) -> list[str]:
        """Why the program cannot be cut in front of a block; none is good."""
        return sorted(self._at[block].held)

    def decided(self, block: Block) -> list[str]:
        """The maps that were looked at before a cut and are changed after it. The change may have been decided on by
        what was seen, which is the same still if the packet is done with before the next one, and may be old if not."""
        facts = self._at[block]
        return sorted({n for n, k in facts.seen for m, change in facts.changes if n == m and change in _SPOILT[k]})


def _after(ops: Iterable[Operation], held: set[str], accesses: MapAccesses) -> set[str]:
    result = set(held)
    for op in ops:
        for inner in accesses.runs(op):
            taken: set[str] = set()
            _step(inner, taken)
            result |= taken - {LOCK}  # which no function holds when it returns
        _step(op, result)
    return result


def _step(op: Operation, held: set[str]) -> None:
    """What holds after an operation, calls of the program's own functions aside."""
    if isinstance(op, maps.RedirectOp):
        held.add(REDIRECT)
    elif isinstance(op, packet.AdjustMetaOp):
        held.add(METADATA)
    elif isinstance(op, ebpf.CallKfuncOp) and op.callee is not None:
        name = op.callee.root_reference.data
        if name.startswith(_KFUNC_TAKES):
            held.add(SECTION)
        elif name.startswith(_KFUNC_GIVES):
            held.discard(SECTION)
    elif isinstance(op, ebpf.CallOp) and (helper := HELPERS.get(op.helper.data)) is not None:
        if helper.name in _TAKES:
            held.add(_TAKES[helper.name])
        elif helper.name in _GIVES:
            held.discard(_GIVES[helper.name])
        elif helper.acquires:
            held.add(REFERENCE)
        elif any(arg.releases for arg in helper.args):
            held.discard(REFERENCE)
