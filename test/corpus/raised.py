"""Check `raised`: how much of what XDP and TC programs do to packets and maps becomes packet and map operations."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from corpus.collection import Item
from corpus.findings import FAIL, NOTE, OK, SKIP, Findings
from corpus.running import PACKET_TYPES, reachable, targets
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.object.importer import import_object
from fsir.report.raised import raised_share


def check(item: Item) -> Findings:
    """Raise an object, and count in its packet programs and what they call."""
    result = Findings()
    module = import_object(item.data, item.name)
    programs = {t: [target.name for target in targets(module) if t in target.types] for t in PACKET_TYPES}
    if not any(programs.values()):
        return result
    if undescribed_maps(module):
        result.add(SKIP, item.name, "its maps are described by BTF, which it lacks: no loader takes it")
        return result
    run_pipeline(make_context(), module, "raise")
    for type_, names in programs.items():
        funcs: dict[str, FuncOp] = {func.symbol: func for name in names for func in reachable(module, name)}
        found = raised_share(module, funcs.values())
        result.part(f"{type_} packet accesses raised", found.packet, found.packet + found.missed_packet)
        result.part(f"{type_} map operations raised", found.maps, found.maps + found.missed_maps)
        for (what, why), count in sorted(found.missed.items()):
            result.count(f"not raised in {type_}, {what}: {why}", count)
            result.add(NOTE if what == "packet access" else FAIL, item.name, f"{what}: {why}", f"{type_}, {count}")
    if not any(finding.status == FAIL for finding in result.found):
        result.add(OK, item.name)
    return result


def undescribed_maps(module: ModuleOp) -> bool:
    """Whether an object has a section of maps, and nothing that says what maps they are."""
    sections = {op.section.data for op in module.body.block.ops if isinstance(op, SectionOp)}
    declared = {op.section.data for op in module.body.block.ops if isinstance(op, DeclOp) and op.section is not None}
    return MAPS in sections and MAPS not in declared


MAPS = ".maps"
"""The section of maps that BTF describes."""
