"""ELF object to module: `import_object`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr, SymbolRefAttr, UnitAttr
from xdsl.ir import Attribute, Operation

from fsir import isa
from fsir.dialects.ebpf import FuncOp, int_attr
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp, SymbolOp
from fsir.driver.diagnostics import Place, warning
from fsir.object.btf import Btf, Kind, load_btf
from fsir.object.btf_ext import BtfExt, load_btf_ext
from fsir.object.code import UNDEFINED, Code, Line, Ref
from fsir.object.elf import (
    R_BPF_64_32,
    R_BPF_64_64,
    SHN_LORESERVE,
    SHN_UNDEF,
    STB_GLOBAL,
    STB_LOCAL,
    STT_FUNC,
    STT_NOTYPE,
    STT_SECTION,
    ElfObject,
    Symbol,
    read_elf,
)
from fsir.object.extension import spread
from fsir.object.lift import lift
from fsir.object.mapdefs import MapDef, lacks_description, read_map_defs
from fsir.object.sections import program_type

_LABEL = re.compile(r"\.?L")  # clang's block labels, kept as symbols by old versions
_NUMBERED = re.compile(r"\d+/\d+$")  # iproute2's sections of tail-called programs


def import_object(
    data: bytes, filename: str, *, prog_type: str | None = None, sections: dict[str, str] | None = None
) -> ModuleOp:
    """The module of an object. `prog_type` is the type of programs in sections whose name does not say it; `sections`
    gives types by section name. Raises ObjectError, also where there is no such section."""
    obj = read_elf(data, filename)
    code = [section.name for section in obj.sections if section.is_code and len(section)]
    if missing := next((name for name in sections or {} if name not in code), None):
        raise obj.error(f"there is no code in a section '{missing}'; it is in: {', '.join(code) or 'none'}")
    return _Importer(obj, prog_type, sections or {}).module()


@dataclass(slots=True)
class _Function:
    """A stretch of a code section: one function symbol's code, or code that no symbol names."""

    name: str
    section: int
    start: int
    end: int
    symbol: Symbol | None


class _Importer:
    def __init__(self, obj: ElfObject, prog_type: str | None, types: dict[str, str]) -> None:
        self.obj = obj
        self.prog_type, self.types = prog_type, types
        self.btf: Btf | None = load_btf(obj)
        self.ext: BtfExt | None = load_btf_ext(obj, self.btf)
        self.taken: set[str] = set()
        self.section_names = [self.unique(s.name) if i else "" for i, s in enumerate(obj.sections)]
        self.maps = read_map_defs(obj, self.btf)
        if lacks_description(obj, self.btf):
            place = Place(obj.filename, detail=".maps+0x0")
            warning(place, "the maps here are described by BTF, which is missing; rebuild with 'clang -g'")
        self.map_names: dict[tuple[int, int], str] = {}
        self.names_of_maps: dict[int, str] = {}  # identity of a definition -> IR name
        self.functions: dict[int, list[_Function]] = {}
        self.at: dict[tuple[int, int], str] = {}  # (section, offset) -> function name
        self.of_symbol: dict[int, str] = {}  # undefined symbol -> IR name

    def unique(self, name: str) -> str:
        """An IR name that nothing else has."""
        candidate, n = name, 2
        while candidate in self.taken:
            candidate, n = f"{name}#{n}", n + 1
        self.taken.add(candidate)
        return candidate

    def module(self) -> ModuleOp:
        for definition in self.maps:
            self.name_map(definition)
        ops: list[Operation] = [op for definition in self.maps for op in self.map_decls(definition)]
        for index, section in enumerate(self.obj.sections):
            if index and section.is_code and len(section) and len(section) % isa.INSN_SIZE == 0:
                self.check_relocs(index)
                self.functions[index] = self.cut(index)
        lines, cores, infos = self.extension()
        for functions in self.functions.values():
            ops += [self.function(f, lines, cores, infos) for f in functions]
        ops += [self.section(i) for i in range(1, len(self.obj.sections))]
        ops += [self.symbol(s) for s in self.obj.symbols[1:]]
        attributes: dict[str, Attribute] = {"object.file": StringAttr(self.obj.filename)}
        if self.obj.flags:
            attributes["object.flags"] = int_attr(self.obj.flags)
        return ModuleOp(ops, attributes)

    # --- maps --------------------------------------------------------------------------------------------------------

    def name_map(self, definition: MapDef) -> None:
        """Give a map its name in the IR."""
        name = definition.name if definition.internal else self.unique(definition.name)
        section = self.obj.section_index(definition.section)
        if not definition.internal and section is not None:
            self.map_names[section, definition.offset] = name
        self.names_of_maps[id(definition)] = name

    def map_decls(self, definition: MapDef) -> list[Operation]:
        """The declaration of a map, and before it that of its inner map's template where that is no map itself."""
        before: list[Operation] = []
        name = self.names_of_maps[id(definition)]
        properties: dict[str, Attribute] = {
            "sym_name": StringAttr(name),
            "type": StringAttr(definition.type_name),
            "key_size": int_attr(definition.key_size),
            "value_size": int_attr(definition.value_size),
            "max_entries": int_attr(definition.max_entries),
            "flags": int_attr(definition.flags),
            "section": StringAttr(definition.section),
        }
        numbers = {
            "pinning": definition.pinning,
            "numa_node": definition.numa_node,
            "map_extra": definition.map_extra,
            "key_btf": definition.key_btf_id,
            "value_btf": definition.value_btf_id,
        }
        properties |= {key: int_attr(value) for key, value in numbers.items() if value}
        if definition.internal:
            properties["internal"] = UnitAttr()
        if definition.inner is not None:
            if id(definition.inner) not in self.names_of_maps:
                self.names_of_maps[id(definition.inner)] = self.unique(f"{name}.inner")
                before = self.map_decls(definition.inner)
                before[-1].properties["template"] = UnitAttr()
            properties["inner"] = SymbolRefAttr(self.names_of_maps[id(definition.inner)])
        if definition.values:
            properties["initial"] = ArrayAttr(
                DictionaryAttr({"index": int_attr(i), "symbol": StringAttr(symbol)}) for i, symbol in definition.values
            )
        return [*before, DeclOp.create(properties=properties)]

    # --- code --------------------------------------------------------------------------------------------------------

    def check_relocs(self, index: int) -> None:
        """Each relocation of code is that of one instruction, which has no other."""
        if index in self.obj.rela:
            raise self.obj.error("relocations with addends, which no loader takes; rebuild with clang", index)
        seen: set[int] = set()
        for reloc in self.obj.relocs.get(index, ()):
            if reloc.offset % isa.INSN_SIZE or reloc.offset in seen:
                problem = "a second relocation" if reloc.offset in seen else "a relocation between instructions"
                raise self.obj.error(f"{problem}; the file is damaged", index, reloc.offset)
            seen.add(reloc.offset)

    def is_function(self, symbol: Symbol) -> bool:
        if symbol.type == STT_NOTYPE:
            return bool(symbol.name) and (symbol.bind != STB_LOCAL or not _LABEL.match(symbol.name))
        return symbol.type == STT_FUNC

    def cut(self, index: int) -> list[_Function]:
        """A code section's functions, and the code between them, in order."""
        section = self.obj.sections[index]
        starts: dict[int, Symbol] = {}
        bodies = [range(s.value + 1, s.value + s.size) for _, s in self.obj.symbols_in(index) if s.type == STT_FUNC]
        for _, symbol in self.obj.symbols_in(index):
            at = symbol.value
            if not self.is_function(symbol) or at >= len(section) or at % isa.INSN_SIZE:
                continue
            if symbol.type == STT_NOTYPE and any(at in body for body in bodies):
                continue  # a label of inline assembly
            if at not in starts or _rank(symbol) > _rank(starts[at]):
                starts[at] = symbol
        bounds = [*sorted(starts), len(section)]
        functions: list[_Function] = []
        if bounds[0] > 0:
            functions.append(self.anonymous(index, 0, bounds[0]))
        for start, following in pairwise(bounds):
            symbol = starts[start]
            end = start + symbol.size if 0 < symbol.size < following - start else following
            if end % isa.INSN_SIZE:
                end = following
            name = self.unique(symbol.name)
            self.at[index, start] = name
            functions.append(_Function(name, index, start, end, symbol))
            if end < following:
                functions.append(self.anonymous(index, end, following))
        return functions

    def anonymous(self, index: int, start: int, end: int) -> _Function:
        name = self.unique(f"{self.section_names[index]}.{start // isa.INSN_SIZE}")
        return _Function(name, index, start, end, None)

    def extension(
        self,
    ) -> tuple[
        dict[str, list[tuple[int, Line]]],
        dict[str, dict[int, tuple[int, str, int]]],
        dict[str, dict[int, int]],
    ]:
        """What `.BTF.ext` says by section name: line records, CO-RE relocations and function types by offset."""
        lines: dict[str, list[tuple[int, Line]]] = {}
        cores: dict[str, dict[int, tuple[int, str, int]]] = {}
        infos: dict[str, dict[int, int]] = {}
        if self.ext is not None and self.btf is not None:
            for line in self.ext.line_info:
                place = (self.btf.string(line.file_name_off), line.line, line.col)
                lines.setdefault(line.section, []).append((line.insn_off, place))
            for core in self.ext.core_relos:
                entry = (core.type_id, self.btf.string(core.access_str_off), core.kind)
                cores.setdefault(core.section, {})[core.insn_off] = entry
            for info in self.ext.func_info:
                infos.setdefault(info.section, {})[info.insn_off] = info.type_id
        return lines, cores, infos

    def function(
        self,
        f: _Function,
        lines: dict[str, list[tuple[int, Line]]],
        cores: dict[str, dict[int, tuple[int, str, int]]],
        infos: dict[str, dict[int, int]],
    ) -> FuncOp:
        name = self.obj.sections[f.section].name
        code = self.code(f)
        code.lines = spread(lines.get(name, []), f.start, f.end)
        code.cores = {at - f.start: c for at, c in cores.get(name, {}).items() if f.start <= at < f.end}
        btf_func = infos.get(name, {}).get(f.start)
        type_ = self.types.get(name) or program_type(name, self.prog_type or self.odd_type(name))
        is_program = type_ is not None and f.symbol is not None and f.symbol.bind != STB_LOCAL
        symbol = f.symbol
        static = symbol is None or symbol.bind == STB_LOCAL  # nobody holds it, or assembly in it, to its prototype
        args = 1 if is_program else None if static else self.param_count(btf_func)
        region = lift(code, args, self.section_names[f.section])
        func = FuncOp.build_func(
            f.name,
            self.section_names[f.section],
            region,
            prog_type=StringAttr(type_) if is_program and type_ else None,
            bind=int_attr(symbol.bind) if symbol is not None and symbol.bind != STB_GLOBAL else None,
            btf_func=btf_func,
            anonymous=UnitAttr() if symbol is None else None,
        )
        return func

    def odd_type(self, section: str) -> str:
        return "sched_cls" if _NUMBERED.match(section) else "unspec"

    def param_count(self, btf_func: int | None) -> int | None:
        """Number of parameters that BTF gives a subprogram."""
        if btf_func is None or self.btf is None or self.btf.kind(btf_func) is not Kind.FUNC:
            return None
        proto = self.btf.target(btf_func)
        return min(len(self.btf.params(proto)), 5) if self.btf.kind(proto) is Kind.FUNC_PROTO else None

    def code(self, f: _Function) -> Code:
        """The function's bytes, with what its instructions refer to."""
        section = self.obj.sections[f.section]
        code = Code(bytes(section.data[f.start : f.end]), start=f.start)
        for reloc in self.obj.relocs.get(f.section, ()):
            if f.start <= reloc.offset < f.end:
                # The immediate is where it is in every instruction, also in those that decode to nothing.
                imm = int.from_bytes(section.data[reloc.offset + 4 : reloc.offset + 8], "little", signed=True)
                code.refs[reloc.offset - f.start] = self.ref(reloc.symbol, reloc.type, imm)
        for at in range(0, len(code.data), isa.INSN_SIZE):
            insn = isa.decode(code.data, at)
            if insn is not None and at not in code.refs and (row := isa.row_of(insn)) and row.name == "call_local":
                target = self.at.get((f.section, f.start + at + isa.INSN_SIZE * (1 + insn.imm)))
                if target is not None:
                    code.refs[at] = Ref(target, "", 0)
        return code

    def ref(self, number: int, type_: int, imm: int) -> Ref:
        """What a relocation of an instruction with that immediate refers to."""
        symbol = self.obj.symbols[number]
        by_section = symbol.type == STT_SECTION
        if symbol.shndx == SHN_UNDEF or symbol.shndx >= SHN_LORESERVE:
            name = self.of_symbol.setdefault(number, self.unique(symbol.name) if symbol.name else f"undefined.{number}")
            return Ref(name, symbol.name, type_, UNDEFINED)
        via = "section" if by_section else symbol.name
        section = self.obj.sections[symbol.shndx]
        if section.is_code:
            place = symbol.value + (isa.INSN_SIZE * (1 + imm) if type_ == R_BPF_64_32 else imm)
            target = self.at.get((symbol.shndx, place))
            if target is not None:
                return Ref(target, via, type_)
        place = symbol.value + (imm if type_ == R_BPF_64_64 else 0)
        if (name_ := self.map_names.get((symbol.shndx, place))) is not None:
            return Ref(name_, via, type_)
        return Ref(self.section_names[symbol.shndx], via, type_, place)

    # --- the rest of the object --------------------------------------------------------------------------------------

    def section(self, index: int) -> SectionOp:
        section = self.obj.sections[index]
        properties: dict[str, Attribute] = {
            "section": StringAttr(self.section_names[index]),
            "type": int_attr(section.type),
            "flags": int_attr(section.flags),
            "align": int_attr(section.align),
        }
        if self.section_names[index] != section.name:
            properties["elf_name"] = StringAttr(section.name)
        numbers = {"entsize": section.entsize, "size": section.size, "link": section.link, "info": section.info}
        properties |= {key: int_attr(value) for key, value in numbers.items() if value}
        if index not in self.functions:
            if section.data:
                properties["data"] = StringAttr(bytes(section.data).hex())
            if relocs := self.obj.relocs.get(index):
                properties["relocs"] = ArrayAttr(
                    DictionaryAttr(
                        {
                            "offset": int_attr(r.offset),
                            "type": int_attr(r.type),
                            "symbol": int_attr(r.symbol),
                            "addend": int_attr(r.addend),
                        }
                    )
                    for r in relocs
                )
        if index in self.obj.rela:
            properties["rela"] = UnitAttr()
        if index in self.obj.reloc_headers:
            name, flags = self.obj.reloc_headers[index]
            properties |= {"reloc_name": StringAttr(name), "reloc_flags": int_attr(flags)}
        return SectionOp.create(properties=properties)

    def symbol(self, symbol: Symbol) -> SymbolOp:
        value = symbol.value
        properties: dict[str, Attribute] = {}
        inside = next(
            (f for f in self.functions.get(symbol.shndx, ()) if f.start <= symbol.value < f.end),
            None,
        )
        if inside is not None and symbol.type != STT_SECTION:
            properties["func"] = SymbolRefAttr(inside.name)
            value -= inside.start
        properties |= {
            "symbol": StringAttr(symbol.name),
            "section": int_attr(symbol.shndx),
            "value": int_attr(value),
            "size": int_attr(symbol.size),
            "bind": int_attr(symbol.bind),
            "type": int_attr(symbol.type),
        }
        if symbol.visibility:
            properties["visibility"] = int_attr(symbol.visibility)
        return SymbolOp.create(properties=properties)


def _rank(symbol: Symbol) -> tuple[bool, bool]:
    """Which of several symbols at one place names the function."""
    return symbol.type == STT_FUNC, symbol.bind != STB_LOCAL
