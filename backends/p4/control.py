"""The control plane of an emitted program as plain data: what mirrors, counts and forwards what. See docs/p4.md."""

from __future__ import annotations

from typing import Any

from fsir.backends.handoff import Layout as HandoffLayout
from fsir.backends.p4.counting import Tally
from fsir.backends.p4.program import CPU_PORT, Program
from fsir.backends.p4.sites import Site
from fsir.dialects.map import DeclOp

VERSION = 1


def describe(program: Program) -> dict[str, Any]:
    """The control plane of a program, made of JSON's types."""
    e = program.e
    return {
        "version": VERSION,
        "cpu_port": CPU_PORT,
        "ports": {
            "ifindex_of_port": "NicIngress.ifindex_of_port" if e.uses_ifindex else None,
            "port_of_ifindex": "NicIngress.port_of_ifindex" if program.redirects else None,
        },
        "tables": [_table(site) for site in program.tables],
        "counters": [_tally(tally, e.context.maps[tally.map]) for tally in program.counting.tallies],
        "handoffs": [
            {
                "resume": handoff.resume,
                "to": handoff.to,
                "size": HandoffLayout(handoff.resume, tuple(width for _, width in handoff.fields)).size,
                "fields": [{"name": name, "width": width} for name, width in handoff.fields],
            }
            for _, handoff in sorted(e.handoffs.items())
        ],
    }


def _table(site: Site) -> dict[str, Any]:
    decl = site.map
    return {
        "table": f"NicIngress.program.{site.name}",
        "map": decl.sym_name.data,
        "type": decl.type.data,
        "role": site.role,
        "key_size": decl.key_size.data,
        "value_size": decl.value_size.data,
        "entries": decl.max_entries.data,
        "keys": [
            {"name": key.name, "offset": key.offset, "size": key.size, "order": key.order, "match": key.match}
            for key in site.keys
        ],
        "constants": [{"offset": offset, "bytes": data.hex()} for offset, data in site.constants],
        "action": f"NicIngress.program.{site.action}",
        "params": [
            {"name": each.name, "offset": each.offset, "size": each.size, "order": each.order}
            for each in site.layout.fields
        ],
        "absent": None if site.content is None else site.content.hex(),
    }


def _tally(tally: Tally, decl: DeclOp) -> dict[str, Any]:
    return {
        "object": f"NicIngress.program.{tally.name}",
        "kind": "register" if tally.is_register else "counter",
        "map": tally.map,
        "type": decl.type.data,
        "value_size": decl.value_size.data,
        "entries": tally.entries,
        "counts": [{"offset": off, "size": width // 8, "what": kind} for off, width, kind in tally.counts],
    }
