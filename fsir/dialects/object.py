"""The `object` dialect: what an ELF object holds besides code, so that a module is the whole object.

A module that comes from an object holds, in this order: `map.decl`s, `ebpf.func`s, `object.section`s in the order of
the section header table, and `object.symbol`s in the order of the symbol table.  Sections with code are
`object.section`s without data: their content is that of the functions that name them.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntAttr,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    UnitAttr,
)
from xdsl.ir import Dialect
from xdsl.irdl import irdl_op_definition, opt_prop_def, prop_def, traits_def
from xdsl.traits import SymbolOpInterface

from fsir.dialects.ebpf.base import EbpfOp


@irdl_op_definition
class SectionOp(EbpfOp):
    """A section of the object. `data` is hexadecimal (absent for code and for sections without content, whose `size` is
    given); `relocs` lists `{offset, type, symbol, addend}`; numbers are those of the ELF section header."""

    name = "object.section"
    FORMAT: ClassVar[tuple[str, ...]] = ("!sym_name", " type ", "#type", " flags ", "#flags", " align ", "#align")
    sym_name = prop_def(SymbolNameConstraint())
    elf_name = opt_prop_def(StringAttr)
    type = prop_def(IntAttr)
    flags = prop_def(IntAttr)
    align = prop_def(IntAttr)
    entsize = opt_prop_def(IntAttr)
    size = opt_prop_def(IntAttr)
    link = opt_prop_def(SymbolRefAttr)
    data = opt_prop_def(StringAttr)
    relocs = opt_prop_def(ArrayAttr[DictionaryAttr])
    rela = opt_prop_def(UnitAttr)
    traits = traits_def(SymbolOpInterface())


@irdl_op_definition
class SymbolOp(EbpfOp):
    """An entry of the symbol table that no function or map stands for. Its IR name is unique; `elf_name` is its name
    in the object where that differs (section symbols have none). `section` is absent for undefined and absolute
    symbols."""

    name = "object.symbol"
    FORMAT: ClassVar[tuple[str, ...]] = ("!sym_name", " value ", "#value", " size ", "#size")
    sym_name = prop_def(SymbolNameConstraint())
    elf_name = opt_prop_def(StringAttr)
    section = opt_prop_def(SymbolRefAttr)
    special = opt_prop_def(IntAttr)
    value = prop_def(IntAttr)
    size = prop_def(IntAttr)
    bind = prop_def(IntAttr)
    type = prop_def(IntAttr)
    visibility = opt_prop_def(IntAttr)
    traits = traits_def(SymbolOpInterface())


OBJECT = Dialect("object", [SectionOp, SymbolOp])
