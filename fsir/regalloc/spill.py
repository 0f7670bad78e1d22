"""Values that found no register: stored after each definition and loaded where they are used, or made again.

First a value is loaded once per stretch without calls and stays in a register for that stretch (`short` nodes); where
even that is too much, it is loaded anew at each use. Nodes for those shortest lives are `tight` and never spilled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fsir.regalloc.constants import small_immediate
from fsir.regalloc.model import FIRST, CodeBlock, Copies, Insn, Kind, MachineCode, Step


def spill(code: MachineCode, classes: Iterable[Collection[int]]) -> None:
    """Give the nodes of each class a home outside of registers, and rewrite the code accordingly."""
    spilled: set[int] = set()
    for members in classes:
        slot: int | None = None
        for node in members:
            spilled.add(node)
            if code.template[node]:
                code.kind[node] = Kind.GONE
                continue
            code.kind[node] = Kind.SLOT
            if node not in code.slot:  # else it is a reload of that slot
                if slot is None:
                    slot, code.slots = code.slots, code.slots + 1
                code.slot[node] = slot
    rewriter = _Rewriter(code, spilled, _wanted_after(code, spilled))
    for index in code.order:
        rewriter.rewrite(code.blocks[index])


def with_joins(code: MachineCode, groups: Sequence[Collection[int]], adjacent: Sequence[set[int]]) -> list[list[int]]:
    """The groups of nodes to spill, each with the block arguments that are nothing but copied to it, if no more edges
    would store them than load them now, and the one store of the block itself: they would come into registers only to
    be stored. `adjacent` are the nodes that interfere with each."""
    group_of = {node: number for number, members in enumerate(groups) for node in members}
    into: dict[int, set[int]] = {}
    stores: Counter[int] = Counter()
    for block in code.blocks:
        for step in block.steps:
            if isinstance(step, Insn):
                for node in step.uses:
                    into.setdefault(node, set()).add(-1)
                continue
            for node, source in step.pairs:
                into.setdefault(source, set()).add(group_of.get(node, -1))
                if node in code.joins:
                    stores[node] += -1 if code.kind[source] is Kind.SLOT or source in group_of else 1
    found = [list(members) for members in groups]
    for join in sorted(code.joins - group_of.keys()):
        targets = into.get(join, set())
        if len(targets) != 1 or stores[join] > 1 or code.kind[join] is not Kind.REGISTER:
            continue
        number = next(iter(targets))
        if number < 0 or any(code.template[node] for node in found[number]):
            continue
        if not adjacent[join].intersection(found[number]):
            found[number].append(join)
    return found


def _wanted_after(code: MachineCode, spilled: set[int]) -> list[set[int]]:
    """The spilled nodes, by block, that instructions read next on all ways from its end, before any call."""
    read, stopped = [], []
    for block in code.blocks:
        first: set[int] = set()
        ended: set[int] = set()
        for step in block.steps:
            if isinstance(step, Copies):
                ended.update(node for node, _ in step.pairs if node in spilled and node not in first)
            else:
                first.update(node for node in step.uses if node in spilled and node not in ended)
                ended.update(node for node in step.defs if node in spilled and node not in first)
                if step.clobbers:
                    ended |= spilled - first
        read.append(first)
        stopped.append(ended)
    after = [set(spilled) if block.succs else set[int]() for block in code.blocks]
    changed = True
    while changed:
        changed = False
        for index in reversed(code.order):
            block = code.blocks[index]
            ahead = [read[s] | (after[s] - stopped[s]) for s in block.succs]
            found = set.intersection(*ahead) if ahead else set[int]()
            if found != after[index]:
                after[index] = found
                changed = True
    return after


class _Rewriter:
    def __init__(self, code: MachineCode, spilled: set[int], wanted_after: list[set[int]]) -> None:
        self.code, self.spilled, self.wanted_after = code, spilled, wanted_after
        self.current: dict[int, int] = {}
        """The node that holds a spilled node's value in this stretch of the code."""
        self.at_end: dict[int, dict[int, int]] = {}
        self.carriers: dict[int, int] = {}

    def rewrite(self, block: CodeBlock) -> None:
        self.current = self.entering(block)
        old, block.steps = block.steps, []
        for at, step in enumerate(old):
            if isinstance(step, Copies):
                following = old[at + 1] if at + 1 < len(old) else None
                tied = following.defs[0] if isinstance(following, Insn) and following.tied else -1
                self.rewrite_copies(step, tied, block.steps)
            else:
                self.rewrite_insn(step, block.steps)
        self.load_for_successors(block)
        self.at_end[block.index] = self.current

    def entering(self, block: CodeBlock) -> dict[int, int]:
        """What holds spilled values on entry: what does so at the end of all predecessors."""
        before = [self.at_end.get(index) for index in block.preds]
        if not before or before[0] is None or block.index == 0:
            return {}
        return {
            node: held
            for node, held in before[0].items()
            if node not in block.joins and all(other is not None and other.get(node) == held for other in before)
        }

    def load_for_successors(self, block: CodeBlock) -> None:
        """Load at the end of a branching block what is needed soon whatever way it goes."""
        if len(block.succs) < 2:
            return
        steps = block.steps
        wanted = self.wanted_after[block.index] - self.current.keys() - self.code.short - self.code.joins
        for node in sorted(wanted):
            last = steps[-1]
            assert isinstance(last, Insn)
            source = self.source_of(node)
            place = len(steps) - 1 - (len(steps) > 1 and isinstance(steps[-2], Copies))
            steps.insert(place, Copies([(self.short_lived(node), source)], last.op))

    def source_of(self, node: int) -> int:
        """What to copy from to get the value of a spilled node: what holds it, its slot, or its template."""
        if (held := self.current.get(node)) is not None:
            return held
        return self.code.template[node] if self.code.kind[node] is Kind.GONE else node

    def short_lived(self, node: int) -> int:
        """A new node for the value of a spilled node, until the next call or, if it has been that, for one step."""
        code = self.code
        fresh = code.node(code.hint[node], template=code.template[node])
        if node in code.short:
            code.tight.add(fresh)
        else:
            code.short.add(fresh)
            self.current[node] = fresh
            if not code.template[node]:
                code.slot[fresh] = code.slot[node]
        return fresh

    def rewrite_copies(self, step: Copies, tied: int, steps: list[Step]) -> None:
        code, kind, slot = self.code, self.code.kind, self.code.slot
        carried: list[tuple[int, int]] = []
        pairs: list[tuple[int, int]] = []
        stores: list[tuple[int, int]] = []
        redefined: list[int] = []
        for node, source in step.pairs:
            if source in self.spilled:
                source = self.source_of(source)
            if node != tied and kind[node] in (Kind.SLOT, Kind.GONE):
                redefined.append(node)
                if kind[node] is Kind.GONE or (kind[source] is Kind.SLOT and slot[source] == slot[node]):
                    continue
                if kind[source] is Kind.SLOT or (kind[source] is Kind.TEMPLATE and small_immediate(code, source) != 0):
                    carried.append((node, source))
                    continue
                if node in self.spilled and node not in code.joins and kind[source] is Kind.REGISTER:
                    # What was just stored need not be loaded by the next that uses it.
                    stores.append((node, source))
                    continue
            pairs.append((node, source))
        for node in redefined:
            self.current.pop(node, None)
        pairs += self.carry(carried, pairs, step, steps)
        held = [(self.short_lived(node), source) for node, source in stores]
        for fresh, source in held:
            code.origin[fresh] = code.origin[source] if source >= FIRST else fresh
        if pairs or held:
            steps.append(Copies(pairs + held, step.at))
        if stores:
            steps.append(Copies([(stores[i][0], held[i][0]) for i in range(len(stores))], step.at))

    def carry(
        self, carried: list[tuple[int, int]], others: list[tuple[int, int]], step: Copies, steps: list[Step]
    ) -> list[tuple[int, int]]:
        """Copies to slots of what is in no register, each by way of one: one after the other, as long as no other copy
        has to read the slot before. Gives what is left to be done at the same time as the others."""
        slot, kind = self.code.slot, self.code.kind
        pending = list(carried)
        read = Counter(slot[source] for _, source in (*pending, *others) if kind[source] is Kind.SLOT)
        again = True
        while again:
            again = False
            for node, source in list(pending):
                if not read[slot[node]]:  # (copies within one slot are gone already)
                    self.by_carrier([(node, source)], step, steps)
                    steps.append(Copies([(node, self.carriers[node])], step.at))
                    pending.remove((node, source))
                    if kind[source] is Kind.SLOT:
                        read[slot[source]] -= 1
                    again = True
        if pending:
            self.by_carrier(pending, step, steps)
        return [(node, self.carriers[node]) for node, _ in pending]

    def by_carrier(self, pairs: list[tuple[int, int]], step: Copies, steps: list[Step]) -> None:
        """Bring values into registers."""
        loads: list[tuple[int, int]] = []
        for node, source in pairs:
            self.carriers[node] = carrier = self.code.node()
            self.code.tight.add(carrier)
            loads.append((carrier, source))
        steps.append(Copies(loads, step.at))

    def rewrite_insn(self, step: Insn, steps: list[Step]) -> None:
        result = step.defs[0] if step.defs and step.defs[0] in self.spilled else None
        new: dict[int, int] = {}
        if result is not None and step.tied:
            # The copy before gives the short-lived node what it would have given the spilled one.
            self.current.pop(result, None)
            new[result] = self.short_lived(result)
            copies = steps[-1]
            assert isinstance(copies, Copies)
            copies.pairs = [(new.get(node, node), source) for node, source in copies.pairs]
        for index, node in enumerate(step.uses):
            if node in self.spilled:
                if node not in new:
                    new[node] = self.load(node, step, steps)
                step.uses[index] = new[node]
        steps.append(step)
        if step.clobbers:
            self.current.clear()
        if result is not None:
            fresh = new[result] if step.tied else self.short_lived(result)
            step.defs = [fresh]
            if self.code.kind[result] is Kind.SLOT:
                steps.append(Copies([(result, fresh)], step.op))

    def load(self, node: int, step: Insn, steps: list[Step]) -> int:
        """The node that holds a spilled node's value for an instruction, loaded before it if need be."""
        if (held := self.current.get(node)) is not None:
            return held
        source = self.source_of(node)
        fresh = self.short_lived(node)
        # The copy of a two-address instruction stays next to it.
        steps.insert(len(steps) - (1 if step.tied else 0), Copies([(fresh, source)], step.op))
        return fresh
