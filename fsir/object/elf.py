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

IDENT = b"\x7fELF\x02\x01\x01"  # magic, 64-bit, little-endian, version 1
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")
REL = struct.Struct("<QQ")
RELA = struct.Struct("<QQq")

# Types whose sh_link means nothing, so that content is kept whatever it says.
PLAIN_TYPES = frozenset(
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
MAX_ALIGN = 1 << 16
MAX_ZEROS = (1 << 31) - 1
"""Bytes of a section without content: the kernel makes it the value of an array, whose size is a signed int."""


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


def read_elf(data: bytes, filename: str) -> ElfObject:
    """Read an object file. Raises ``ObjectError``, and nothing else, on input that is not one."""
    from fsir.object.elf_read import Reader

    return Reader(data, filename).read()


def write_elf(obj: ElfObject) -> bytes:
    """The object file, laid out as LLVM does: ``.strtab``, each section with its relocations right after it,
    ``.symtab``. ``obj`` is not changed; local symbols are moved to the front in the output."""
    from fsir.object.elf_write import write

    return write(obj)
