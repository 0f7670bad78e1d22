"""Reading an ELF file: headers, then content, symbols, relocations, all checked before it is used."""

from __future__ import annotations

from dataclasses import dataclass

from fsir.object.elf import (
    EHDR,
    EM_BPF,
    EM_NONE,
    ET_REL,
    IDENT,
    MAX_ALIGN,
    MAX_ZEROS,
    PLAIN_TYPES,
    REL,
    RELA,
    SHDR,
    SHF_GROUP,
    SHF_INFO_LINK,
    SHF_LINK_ORDER,
    SHN_ABS,
    SHN_COMMON,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHT_GROUP,
    SHT_NOBITS,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
    SYM,
    ElfObject,
    Reloc,
    Section,
    Symbol,
)
from fsir.object.errors import ObjectError


@dataclass(slots=True)
class _Header:
    """One section header as it lies in the file, with its name looked up."""

    name_off: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int
    name: str = ""


class Reader:
    """One reading of one file: the headers first, then content, symbols, relocations."""

    def __init__(self, data: bytes, filename: str) -> None:
        self.data = data
        self.obj = ElfObject(filename)
        self.headers: list[_Header] = []
        self.index: dict[int, int] = {}  # index in the file -> index in obj.sections

    def fail(self, message: str, section: str | None = None, offset: int | None = None) -> ObjectError:
        return ObjectError(message, self.obj.filename, section, offset)

    def read(self) -> ElfObject:
        shstrndx = self.read_headers()
        symtabs = [i for i, h in enumerate(self.headers) if h.type == SHT_SYMTAB]
        if len(symtabs) > 1:
            raise self.fail("more than one symbol table; rebuild it with clang", offset=0)
        symtab = symtabs[0] if symtabs else 0
        strtab = self.headers[symtab].link if symtab else 0
        if symtab and not (strtab < len(self.headers) and self.headers[strtab].type == SHT_STRTAB):
            raise self.fail("the symbol table names no string table; the file is damaged", ".symtab")
        self.read_sections({symtab, strtab, shstrndx} - {0})
        if symtab:
            self.read_symbols(self.headers[symtab], self.content(self.headers[strtab]))
        for header in self.headers:
            if header.type in (SHT_REL, SHT_RELA):
                self.read_relocs(header, symtab)
        return self.obj

    def read_headers(self) -> int:
        """Check the file header, read all section headers with names, return the name table's index."""
        data = self.data
        if data[:4] != IDENT[:4]:
            raise self.fail("not an ELF file; give an object made with 'clang -target bpf -c'")
        if len(data) < EHDR.size:
            raise self.fail(f"the file ends after {len(data)} bytes, within the ELF header; the file is truncated")
        (ident, etype, machine, _, _, _, shoff, flags, _, _, _, shentsize, shnum, shstrndx) = EHDR.unpack_from(data)
        if ident[5] == 2:
            raise self.fail("a big-endian object; rebuild it with '-target bpfel' (or '-target bpf' on a PC)")
        if ident[:7] != IDENT:
            raise self.fail("not a 64-bit little-endian ELF file; rebuild it with 'clang -target bpf'")
        if machine not in (EM_BPF, EM_NONE):
            raise self.fail(
                f"an object for ELF machine {machine}, not BPF ({EM_BPF}); build it with 'clang -target bpf'"
            )
        if etype != ET_REL:
            raise self.fail(
                f"an ELF file of type {etype}, not a relocatable one; give the object that 'clang -c' wrote"
            )
        if shnum == 0 or shentsize != SHDR.size:
            raise self.fail("no usable section header table; the file is damaged or stripped too far")
        if shoff + shnum * SHDR.size > len(data):
            raise self.fail(
                f"the file ends after {len(data)} bytes, before its section headers; it is truncated",
                None,
                shoff,
            )
        self.obj.flags, self.obj.machine = flags, machine
        self.headers = [_Header(*values) for values in SHDR.iter_unpack(data[shoff : shoff + shnum * SHDR.size])]
        if shstrndx >= shnum or self.headers[shstrndx].type != SHT_STRTAB:
            raise self.fail("no table of section names; the file is damaged")
        self.check_extents()
        names = self.content(self.headers[shstrndx])
        for i, header in enumerate(self.headers):
            header.name = self.string(names, header.name_off, f"name of section {i}") if i else ""
        return int(shstrndx)

    def check_extents(self) -> None:
        """All content lies within the file, and no byte of it in two sections."""
        extents = sorted(
            (h.offset, h.offset + h.size) for h in self.headers if h.type not in (SHT_NULL, SHT_NOBITS) and h.size
        )
        end = 0
        for start, stop in extents:
            if stop > len(self.data):
                raise self.fail(
                    f"the file ends after {len(self.data)} bytes, within a section; it is truncated",
                    offset=start,
                )
            if start < end:
                raise self.fail("two sections share content; the file is damaged", offset=start)
            end = stop

    def content(self, header: _Header) -> bytes:
        if header.type in (SHT_NULL, SHT_NOBITS):
            return b""
        return self.data[header.offset : header.offset + header.size]

    def string(self, table: bytes, offset: int, what: str) -> str:
        end = table.find(b"\0", offset)
        if offset >= len(table) or end < 0:
            if offset == 0 and not table:
                return ""
            raise self.fail(f"{what} lies outside its string table; the file is damaged")
        return table[offset:end].decode("utf-8", "surrogateescape")

    def read_sections(self, tables: set[int]) -> None:
        """Fill ``obj.sections``, leaving out what the writer makes and what would go stale."""
        for i, header in enumerate(self.headers):
            if i == 0 or i in tables or header.type in (SHT_REL, SHT_RELA):
                continue
            stale = header.type not in PLAIN_TYPES and header.link in tables
            if stale or header.type in (SHT_GROUP, SHT_SYMTAB_SHNDX):
                self.obj.dropped.append(header.name)
                continue
            if header.align & (header.align - 1) or header.align > MAX_ALIGN:
                raise self.fail(f"alignment {header.align} is impossible; the file is damaged", header.name)
            if header.type == SHT_NOBITS and header.size > MAX_ZEROS:
                raise self.fail(f"{header.size:#x} bytes of zeros are more than a map can hold", header.name)
            self.index[i] = self.obj.add_section(
                Section(
                    header.name,
                    header.type,
                    header.flags & ~SHF_GROUP,
                    header.align,
                    header.entsize,
                    self.content(header),
                    header.link,
                    header.info,
                    header.size if header.type == SHT_NOBITS else 0,
                )
            )
        for section in self.obj.sections[1:]:
            linked = section.flags & SHF_LINK_ORDER or section.type not in PLAIN_TYPES
            section.link = self.index.get(section.link, 0) if linked else 0
            if section.flags & SHF_INFO_LINK:
                section.info = self.index.get(section.info, 0)

    def read_symbols(self, header: _Header, strings: bytes) -> None:
        table = self.content(header)
        if header.entsize != SYM.size or len(table) % SYM.size or not table:
            raise self.fail("the symbol table has a broken size; the file is damaged", header.name)
        for i, (name_off, info, other, shndx, value, size) in enumerate(SYM.iter_unpack(table)):
            if i == 0:
                continue
            name = self.string(strings, name_off, f"name of symbol {i}")
            if SHN_UNDEF < shndx < SHN_LORESERVE:
                shndx = self.defined_in(i, name, shndx, value, size)
            elif shndx not in (SHN_UNDEF, SHN_ABS, SHN_COMMON):
                raise self.fail(
                    f"symbol {i} ({name!r}) is in special section {shndx:#x}, which BPF objects do not have; "
                    "rebuild it with clang",
                    header.name,
                )
            self.obj.symbols.append(Symbol(name, shndx, value, size, info >> 4, info & 15, other & 3))

    def defined_in(self, i: int, name: str, shndx: int, value: int, size: int) -> int:
        """The index in ``obj.sections`` for a symbol's section; the null section for a dropped one."""
        if shndx >= len(self.headers):
            raise self.fail(f"symbol {i} ({name!r}) is in section {shndx} of {len(self.headers)}; damaged file")
        if shndx not in self.index:
            return SHN_UNDEF
        section = self.obj.sections[self.index[shndx]]
        if value + size > len(section):
            raise self.fail(
                f"symbol {name!r} reaches {value + size:#x} of {len(section):#x} bytes; damaged file",
                section.name,
                value,
            )
        return self.index[shndx]

    def read_relocs(self, header: _Header, symtab: int) -> None:
        target = self.index.get(header.info)
        if target is None or not symtab or header.link != symtab:
            raise self.fail("relocation section without its section or symbols; damaged file", header.name)
        record = RELA if header.type == SHT_RELA else REL
        table = self.content(header)
        if header.entsize != record.size or len(table) % record.size:
            raise self.fail("the relocation section has a broken size; the file is damaged", header.name)
        if target in self.obj.relocs and (target in self.obj.rela) != (record is RELA):
            raise self.fail("relocations with and without addends for one section; rebuild it with clang", header.name)
        if record is RELA:
            self.obj.rela.add(target)
        self.obj.reloc_headers[target] = (header.name, header.flags)
        relocs = self.obj.relocs.setdefault(target, [])
        limit, symbols = len(self.obj.sections[target]), len(self.obj.symbols)
        for offset, info, *addend in record.iter_unpack(table):
            if offset >= limit or info >> 32 >= symbols:
                raise self.fail(
                    f"relocation at {offset:#x} with symbol {info >> 32}, but the section has {limit:#x} "
                    f"bytes and the symbol table {symbols} entries; the file is damaged",
                    header.name,
                )
            relocs.append(Reloc(offset, info & 0xFFFFFFFF, info >> 32, *addend))
