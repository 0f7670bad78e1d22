"""A decision as a placed module: parts, edges, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.ir import Attribute, Block, Operation, Region

from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp, int_attr
from fsir.dialects.placement import EdgeOp, PartOp
from fsir.driver.diagnostics import place_of
from fsir.placement.considered import Considered
from fsir.placement.crossing import Crossing
from fsir.placement.cuts import PartCuts
from fsir.placement.decide import Decision, Placed
from fsir.placement.order import COMMUTING, TICKET_FIELDS, Order
from fsir.placement.split import ResumePoint, Split, build
from fsir.placement.stopping import INF
from fsir.placement.targets import Target


@dataclass
class _PartContent:
    functions: list[FuncOp] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    load: float = 0.0
    packets: float = 0.0


@dataclass(frozen=True)
class _Edge:
    point: ResumePoint
    origin: int
    where: str
    order: str
    why: str
    not_kept: str = ""


class Assembler:
    """Replaces a module's programs by the parts they are cut into. `module` may be a copy of the one decided on."""

    def __init__(self, module: ModuleOp, decision: Decision, on_failure: str) -> None:
        self.module, self.decision, self.on_failure = module, decision, on_failure
        self.targets = decision.targets
        self.contents = [_PartContent() for _ in self.targets]
        self.edges: list[_Edge] = []
        self._next = 1
        self._bare = all(_leaves_at_once(placed) for placed in decision.placed) and _can_go_bare(self.targets)
        """Every packet leaves the first target as it came: the next one need not be told where to go on."""

    def run(self, cuts: list[list[PartCuts]]) -> None:
        """Build the parts; `cuts` by program and target."""
        self.module.attributes["placement.decision"] = self._summary()
        names = {placed.program.func.symbol for placed in self.decision.placed}
        programs = [op for op in self.module.body.block.ops if isinstance(op, FuncOp) and op.symbol in names]
        for placed, parts in zip(self.decision.placed, cuts, strict=True):
            self._program(placed, parts)
        self._copy_called()
        anchor = programs[0]
        for op in self._operations():
            self.module.body.block.insert_op_before(op, anchor)
        for func in programs:
            self.module.body.block.erase_op(func, safe_erase=False)
        self._erase_unused()

    # --- programs ----------------------------------------------------------------------------------------------------

    def _program(self, placed: Placed, parts: list[PartCuts]) -> None:
        func = placed.program.func
        points: list[dict[Block, ResumePoint]] = [{} for _ in parts]  # by the target that sends
        for t, part in enumerate(parts):
            for block, crossing in part.leaves.items():
                counted = part.order is not None and part.order.counted(block)
                points[t][block] = self._point(crossing, counted)
                where = str(place_of(block.first_op))
                self.edges.append(self._new_edge(points[t][block], t, where, part.order, block))
        restarts: dict[int, ResumePoint] = {}
        for t, part in enumerate(parts):
            if part.order is not None and part.order.gates:
                assert part.order.restart is not None
                restarts[t] = self._point(part.order.restart, True)
                self.edges.append(self._new_edge(restarts[t], t, "the program, to keep the order", part.order, None))
        for t, part in enumerate(parts):
            enters = [*points[t - 1].values(), *([restarts[t - 1]] if t - 1 in restarts else [])] if t else []
            if t and not enters and not self._finishes(t):
                continue
            starts = t == 0 or (t == 1 and self._bare)
            split = Split(
                self.targets[t].part,
                starts=starts,
                resumes=not starts,
                leaves={block: (self.targets[t + 1].part, point) for block, point in points[t].items()},
                enters=[] if starts else enters,
                order=part.order,
                restart=(self.targets[t + 1].part, restarts[t]) if t in restarts else None,
            )
            content = self.contents[t]
            content.functions.append(build(func, split, part.live_in))
            content.load += placed.plan.loads[t]
            arriving = sum(placed.plan.visits[t - 1].get(n, 0.0) for n in placed.plan.hands[t - 1]) if t else 1.0
            content.packets += arriving
            content.reasons |= dict.fromkeys(self._reasons(placed, t))

    def _finishes(self, t: int) -> bool:
        """Whether a target has to carry out verdicts of the one before (a NIC's, see backends/handoff.py)."""
        return self.targets[t - 1].kind == "p4" and self.targets[t].kind == "xdp"

    def _point(self, crossing: Crossing, counted: bool) -> ResumePoint:
        number = self._next
        self._next += 1
        return ResumePoint(number, crossing, counted)

    @staticmethod
    def _new_edge(point: ResumePoint, origin: int, where: str, order: Order | None, block: Block | None) -> _Edge:
        if order is None:
            return _Edge(point, origin, where, COMMUTING, "")
        kind = next(iter({*order.of.values()} - {COMMUTING}), COMMUTING) if block is None else order.of[block]
        not_kept = order.not_kept if kind != COMMUTING else ""
        return _Edge(point, origin, where, kind, _promise(kind, order), not_kept)

    def _reasons(self, placed: Placed, t: int) -> Iterable[str]:
        """Why code runs on target number t and not before, or no further."""
        program = placed.program
        if t == 0:
            yield f"packets arrive on {self.targets[0].name}"
            return
        before = self.targets[t - 1]
        unable = [n for n in sorted(placed.runs(t)) if program.run[n][t - 1] == INF]
        for n in unable:
            for reason in program.why_not[n][t - 1]:
                yield f"{before.name} cannot run it: {reason}"
        first = sorted(placed.plan.hands[t - 1] & placed.plan.visits[t - 1].keys())
        for n in first:
            where = place_of(program.graph.pieces[n].entries[0].first_op)
            if program.must_cut.intersection(program.graph.pieces[n].entries):
                yield f"{where}: asked for (cut-at)"
            elif not unable:
                yield f"{where}: cheaper from here on ({self.decision.objective})"
        yield from self.decision.shared_reasons

    # --- other functions ---------------------------------------------------------------------------------------------

    def _copy_called(self) -> None:
        """Each part gets its own copy of the functions that its code calls."""
        common = {op.symbol: op for op in self.module.body.block.ops if isinstance(op, FuncOp)}
        for content in self.contents:
            for name in _reached(content.functions, common):
                copied = common[name].clone()
                content.functions.append(copied)

    def _erase_unused(self) -> None:
        """Functions that only parts called are in the parts now."""
        common = {op.symbol: op for op in self.module.body.block.ops if isinstance(op, FuncOp)}
        copied = {f.symbol for content in self.contents for f in content.functions}
        kept = [func for name, func in common.items() if func.type_name is not None or name not in copied]
        needed = {func.symbol for func in kept} | set(_reached(kept, common))
        for name, func in common.items():
            if name not in needed:
                self.module.body.block.erase_op(func, safe_erase=False)

    def _summary(self) -> DictionaryAttr:
        """What was decided, and what it was compared with."""
        decision = self.decision
        measured = [target.measured for target in self.targets if target.measured]
        alternatives = [
            DictionaryAttr(
                {"target": StringAttr(a.target.name)}
                | ({"why_not": StringAttr(a.why_not)} if a.why_not else {"ns_per_packet": StringAttr(f"{a.load:.1f}")})
            )
            for a in decision.alternatives
        ]
        return DictionaryAttr(
            {
                "objective": StringAttr(decision.objective),
                "ns_per_packet": StringAttr(f"{decision.cost:.1f}"),
                "bound": StringAttr(f"{decision.bound:.1f}"),
                "exact": StringAttr("yes" if decision.exact else "no"),
                "frequencies": StringAttr(decision.frequencies),
                "costs": StringAttr(", ".join(dict.fromkeys(measured)) or "shipped"),
                "alternatives": ArrayAttr(alternatives),
                "considered": ArrayAttr([self._considered(each) for each in decision.compared]),
            }
        )

    def _considered(self, each: Considered) -> DictionaryAttr:
        told: dict[str, Attribute] = {"placement": StringAttr(each.name)}
        if each.why_not is not None:
            return DictionaryAttr(told | {"why_not": StringAttr(each.why_not)})
        told["mpps"] = StringAttr(f"{each.mpps:.3f}")
        loads = zip(self.targets, each.loads, strict=True)
        told["loads"] = DictionaryAttr({target.name: StringAttr(f"{load:.1f}") for target, load in loads})
        told["handed_over"] = StringAttr(f"{each.handed:.4f}")
        told["cuts"] = ArrayAttr([StringAttr(place) for place in each.cuts])
        return DictionaryAttr(told)

    # --- operations --------------------------------------------------------------------------------------------------

    def _operations(self) -> Iterable[Operation]:
        for edge in self.edges:
            yield self._edge(edge)
        for target, content in zip(self.targets, self.contents, strict=True):
            if content.functions:
                yield self._part(target, content)

    def _edge(self, edge: _Edge) -> EdgeOp:
        origin, to = self.targets[edge.origin], self.targets[edge.origin + 1]
        transport = "none" if edge.origin == 0 and self._bare else origin.transport
        fields = [
            DictionaryAttr({"name": StringAttr(f.name), "width": int_attr(f.width), "kind": StringAttr(f.kind)})
            for f in edge.point.crossing.fields
        ]
        if edge.point.counted:
            fields += [
                DictionaryAttr({"name": StringAttr(name), "width": int_attr(width), "kind": StringAttr(kind)})
                for name, width, kind in TICKET_FIELDS
            ]
        special: dict[str, Attribute] = {"not_kept": StringAttr(edge.not_kept)} if edge.not_kept else {}
        if own := edge.point.crossing.metadata:
            special["metadata"] = ArrayAttr([int_attr(size) for size in own])
        return EdgeOp.create(
            properties=special
            | {
                "resume": int_attr(edge.point.number),
                "origin": SymbolRefAttr(origin.part),
                "to": SymbolRefAttr(to.part),
                "fields": ArrayAttr(fields),
                "order": StringAttr(edge.order),
                "transport": StringAttr(transport),
                "on_failure": StringAttr(self.on_failure),
                "reasons": ArrayAttr([StringAttr(f"the cut is in front of {edge.where}"), StringAttr(edge.why)]),
            }
        )

    def _part(self, target: Target, content: _PartContent) -> PartOp:
        block = Block()
        block.add_ops(content.functions)
        rate = 1000.0 * target.cores / content.load if content.load > 0 else None
        costs: dict[str, Attribute] = {
            "ns_per_packet": StringAttr(f"{content.load:.1f}"),
            "packets": StringAttr(f"{content.packets:.4f}"),
            "mpps": StringAttr("line rate" if rate is None or target.kind == "p4" else f"{rate:.2f}"),
        }
        return PartOp.create(
            properties={
                "sym_name": StringAttr(target.part),
                "target": StringAttr(target.name),
                "costs": DictionaryAttr(costs),
                "reasons": ArrayAttr([StringAttr(reason) for reason in content.reasons]),
            },
            regions=[Region(block)],
        )


def _leaves_at_once(placed: Placed) -> bool:
    """Whether every packet of a program is handed over where the program begins."""
    return 0 in placed.plan.hands[0] if placed.plan.hands else False


def _promise(kind: str, order: Order) -> str:
    """What the order of an edge means."""
    if kind == COMMUTING:
        return "accesses to shared maps commute; packets that are handed over may leave after later ones that are not"
    if order.not_kept:
        return f"{order.why}; the order is not kept: {order.not_kept}"
    if not order.gates:
        return f"{order.why}; the order is not kept, as was asked for"
    among = "of the same key " if order.key else ""
    return f"{order.why}: packets {among}wait for those in flight"


def _can_go_bare(targets: Sequence[Target]) -> bool:
    """Whether the first target can hand packets to the second without a header."""
    return len(targets) == 2 and targets[0].kind == "xdp" and targets[1].kind == "af-xdp"


def _reached(roots: Iterable[FuncOp], functions: dict[str, FuncOp]) -> list[str]:
    """The functions that are called, or whose address is taken, from `roots` on; in the order of `functions`."""
    found: set[str] = set()
    work = list(roots)
    while work:
        for op in work.pop().walk():
            if isinstance(op, ebpf.CallLocalOp):
                name = op.callee.root_reference.data
            elif isinstance(op, ebpf.LdSymOp):
                name = op.sym.root_reference.data
            else:
                continue
            if name in functions and name not in found:
                found.add(name)
                work.append(functions[name])
    return [name for name in functions if name in found]
