"""What a picture shows: lanes (the parts, or the functions of a module that is not placed), their blocks with what
they do, branches, handoffs, and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntAttr, IntegerAttr, IntegerType, ModuleOp, StringAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.analysis.dominance import successors
from fsir.dialects import ebpf, map, packet, placement
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.ebpf.types import reg_index
from fsir.dialects.map import DeclOp
from fsir.driver.diagnostics import place_of
from fsir.interp.helpers import HELPERS
from fsir.placement.costs import VERDICTS
from fsir.placement.graph import FlowGraph
from fsir.placement.targets import load

_MOST_LINES = 7
_LEVEL_WITHOUT = -1


@dataclass(frozen=True)
class Node:
    """A block: its title, what it does in lines, all of it as IR, and how many of the packets come to it (0 to 1, more
    in loops)."""

    title: str
    lines: tuple[str, ...]
    text: str
    share: float


@dataclass(frozen=True)
class Branch:
    """Control from one node to another of the same lane; `label` is the condition's outcome."""

    source: int
    target: int
    label: str


@dataclass(frozen=True)
class Handoff:
    """From a node of one lane to one of another; `fields` is what travels."""

    source: tuple[int, int]
    target: tuple[int, int] | None
    fields: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class Lane:
    """A part, or a function. `level` is that of the target (0 NIC, 1 kernel, 2 user space), -1 without one."""

    title: str
    subtitle: str
    level: int
    nodes: list[Node] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)


@dataclass(frozen=True)
class SharedMap:
    """A map, by which lanes it is touched, and how it is shared."""

    title: str
    lanes: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass
class Scene:
    """Everything that is drawn."""

    title: str
    notes: tuple[str, ...]
    lanes: list[Lane]
    handoffs: list[Handoff]
    maps: list[SharedMap]


def scene(module: ModuleOp, title: str) -> Scene:
    """The scene of a module, placed or not."""
    ops = list(module.body.block.ops)
    parts = [op for op in ops if isinstance(op, placement.PartOp)]
    declarations = {op.sym_name.data: op for op in ops if isinstance(op, DeclOp)}
    edges = {op.resume.data: op for op in ops if isinstance(op, placement.EdgeOp)}
    builder = _Builder(declarations, edges)
    if parts:
        for part in parts:
            builder.part(part)
    else:
        for func in functions(module):
            builder.lane(func, f"@{func.symbol}", func.section.data, _LEVEL_WITHOUT, 1.0)
    shares = [op for op in ops if isinstance(op, placement.ShareOp)]
    return Scene(title, _decision(module), builder.lanes, builder.handoffs(), builder.maps(shares))


def _decision(module: ModuleOp) -> tuple[str, ...]:
    """What was decided and what it was compared with, in a line each; nothing of a module that is not placed."""
    decided = module.attributes.get("placement.decision")
    if not isinstance(decided, DictionaryAttr):
        return ()
    known = _texts(decided)
    text = f"objective {known['objective']}: {known['ns_per_packet']} ns per packet"
    lines = [f"{text} (no placement is below {known['bound']}); frequencies: {known['frequencies']}"]
    alternatives = decided.data.get("alternatives")
    for other in alternatives if isinstance(alternatives, ArrayAttr) else ():
        known = _texts(other)
        cost = f"{known['ns_per_packet']} ns per packet" if "ns_per_packet" in known else known["why_not"]
        lines.append(f"all on {known['target']}: {cost}")
    return tuple(lines)


def _texts(attr: Attribute) -> dict[str, str]:
    """The texts in a dictionary."""
    entries = attr.data if isinstance(attr, DictionaryAttr) else {}
    return {key: value.data for key, value in entries.items() if isinstance(value, StringAttr)}


class _Builder:
    def __init__(self, declarations: dict[str, DeclOp], edges: dict[int, placement.EdgeOp]) -> None:
        self.declarations, self.edges = declarations, edges
        self.lanes: list[Lane] = []
        self.touched: dict[str, set[int]] = {}
        self.sent: list[tuple[tuple[int, int], int]] = []
        self.resumed: dict[int, tuple[int, int]] = {}

    def part(self, part: placement.PartOp) -> None:
        """A lane for each function of a part."""
        target = load(part.target.data)
        costs = _texts(part.costs) if part.costs is not None else {}
        packets = float(costs.get("packets", 1.0))
        load_text = f"{costs.get('ns_per_packet', '?')} ns per packet, {100 * packets:.0f} % of the packets"
        for func in part.body.block.ops:
            if isinstance(func, FuncOp):
                share = packets if func.type_name is not None else 1.0
                self.lane(func, f"@{func.symbol} on {target.name}", load_text, target.level, share)

    def lane(self, func: FuncOp, title: str, subtitle: str, level: int, share: float) -> None:
        """The blocks of a function."""
        lane = Lane(title, subtitle, level)
        here = len(self.lanes)
        self.lanes.append(lane)
        frequency = FlowGraph(func, self.declarations).frequency
        blocks = [block for block in func.body.blocks if block in frequency]
        number = {block: i for i, block in enumerate(blocks)}
        names = {block: f"bb{i}" for i, block in enumerate(func.body.blocks)}
        for i, block in enumerate(blocks):
            lane.nodes.append(_node(block, names[block], share * frequency[block]))
            outcomes = successors(block)
            labels = ["yes", "no"] if len(outcomes) == 2 else [""] * len(outcomes)
            lane.branches += [Branch(i, number[s], label) for s, label in zip(outcomes, labels, strict=True)]
            for op in block.ops:
                self._note(op, (here, i))

    def _note(self, op: Operation, where: tuple[int, int]) -> None:
        """Remember what relates an operation to other lanes."""
        if isinstance(op, placement.HandoffOp):
            self.sent.append((where, op.resume.data))
        elif isinstance(op, placement.AcceptOp):
            self.resumed[op.resume.data] = where
        for name in _maps_of(op):
            self.touched.setdefault(name, set()).add(where[0])

    def handoffs(self) -> list[Handoff]:
        """The arrows between lanes."""
        found = []
        for where, resume in self.sent:
            edge = self.edges.get(resume)
            fields = [_field(f) for f in edge.fields] if edge is not None else []
            notes = [f"order {edge.order.data}, in {edge.transport.data}"] if edge is not None else []
            found.append(Handoff(where, self.resumed.get(resume), tuple(fields), tuple(notes)))
        return found

    def maps(self, shares: Iterable[placement.ShareOp]) -> list[SharedMap]:
        """The maps that code of the lanes touches."""
        notes: dict[str, list[str]] = {}
        for share in shares:
            text = f"{share.mechanism.data}: {share.reason.data}"
            notes.setdefault(share.map.root_reference.data, []).append(text)
        return [
            SharedMap(f"{name}  ({op.type.data})", tuple(sorted(self.touched[name])), tuple(notes.get(name, ())))
            for name, op in self.declarations.items()
            if name in self.touched
        ]


def _field(described: DictionaryAttr) -> str:
    name, width = described.data["name"], described.data["width"]
    bits = width.value.data if isinstance(width, IntegerAttr) else getattr(width, "data", "?")
    return f"{name.data if isinstance(name, StringAttr) else name} : i{bits}"


def _maps_of(op: Operation) -> set[str]:
    """The maps that an operation names, or is handed."""
    names = set()
    declared = op.properties.get("map")
    if declared is not None and isinstance(op, map.LookupOp | map.UpdateOp | map.DeleteOp | map.RedirectOp | _AT):
        names.add(op.map.root_reference.data)
    for value in op.operands:
        if isinstance(value.type, map.MapsType):
            names.update(map.outer_name(name) or name for name in value.type.names)
    return names


_AT = map.LookupAtOp | map.UpdateAtOp | map.DeleteAtOp


def _node(block: Block, name: str, share: float) -> Node:
    first = block.first_op
    place = place_of(first) if first is not None else None
    where = f"{place.file.rsplit('/', 1)[-1]}:{place.line}" if place is not None and place.line else ""
    lines: list[str] = []
    for op in block.ops:
        text = _said(op)
        if text and (not lines or lines[-1] != text):
            lines.append(text)
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 2], f"… {len(lines) - _MOST_LINES + 1} more", lines[-1]]
    text = "\n".join(str(op).split("\n", 1)[0] for op in block.ops)
    return Node(f"{name}  {where}".rstrip(), tuple(lines), text, share)


def _said(op: Operation) -> str:
    """What an operation does, in the words of packets and maps; nothing of address and scalar arithmetic."""
    for kind, say in _SAY:
        if isinstance(op, kind):
            return say(op)
    return "" if isinstance(op, _UNSAID) or not isinstance(op, ebpf.InsnOp) else _instruction(op)


_UNSAID = (ebpf.AluRROp, ebpf.AluRIOp, ebpf.UnaryOp, ebpf.MovRROp, ebpf.MovRIOp, ebpf.LddwOp, ebpf.JaOp)


def _instruction(op: ebpf.InsnOp) -> str:
    """A machine operation: its mnemonic, operands and immediate."""
    compared = 1 if "imm" in op.properties else 2
    words = [_name(value) for value in op.operands[: compared if isinstance(op, ebpf.BranchOp) else None]]
    words += [str(op.int_prop(name)) for name in ("off", "imm") if isinstance(op.properties.get(name), IntAttr)]
    asks = "?" if isinstance(op, ebpf.BranchOp) else ""
    return f"{op.name.removeprefix('ebpf.')} {', '.join(words)}{asks}"


def _access(op: packet.LoadOp | packet.StoreOp) -> str:
    value = op.value if isinstance(op, packet.StoreOp) else op.res
    assert isinstance(value.type, IntegerType)
    return op.field.data if op.field is not None else f"packet[{op.off.data}] : {value.type}"


def _call(op: ebpf.CallOp) -> str:
    helper = HELPERS.get(op.helper.data)
    return f"call {helper.name if helper is not None else op.helper.data}"


def _verdict(op: packet.VerdictOp) -> str:
    value = _constant(op.value)
    return "verdict" if value is None else VERDICTS.get(value, str(value)).upper()


def _constant(value: SSAValue) -> int | None:
    owner = value.owner
    if isinstance(owner, arith.ConstantOp) and isinstance(owner.value, IntegerAttr):
        return int(owner.value.value.data)
    return None


_SIGNS = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
"""By the number of arith.cmpi's predicate."""


def _condition(op: Operation) -> str:
    asked = op.operands[0].owner
    if isinstance(asked, packet.GuardOp):
        return f"{asked.size.data} bytes there?"
    if isinstance(asked, map.HitOp):
        assert isinstance(asked.value.type, map.ValueType)
        return f"found in {' or '.join(asked.value.type.names)}?"
    if isinstance(asked, arith.CmpiOp):
        return f"{_name(asked.lhs)} {_SIGNS[asked.predicate.value.data]} {_name(asked.rhs)}?"
    return "?"


def _name(value: SSAValue) -> str:
    """A value as a reader would call it: a constant, the field it is read from, its name."""
    if (known := _constant(value)) is not None:
        return str(known) if known < 10 else f"{known:#x}"
    owner = value.owner
    while isinstance(owner, arith.ExtUIOp | arith.TruncIOp):
        value, owner = owner.operands[0], owner.operands[0].owner
    if isinstance(owner, packet.LoadOp):
        return _access(owner)
    register = reg_index(value.type)
    return f"r{register}" if register is not None else value.name_hint or "…"


def _of_map(verb: str) -> Callable[[Operation], str]:
    return lambda op: f"{verb} {', '.join(sorted(_maps_of(op)))}"


_SAY: tuple[tuple[type[Operation], Callable[..., str]], ...] = (
    (packet.LoadOp, lambda op: f"read {_access(op)}"),
    (packet.StoreOp, lambda op: f"write {_access(op)}"),
    (packet.AdjustHeadOp, lambda op: "move the packet's head"),
    (packet.AdjustTailOp, lambda op: "move the packet's tail"),
    (packet.AdjustMetaOp, lambda op: "move the metadata's head"),
    (packet.VerdictOp, _verdict),
    (map.LookupOp, _of_map("look up in")),
    (map.LookupAtOp, _of_map("look up in")),
    (map.UpdateOp, _of_map("update")),
    (map.UpdateAtOp, _of_map("update")),
    (map.DeleteOp, _of_map("delete from")),
    (map.DeleteAtOp, _of_map("delete from")),
    (map.RedirectOp, _of_map("redirect by")),
    (map.LoadOp, _of_map("read")),
    (map.StoreOp, _of_map("write")),
    (map.AtomicOp, _of_map("count in")),
    (ebpf.CallOp, _call),
    (ebpf.CallLocalOp, lambda op: f"call @{op.callee.root_reference.data}"),
    (ebpf.CallKfuncOp, lambda op: "call a kernel function"),
    (ebpf.ExitOp, lambda op: "return"),
    (placement.HandoffOp, lambda op: f"hand over to {op.to.root_reference.data}"),
    (placement.OvertakesOp, lambda op: "would it overtake one in flight?"),
    (placement.ResumeOp, lambda op: "where to go on?"),
    (placement.AcceptOp, lambda op: f"go on at {op.resume.data}"),
    (cf.ConditionalBranchOp, _condition),
)
