"""Functions: the unit of code at every level, from machine code to placed parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from xdsl.dialects.builtin import (
    DictionaryAttr,
    IntAttr,
    StringAttr,
    SymbolNameConstraint,
    UnitAttr,
)
from xdsl.ir import Attribute, Block, Region
from xdsl.irdl import IRDLOperation, irdl_op_definition, opt_prop_def, prop_def, region_def, traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from fsir.dialects.ebpf.base import int_attr
from fsir.dialects.ebpf.types import reg_index


@irdl_op_definition
class FuncOp(IRDLOperation):
    """A function. The arguments of its entry block are the machine arguments r1 … r5 that it reads.

    sym_name   its symbol; unnamed code of a section is called `section.N` and carries `anonymous`
    section    the ELF section that holds it; order within the section is the order in the module
    prog_type  the kernel's name of the program type (`xdp`, `sched_cls`, …); absent for subprograms
    bind       ELF symbol binding when not global
    btf_func   BTF id of its FUNC type
    original   its machine code as imported, from the first pass that changed it on, for the fallback (see
               fsir/object/code.py)
    keep       set where lowering gave up and the original code stands again; the string says why
    optimized  set by `optimize`: no packet may take more instructions than with the original, and lowering holds to it
    """

    name = "ebpf.func"

    sym_name = prop_def(SymbolNameConstraint())
    section = prop_def(StringAttr)
    prog_type = opt_prop_def(StringAttr)
    bind = opt_prop_def(IntAttr)
    btf_func = opt_prop_def(IntAttr)
    anonymous = opt_prop_def(UnitAttr)
    original = opt_prop_def(DictionaryAttr)
    keep = opt_prop_def(StringAttr)
    optimized = opt_prop_def(UnitAttr)
    body = region_def()

    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface())

    @property
    def symbol(self) -> str:
        """The function's name."""
        return self.sym_name.data

    @property
    def type_name(self) -> str | None:
        """The program type, None for a subprogram."""
        return self.prog_type.data if self.prog_type is not None else None

    @property
    def entry(self) -> Block:
        """The entry block."""
        block = self.body.blocks.first
        assert block is not None
        return block

    def verify_(self) -> None:
        if self.body.blocks.first is None:
            raise VerifyException(f"function {self.symbol} has no blocks")
        for arg in self.entry.args:
            index = reg_index(arg.type)
            if index is not None and not 1 <= index <= 5:
                raise VerifyException(f"argument {arg.index} of {self.symbol} is in r{index}; arguments are r1 to r5")

    def is_allocated(self) -> bool:
        """Whether the function is in allocated-register form (machine code) rather than virtual or raised form.

        The first value says it; where there is none (a loop of jumps), that all operations are the machine's."""
        for block in self.body.blocks:
            for arg in block.args:
                return reg_index(arg.type) is not None
            for op in block.ops:
                for result in op.results:
                    return reg_index(result.type) is not None
        return all(op.name.startswith("ebpf.") for block in self.body.blocks for op in block.ops)

    def is_raw(self) -> bool:
        """Whether the function is code that does not decode, which passes leave alone."""
        return any(op.name == "ebpf.raw" for op in self.entry.ops)

    @classmethod
    def build_func(cls, name: str, section: str, body: Region, **properties: Attribute | int | None) -> Self:
        """Make a function; integer properties are wrapped, None is left out."""
        props: dict[str, Attribute] = {"sym_name": StringAttr(name), "section": StringAttr(section)}
        for key, value in properties.items():
            if value is not None:
                props[key] = int_attr(value) if isinstance(value, int) else value
        return cls.create(properties=props, regions=[body])

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_symbol_name(self.symbol)
        printer.print_string(" section ")
        printer.print_string_literal(self.section.data)
        rest = {k: v for k, v in self.properties.items() if k not in ("sym_name", "section")} | self.attributes
        if rest:
            printer.print_string(" attributes ")
            printer.print_attr_dict(rest)
        printer.print_string(" ")
        printer.print_region(self.body, print_entry_block_args=True, print_block_terminators=True)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        properties: dict[str, Attribute] = {"sym_name": parser.parse_symbol_name()}
        parser.parse_keyword("section")
        properties["section"] = StringAttr(parser.parse_str_literal())
        extras = parser.parse_optional_attr_dict_with_keyword()
        attributes = dict(extras.data) if extras is not None else {}
        known = cls.get_irdl_definition().properties
        properties |= {name: attributes.pop(name) for name in list(attributes) if name in known}
        body = parser.parse_region()
        return cls.create(properties=properties, attributes=attributes, regions=[body])


def functions(module: object) -> Sequence[FuncOp]:
    """All functions of a module, also those inside placed parts, in order."""
    from xdsl.dialects.builtin import ModuleOp

    assert isinstance(module, ModuleOp)
    found: list[FuncOp] = []
    stack: list[Region] = [module.body]
    while stack:
        for op in (op for block in stack.pop().blocks for op in block.ops):
            if isinstance(op, FuncOp):
                found.append(op)
            else:
                stack.extend(op.regions)
    return found
