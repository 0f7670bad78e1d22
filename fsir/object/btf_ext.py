"""``.BTF.ext``: what BTF says about instructions — functions, source lines, CO-RE relocations.

Three flat lists, one record each with the name of its section and the byte offset of its instruction
there, in file order. To change them, build new lists; ``to_bytes`` groups neighbours of one section.
Strings (section and file names, source text, access paths) live in the object's ``Btf``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from fsir.object.btf import Btf
from fsir.object.elf import ElfObject, Reloc, Section
from fsir.object.errors import ObjectError

_PREFIX = struct.Struct("<HBBI")  # magic, version, flags, header length
_EXTENT = struct.Struct("<II")  # offset (from the header's end) and length of one list
_BLOCK = struct.Struct("<II")  # section name, number of records
_MAGIC = 0xEB9F
_OLD_HEADER, _HEADER = 24, 32  # without and with CO-RE relocations
_LIST_NAMES = ("func_info", "line_info", "core_relo")
_RECORDS = (struct.Struct("<II"), struct.Struct("<IIII"), struct.Struct("<IIII"))


@dataclass(slots=True)
class FuncInfo:
    """A function's first instruction and its BTF ``FUNC``. ``tail`` keeps bytes of a longer record."""

    section: str
    insn_off: int
    type_id: int
    tail: bytes = b""


@dataclass(slots=True)
class LineInfo:
    """The source line of an instruction and those after it; ``*_off`` are ``Btf.string`` offsets."""

    section: str
    insn_off: int
    file_name_off: int
    line_off: int
    line: int
    col: int
    tail: bytes = b""


@dataclass(slots=True)
class CoreRelo:
    """A value that the loader takes from the running kernel's types (``enum bpf_core_relo_kind``)."""

    section: str
    insn_off: int
    type_id: int
    access_str_off: int
    kind: int
    tail: bytes = b""


@dataclass(slots=True)
class BtfExt:
    """The three lists. ``record_sizes`` are in bytes, 0 for a list that is absent altogether (one that is
    present may be empty); a list that has records is written whatever they say."""

    func_info: list[FuncInfo] = field(default_factory=list)
    line_info: list[LineInfo] = field(default_factory=list)
    core_relos: list[CoreRelo] = field(default_factory=list)
    record_sizes: list[int] = field(default_factory=lambda: [8, 16, 0])
    flags: int = 0
    header_length: int = _HEADER
    header_tail: bytes = b""
    _section_offsets: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes | bytearray, btf: Btf) -> BtfExt:
        """Read a ``.BTF.ext`` section. Anything wrong with it is an ``ObjectError``."""
        return _parse(bytes(data), btf)

    def to_bytes(self, btf: Btf) -> bytes:
        """The section; the bytes that were parsed if nothing was changed. Section names that ``btf`` has
        not got are added there, so write ``.BTF`` after this."""
        return self._write(btf)[0]

    def _write(self, btf: Btf) -> tuple[bytes, list[tuple[int, str, int]]]:
        """The bytes, and where the instruction offsets are in them: (place, section, offset)."""
        blocks = (
            [(f.section, (f.insn_off, f.type_id), f.tail) for f in self.func_info],
            [
                (x.section, (x.insn_off, x.file_name_off, x.line_off, x.line << 10 | min(x.col, 0x3FF)), x.tail)
                for x in self.line_info
            ],
            [(c.section, (c.insn_off, c.type_id, c.access_str_off, c.kind), c.tail) for c in self.core_relos],
        )
        has_core = self.header_length >= _HEADER or bool(self.core_relos)
        header_length = (_HEADER if has_core else _OLD_HEADER) + len(self.header_tail)
        body = bytearray()
        head = bytearray(_PREFIX.pack(_MAGIC, 1, self.flags, header_length))
        places: list[tuple[int, str, int]] = []
        for number, records in enumerate(blocks[: 3 if has_core else 2]):
            begin = len(body)
            record = _RECORDS[number]
            size = self.record_sizes[number] or (record.size if records else 0)
            if size:
                body += size.to_bytes(4, "little")
            for section, group in groupby(records, key=lambda r: r[0]):
                members = list(group)
                name_off = self._section_offsets.get(section)
                body += _BLOCK.pack(btf.add_string(section) if name_off is None else name_off, len(members))
                for _, values, tail in members:
                    places.append((header_length + len(body), section, values[0]))
                    body += record.pack(*values) + tail.ljust(size - record.size, b"\0")
            head += _EXTENT.pack(begin, len(body) - begin)
        return bytes(head + self.header_tail + body), places


def _parse(data: bytes, btf: Btf) -> BtfExt:
    def fail(message: str, offset: int) -> ObjectError:
        return ObjectError(message, btf.file, ".BTF.ext", offset)

    if len(data) < _OLD_HEADER:
        raise fail(f"{len(data)} bytes are too few for BTF.ext; rebuild the object with 'clang -g'", 0)
    magic, version, flags, header_length = _PREFIX.unpack_from(data)
    if magic != _MAGIC or version != 1 or not _OLD_HEADER <= header_length <= len(data):
        raise fail(f"BTF.ext header (magic {magic:#x}, version {version}) is damaged; rebuild with 'clang -g'", 0)
    ext = BtfExt(record_sizes=[0, 0, 0], flags=flags, header_length=header_length)
    lists = 3 if header_length >= _HEADER else 2
    ext.header_tail = data[_PREFIX.size + lists * _EXTENT.size : header_length]
    end = header_length
    for number in range(lists):
        offset, length = _EXTENT.unpack_from(data, _PREFIX.size + number * _EXTENT.size)
        if not length:
            continue
        if header_length + offset != end or end + length > len(data) or length < 4:
            raise fail(f"list {_LIST_NAMES[number]} does not lie within the section; the file is damaged", end)
        begin, end = end, end + length
        size = int.from_bytes(data[begin : begin + 4], "little")
        if size < _RECORDS[number].size or size % 4:
            raise fail(f"records of {size} bytes in list {_LIST_NAMES[number]}; damaged", begin)
        ext.record_sizes[number] = size
        _fill(ext, number, _records(data, begin + 4, end, size, number, btf, ext._section_offsets))
    if end != len(data):
        raise fail("bytes after the last list; the file is damaged", end)
    return ext


def _records(
    data: bytes, at: int, end: int, size: int, number: int, btf: Btf, offsets: dict[str, int]
) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    """Section name, values and surplus bytes of the records of one list."""
    record = _RECORDS[number]
    while at < end:
        name_off, count = _BLOCK.unpack_from(data, at) if at + _BLOCK.size <= end else (0, 0)
        at += _BLOCK.size
        if not count or at + count * size > end:
            message = f"list {_LIST_NAMES[number]} says {count} records of {size} bytes; the file is damaged"
            raise ObjectError(message, btf.file, ".BTF.ext", at)
        section = btf.string(name_off)
        offsets.setdefault(section, name_off)
        for place in range(at, at + count * size, size):
            yield section, record.unpack_from(data, place), data[place + record.size : place + size]
        at += count * size


def _fill(ext: BtfExt, number: int, records: Iterable[tuple[str, tuple[int, ...], bytes]]) -> None:
    if number == 0:
        ext.func_info = [FuncInfo(s, off, ty, tail) for s, (off, ty), tail in records]
    elif number == 1:
        ext.line_info = [
            LineInfo(s, off, name, text, pos >> 10, pos & 0x3FF, tail) for s, (off, name, text, pos), tail in records
        ]
    else:
        ext.core_relos = [CoreRelo(s, off, ty, access, kind, tail) for s, (off, ty, access, kind), tail in records]


def load_btf_ext(obj: ElfObject, btf: Btf | None) -> BtfExt | None:
    """The object's ``.BTF.ext``, if it has one. (Without ``.BTF`` it says nothing.)"""
    section = obj.section_by_name(".BTF.ext")
    return None if section is None or btf is None else BtfExt.parse(section.data, btf)


def store_btf_ext(obj: ElfObject, ext: BtfExt, btf: Btf) -> None:
    """Put changed lists back into the object; ``store_btf`` comes after this.

    Relocations of the section are made anew, one for each instruction offset against the symbol of the
    section that it is in, if it had any. (The offsets are right without them; only linkers look.)
    """
    index = obj.section_index(".BTF.ext")
    if index is None:
        index = obj.add_section(Section(".BTF.ext", align=4))
    data, places = ext._write(btf)
    obj.sections[index].data = data
    if not (old := obj.relocs.get(index)):
        return
    kind, rela = old[0].type, index in obj.rela
    targets = {name: obj.section_index(name) for name in {section for _, section, _ in places}}
    symbols = {name: obj.section_symbol(target) for name, target in targets.items() if target is not None}
    obj.relocs[index] = [
        Reloc(place, kind, symbols[section], offset if rela else 0)
        for place, section, offset in places
        if section in symbols
    ]
