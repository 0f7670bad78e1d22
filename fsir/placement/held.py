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
REDIRECT = "the packet's way out may have been chosen already (redirect), which only the kernel knows"
METADATA = "the program has put metadata of its own in front of the packet"

_TAKES = {"spin_lock": LOCK, "xdp_adjust_meta": METADATA}
_REDIRECTS = ("redirect", "redirect_map", "redirect_peer", "redirect_neigh")
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
    redirects: set[Operation | None] = field(default_factory=set)
    """The operations by which the way out may have been chosen last; None where it may not have been."""


class Held:
    """May-facts at the start of each reachable block of a function."""

    def __init__(self, tree: DominatorTree, accesses: MapAccesses) -> None:
        self._at = {block: _Facts() for block in tree.rpo}
        self._at[tree.rpo[0]].redirects.add(None)
        chosen = {block: _redirect_of(block, accesses) for block in tree.rpo}
        touched = {block: {(name, kind) for name, kind, _ in accesses.of_block(block)} for block in tree.rpo}
        again = True
        while again:
            again = False
            for block in tree.rpo:
                facts = self._at[block]
                held = _after(block.ops, facts.held, accesses)
                seen = facts.seen | {access for access in touched[block] if access[1] in _SPOILT}
                last = chosen[block]
                redirects = facts.redirects if last is None else {last}
                for target in successors(block):
                    at = self._at[target]
                    again |= not (held <= at.held and seen <= at.seen and redirects <= at.redirects)
                    at.held |= held
                    at.seen |= seen
                    at.redirects |= redirects
            for block in reversed(tree.rpo):
                changes = {access for access in touched[block] if access[1] in CHANGES}
                changes = changes.union(*(self._at[target].changes for target in successors(block)))
                again |= changes != self._at[block].changes
                self._at[block].changes = changes

    def reasons(self, block: Block) -> list[str]:
        """Why the program cannot be cut in front of a block; none is good."""
        unknown = self._at[block].redirects - {None} and self.redirect(block) is None
        return sorted(self._at[block].held | ({REDIRECT} if unknown else set()))

    def is_mixed(self, block: Block) -> bool:
        """Whether the packet's way out was chosen on some ways to a block, or in several manners."""
        return len(self._at[block].redirects) > 1

    def redirect(self, block: Block) -> Operation | None:
        """The operation by which the packet's way out was chosen, if it is one on all ways and can be done again."""
        found = self._at[block].redirects
        op = next(iter(found)) if len(found) == 1 else None
        return op if op is not None and _redirects(op) else None

    def decided(self, block: Block) -> list[str]:
        """The maps that were looked at before a cut and are changed after it. The change may have been decided on by
        what was seen, which is the same still if the packet is done with before the next one, and may be old if not."""
        facts = self._at[block]
        return sorted({n for n, k in facts.seen for m, change in facts.changes if n == m and change in _SPOILT[k]})


def _redirect_of(block: Block, accesses: MapAccesses) -> Operation | None:
    """The last operation of a block that chooses the packet's way out, a call of a function that does among them."""
    found = None
    for op in block.ops:
        if _redirects(op) or any(map(_redirects, accesses.runs(op))):
            found = op
    return found


def _redirects(op: Operation) -> bool:
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        return helper is not None and helper.name in _REDIRECTS
    return isinstance(op, maps.RedirectOp)


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
    if isinstance(op, packet.AdjustMetaOp):
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
