"""ELF objects of the BPF machine, read, edited and written again.

What is kept and what is made anew: sections with content are kept in their order; the symbol table, the
string tables and the relocation sections are held as ``Symbol`` and ``Reloc`` lists and written from
those, so that an edit is a change of a list. Sections that are lists of symbol or section *numbers*
(``.llvm_addrsig``, call-graph profiles, COMDAT groups) would go stale with any edit; they are only hints
to linkers, so they are dropped as ``bpftool gen object`` does, and named in ``ElfObject.dropped``.

This is no general ELF library: 64-bit little-endian relocatable files only, and nothing is interpreted
beyond the container (no instruction, no DWARF). The same record layouts serve the reader and the writer,
which is why the reader is not a library's: field values that a library turns into names could not be
written back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from fsir.object.errors import ObjectError

EM_NONE, EM_BPF = 0, 247
ET_REL = 1
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA = 0, 1, 2, 3, 4
SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_GROUP, SHT_SYMTAB_SHNDX = 7, 8, 9, 17, 18
SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY = 14, 15, 16
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 0x1, 0x2, 0x4
SHF_INFO_LINK, SHF_LINK_ORDER, SHF_GROUP = 0x40, 0x80, 0x200
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 0, 1, 2, 3, 4
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN, STV_PROTECTED = 0, 1, 2, 3
R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_ABS32, R_BPF_64_NODYLD32, R_BPF_64_32 = 1, 2, 3, 4, 10

_IDENT = b"\x7fELF\x02\x01\x01"  # magic, 64-bit, little-endian, version 1
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")
_RELA = struct.Struct("<QQq")

# Types whose sh_link means nothing, so that content is kept whatever it says.
_PLAIN_TYPES = frozenset(
    (
        SHT_NULL,
        SHT_PROGBITS,
        SHT_NOBITS,
        SHT_NOTE,
        SHT_STRTAB,
        SHT_INIT_ARRAY,
        SHT_FINI_ARRAY,
        SHT_PREINIT_ARRAY,
    )
)
_MAX_ALIGN = 1 << 16


@dataclass(slots=True)
class Section:
    """A section with content. ``link`` and ``info`` are section indices in ``ElfObject.sections`` where the
    flags make them so (``SHF_LINK_ORDER``, ``SHF_INFO_LINK``). ``size`` counts for ``SHT_NOBITS`` only, of
    which ``data`` is empty; ``len(section)`` is right for both."""

    name: str
    type: int = SHT_PROGBITS
    flags: int = 0
    align: int = 1
    entsize: int = 0
    data: bytes | bytearray = b""
    link: int = 0
    info: int = 0
    size: int = 0

    def __len__(self) -> int:
        return self.size if self.type == SHT_NOBITS else len(self.data)

    def __bool__(self) -> bool:
        return True

    @property
    def is_code(self) -> bool:
        """Does the section hold instructions?"""
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR)


@dataclass(slots=True)
class Symbol:
    """``shndx`` is an index in ``ElfObject.sections``, ``SHN_UNDEF``, or >= ``SHN_LORESERVE``."""

    name: str
    shndx: int = SHN_UNDEF
    value: int = 0
    size: int = 0
    bind: int = STB_LOCAL
    type: int = STT_NOTYPE
    visibility: int = STV_DEFAULT


@dataclass(slots=True)
class Reloc:
    """``symbol`` is an index in ``ElfObject.symbols``. Without ``rela`` the addend lies in the section's
    bytes and ``addend`` is 0."""

    offset: int
    type: int
    symbol: int
    addend: int = 0


@dataclass(slots=True)
class ElfObject:
    """An object file. Index 0 of ``sections`` and ``symbols`` is the null entry; ``relocs`` are by the index
    of the section that they patch; ``rela`` has those indices whose relocations carry addends;
    ``reloc_headers`` has name and flags of relocation sections that were read."""

    filename: str = ""
    sections: list[Section] = field(default_factory=lambda: [Section("", SHT_NULL, align=0)])
    symbols: list[Symbol] = field(default_factory=lambda: [Symbol("")])
    relocs: dict[int, list[Reloc]] = field(default_factory=dict)
    rela: set[int] = field(default_factory=set)
    reloc_headers: dict[int, tuple[str, int]] = field(default_factory=dict)
    flags: int = 0
    machine: int = EM_BPF
    dropped: list[str] = field(default_factory=list)

    def error(self, message: str, section: int | str | None = None, offset: int | None = None) -> ObjectError:
        """An ``ObjectError`` about this file, to be raised."""
        name = self.sections[section].name if isinstance(section, int) else section
        return ObjectError(message, self.filename, name, offset)

    def section_index(self, name: str) -> int | None:
        """The index of the first section of that name."""
        return next((i for i, s in enumerate(self.sections) if i and s.name == name), None)

    def section_by_name(self, name: str) -> Section | None:
        """The first section of that name."""
        index = self.section_index(name)
        return None if index is None else self.sections[index]

    def add_section(self, section: Section) -> int:
        """Append a section and return its index."""
        self.sections.append(section)
        return len(self.sections) - 1

    def remove_section(self, index: int) -> None:
        """Remove a section, the relocations that patch it, and its symbols. Relocations elsewhere that use
        one of the symbols make it an ``ObjectError``, and nothing is changed."""
        self.remove_symbols({i for i, s in enumerate(self.symbols) if i and s.shndx == index}, {index})
        del self.sections[index]

        def moved(i: int) -> int:
            return i - (index < i < SHN_LORESERVE)

        self.relocs = {moved(i): r for i, r in self.relocs.items() if i != index}
        self.rela = {moved(i) for i in self.rela if i != index}
        self.reloc_headers = {moved(i): h for i, h in self.reloc_headers.items() if i != index}
        for symbol in self.symbols:
            symbol.shndx = moved(symbol.shndx)
        for section in self.sections:
            if section.flags & SHF_LINK_ORDER:
                section.link = 0 if section.link == index else moved(section.link)
            if section.flags & SHF_INFO_LINK:
                section.info = 0 if section.info == index else moved(section.info)

    def symbol_index(self, name: str) -> int | None:
        """The index of the first named symbol, those that other files see before local ones."""
        found = [i for i, s in enumerate(self.symbols) if i and s.name == name and s.type != STT_SECTION]
        return min(found, key=lambda i: (self.symbols[i].bind == STB_LOCAL, i), default=None)

    def symbol_by_name(self, name: str) -> Symbol | None:
        """The symbol that ``symbol_index`` finds."""
        index = self.symbol_index(name)
        return None if index is None else self.symbols[index]

    def symbols_in(self, section: int) -> Iterator[tuple[int, Symbol]]:
        """Index and symbol of what is defined in a section, in table order."""
        return ((i, s) for i, s in enumerate(self.symbols) if i and s.shndx == section)

    def section_symbol(self, section: int) -> int:
        """The index of a section's ``STT_SECTION`` symbol, which is added when there is none."""
        for i, symbol in self.symbols_in(section):
            if symbol.type == STT_SECTION:
                return i
        return self.add_symbol(Symbol("", section, type=STT_SECTION))

    def add_symbol(self, symbol: Symbol) -> int:
        """Append a symbol and return its index. The writer puts local symbols first; indices here stay."""
        self.symbols.append(symbol)
        return len(self.symbols) - 1

    def remove_symbols(self, indices: set[int], except_in: set[int] | None = None) -> None:
        """Remove symbols and renumber what relocations refer to. A relocation that still uses one is an
        ``ObjectError`` (unless it patches a section of ``except_in``), and nothing is changed."""
        for patched, relocs in self.relocs.items():
            for reloc in relocs if patched not in (except_in or ()) else ():
                if reloc.symbol in indices:
                    name = self.symbols[reloc.symbol].name
                    raise self.error(
                        f"symbol '{name}' cannot be removed: a relocation here uses it", patched, reloc.offset
                    )
        kept = [i for i in range(len(self.symbols)) if i == 0 or i not in indices]
        renumber = {old: new for new, old in enumerate(kept)}
        self.symbols = [self.symbols[i] for i in kept]
        for relocs in self.relocs.values():
            for reloc in relocs:
                reloc.symbol = renumber.get(reloc.symbol, 0)

    def add_reloc(self, section: int, reloc: Reloc) -> None:
        """Add a relocation to what patches a section, keeping them sorted by offset."""
        relocs = self.relocs.setdefault(section, [])
        relocs.append(reloc)
        relocs.sort(key=lambda r: r.offset)


# --- reading ---------------------------------------------------------------------------------------------


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


def read_elf(data: bytes, filename: str) -> ElfObject:
    """Read an object file. Raises ``ObjectError``, and nothing else, on input that is not one."""
    return _Reader(data, filename).read()


class _Reader:
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
        if data[:4] != _IDENT[:4]:
            raise self.fail("not an ELF file; give an object made with 'clang -target bpf -c'")
        if len(data) < _EHDR.size:
            raise self.fail(f"the file ends after {len(data)} bytes, within the ELF header; the file is truncated")
        (ident, etype, machine, _, _, _, shoff, flags, _, _, _, shentsize, shnum, shstrndx) = _EHDR.unpack_from(data)
        if ident[5] == 2:
            raise self.fail("a big-endian object; rebuild it with '-target bpfel' (or '-target bpf' on a PC)")
        if ident[:7] != _IDENT:
            raise self.fail("not a 64-bit little-endian ELF file; rebuild it with 'clang -target bpf'")
        if machine not in (EM_BPF, EM_NONE):
            raise self.fail(
                f"an object for ELF machine {machine}, not BPF ({EM_BPF}); build it with 'clang -target bpf'"
            )
        if etype != ET_REL:
            raise self.fail(
                f"an ELF file of type {etype}, not a relocatable one; give the object that 'clang -c' wrote"
            )
        if shnum == 0 or shentsize != _SHDR.size:
            raise self.fail("no usable section header table; the file is damaged or stripped too far")
        if shoff + shnum * _SHDR.size > len(data):
            raise self.fail(
                f"the file ends after {len(data)} bytes, before its section headers; it is truncated",
                None,
                shoff,
            )
        self.obj.flags, self.obj.machine = flags, machine
        self.headers = [_Header(*values) for values in _SHDR.iter_unpack(data[shoff : shoff + shnum * _SHDR.size])]
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
            stale = header.type not in _PLAIN_TYPES and header.link in tables
            if stale or header.type in (SHT_GROUP, SHT_SYMTAB_SHNDX):
                self.obj.dropped.append(header.name)
                continue
            if header.align & (header.align - 1) or header.align > _MAX_ALIGN:
                raise self.fail(f"alignment {header.align} is impossible; the file is damaged", header.name)
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
            linked = section.flags & SHF_LINK_ORDER or section.type not in _PLAIN_TYPES
            section.link = self.index.get(section.link, 0) if linked else 0
            if section.flags & SHF_INFO_LINK:
                section.info = self.index.get(section.info, 0)

    def read_symbols(self, header: _Header, strings: bytes) -> None:
        table = self.content(header)
        if header.entsize != _SYM.size or len(table) % _SYM.size or not table:
            raise self.fail("the symbol table has a broken size; the file is damaged", header.name)
        for i, (name_off, info, other, shndx, value, size) in enumerate(_SYM.iter_unpack(table)):
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
        record = _RELA if header.type == SHT_RELA else _REL
        table = self.content(header)
        if header.entsize != record.size or len(table) % record.size:
            raise self.fail("the relocation section has a broken size; the file is damaged", header.name)
        if target in self.obj.relocs and (target in self.obj.rela) != (record is _RELA):
            raise self.fail("relocations with and without addends for one section; rebuild it with clang", header.name)
        if record is _RELA:
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


# --- writing ---------------------------------------------------------------------------------------------


class _Strings:
    """A string table being made."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self.offsets = {"": 0}

    def add(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = len(self.data)
            self.data += text.encode("utf-8", "surrogateescape") + b"\0"
        return self.offsets[text]


def write_elf(obj: ElfObject) -> bytes:
    """The object file, laid out as LLVM does: ``.strtab``, each section with its relocations right after it,
    ``.symtab``. ``obj`` is not changed; local symbols are moved to the front in the output."""
    strings = _Strings()
    order = sorted(range(1, len(obj.symbols)), key=lambda i: obj.symbols[i].bind != STB_LOCAL)
    symbol_number = {old: new for new, old in enumerate([0, *order])}

    # What goes out, in order: .strtab is filled in last, its place is second.
    number = {0: 0}
    count = 2
    for i in range(1, len(obj.sections)):
        number[i] = count
        count += 2 if obj.relocs.get(i) else 1
    symtab_number = count

    def section_number(shndx: int) -> int:
        return shndx if shndx >= SHN_LORESERVE else number[shndx]

    out: list[Section] = []
    for i, section in enumerate(obj.sections[1:], 1):
        ordered = section.flags & SHF_LINK_ORDER or section.type not in _PLAIN_TYPES
        out.append(
            Section(
                section.name,
                section.type,
                section.flags,
                section.align,
                section.entsize,
                section.data,
                section_number(section.link) if ordered else 0,
                section_number(section.info) if section.flags & SHF_INFO_LINK else section.info,
                section.size,
            )
        )
        if relocs := obj.relocs.get(i):
            out.append(_reloc_section(obj, i, relocs, symbol_number, symtab_number, number[i]))
    symbols = bytearray(_SYM.size)
    for i in order:
        s = obj.symbols[i]
        shndx = section_number(s.shndx)
        symbols += _SYM.pack(strings.add(s.name), s.bind << 4 | s.type, s.visibility, shndx, s.value, s.size)
    first_global = 1 + sum(1 for i in order if obj.symbols[i].bind == STB_LOCAL)
    out.append(Section(".symtab", SHT_SYMTAB, 0, 8, _SYM.size, symbols, 1, first_global))
    for section in out:
        strings.add(section.name)
    strings.add(".strtab")
    out.insert(0, Section(".strtab", SHT_STRTAB, data=strings.data))
    return _lay_out(obj, out, strings)


def _reloc_section(
    obj: ElfObject, target: int, relocs: list[Reloc], symbol_number: dict[int, int], symtab: int, number: int
) -> Section:
    """The relocation section for ``target``, whose index in the output is ``number``."""
    rela = target in obj.rela
    default = (".rela" if rela else ".rel") + obj.sections[target].name, SHF_INFO_LINK
    name, flags = obj.reloc_headers.get(target, default)
    data = bytearray()
    for r in relocs:
        info = symbol_number[r.symbol] << 32 | r.type
        data += _RELA.pack(r.offset, info, r.addend) if rela else _REL.pack(r.offset, info)
    kind, record = (SHT_RELA, _RELA) if rela else (SHT_REL, _REL)
    return Section(name, kind, flags, 8, record.size, data, symtab, number)


def _lay_out(obj: ElfObject, sections: list[Section], strings: _Strings) -> bytes:
    """Put the content one after the other behind the ELF header, the section headers at the end."""
    image = bytearray(_EHDR.size)
    headers = bytearray(_SHDR.size)
    for s in sections:
        if s.type != SHT_NOBITS:
            image += bytes(-len(image) % max(s.align, 1))
        headers += _SHDR.pack(
            strings.add(s.name), s.type, s.flags, 0, len(image), len(s), s.link, s.info, s.align, s.entsize
        )
        if s.type != SHT_NOBITS:
            image += s.data
    image += bytes(-len(image) % 8)
    _EHDR.pack_into(
        image, 0, _IDENT.ljust(16, b"\0"), ET_REL, obj.machine, 1, 0, 0, len(image), obj.flags,
        _EHDR.size, 0, 0, _SHDR.size, len(sections) + 1, 1,
    )  # fmt: skip
    return bytes(image + headers)
