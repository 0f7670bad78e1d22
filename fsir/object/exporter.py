"""Module to ELF object: `export_object`, the inverse of the importer, for machine code (allocated functions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, ModuleOp, StringAttr

from fsir import isa
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp, SymbolOp
from fsir.driver.diagnostics import place_of
from fsir.object.btf import Btf, load_btf, store_btf
from fsir.object.btf_ext import load_btf_ext, store_btf_ext
from fsir.object.code import Code, Ref
from fsir.object.elf import (
    R_BPF_64_32,
    SHN_LORESERVE,
    ElfObject,
    Reloc,
    Section,
    Symbol,
    write_elf,
)
from fsir.object.encode import NotEncodable, encode
from fsir.object.errors import ObjectError
from fsir.object.extension import Emitted, Rebuilder
from fsir.object.map_model import MAP_TYPES
from fsir.object.mapdefs import MapDef, add_btf_map


def export_object(module: ModuleOp) -> bytes:
    """The object of a module: code from its functions, everything else as it was imported, maps added by passes
    appended. Raises ObjectError when a function is not machine code yet."""
    return _Exporter(module).run()


@dataclass(slots=True)
class _Placed:
    """A function with its code and its place in its section."""

    func: FuncOp
    code: Code
    start: int


class _Exporter:
    def __init__(self, module: ModuleOp) -> None:
        ops = list(module.body.block.ops)
        file = module.attributes.get("object.file")
        self.obj = ElfObject(file.data if isinstance(file, StringAttr) else "")
        flags = module.attributes.get("object.flags")
        self.obj.flags = flags.data if isinstance(flags, IntAttr) else 0
        self.funcs = [op for op in ops if isinstance(op, FuncOp)]
        self.sections = [op for op in ops if isinstance(op, SectionOp)]
        self.symbols = [op for op in ops if isinstance(op, SymbolOp)]
        self.maps = [op for op in ops if isinstance(op, DeclOp)]
        self.names = {op.section.data: number for number, op in enumerate(self.sections, 1)}
        self.placed: dict[str, _Placed] = {}
        self.section_of: dict[str, int] = {}
        if stray := next((op for op in ops if op.name.startswith("placement.")), None):
            raise self.error(f"a placed module ({stray.name}) is not one object; write a bundle (-t bundle)")

    def error(self, message: str, section: str | None = None) -> ObjectError:
        return ObjectError(message, self.obj.filename or None, section)

    def run(self) -> bytes:
        self.obj.sections += [self.section(op) for op in self.sections]
        self.place_functions()
        self.obj.symbols += [self.symbol(op) for op in self.symbols]
        self.check_symbols()
        for number, op in enumerate(self.sections, 1):
            self.data_relocs(number, op)
        self.check_numbers()
        btf = load_btf(self.obj)
        for declaration in self.maps:
            if declaration.section is None and declaration.template is None:
                btf = self.add_map(declaration, btf)
        self.write_code()
        if btf is not None:
            self.write_extension(btf)
        return write_elf(self.obj)

    # --- sections, functions, symbols --------------------------------------------------------------------------------

    def section(self, op: SectionOp) -> Section:
        return Section(
            op.elf_name.data if op.elf_name is not None else op.section.data,
            op.int_prop("type"),
            op.int_prop("flags"),
            op.int_prop("align"),
            op.int_prop("entsize"),
            op.content,
            op.int_prop("link"),
            op.int_prop("info"),
            op.int_prop("size"),
        )

    def place_functions(self) -> None:
        ends: dict[int, int] = {}
        for func in self.funcs:
            name = func.section.data
            number = self.names.get(name)
            if number is None:
                raise self.error(f"function '{func.symbol}' is in a section that the module does not have", name)
            try:
                code = encode(func)
            except NotEncodable as e:
                raise self.not_encodable(func, e) from e
            start = ends.get(number, 0)
            self.placed[func.symbol] = _Placed(func, code, start)
            self.section_of[func.symbol] = number
            ends[number] = start + len(code.data)

    def not_encodable(self, func: FuncOp, error: NotEncodable) -> ObjectError:
        place = place_of(error.op, self.obj.filename)
        message = f"function '{func.symbol}' cannot be written: {error}"
        section = place.detail or (None if place.line else func.section.data)
        return ObjectError(message, place.file or None, section, line=place.line, column=place.column)

    def symbol(self, op: SymbolOp) -> Symbol:
        value, size = op.int_prop("value"), op.int_prop("size")
        if op.func is not None:
            placed = self.placed.get(op.func.root_reference.data)
            if placed is None:
                return Symbol(op.symbol.data, 0, 0, 0, op.int_prop("bind"), op.int_prop("type"))
            if value == 0 and size:
                size = len(placed.code.data)
            value = placed.start + min(value, len(placed.code.data))
        return Symbol(
            op.symbol.data,
            op.int_prop("section"),
            value,
            size,
            op.int_prop("bind"),
            op.int_prop("type"),
            op.int_prop("visibility"),
        )

    def check_symbols(self) -> None:
        """Every function that is not anonymous needs a symbol; passes that add functions need not write one."""
        have = {op.func.root_reference.data for op in self.symbols if op.func is not None and not op.int_prop("value")}
        for name, placed in self.placed.items():
            if name not in have and placed.func.anonymous is None:
                bind = placed.func.bind.data if isinstance(placed.func.bind, IntAttr) else 1
                size = len(placed.code.data)
                self.obj.add_symbol(Symbol(name, self.section_of[name], placed.start, size, bind, 2))

    def data_relocs(self, number: int, op: SectionOp) -> None:
        if op.rela is not None:
            self.obj.rela.add(number)
        if op.reloc_name is not None:
            self.obj.reloc_headers[number] = (op.reloc_name.data, op.int_prop("reloc_flags"))
        if op.relocs is not None:
            self.obj.relocs[number] = [_reloc(r) for r in op.relocs]

    def check_numbers(self) -> None:
        """What refers to sections and symbols by number must refer to ones that there are."""
        sections, symbols = len(self.obj.sections), len(self.obj.symbols)
        for symbol in self.obj.symbols:
            if sections <= symbol.shndx < SHN_LORESERVE:
                raise self.error(f"symbol '{symbol.name}' is in section {symbol.shndx}; there are {sections - 1}")
        for number, relocs in self.obj.relocs.items():
            for reloc in relocs:
                if not 0 <= reloc.symbol < symbols:
                    section = self.obj.sections[number].name
                    raise self.error(f"a relocation uses symbol {reloc.symbol}; there are {symbols - 1}", section)

    # --- code --------------------------------------------------------------------------------------------------------

    def write_code(self) -> None:
        for name, placed in self.placed.items():
            number = self.section_of[name]
            data = bytearray(placed.code.data)
            for offset, ref in placed.code.refs.items():
                self.link(placed, number, data, offset, ref)
            self.obj.sections[number].data = bytes(self.obj.sections[number].data) + bytes(data)
        for relocs in self.obj.relocs.values():
            relocs.sort(key=lambda r: r.offset)

    def link(self, placed: _Placed, number: int, data: bytearray, offset: int, ref: Ref) -> None:
        """Put the distance or section offset of what an instruction refers to into it, and make its relocation."""
        symbol = self.symbol_for(ref, placed) if ref.type else 0
        target = self.placed.get(ref.target)
        if target is not None and not ref.via:
            if self.section_of[ref.target] != number:
                raise self.error(f"'{placed.func.symbol}' calls '{ref.target}' in another section by distance")
            _set_imm(data, offset, (target.start - placed.start - offset) // isa.INSN_SIZE - 1)
        elif target is not None:
            distance = target.start - self.obj.symbols[symbol].value
            _set_imm(data, offset, distance // isa.INSN_SIZE - 1 if ref.type == R_BPF_64_32 else distance)
        if ref.type:
            self.obj.relocs.setdefault(number, []).append(Reloc(placed.start + offset, ref.type, symbol))

    def symbol_for(self, ref: Ref, placed: _Placed) -> int:
        """The symbol table entry that a reference names."""
        if ref.via == "section":
            number = self.section_of.get(ref.target) or self.names.get(ref.target) or self.map_section(ref.target)
            if number is not None:
                return self.obj.section_symbol(number)
        else:
            index = self.obj.symbol_index(ref.via)
            if index is not None:
                return index
        raise self.error(f"'{placed.func.symbol}' refers to '{ref.target}', which the module does not define")

    def map_section(self, name: str) -> int | None:
        for op in self.maps:
            if op.sym_name.data == name and op.section is not None:
                return self.names.get(op.section.data)
        return None

    # --- maps and BTF ------------------------------------------------------------------------------------------------

    def add_map(self, op: DeclOp, btf: Btf | None) -> Btf:
        btf = btf if btf is not None else Btf()
        definition = MapDef(
            op.sym_name.data,
            type=MAP_TYPES.index(op.type.data),
            key_size=op.int_prop("key_size"),
            value_size=op.int_prop("value_size"),
            max_entries=op.int_prop("max_entries"),
            flags=op.int_prop("flags"),
            pinning=op.int_prop("pinning"),
        )
        add_btf_map(self.obj, btf, definition)
        return btf

    def write_extension(self, btf: Btf) -> None:
        """Rebuild `.BTF.ext` from what the functions carry."""
        old = load_btf_ext(self.obj, btf)
        if old is None:
            store_btf(self.obj, btf)
            return
        order = {s.name: i for i, s in reversed(list(enumerate(self.obj.sections)))}
        functions = [
            Emitted(
                self.obj.sections[self.section_of[name]].name,
                placed.start,
                placed.code,
                None if placed.func.btf_func is None else placed.func.btf_func.data,
            )
            for name, placed in self.placed.items()
        ]
        store_btf_ext(self.obj, Rebuilder(old, btf, order).rebuild(functions), btf)
        store_btf(self.obj, btf)


def _reloc(attr: DictionaryAttr) -> Reloc:
    def number(name: str) -> int:
        return cast(IntAttr, attr.data[name]).data

    return Reloc(number("offset"), number("type"), number("symbol"), number("addend"))


def _set_imm(data: bytearray, offset: int, value: int) -> None:
    data[offset + 4 : offset + 8] = (value & 0xFFFFFFFF).to_bytes(4, "little")
