"""Functions of the program that helpers call, and what these hand to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp

CALLBACK_CONTEXT = {164: (2, 3), 180: (3, 2), 181: (2, 1), 209: (2, 1)}
"""By helper that calls back before it returns: the number of the argument that is handed to the callback, and its
number there."""


class Callbacks:
    """Where a module's functions have their address taken: `calls` of the helpers that call one back, by its name;
    `taken` are those with an address that goes elsewhere."""

    def __init__(self, funcs: Iterable[FuncOp]) -> None:
        self.calls: defaultdict[str, list[ebpf.CallOp]] = defaultdict(list)
        self.taken: set[str] = set()
        for func in funcs:
            for op in func.walk():
                if isinstance(op, ebpf.LdSymOp):
                    self._collect(op)

    def _collect(self, symbol: ebpf.LdSymOp) -> None:
        name = symbol.sym.root_reference.data
        for use in symbol.res.uses:
            call = use.operation
            if isinstance(call, ebpf.CallOp) and call.helper.data in CALLBACK_CONTEXT:
                self.calls[name].append(call)
            else:
                self.taken.add(name)


def called_back(call: ebpf.CallOp, funcs: Container[str]) -> str | None:
    """The one function whose address a call is given; None for none and for several."""
    names = [v.owner.sym.root_reference.data for v in call.operands if isinstance(v.owner, ebpf.LdSymOp)]
    found = [name for name in names if name in funcs]
    return found[0] if len(found) == 1 else None
