"""As which types of programs functions run: what a subprogram's context is."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp


def programs_reaching(funcs: Mapping[str, FuncOp]) -> dict[str, set[str]]:
    """For every function, the types of the programs that it runs in: itself, by calls or as a callback."""
    types = {name: func.type_name for name, func in funcs.items()}
    running = programs_running(funcs)
    return {name: {type_ for p in programs if (type_ := types[p]) is not None} for name, programs in running.items()}


def programs_running(funcs: Mapping[str, FuncOp]) -> dict[str, set[str]]:
    """For every function, the names of the programs that it runs in: itself, by calls or as a callback."""
    below: dict[str, set[str]] = {}
    for name, func in funcs.items():
        below[name] = {target for op in func.walk() if (target := _target(op)) in funcs}
    running: dict[str, set[str]] = {name: set() for name in funcs}
    work = [(name, name) for name, func in funcs.items() if func.type_name is not None]
    while work:
        name, program = work.pop()
        if program not in running[name]:
            running[name].add(program)
            work += [(target, program) for target in below[name]]
    return running


def _target(op: Operation) -> str:
    """The function, or other symbol, that an operation calls or takes the address of; "" for none."""
    if isinstance(op, ebpf.CallLocalOp):
        return op.callee.root_reference.data
    return op.sym.root_reference.data if isinstance(op, ebpf.LdSymOp) else ""
