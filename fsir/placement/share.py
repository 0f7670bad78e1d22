"""The maps of a placed module: who touches which, and how they are shared."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement

from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.ir import Attribute

from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import EdgeOp, PartOp, ShareOp
from fsir.driver.diagnostics import fail
from fsir.placement.access import ANY_MAP, Kind, MapAccesses
from fsir.placement.counting import make_atomic
from fsir.placement.sharing import Sharing, conflict, is_mapped, mechanisms
from fsir.placement.targets import Target, load

COMMUTING = "commuting"
SEQUENTIAL = "sequential"

Touches = dict[str, dict[str, set[Kind]]]
"""Kinds of access by map and part."""


def share_maps(module: ModuleOp) -> None:
    """Add a `placement.share` for every map that a part touches. Fails where accesses conflict."""
    parts = [op for op in module.body.block.ops if isinstance(op, PartOp)]
    if not parts:
        fail(module, "nothing is placed; run decompose before share-maps")
    for old in [op for op in module.body.block.ops if isinstance(op, ShareOp)]:
        module.body.block.erase_op(old)
    targets = {part.sym_name.data: load(part.target.data) for part in parts}
    edges = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    turns = any(edge.has_ticket for edge in edges)
    touches = touched(module, parts)
    shared: list[tuple[str, Sharing]] = []
    names = {target: part for part, target in targets.items()}
    declarations = MapAccesses(module, ()).declarations
    for name, by_part in touches.items():
        declaration = declarations.get(name)
        if declaration is None:
            continue
        check(by_part, targets, declaration, parts[0], turns)
        by_target = {targets[part]: frozenset(kinds) for part, kinds in by_part.items()}
        for sharing, among in mechanisms(declaration, by_target, turns):
            shared.append((name, sharing))
            op = _share(name, [names[target] for target in among], sharing)
            module.body.block.insert_op_before(op, parts[0])
    _count_atomically(module, parts, targets, touches, declarations)
    if "placement.decision" not in module.attributes:  # decompose knows more
        _set_order(edges, shared, touches)


def touched(module: ModuleOp, parts: list[PartOp]) -> Touches:
    """The maps that the parts touch, those whose keys are only looked up included. Programs that are in no part run in
    the kernel, beside the part there."""
    touches: Touches = {}
    outside = [op for op in module.body.block.ops if isinstance(op, FuncOp) and not op.is_raw()]
    for part in parts:
        funcs = [op for op in part.body.block.ops if isinstance(op, FuncOp)]
        if load(part.target.data).kind == "xdp":
            funcs += outside
        accesses = MapAccesses(module, funcs)
        for func in funcs:
            for block in func.body.blocks:
                for op in block.ops:
                    for name, kind, _ in accesses.of_op(op):
                        kinds = touches.setdefault(name, {}).setdefault(part.sym_name.data, set())
                        if kind is not Kind.LOOKUP or not accesses.is_array(name):
                            kinds.add(kind)
    return {name: touches[name] for name in sorted(touches)}


def check(
    by_part: dict[str, set[Kind]],
    targets: dict[str, Target],
    declaration: DeclOp,
    part: PartOp,
    turns: bool = False,
) -> None:
    """Fail where two accesses of a map cannot be where they are. `turns`: see `fsir.placement.sharing.conflict`."""
    accesses = [(targets[part], kind) for part, kinds in by_part.items() for kind in sorted(kinds)]
    for one, other in combinations_with_replacement(accesses, 2):
        reason = conflict(declaration, one, other, turns)
        if reason is not None:
            fail(part, f"{reason}; place these accesses together")


def _share(name: str, parts: list[str], sharing: Sharing) -> ShareOp:
    properties: dict[str, Attribute] = {
        "map": SymbolRefAttr(name),
        "mechanism": StringAttr(sharing.mechanism),
        "parts": ArrayAttr([SymbolRefAttr(part) for part in parts]),
        "consistency": StringAttr(sharing.consistency),
        "reason": StringAttr(sharing.reason),
    }
    return ShareOp.create(properties=properties)


def _count_atomically(
    module: ModuleOp,
    parts: list[PartOp],
    targets: dict[str, Target],
    touches: Touches,
    declarations: Mapping[str, DeclOp],
) -> None:
    """Where several parts add to the values of a map in memory, no addition may be lost; nor where one does in user
    space, to what is not in its memory."""
    hosts = {part: target for part, target in targets.items() if target.kind != "p4"}
    names = set()
    for name, by_part in touches.items():
        adding = [target for part, target in hosts.items() if Kind.ADD in by_part.get(part, ())]
        sharing = [part for part in hosts if part in by_part]
        afar = name in declarations and not is_mapped(declarations[name])
        if len(adding) > 1 or (len(sharing) > 1 and afar and any(target.kind == "af-xdp" for target in adding)):
            names.add(name)
    if names:
        places = [part.body.block for part in parts if part.sym_name.data in hosts]
        bodies = [module.body.block] if any(target.kind == "xdp" for target in hosts.values()) else []
        funcs = [op for block in (*places, *bodies) for op in block.ops if isinstance(op, FuncOp) and not op.is_raw()]
        make_atomic(funcs, names)


def _set_order(edges: list[EdgeOp], shared: list[tuple[str, Sharing]], touches: Touches) -> None:
    """What handoffs promise: any order is as good where all accesses to shared maps commute."""
    depends = sorted({name for name, sharing in shared if not sharing.commutes and len(touches[name]) > 1})
    if ANY_MAP in touches:
        depends.append("memory of unknown kind")
    order = SEQUENTIAL if depends else COMMUTING
    why = (
        f"exact when each packet is done with before the next: parts change and read {', '.join(depends)}"
        if depends
        else "accesses to shared maps commute; packets that are handed over may leave after later ones that are not"
    )
    for op in edges:
        old = [r for r in op.reasons or () if not r.data.startswith(("exact when", "accesses to shared"))]
        op.properties["order"] = StringAttr(order)
        op.properties["reasons"] = ArrayAttr([*old, StringAttr(why)])
