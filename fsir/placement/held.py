"""What a program holds, or has seen, when control comes to a block, and what it will still change: the state apart from
values that forbids a cut there, or makes it depend on the order of packets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xdsl.dialects import arith
from xdsl.dialects.builtin import i32
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree, successors
from fsir.dialects import ebpf, packet
from fsir.dialects import map as maps
from fsir.interp.helpers import HELPERS
from fsir.placement.access import CHANGES, Kind, MapAccesses
from fsir.placement.loops import evaluate

LOCK = "a spin lock may be held"
SECTION = "it may be inside of a critical section (RCU, preemption or interrupts off)"
REFERENCE = "a reference that must be released may be held"
REDIRECT = "the packet's way out may have been chosen already (redirect), which only the kernel knows"
METADATA = "the program has put metadata of its own in front of the packet, and how much is not known"

_TAKES = {"spin_lock": LOCK}
_ADJUST_META = "xdp_adjust_meta"
_MOST_METADATA = 252
_MOST_SIZES = 4
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

    metadata: set[int | None] = field(default_factory=set)
    """Bytes that the program may have put in front of the packet; None for any number."""


class Held:
    """May-facts at the start of each reachable block of a function."""

    def __init__(self, tree: DominatorTree, accesses: MapAccesses) -> None:
        self._at = {block: _Facts() for block in tree.rpo}
        self._at[tree.rpo[0]].redirects.add(None)
        self._at[tree.rpo[0]].metadata.add(0)
        chosen = {block: _redirect_of(block, accesses) for block in tree.rpo}
        grown = {block: list(_growths(block, tree, accesses)) for block in tree.rpo}
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
                metadata = _grown(facts.metadata, grown[block])
                for target in successors(block):
                    at = self._at[target]
                    again |= not (held <= at.held and seen <= at.seen and redirects <= at.redirects)
                    again |= not metadata <= at.metadata
                    at.metadata |= metadata
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
        facts = self._at[block]
        found = set(facts.held)
        if facts.redirects - {None} and self.redirect(block) is None:
            found.add(REDIRECT)
        if None in facts.metadata or len(facts.metadata) > _MOST_SIZES:
            found.add(METADATA)
        return sorted(found)

    def metadata(self, block: Block) -> tuple[int, ...]:
        """How many bytes the program may have put in front of the packet, none aside."""
        return tuple(sorted(size for size in self._at[block].metadata if size))

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


def _growths(block: Block, tree: DominatorTree, accesses: MapAccesses) -> Iterable[set[int] | None]:
    """By how many bytes the metadata may grow in a block, one time after the other; None where that is not known."""
    for op in block.ops:
        if _adjusts_meta(op):
            found = _constants(op.operands[1], tree)
            yield None if found is None else {(1 << 31) - (by & 0xFFFFFFFF ^ 1 << 31) for by in found}
        elif any(map(_adjusts_meta, accesses.runs(op))):
            yield None


def _constants(value: SSAValue, tree: DominatorTree) -> set[int] | None:
    """What a number can be whose low 32 bits count, where that is some constants."""
    found: set[int] = set()
    seen, work = {value}, [value]
    while work:
        current = work.pop()
        number = evaluate(current, {})
        if number is not None:
            found.add(number)
            continue
        if isinstance(current, BlockArgument):
            sources = [
                v[current.index] for p in tree.predecessors(current.owner) for t, v in edges(p) if t is current.owner
            ]
        elif isinstance(current.owner, arith.SelectOp):
            sources = [current.owner.lhs, current.owner.rhs]
        elif isinstance(current.owner, arith.ExtUIOp | arith.ExtSIOp | arith.TruncIOp) and i32 in (
            current.type,
            current.owner.operands[0].type,
        ):
            sources = [current.owner.operands[0]]
        else:
            return None
        if not sources:
            return None
        work += [source for source in sources if source not in seen]
        seen.update(sources)
    return found


def _adjusts_meta(op: Operation) -> bool:
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        return helper is not None and helper.name == _ADJUST_META
    return isinstance(op, packet.AdjustMetaOp)


def _grown(sizes: set[int | None], by: Iterable[set[int] | None]) -> set[int | None]:
    """The sizes after some growths, each of which the kernel may refuse."""
    found = set(sizes)
    for growth in by:
        if growth is None:
            return {None}
        moved = {size + each for size in found if size is not None for each in growth}
        found |= {size for size in moved if 0 <= size <= _MOST_METADATA}
    return found


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
    if isinstance(op, ebpf.CallKfuncOp) and op.callee is not None:
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
