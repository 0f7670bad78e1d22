"""Writing an ELF file: tables made anew around the sections with content."""

from __future__ import annotations

from fsir.object.elf import (
    EHDR,
    ET_REL,
    IDENT,
    PLAIN_TYPES,
    REL,
    RELA,
    SHDR,
    SHF_INFO_LINK,
    SHF_LINK_ORDER,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    SYM,
    ElfObject,
    Reloc,
    Section,
)


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


def write(obj: ElfObject) -> bytes:
    """What ``write_elf`` says."""
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
        ordered = section.flags & SHF_LINK_ORDER or section.type not in PLAIN_TYPES
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
    symbols = bytearray(SYM.size)
    for i in order:
        s = obj.symbols[i]
        shndx = section_number(s.shndx)
        symbols += SYM.pack(strings.add(s.name), s.bind << 4 | s.type, s.visibility, shndx, s.value, s.size)
    first_global = 1 + sum(1 for i in order if obj.symbols[i].bind == STB_LOCAL)
    out.append(Section(".symtab", SHT_SYMTAB, 0, 8, SYM.size, symbols, 1, first_global))
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
        data += RELA.pack(r.offset, info, r.addend) if rela else REL.pack(r.offset, info)
    kind, record = (SHT_RELA, RELA) if rela else (SHT_REL, REL)
    return Section(name, kind, flags, 8, record.size, data, symtab, number)


def _lay_out(obj: ElfObject, sections: list[Section], strings: _Strings) -> bytes:
    """Put the content one after the other behind the ELF header, the section headers at the end."""
    image = bytearray(EHDR.size)
    headers = bytearray(SHDR.size)
    for s in sections:
        if s.type != SHT_NOBITS:
            image += bytes(-len(image) % max(s.align, 1))
        headers += SHDR.pack(
            strings.add(s.name), s.type, s.flags, 0, len(image), len(s), s.link, s.info, s.align, s.entsize
        )
        if s.type != SHT_NOBITS:
            image += s.data
    image += bytes(-len(image) % 8)
    EHDR.pack_into(
        image, 0, IDENT.ljust(16, b"\0"), ET_REL, obj.machine, 1, 0, 0, len(image), obj.flags,
        EHDR.size, 0, 0, SHDR.size, len(sections) + 1, 1,
    )  # fmt: skip
    return bytes(image + headers)
