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
    SymbolRefAttr,
    UnitAttr,
)
from xdsl.ir import Dialect
from xdsl.irdl import irdl_op_definition, opt_prop_def, prop_def

from fsir.dialects._records import check_hex, check_numbers, check_records
from fsir.dialects.ebpf.base import EbpfOp


@irdl_op_definition
class SectionOp(EbpfOp):
    """A section of the object; its number is its position among the module's sections, from 1. `data` is hexadecimal
    (absent for code, and for sections without content, whose `size` is given); `relocs` lists `{offset, type, symbol,
    addend}`, `symbol` being the position of an `object.symbol`, from 1; the rest is the ELF section header. `elf_name`
    is the name in the object where another section has it too."""

    name = "object.section"
    FORMAT: ClassVar[tuple[str, ...]] = ("@section", " type ", "#type", " flags ", "#flags", " align ", "#align")
    section = prop_def(StringAttr)
    elf_name = opt_prop_def(StringAttr)
    type = prop_def(IntAttr)
    flags = prop_def(IntAttr)
    align = prop_def(IntAttr)
    entsize = opt_prop_def(IntAttr)
    size = opt_prop_def(IntAttr)
    link = opt_prop_def(IntAttr)
    info = opt_prop_def(IntAttr)
    data = opt_prop_def(StringAttr)
    relocs = opt_prop_def(ArrayAttr[DictionaryAttr])
    rela = opt_prop_def(UnitAttr)
    reloc_name = opt_prop_def(StringAttr)
    reloc_flags = opt_prop_def(IntAttr)

    def verify_(self) -> None:
        check_numbers(self.properties, _SECTION_BITS)
        check_hex("data", self.data)
        check_records("a relocation", self.relocs, _RELOCATION)
        for reloc in self.relocs or ():
            check_numbers(reloc.data, _RELOCATION_BITS)

    @property
    def content(self) -> bytes:
        """The bytes of a section with data."""
        return bytes.fromhex(self.data.data) if self.data is not None else b""


@irdl_op_definition
class SymbolOp(EbpfOp):
    """An entry of the symbol table, `""` for section symbols. `section` is the number of a section, 0 when undefined,
    or a special number of ELF. Symbols of code have `func`, the function they lie in; `value` counts from its start."""

    name = "object.symbol"
    FORMAT: ClassVar[tuple[str, ...]] = (
        *("@symbol", " in ", "#section", " value ", "#value", " size ", "#size"),
        *(" bind ", "#bind", " type ", "#type"),
    )
    symbol = prop_def(StringAttr)
    section = prop_def(IntAttr)
    value = prop_def(IntAttr)
    size = prop_def(IntAttr)
    bind = prop_def(IntAttr)
    type = prop_def(IntAttr)
    visibility = opt_prop_def(IntAttr)
    func = opt_prop_def(SymbolRefAttr)

    def verify_(self) -> None:
        check_numbers(self.properties, _SYMBOL_BITS)


# As wide as in the tables of an ELF file.
_SECTION_BITS = {"type": 32, "flags": 64, "align": 64, "entsize": 64, "size": 64, "link": 32, "info": 32}
_SECTION_BITS |= {"reloc_flags": 64}
_SYMBOL_BITS = {"section": 16, "value": 64, "size": 64, "bind": 4, "type": 4, "visibility": 8}
_RELOCATION_BITS = {"offset": 64, "type": 32, "symbol": 32}
_RELOCATION = dict.fromkeys(("offset", "type", "symbol", "addend"), IntAttr)

OBJECT = Dialect("object", [SectionOp, SymbolOp])
