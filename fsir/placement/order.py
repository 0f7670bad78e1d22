"""In which order packets have their effects, where some are handed over and others are not.

A packet that the kernel's part is done with at once may come behind one that is still on its way to user space. That
shows where the two touch the same map, one of them changes it, and the accesses do not commute. Then the order is kept:
handed-over packets are counted (a *ticket* in the header), and in front of what conflicts the kernel's part asks for
those that are in flight (`placement.overtakes`). While there are any, the packet follows them, as it came, and user
space does all of it. So a *gate* stands where nothing has happened yet that would happen twice: on the ways from code
without effects to code with some.

`per-flow`: where all conflicting accesses of a packet are by one key, only those in flight whose key has the same
hash are waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from xdsl.dialects import arith
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.dominance import successors
from fsir.analysis.effects import FRAME, EffectTable
from fsir.dialects import ebpf
from fsir.dialects import map as maps
from fsir.placement.access import ANY_MAP, Access, Kind
from fsir.placement.crossing import Crossing, Field, Impossible
from fsir.placement.cuts import PartCuts, fill_liveness
from fsir.placement.decide import Chooser, Placed
from fsir.placement.sharing import conflict
from fsir.placement.stopping import INF

SEQUENTIAL, PER_FLOW, COMMUTING = "sequential", "per-flow", "commuting"
TICKET_FIELDS = (("in flight", 32, "ticket"), ("in flight among", 8, "slot"))
"""What a handoff carries, behind all else, where packets are counted: its number, and among which."""
_BY_KEY = (maps.LookupOp, maps.UpdateOp, maps.DeleteOp)
_BY_PREFIX = frozenset({"lpm_trie"})
"""Maps in which different keys have the same element."""
_LOOKS = frozenset({Kind.LOOKUP, Kind.READ, Kind.REDIRECT})
_HARMLESS = frozenset({(Kind.LOOKUP, Kind.ADD), (Kind.LOOKUP, Kind.WRITE)})


@dataclass(frozen=True)
class Gate:
    """Where a part asks whether the packet would overtake others: in front of operation number `at` of `block`, for
    control that comes from `source` (from anywhere, where that is None)."""

    source: Block | None
    block: Block
    at: int = 0


@dataclass
class Order:
    """The order of one program's packets between two parts. `of` says it of each cut; `key` are the values whose hash
    chooses among whom to look, empty for all. `restart` is the cut in front of the program."""

    of: dict[Block, str]
    why: str = ""
    gates: list[Gate] = field(default_factory=list)
    key: tuple[SSAValue, ...] = ()
    restart: Crossing | None = None
    not_kept: str = ""
    """Why the order is not kept, though it matters."""

    def counted(self, block: Block) -> bool:
        """Whether packets that are handed over in front of a block are counted."""
        return bool(self.gates) and self.of[block] != COMMUTING


def keep_order(
    chooser: Chooser,
    placed: Placed,
    cuts: list[PartCuts],
    effects: EffectTable,
    others: Iterable[Placed],
    fits: Callable[[int, Crossing], str | None],
    wanted: bool,
) -> None:
    """Say of a program's cuts in which order packets have their effects, and change them so that it is kept where that
    matters and is `wanted`. `fits` says why a target cannot send a handoff. `others` are the programs placed beside
    this one."""
    for part in cuts:
        part.order = Order(dict.fromkeys(part.leaves, COMMUTING))
    found = [t for t, target in enumerate(chooser.targets) if target.kind == "xdp"]
    sender = found[0] if found else len(cuts)
    receiver = sender + 1
    if receiver >= len(cuts):
        return
    planner = _Order(chooser, placed, cuts[sender], sender, effects, others)
    cuts[sender].order = order = planner.judge()
    if SEQUENTIAL not in order.of.values() or not wanted:
        return
    try:
        if sender or receiver != len(cuts) - 1:
            raise Impossible("packets come from a NIC, and the kernel cannot hand them over as they came")
        planner.gate(order)
        for crossing in (order.restart, *(c for b, c in cuts[0].leaves.items() if order.of[b] != COMMUTING)):
            assert crossing is not None
            if (reason := fits(0, with_ticket(crossing))) is not None:
                raise Impossible(reason)
    except Impossible as error:
        order.gates, order.not_kept = [], str(error)
        return
    cuts[receiver].runs = set(placed.program.graph.tree.rpo)
    cuts[receiver].live_in.clear()
    fill_liveness(placed.program.graph.tree.rpo, cuts[receiver])


def with_ticket(crossing: Crossing) -> Crossing:
    """A cut with room for the number of the packet."""
    ticket = [Field("scalar", width, name) for name, width, _ in TICKET_FIELDS]
    return replace(crossing, fields=[*crossing.fields, *ticket])


class _Order:
    def __init__(
        self,
        chooser: Chooser,
        placed: Placed,
        cuts: PartCuts,
        sender: int,
        effects: EffectTable,
        others: Iterable[Placed],
    ) -> None:
        self.chooser, self.program, self.cuts, self.effects = chooser, placed.program, cuts, effects
        self.tree = placed.program.graph.tree
        self.kernel, self.user = chooser.targets[sender], chooser.targets[-1]
        accesses = chooser.accesses
        self.declarations = accesses.declarations
        self.by_block: dict[Block, list[Access]] = {block: accesses.of_block(block) for block in self.tree.rpo}
        self.beside = {
            (name, kind)
            for func in (*chooser.staying, *(other.program.func for other in others))
            for name, kind, _ in accesses.of_function(func)
        }
        self.in_kernel = [access for block in self.tree.rpo if block in cuts.runs for access in self.by_block[block]]

    def judge(self) -> Order:
        """What order each cut has to keep."""
        order = Order({})
        blamed: dict[str, None] = {}
        for block, crossing in self.cuts.leaves.items():
            after = [access for b in self._from([block], self.tree.rpo) for access in self.by_block[b]]
            after += self._on_arrival(crossing)
            found = {one[0] for one in self.in_kernel for other in after if self._clash(one, other)}
            order.of[block] = SEQUENTIAL if found else COMMUTING
            blamed |= dict.fromkeys(sorted(found))
        if blamed:
            order.why = "parts change and read " + ", ".join(
                "memory of unknown kind" if name == ANY_MAP else name for name in blamed
            )
        return order

    def _on_arrival(self, crossing: Crossing) -> list[Access]:
        """Elements that are held over a cut are looked up again."""
        array = self.chooser.accesses.is_array
        first = crossing.block.first_op
        assert first is not None
        return [(name, Kind.LOOKUP, first) for name in sorted(crossing.maps) if not array(name)]

    def gate(self, order: Order) -> None:
        """Place the gates. Raises Impossible."""
        self._check_restart()
        everything = [access for accesses in self.by_block.values() for access in accesses]
        triggers = {one[2] for one in self.in_kernel if any(self._clash(one, other) for other in everything)}
        names = {name for name, _, op in self.in_kernel if op in triggers}
        first = {block: self._first_active(block, triggers) for block in self.tree.rpo if block in self.cuts.runs}
        active = [block for block, at in first.items() if at is not None]
        behind = self._from(active, self.cuts.runs)
        leads = self._leading_to({b for b in self.cuts.runs if any(op in triggers for op in b.ops)})
        for block in (b for b in self.tree.rpo if b in behind and b in leads):
            before = [p for p in self.tree.predecessors(block) if p in self.cuts.runs and p in first]
            clean = [p for p in before if p not in behind]
            entry = block is self.program.func.entry
            if len(clean) == len(before) and first[block] is not None:
                order.gates.append(Gate(None, block, first[block] or 0))
            elif entry:
                raise Impossible("the program begins with a loop")
            else:
                order.gates += [Gate(p, block) for p in clean]
        order.restart = self.program.crossings.plan_for(self.program.func.entry, set(self.program.func.entry.args))
        key = self._key(names)
        if key and all(self._known(key, gate) for gate in order.gates) and self._known_at_cuts(key, order):
            order.key = key
            order.of = {block: PER_FLOW if kind == SEQUENTIAL else kind for block, kind in order.of.items()}

    def _check_restart(self) -> None:
        """Whether user space can do all of a packet."""
        for number, piece in enumerate(self.program.graph.pieces):
            if self.program.run[number][-1] == INF and any(map(self.tree.is_reachable, piece.blocks)):
                reasons = self.program.why_not[number][-1]
                why = str(reasons[0]) if reasons else "some of it was kept off there"
                raise Impossible(f"{self.user.name} cannot do all of a packet: {why}")
        whole = {(name, kind) for accesses in self.by_block.values() for name, kind, _ in accesses}
        for name, kind in sorted(whole):
            declaration = self.declarations.get(name)
            for turns, against in ((True, {(n, k) for n, k, _ in self.in_kernel}), (False, self.beside)):
                for other in sorted(k for n, k in against if n == name):
                    if declaration is None:
                        raise Impossible("memory is accessed through an address of unknown kind")
                    reason_why = conflict(declaration, (self.kernel, other), (self.user, kind), turns)
                    if reason_why is not None:
                        raise Impossible(reason_why)

    def _clash(self, one: Access, other: Access) -> bool:
        """Whether it matters which of two accesses, the second in user space, comes first."""
        (name, kind, _), (other_name, other_kind, _) = one, other
        if name != other_name:
            return ANY_MAP in (name, other_name)
        if {kind, other_kind} <= _LOOKS or {(kind, other_kind), (other_kind, kind)} & _HARMLESS:
            return False
        return not kind is other_kind is Kind.ADD

    def _first_active(self, block: Block, triggers: set[Operation]) -> int | None:
        """The number of the first operation that would show if it were done twice, or has to wait; None without one."""
        for index, op in enumerate(block.ops):
            if op in triggers or self.effects.of(op).writes & ~FRAME:
                return index
        return None

    def _from(self, starts: Iterable[Block], within: Iterable[Block]) -> set[Block]:
        """The blocks that control comes to from some blocks, these included."""
        allowed, found = set(within), set(starts)
        work = list(found)
        while work:
            for target in successors(work.pop()):
                if target in allowed and target not in found:
                    found.add(target)
                    work.append(target)
        return found

    def _leading_to(self, ends: set[Block]) -> set[Block]:
        found, work = set(ends), list(ends)
        while work:
            for source in self.tree.predecessors(work.pop()):
                if source in self.cuts.runs and source not in found:
                    found.add(source)
                    work.append(source)
        return found

    # --- per flow ----------------------------------------------------------------------------------------------------

    def _key(self, names: set[str]) -> tuple[SSAValue, ...]:
        """The values by which all accesses of some maps go; none where there is no such key."""
        found: set[tuple[SSAValue, ...]] = set()
        for block in self.tree.rpo:
            for name, _, op in self.chooser.accesses.of_block(block):
                if name == ANY_MAP or (name in names and not self._by_key(op, name)):
                    return ()
            for op in block.ops:
                if isinstance(op, maps.LookupAtOp | maps.UpdateAtOp | maps.DeleteAtOp):
                    if op.map.root_reference.data in names:
                        return ()
                elif isinstance(op, _BY_KEY) and op.map.root_reference.data in names:
                    found.add(tuple(_key_of(op)))
        if len(found) != 1:
            return ()
        (key,) = found
        if all(isinstance(value.owner, arith.ConstantOp) for value in key):
            return ()
        graph = self.program.graph
        owners = [value.owner if isinstance(value.owner, Block) else value.owner.parent for value in key]
        looped = any(owner is None or graph.pieces[graph.piece_of[owner]].is_loop for owner in owners)
        return () if looped else key

    def _by_key(self, op: Operation, name: str) -> bool:
        """Whether an access is by a key that is a value, or through an address that such a lookup gave."""
        declaration = self.declarations.get(name)
        if isinstance(op, ebpf.CallLocalOp) or declaration is None or declaration.internal is not None:
            return False
        if declaration.type.data in _BY_PREFIX:
            return False
        if any(isinstance(v.type, maps.HandleType) for v in op.operands):
            return False
        return isinstance(op, _BY_KEY) or any(isinstance(v.type, maps.ValueType) for v in op.operands)

    def _known(self, key: Sequence[SSAValue], gate: Gate) -> bool:
        """Whether a key is there where a gate is."""
        block = gate.source or gate.block
        for value in key:
            owner = value.owner
            if isinstance(owner, Block) or gate.source is not None or owner.parent is not block:
                home = owner if isinstance(owner, Block) else owner.parent
                if home is None or not self.tree.dominates(home, block):
                    return False
                if gate.source is None and home is block and not isinstance(owner, Block):
                    return False
            elif list(block.ops).index(owner) >= gate.at:
                return False
        return True

    def _known_at_cuts(self, key: Sequence[SSAValue], order: Order) -> bool:
        homes = [value.owner if isinstance(value.owner, Block) else value.owner.parent for value in key]
        return all(
            home is not None and self.tree.strictly_dominates(home, block)
            for block, kind in order.of.items()
            if kind != COMMUTING
            for home in homes
        )


def _key_of(op: Operation) -> Sequence[SSAValue]:
    assert isinstance(op, _BY_KEY)
    return op.operands[: op.int_prop("key_count")]


__all__ = ["COMMUTING", "PER_FLOW", "SEQUENTIAL", "TICKET_FIELDS", "Gate", "Order", "keep_order", "with_ticket"]
