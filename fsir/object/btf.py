"""BTF, the kernel's type format: read, asked, extended, written (Documentation/bpf/btf.rst).

A ``Btf`` is a list of ``Type`` records close to the bytes, so that what was not touched is written as it
was read. Type ids never move: new types are appended, and an existing ``DATASEC`` grows in place. One
table, ``SHAPES``, says for every kind what follows its 12-byte head and which fields are names or types;
reader, writer and checks all go by it.

``Btf.parse`` checks that every id and name offset is in range; helpers that walk types raise
``ObjectError`` on loops, so that no input hangs the compiler.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from fsir.object.elf import R_BPF_64_NODYLD32, ElfObject, Reloc, Section
from fsir.object.errors import ObjectError

_HEADER = struct.Struct("<HBBIIIII")
_HEAD = struct.Struct("<III")
_MAGIC = 0xEB9F


class Kind(IntEnum):
    """What a type is (``BTF_KIND_*``)."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Shape(NamedTuple):
    """How a kind is laid out: ``tail`` records after the head, ``many`` of them (vlen) or one; whether the
    head's last word is a type (else a size); which columns of a tail record are names, and which types."""

    tail: str = ""
    many: bool = False
    refers: bool = False
    names: tuple[int, ...] = ()
    types: tuple[int, ...] = ()


_MEMBERS = Shape("<III", many=True, names=(0,), types=(1,))
_REFERENCE = Shape(refers=True)
SHAPES: dict[Kind, Shape] = {
    Kind.INT: Shape("<I"),
    Kind.PTR: _REFERENCE,
    Kind.ARRAY: Shape("<III", types=(0, 1)),
    Kind.STRUCT: _MEMBERS,
    Kind.UNION: _MEMBERS,
    Kind.ENUM: Shape("<Ii", many=True, names=(0,)),
    Kind.FWD: Shape(),
    Kind.TYPEDEF: _REFERENCE,
    Kind.VOLATILE: _REFERENCE,
    Kind.CONST: _REFERENCE,
    Kind.RESTRICT: _REFERENCE,
    Kind.FUNC: _REFERENCE,
    Kind.FUNC_PROTO: Shape("<II", many=True, refers=True, names=(0,), types=(1,)),
    Kind.VAR: Shape("<I", refers=True),
    Kind.DATASEC: Shape("<III", many=True, types=(0,)),
    Kind.FLOAT: Shape(),
    Kind.DECL_TAG: Shape("<i", refers=True),
    Kind.TYPE_TAG: _REFERENCE,
    Kind.ENUM64: Shape("<III", many=True, names=(0,)),
}
_TAILS = {kind: struct.Struct(shape.tail) for kind, shape in SHAPES.items()}
_MODIFIERS = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
_SIZED = frozenset((Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FLOAT, Kind.DATASEC, Kind.ENUM64))

VAR_STATIC, VAR_GLOBAL, VAR_EXTERN = 0, 1, 2
FUNC_STATIC, FUNC_GLOBAL, FUNC_EXTERN = 0, 1, 2


@dataclass(slots=True)
class Type:
    """One type as stored. ``size_or_type`` and the columns of ``tail`` mean what ``SHAPES`` says; ``vlen``
    counts only where no tail does (a ``FUNC``'s linkage)."""

    kind: Kind
    name_off: int = 0
    size_or_type: int = 0
    tail: list[tuple[int, ...]] = field(default_factory=list)
    kind_flag: bool = False
    vlen: int = 0


class Member(NamedTuple):
    """A field of a struct or union; ``bits`` is 0 unless it is a bit field."""

    name: str
    type_id: int
    bit_offset: int
    bits: int


class Var(NamedTuple):
    """An entry of a ``DATASEC``: the ``VAR`` (or ``FUNC``), and where it lies in the section."""

    name: str
    type_id: int
    offset: int
    size: int


class Leaf(NamedTuple):
    """A scalar inside a type, as ``Btf.layout`` gives it."""

    offset: int
    size: int
    name: str


@dataclass(slots=True)
class Btf:
    """All types of an object. ``types[0]`` is void. ``file`` is for messages only."""

    types: list[Type] = field(default_factory=lambda: [Type(Kind.VOID)])
    strings: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    file: str | None = None
    flags: int = 0
    header_tail: bytes = b""
    _string_offsets: dict[str, int] = field(default_factory=dict)
    _index: dict[tuple[Kind, str], int] = field(default_factory=dict)
    _indexed: int = 1

    # --- bytes ---

    @classmethod
    def parse(cls, data: bytes | bytearray, file: str | None = None) -> Btf:
        """Read a ``.BTF`` section. Anything wrong with it is an ``ObjectError``."""
        data = bytes(data)
        btf = cls(file=file)
        if len(data) < _HEADER.size:
            raise btf.error(f"{len(data)} bytes are too few for BTF; rebuild the object with 'clang -g'", 0)
        magic, version, flags, hdr_len, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1:
            raise btf.error(
                f"BTF magic {magic:#x} version {version} is not {_MAGIC:#x} version 1 (little-endian); "
                "rebuild the object with 'clang -target bpf -g'",
                0,
            )
        contiguous = hdr_len >= _HEADER.size and type_off == 0 and str_off == type_len
        if not contiguous or hdr_len + type_len + str_len != len(data):
            raise btf.error("BTF header does not fit the section; the file is damaged", 0)
        btf.flags, btf.header_tail = flags, data[_HEADER.size : hdr_len]
        btf.strings = bytearray(data[hdr_len + str_off :])
        if not btf.strings or btf.strings[0] or btf.strings[-1]:
            raise btf.error("BTF strings do not begin and end with a zero byte; damaged", hdr_len + str_off)
        btf._read_types(data, hdr_len, hdr_len + type_len)
        btf._check_references()
        return btf

    def _read_types(self, data: bytes, at: int, end: int) -> None:
        while at < end:
            if at + _HEAD.size > end:
                raise self.error("BTF types end within a type; the file is damaged", at)
            name_off, info, size_or_type = _HEAD.unpack_from(data, at)
            number, vlen = info >> 24 & 0x1F, info & 0xFFFF
            if number not in Kind._value2member_map_ or number == 0 or info & 0x60FF0000:
                raise self.error(
                    f"type {len(self.types)} is of kind {number} (info {info:#x}), which this compiler does "
                    "not know; damaged, or BTF newer than 'enum64': rebuild with an older 'clang'",
                    at,
                )
            kind = Kind(number)
            tail = _TAILS[kind]
            start = at + _HEAD.size
            at = start + tail.size * (vlen if SHAPES[kind].many else 1)
            if at > end:
                raise self.error(f"type {len(self.types)} goes on past the types' end; damaged", start)
            records = list(tail.iter_unpack(data[start:at])) if tail.size else []
            vlen = 0 if SHAPES[kind].many else vlen
            self.types.append(Type(kind, name_off, size_or_type, records, bool(info >> 31), vlen))

    def _check_references(self) -> None:
        """Every name and every type that a type refers to exists."""
        count, limit = len(self.types), len(self.strings)
        for i, t in enumerate(self.types[1:], 1):
            shape = SHAPES[t.kind]
            good = t.name_off < limit and not (shape.refers and t.size_or_type >= count)
            for record in t.tail:
                good = good and all(record[c] < limit for c in shape.names)
                good = good and all(record[c] < count for c in shape.types)
            if not good:
                raise self.error(f"type {i} refers to a type or name that is not there; the file is damaged")

    def to_bytes(self) -> bytes:
        """The ``.BTF`` section; the bytes that were parsed if nothing was changed."""
        out = bytearray()
        for t in self.types[1:]:
            vlen = len(t.tail) if SHAPES[t.kind].many else t.vlen
            out += _HEAD.pack(t.name_off, t.kind_flag << 31 | t.kind << 24 | vlen, t.size_or_type)
            for record in t.tail:
                out += _TAILS[t.kind].pack(*record)
        length = _HEADER.size + len(self.header_tail)
        head = _HEADER.pack(_MAGIC, 1, self.flags, length, 0, len(out), len(out), len(self.strings))
        return b"".join((head, self.header_tail, out, self.strings))

    def var_slots(self) -> dict[int, tuple[int, int]]:
        """Where the offsets of ``DATASEC`` entries lie in the section: byte -> (DATASEC id, VAR id)."""
        slots: dict[int, tuple[int, int]] = {}
        at = _HEADER.size + len(self.header_tail)
        for i, t in enumerate(self.types[1:], 1):
            at += _HEAD.size
            if t.kind is Kind.DATASEC:
                slots.update((at + 12 * k + 4, (i, record[0])) for k, record in enumerate(t.tail))
            at += _TAILS[t.kind].size * len(t.tail)
        return slots

    def error(self, message: str, offset: int | None = None) -> ObjectError:
        """An ``ObjectError`` about this BTF, to be raised."""
        return ObjectError(message, self.file, ".BTF", offset)

    # --- strings ---

    def string(self, offset: int) -> str:
        """The string at an offset; bytes that are no UTF-8 come as surrogate escapes."""
        end = self.strings.find(b"\0", offset)
        if end < 0:
            raise self.error(f"string offset {offset:#x} is outside the {len(self.strings):#x} bytes of strings")
        return self.strings[offset:end].decode("utf-8", "surrogateescape")

    def add_string(self, text: str) -> int:
        """The offset of a string, which is appended when it is not there."""
        if text not in self._string_offsets:
            raw = text.encode("utf-8", "surrogateescape") + b"\0"
            offset = self.strings.find(raw)
            if offset < 0:
                offset = len(self.strings)
                self.strings += raw
            self._string_offsets[text] = offset
        return self._string_offsets[text]

    # --- asking ---

    def name(self, type_id: int) -> str:
        """A type's own name; empty for anonymous ones."""
        return self.string(self.types[type_id].name_off)

    def find(self, kind: Kind, name: str) -> int | None:
        """The id of the first type of that kind and name."""
        for i in range(self._indexed, len(self.types)):
            self._index.setdefault((self.types[i].kind, self.name(i)), i)
        self._indexed = len(self.types)
        return self._index.get((kind, name))

    def resolve(self, type_id: int) -> int:
        """The type behind typedefs, qualifiers and type tags."""
        for _ in range(len(self.types)):
            t = self.types[type_id]
            if t.kind not in _MODIFIERS:
                return type_id
            type_id = t.size_or_type
        raise self.error(f"type {type_id} is defined by itself; the file is damaged")

    def kind(self, type_id: int) -> Kind:
        """The kind of the type itself, unresolved. Raises for a number (of `.BTF.ext`, say) that no type has."""
        if not 0 <= type_id < len(self.types):
            raise self.error(f"there is no type {type_id}, only {len(self.types) - 1}; what refers to it is damaged")
        return self.types[type_id].kind

    def target(self, type_id: int) -> int:
        """The type that a pointer, function, variable, typedef, ... refers to."""
        t = self.types[type_id]
        if t.kind is Kind.ARRAY:
            return t.tail[0][0]
        if t.kind is Kind.VOID or not SHAPES[t.kind].refers:
            raise self.error(f"type {type_id} is {t.kind.name}, which refers to no type")
        return t.size_or_type

    def array(self, type_id: int) -> tuple[int, int]:
        """Element type and number of elements of an array."""
        t = self.types[self.resolve(type_id)]
        if t.kind is not Kind.ARRAY:
            raise self.error(f"type {type_id} is {t.kind.name}, not an array")
        return t.tail[0][0], t.tail[0][2]

    def members(self, type_id: int) -> list[Member]:
        """The fields of a struct or union."""
        t = self.types[self.resolve(type_id)]
        if t.kind not in (Kind.STRUCT, Kind.UNION):
            raise self.error(f"type {type_id} is {t.kind.name}, not a struct or union")
        if not t.kind_flag:
            return [Member(self.string(n), ty, off, 0) for n, ty, off in t.tail]
        return [Member(self.string(n), ty, off & 0xFFFFFF, off >> 24) for n, ty, off in t.tail]

    def params(self, type_id: int) -> list[tuple[str, int]]:
        """Name and type of the parameters of a ``FUNC_PROTO`` (or of a ``FUNC``'s)."""
        t = self.types[type_id]
        if t.kind is Kind.FUNC:
            t = self.types[t.size_or_type]
        if t.kind is not Kind.FUNC_PROTO:
            raise self.error(f"type {type_id} is {t.kind.name}, not a function")
        return [(self.string(n), ty) for n, ty in t.tail]

    def vars(self, datasec: int) -> list[Var]:
        """The entries of a ``DATASEC``. Compilers leave ``offset`` 0 for a relocation to fill in."""
        return [Var(self.name(ty), ty, off, size) for ty, off, size in self.types[datasec].tail]

    def decl_tags(self, type_id: int) -> list[tuple[int, str]]:
        """Declaration tags on a type, variable or function: (component or -1, text)."""
        found = (t for t in self.types if t.kind is Kind.DECL_TAG and t.size_or_type == type_id)
        return [(t.tail[0][0], self.string(t.name_off)) for t in found]

    def sizeof(self, type_id: int) -> int:
        """Size in bytes; an ``ObjectError`` for what has none (void, functions, forward declarations)."""
        count = 1
        for _ in range(len(self.types)):
            t = self.types[type_id]
            if t.kind in _SIZED:
                return self._checked_size(type_id, count * t.size_or_type)
            if t.kind is Kind.PTR:
                return self._checked_size(type_id, count * 8)
            if t.kind is Kind.ARRAY:
                count = self._checked_size(type_id, count * t.tail[0][2])
                type_id = t.tail[0][0]
            elif t.kind in _MODIFIERS or t.kind is Kind.VAR:
                type_id = t.size_or_type
            else:
                raise self.error(f"type {type_id} ({t.kind.name} '{self.name(type_id)}') has no size")
        raise self.error(f"type {type_id} contains itself; the file is damaged")

    def _checked_size(self, type_id: int, size: int) -> int:
        if size >= 1 << 32:
            raise self.error(f"type {type_id} has {size:#x} bytes, more than BTF can say; damaged")
        return size

    def alignof(self, type_id: int) -> int:
        """Natural alignment in bytes, that of the most aligned member for structs and unions."""
        seen: set[int] = set()
        todo, largest = [type_id], 1
        while todo:
            type_id = self.resolve(todo.pop())
            t = self.types[type_id]
            if type_id in seen:
                continue
            seen.add(type_id)
            if t.kind is Kind.ARRAY:
                todo.append(t.tail[0][0])
            elif t.kind in (Kind.STRUCT, Kind.UNION):
                todo += [member[1] for member in t.tail]
            elif t.kind in _SIZED or t.kind is Kind.PTR:
                largest = max(largest, min(self.sizeof(type_id), 8))
        return largest

    def layout(self, type_id: int) -> list[Leaf]:
        """The scalars of a type or variable in declaration order, named like ``a.b[2].c`` ('' for a scalar itself).

        Union members overlap, and so may bit fields, whose leaf is the bytes that they touch. An array
        that would make a list of more than 4096 leaves is one leaf, named as the array.
        """
        from fsir.object.btf_layout import Flattening

        return Flattening(self).of(self.target(type_id) if self.kind(type_id) is Kind.VAR else type_id)

    # --- extending ---

    def add(self, new: Type) -> int:
        """Append a type and return its id."""
        self.types.append(new)
        return len(self.types) - 1

    def add_int(self, name: str, size: int, *, signed: bool = False) -> int:
        """An integer of ``size`` bytes; an equal one is reused."""
        tail: list[tuple[int, ...]] = [(signed << 24 | size * 8,)]
        found = self.find(Kind.INT, name)
        if found is not None and self.types[found].size_or_type == size and self.types[found].tail == tail:
            return found
        return self.add(Type(Kind.INT, self.add_string(name), size, tail))

    def replace(self, type_id: int, new: Type) -> None:
        """Make something else of a type, whose id stays. What referred to it must bear the change."""
        self.types[type_id] = new
        self._index.clear()
        self._indexed = 1

    def add_ptr(self, type_id: int) -> int:
        """A pointer to a type (0: ``void *``)."""
        return self.add(Type(Kind.PTR, 0, type_id))

    def add_array(self, element: int, count: int) -> int:
        """An array; the index type is a 4-byte integer, as compilers make it."""
        index = self.add_int("__ARRAY_SIZE_TYPE__", 4)
        return self.add(Type(Kind.ARRAY, 0, 0, [(element, index, count)]))

    def add_struct(self, name: str, size: int, members: list[tuple[str, int, int]]) -> int:
        """A struct from (name, type id, offset in **bytes**) of its members."""
        tail: list[tuple[int, ...]] = [(self.add_string(m), ty, offset * 8) for m, ty, offset in members]
        return self.add(Type(Kind.STRUCT, self.add_string(name), size, tail))

    def add_enum64(self, name: str, values: list[tuple[str, int]]) -> int:
        """An enumeration of unsigned 64-bit values (kernel and loaders since 2022)."""
        tail: list[tuple[int, ...]] = [(self.add_string(n), v & 0xFFFFFFFF, v >> 32) for n, v in values]
        return self.add(Type(Kind.ENUM64, self.add_string(name), 8, tail))

    def add_typedef(self, name: str, type_id: int) -> int:
        """A typedef."""
        return self.add(Type(Kind.TYPEDEF, self.add_string(name), type_id))

    def add_var(self, name: str, type_id: int, linkage: int = VAR_GLOBAL) -> int:
        """A variable, to be put into a ``DATASEC``."""
        return self.add(Type(Kind.VAR, self.add_string(name), type_id, [(linkage,)]))

    def add_func_proto(self, result: int, params: list[tuple[str, int]]) -> int:
        """A function's signature."""
        tail: list[tuple[int, ...]] = [(self.add_string(n), ty) for n, ty in params]
        return self.add(Type(Kind.FUNC_PROTO, 0, result, tail))

    def add_func(self, name: str, proto: int, linkage: int = FUNC_GLOBAL) -> int:
        """A function of a signature. To the kernel a global one is verified by itself."""
        return self.add(Type(Kind.FUNC, self.add_string(name), proto, vlen=linkage))

    def add_datasec_entry(self, section: str, var: int, offset: int, size: int) -> int:
        """Put a variable into the ``DATASEC`` of a section, which is added when missing. Returns its id."""
        datasec = self.find(Kind.DATASEC, section)
        if datasec is None:
            datasec = self.add(Type(Kind.DATASEC, self.add_string(section)))
        t = self.types[datasec]
        if t.size_or_type:  # A size of 0 leaves size and offsets to the loader.
            t.size_or_type = max(t.size_or_type, offset + size)
        t.tail.append((var, offset, size))
        return datasec


def load_btf(obj: ElfObject) -> Btf | None:
    """The object's BTF, if it has any."""
    section = obj.section_by_name(".BTF")
    return None if section is None else Btf.parse(section.data, obj.filename)


def store_btf(obj: ElfObject, btf: Btf) -> None:
    """Put changed BTF back into the object. Relocations of ``DATASEC`` entries follow their entries."""
    index = obj.section_index(".BTF")
    if index is None:
        index = obj.add_section(Section(".BTF", align=4))
    section = obj.sections[index]
    if relocs := obj.relocs.get(index):
        old = Btf.parse(section.data, obj.filename).var_slots()
        places = {entry: offset for offset, entry in btf.var_slots().items()}
        moved = [(places.get(old.get(r.offset, (0, 0))), r) for r in relocs]
        obj.relocs[index] = [Reloc(at, r.type, r.symbol, r.addend) for at, r in moved if at is not None]
    section.data = btf.to_bytes()


__all__ = [
    "FUNC_EXTERN", "FUNC_GLOBAL", "FUNC_STATIC", "R_BPF_64_NODYLD32", "SHAPES", "VAR_EXTERN", "VAR_GLOBAL",
    "VAR_STATIC", "Btf", "Kind", "Leaf", "Member", "Shape", "Type", "Var", "load_btf", "store_btf",
]  # fmt: skip
