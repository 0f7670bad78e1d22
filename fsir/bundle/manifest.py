"""The manifest of a bundle, from a placed module. Its form is published in manifest.schema.json."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute

from fsir.backends.handoff import Layout
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import EdgeOp, PartOp, ShareOp
from fsir.placement.lowering import parts_of
from fsir.placement.targets import load

FORMAT = 1
NAME = "manifest.json"
PLACEMENT = "placement.mlir"


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of manifests."""
    text = (files("fsir.bundle") / "manifest.schema.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def manifest(module: ModuleOp, artifacts: dict[str, list[str]], extra: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The manifest of a placed module. `artifacts` names the files of each part, the one to run first; `extra` adds to
    parts what their backends say."""
    decision = module.attributes.get("placement.decision")
    file = module.attributes.get("object.file")
    edges = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    return {
        "format": FORMAT,
        "source": file.data if isinstance(file, StringAttr) else "",
        "placement": PLACEMENT,
        "decision": _plain(decision) if decision is not None else {},
        "order": _order(edges),
        "parts": [_part(op, artifacts, extra) for op in parts_of(module)],
        "handoffs": [_handoff(op) for op in edges],
        "maps": [_map(op, module) for op in module.body.block.ops if isinstance(op, DeclOp)],
    }


def to_json(data: dict[str, Any]) -> bytes:
    """A manifest as the file's bytes."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _order(edges: list[EdgeOp]) -> str:
    orders = {edge.order.data for edge in edges}
    return next((order for order in ("sequential", "per-flow", "commuting") if order in orders), "sequential")


def _part(op: PartOp, artifacts: dict[str, list[str]], extra: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = op.sym_name.data
    target = load(op.target.data)
    functions = [f for f in op.body.block.ops if isinstance(f, FuncOp)]
    result = {
        "name": name,
        "target": target.name,
        "summary": target.summary,
        "level": ("nic", "kernel", "user")[target.level],
        "artifact": artifacts.get(name, [""])[0],
        "files": artifacts.get(name, []),
        "programs": [f.symbol for f in functions if f.type_name is not None],
        "functions": [f.symbol for f in functions],
        "costs": _plain(op.costs) if op.costs is not None else {},
        "reasons": [reason.data for reason in op.reasons or ()],
    }
    return result | extra.get(name, {})


def _handoff(op: EdgeOp) -> dict[str, Any]:
    fields = [_plain(entry) for entry in op.fields]
    layout = Layout(op.int_prop("resume"), tuple(entry["width"] for entry in fields))
    size = {"metadata": layout.metadata_size, "none": 0}.get(op.transport.data, layout.size)
    for entry, offset in zip(fields, layout.offsets, strict=True):
        entry["offset"] = offset
    not_kept = {"not_kept": op.not_kept.data} if op.not_kept is not None else {}
    return not_kept | {
        "resume": op.int_prop("resume"),
        "from": op.symbol_prop("origin"),
        "to": op.symbol_prop("to"),
        "transport": op.transport.data,
        "bytes": size,
        "fields": fields,
        "order": op.order.data,
        "on_failure": op.on_failure.data if op.on_failure is not None else "aborted",
        "reasons": [reason.data for reason in op.reasons or ()],
    }


def _map(op: DeclOp, module: ModuleOp) -> dict[str, Any]:
    name = op.sym_name.data
    shares = [s for s in module.body.block.ops if isinstance(s, ShareOp) and s.symbol_prop("map") == name]
    return {
        "name": name,
        "type": op.type.data,
        "key_size": op.int_prop("key_size"),
        "value_size": op.int_prop("value_size"),
        "max_entries": op.int_prop("max_entries"),
        "sharing": [
            {
                "mechanism": s.mechanism.data,
                "parts": [part.root_reference.data for part in s.parts],
                "consistency": s.consistency.data,
                "reason": s.reason.data,
            }
            for s in shares
        ],
    }


def _plain(attribute: Attribute) -> Any:
    """An attribute as JSON data; strings that are numbers become numbers."""
    if isinstance(attribute, DictionaryAttr):
        return {key: _plain(value) for key, value in attribute.data.items()}
    if isinstance(attribute, ArrayAttr):
        return [_plain(value) for value in attribute]
    if isinstance(attribute, IntAttr):
        return attribute.data
    assert isinstance(attribute, StringAttr)
    try:
        return float(attribute.data)
    except ValueError:
        return attribute.data
