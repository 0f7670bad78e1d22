"""What a module's BTF promises of the arguments of global functions.

The kernel verifies a global function by itself, for whatever its prototype allows, and every call against the prototype
(`btf_prepare_func_args`, kernel/bpf/btf.c): an argument of an integer type is a scalar, one that points to the
context's structure is the context. Hidden functions are static ones to libbpf: their arguments can be anything.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp, i64
from xdsl.ir import Attribute

from fsir.dialects.ebpf import FuncOp
from fsir.dialects.object import SectionOp, SymbolOp
from fsir.dialects.packet import CtxType
from fsir.object.btf import FUNC_GLOBAL, Btf, Kind

CONTEXT_TYPES = {"xdp_md": "xdp", "__sk_buff": "sched_cls"}
"""A type of programs with such a context, by the name of its structure."""
_HIDDEN = frozenset({1, 2})  # STV_INTERNAL, STV_HIDDEN
_SCALARS = frozenset({Kind.INT, Kind.ENUM, Kind.ENUM64})
_OF_SIZE = _SCALARS | {Kind.STRUCT, Kind.UNION, Kind.PTR, Kind.FLOAT}


class Signatures:
    """The prototypes of a module's functions."""

    def __init__(self, module: ModuleOp) -> None:
        self._btf = btf_of(module)
        symbols = (op for op in module.body.block.ops if isinstance(op, SymbolOp) and op.func is not None)
        self._hidden = {
            op.func.root_reference.data
            for op in symbols
            if op.func is not None and op.visibility is not None and op.visibility.data in _HIDDEN
        }

    def arity(self, func: FuncOp) -> int | None:
        """The number of arguments that every call must pass, None for functions verified with their callers."""
        if self._btf is None or func.btf_func is None or func.symbol in self._hidden:
            return None
        return len(self._btf.params(func.btf_func.data)) if self._is_global(func.btf_func.data) else None

    def parameter(self, func: FuncOp, index: int) -> Attribute | None:
        """The kind of an argument (`docs/ir.md`), None where the prototype does not say, or there is none."""
        if self.arity(func) != len(func.entry.args):
            return None
        assert self._btf is not None and func.btf_func is not None
        params = self._btf.params(func.btf_func.data)
        type_id = self._btf.resolve(params[index][1])
        kind = self._btf.kind(type_id)
        if kind in _SCALARS:
            return i64
        return CtxType() if kind is Kind.PTR and self._structure(type_id) in CONTEXT_TYPES else None

    def memory(self, func: FuncOp, index: int) -> int | None:
        """How many bytes a function that is verified by itself gets where an argument points, None if that is not said
        here. No function gets more of a frame that is not its own, and it cannot store addresses there."""
        if self.arity(func) != len(func.entry.args):
            return None
        assert self._btf is not None and func.btf_func is not None
        type_id = self._btf.resolve(self._btf.params(func.btf_func.data)[index][1])
        if self._btf.kind(type_id) is not Kind.PTR:
            return None
        target = self._btf.resolve(self._btf.target(type_id))
        return self._btf.sizeof(target) if self._btf.kind(target) in _OF_SIZE else None

    def context(self, func: FuncOp) -> str | None:
        """The structure that a function's first argument points to, by its prototype."""
        if self._btf is None or func.btf_func is None or not 0 < func.btf_func.data < len(self._btf.types):
            return None
        if self._btf.kind(func.btf_func.data) is not Kind.FUNC or not (params := self._btf.params(func.btf_func.data)):
            return None
        pointer = self._btf.resolve(params[0][1])
        return self._structure(pointer) if self._btf.kind(pointer) is Kind.PTR else None

    def _is_global(self, type_id: int) -> bool:
        assert self._btf is not None
        if not 0 < type_id < len(self._btf.types):
            return False
        found = self._btf.types[type_id]
        return found.kind is Kind.FUNC and found.vlen == FUNC_GLOBAL

    def _structure(self, pointer: int) -> str | None:
        assert self._btf is not None
        target = self._btf.resolve(self._btf.target(pointer))
        return self._btf.name(target) if self._btf.kind(target) is Kind.STRUCT else None


def btf_of(module: ModuleOp) -> Btf | None:
    """The module's BTF, if it has some."""
    for op in module.body.block.ops:
        if isinstance(op, SectionOp) and op.section.data == ".BTF" and op.content:
            return Btf.parse(op.content)
    return None
