"""Declarations of maps."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import (
    ArrayAttr,
    FlatSymbolRefAttrConstr,
    IntAttr,
    ModuleOp,
    StringAttr,
    SymbolNameConstraint,
    UnitAttr,
)
from xdsl.ir import Attribute, Operation
from xdsl.irdl import irdl_op_definition, opt_prop_def, prop_def, traits_def
from xdsl.traits import SymbolOpInterface

from fsir.dialects._records import check_numbers, check_records
from fsir.dialects.ebpf.base import EbpfOp

SOCKET_MAPS = frozenset({"sockmap", "sockhash", "xskmap", "reuseport_sockarray"})
"""Maps of which a look-up gives the address of a socket, which is no plain value."""


@irdl_op_definition
class DeclOp(EbpfOp):
    """The declaration of a map, as the object defines it. `type` is the kernel's name in lower case (`lru_hash`,
    `array` …), sizes are in bytes, `section` where its definition lives; one without a section was added by a pass, and
    the exporter writes its definition. `inner` names the inner map of a map in map. `internal` marks global data."""

    name = "map.decl"
    FORMAT: ClassVar[tuple[str, ...]] = (
        *("!sym_name", " ", "@type", " key ", "#key_size", " value ", "#value_size"),
        *(" entries ", "#max_entries", " flags ", "#flags"),
    )
    sym_name = prop_def(SymbolNameConstraint())
    type = prop_def(StringAttr)
    key_size = prop_def(IntAttr)
    value_size = prop_def(IntAttr)
    max_entries = prop_def(IntAttr)
    flags = prop_def(IntAttr)
    section = opt_prop_def(StringAttr)
    pinning = opt_prop_def(IntAttr)
    numa_node = opt_prop_def(IntAttr)
    map_extra = opt_prop_def(IntAttr)
    inner = opt_prop_def(FlatSymbolRefAttrConstr)
    initial = opt_prop_def(ArrayAttr[Attribute])
    key_btf = opt_prop_def(IntAttr)
    value_btf = opt_prop_def(IntAttr)
    internal = opt_prop_def(UnitAttr)
    template = opt_prop_def(UnitAttr)
    traits = traits_def(SymbolOpInterface())

    @property
    def holds_maps(self) -> bool:
        """Whether its values are maps."""
        return self.type.data in ("array_of_maps", "hash_of_maps")

    def verify_(self) -> None:
        check_numbers(self.properties, _DECL_BITS)
        check_records("an initial value", self.initial, {"index": IntAttr, "symbol": StringAttr})


_DECL_BITS = dict.fromkeys(("key_size", "value_size", "max_entries", "flags", "pinning", "key_btf", "value_btf"), 32)
_DECL_BITS |= {"map_extra": 64}


def declaration_of(op: Operation, name: str) -> DeclOp | None:
    """The `map.decl` of a map in the module that an operation is in. (Declarations come first in a module.)"""
    top = op
    while (parent := top.parent_op()) is not None:
        top = parent
    if not isinstance(top, ModuleOp):
        return None
    return next((d for d in top.body.block.ops if isinstance(d, DeclOp) and d.sym_name.data == name), None)
