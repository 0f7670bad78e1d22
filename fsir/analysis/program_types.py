"""As which types of programs functions run: what a subprogram's context is."""

from __future__ import annotations

from collections.abc import Mapping

from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp


def programs_reaching(funcs: Mapping[str, FuncOp]) -> dict[str, set[str]]:
    """For every function, the types of the programs that it runs in: itself, by calls or as a callback."""
    reached: dict[str, set[str]] = {name: set() for name in funcs}
    work = [(name, func.type_name) for name, func in funcs.items() if func.type_name is not None]
    while work:
        name, type_name = work.pop()
        if name not in reached or type_name in reached[name]:
            continue
        reached[name].add(type_name)
        for op in funcs[name].walk():
            if isinstance(op, ebpf.CallLocalOp):
                work.append((op.callee.root_reference.data, type_name))
            elif isinstance(op, ebpf.LdSymOp):
                work.append((op.sym.root_reference.data, type_name))
    return reached
