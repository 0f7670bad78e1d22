"""Check `load`: what the identity export gives loads in the kernel wherever the original does."""

from __future__ import annotations

from corpus.collection import Item
from corpus.findings import FAIL, OK, SKIP, Findings
from corpus.running import targets, try_load, world
from fsir.object.exporter import export_object
from fsir.object.importer import import_object


def check(item: Item) -> Findings:
    """Load every program of the original, and of the export those that loaded."""
    result = Findings()
    module = import_object(item.data, item.name)
    exported = export_object(module)
    with world():
        for target in targets(module):
            subject = f"{item.name} {target.name}"
            type_, reason = try_load(item.data, target, module)
            if type_ is None:
                result.add(SKIP, subject, f"the original is refused: {reason}")
                continue
            again, reason = try_load(exported, target, module)
            if again == type_:
                result.add(OK, subject)
            else:
                result.add(FAIL, subject, f"loads as {type_}, the export does not: {reason}")
    return result
