"""Undefined functions that a part does not call: an object for the kernel must not ask for them.

libbpf refuses an object with an undefined symbol that no `.ksyms` has, and the kernel a function in BTF without names
of its arguments, as those of undefined functions are. So the symbol becomes one that loaders do not look at (typed as a
function), and the function in BTF a typedef of its prototype.
"""

from __future__ import annotations

from xdsl.dialects.builtin import IntAttr, ModuleOp, StringAttr

from fsir.analysis.signatures import btf_of
from fsir.dialects import ebpf
from fsir.dialects.object import SectionOp, SymbolOp
from fsir.object.btf import FUNC_EXTERN, Kind
from fsir.placement.symbols import Symbols

_UNDEFINED = 0  # section
_NOTYPE, _FUNC = 0, 2  # symbol types


def forget_unused(module: ModuleOp) -> None:
    """Keep loaders from looking for functions of user space that nothing in the module calls any more."""
    symbols = Symbols(module)
    used = {op.callee.root_reference.data for op in module.walk() if isinstance(op, ebpf.CallKfuncOp) and op.callee}
    used |= {op.sym.root_reference.data for op in module.walk() if isinstance(op, ebpf.LdSymOp | ebpf.RawOp) and op.sym}
    unused: set[str] = set()
    for op in module.body.block.ops:
        if isinstance(op, SymbolOp) and op.int_prop("section") == _UNDEFINED and op.int_prop("type") == _NOTYPE:
            name = op.symbol.data
            if name and op.func is None and name not in used and not symbols.in_kernel(name):
                op.properties["type"] = IntAttr(_FUNC)
                unused.add(name)
    btf = btf_of(module) if unused else None
    if btf is None:
        return
    for type_ in btf.types:
        if type_.kind is Kind.FUNC and type_.vlen == FUNC_EXTERN and btf.string(type_.name_off) in unused:
            type_.kind, type_.vlen = Kind.TYPEDEF, 0
    for op in module.body.block.ops:
        if isinstance(op, SectionOp) and op.section.data == ".BTF":
            op.properties["data"] = StringAttr(btf.to_bytes().hex())
