"""Map definitions of an object, in whichever of the three ways they are written.

- BTF-defined maps in ``.maps``: structs whose member *types* carry the values (``int (*max_entries)[64]``);
- legacy ``maps`` sections: five 32-bit words, of which loaders know longer variants. Only BTF or the full
  length of iproute2's ``struct bpf_elf_map`` says what further words mean; what nothing explains is ignored;
- internal maps: the array behind each ``.rodata*``, ``.data*``, ``.bss*`` section and ``.kconfig``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fsir.object.btf import VAR_EXTERN, VAR_STATIC, Btf, Kind, Member
from fsir.object.elf import SHT_NOBITS, SHT_PROGBITS, STT_FUNC, STT_SECTION, ElfObject, Symbol
from fsir.object.errors import ObjectError
from fsir.object.map_model import (
    ARRAY,
    BPF_F_MMAPABLE,
    BPF_F_RDONLY_PROG,
    MAPS_OF_MAPS,
    PIN_BY_NAME,
    PIN_NONE,
    PROG_ARRAY,
    MapDef,
)


def read_map_defs(obj: ElfObject, btf: Btf | None) -> list[MapDef]:
    """All maps: legacy ones, then ``.maps``, then internal ones, each in order of place."""
    return [*_legacy_maps(obj, btf), *_btf_maps(obj, btf), *_internal_maps(obj, btf)]


def lacks_description(obj: ElfObject, btf: Btf | None) -> bool:
    """Are there maps in ``.maps`` without BTF to say what they are? They read as none, and nothing loads them."""
    section = obj.section_by_name(".maps")
    return section is not None and len(section) > 0 and (btf is None or btf.find(Kind.DATASEC, ".maps") is None)


def is_legacy_section(name: str) -> bool:
    """Does a section of that name hold legacy definitions?"""
    return name == "maps" or name.startswith("maps/")


# --- .maps -----------------------------------------------------------------------------------------------


def _btf_maps(obj: ElfObject, btf: Btf | None) -> list[MapDef]:
    index = obj.section_index(".maps")
    if index is None or not len(obj.sections[index]):
        return []
    datasec = None if btf is None else btf.find(Kind.DATASEC, ".maps")
    if btf is None or datasec is None:
        return []
    places = {s.name: s for _, s in obj.symbols_in(index) if s.type != STT_SECTION}
    maps = []
    for var in btf.vars(datasec):
        symbol = places.get(var.name)
        if symbol is None and btf.kind(var.type_id) is Kind.VAR and btf.types[var.type_id].tail[0][0] == VAR_EXTERN:
            continue  # defined in another object, to be linked with this one
        if symbol is None:
            raise obj.error(f"map '{var.name}' has no symbol; rebuild with 'clang -g'", index, var.offset)
        size = max(var.size, symbol.size)
        reader = _DefinitionReader(obj, btf, var.name, bytes(obj.sections[index].data[symbol.value :]))
        new = reader.read(btf.target(var.type_id))
        new.offset, new.size = symbol.value, size
        values_at = _values_offset(btf, btf.target(var.type_id))
        new.values = [
            ((at - symbol.value - values_at) // 8, target)
            for at, target in _pointers(obj, index)
            if symbol.value + values_at <= at < symbol.value + size
        ]
        maps.append(new)
    return sorted(maps, key=lambda m: m.offset)


def _values_offset(btf: Btf, type_id: int) -> int:
    """Where the ``values`` member begins; the struct's size when there is none."""
    found = (m.bit_offset // 8 for m in btf.members(type_id) if m.name == "values")
    return next(found, btf.sizeof(type_id))


def _pointers(obj: ElfObject, section: int) -> Iterator[tuple[int, str]]:
    """Place and target name of the relocated pointers in a section."""
    for reloc in obj.relocs.get(section, []):
        symbol = obj.symbols[reloc.symbol]
        if symbol.type == STT_SECTION:
            data = obj.sections[section].data
            addend = reloc.addend or int.from_bytes(data[reloc.offset : reloc.offset + 8], "little")
            symbol = _symbol_at(obj, symbol.shndx, addend) or symbol
        yield reloc.offset, symbol.name


def _symbol_at(obj: ElfObject, section: int, offset: int) -> Symbol | None:
    found = (s for _, s in obj.symbols_in(section) if s.type != STT_SECTION and s.value == offset and s.name)
    return next(found, None)


class _DefinitionReader:
    """Reads the struct type that is one map's definition. The table ``fields`` says what each member is; ``content`` is
    the variable's, for members that are plain integers (as before Linux 5.3)."""

    def __init__(self, obj: ElfObject, btf: Btf, name: str, content: bytes = b"") -> None:
        self.obj, self.btf, self.content = obj, btf, content
        self.new = MapDef(name)
        self.fields = {
            "type": self.number, "max_entries": self.number, "map_flags": self.number,
            "numa_node": self.number, "key_size": self.number, "value_size": self.number,
            "pinning": self.number, "map_extra": self.number,
            "key": self.layout, "value": self.layout, "values": self.values,
        }  # fmt: skip

    def fail(self, message: str) -> ObjectError:
        return self.obj.error(f"map '{self.new.name}': {message}", ".maps", self.new.offset)

    def read(self, type_id: int) -> MapDef:
        if self.btf.kind(self.btf.resolve(type_id)) is not Kind.STRUCT:
            raise self.fail("its definition is not a struct; define it with __uint and __type")
        for member in self.btf.members(type_id):
            take = self.fields.get(member.name)
            if take is None:
                known = ", ".join(self.fields)
                raise self.fail(f"unknown member '{member.name}'; members may be {known}")
            if take == self.number and self.btf.kind(self.btf.resolve(member.type_id)) is Kind.INT:
                self.plain_number(member)
            else:
                take(member.name, member.type_id)
        return self.new

    def pointee(self, name: str, type_id: int) -> int:
        type_id = self.btf.resolve(type_id)
        if self.btf.kind(type_id) is not Kind.PTR:
            raise self.fail(f"member '{name}' is no pointer; define it with __uint or __type")
        return self.btf.target(type_id)

    def number(self, name: str, type_id: int) -> None:
        """``__uint``: a pointer to an array of that many; ``__ulong``: an enumeration of one."""
        btf, resolved = self.btf, self.btf.resolve(type_id)
        kind = btf.kind(resolved)
        if kind in (Kind.ENUM, Kind.ENUM64) and len(btf.types[resolved].tail) == 1:
            _, low, *high = btf.types[resolved].tail[0]
            value = (low & 0xFFFFFFFF) | (high[0] if high else 0) << 32
        else:
            value = btf.array(self.pointee(name, type_id))[1]
        setattr(self.new, _FIELDS.get(name, name), value)

    def plain_number(self, member: Member) -> None:
        """An integer that the definition's content holds."""
        at = member.bit_offset // 8
        data = self.content[at : at + self.btf.sizeof(member.type_id)]
        setattr(self.new, _FIELDS.get(member.name, member.name), int.from_bytes(data, "little"))

    def layout(self, name: str, type_id: int) -> None:
        """``__type``: a pointer to the key's or the value's type."""
        target = self.pointee(name, type_id)
        setattr(self.new, f"{name}_btf_id", target)
        setattr(self.new, f"{name}_size", self.btf.sizeof(target))

    def values(self, name: str, type_id: int) -> None:
        """``__array``: an array of pointers to what the map holds: programs, or maps like this struct."""
        element, _ = self.btf.array(type_id)
        target = self.btf.resolve(self.pointee(name, element))
        self.new.value_size = 4
        if self.btf.kind(target) is Kind.STRUCT and "inner" not in self.new.name.split(".")[1:]:
            self.new.inner = _DefinitionReader(self.obj, self.btf, f"{self.new.name}.inner").read(target)
        elif self.btf.kind(target) is not Kind.FUNC_PROTO:
            raise self.fail("'values' holds neither programs nor (one level of) maps")


_FIELDS = {"map_flags": "flags"}
"""Members of definitions that `MapDef` has under another name."""


# --- maps ------------------------------------------------------------------------------------------------

_COMMON = struct.Struct("<IIIII")
_IPROUTE2_FIELDS = ("id", "pinning", "inner_id", "inner_idx")
_IPROUTE2_SIZE = 36
_IPROUTE2_GLOBAL = 2  # PIN_GLOBAL_NS; PIN_OBJECT_NS (1) is a directory of the object's own
_UNSET = 0xFFFFFFFF


def _legacy_maps(obj: ElfObject, btf: Btf | None) -> list[MapDef]:
    maps = []
    for index, section in enumerate(obj.sections):
        if not is_legacy_section(section.name) or not len(section):
            continue
        symbols = [s for _, s in obj.symbols_in(index) if s.type != STT_SECTION and s.name]
        symbols.sort(key=lambda s: s.value)
        if not symbols:
            raise obj.error("maps without symbols that name them; do not strip the object", index)
        ends = [*(s.value for s in symbols[1:]), len(section)]
        found = [_legacy_map(obj, btf, index, s, s.size or end - s.value) for s, end in zip(symbols, ends, strict=True)]
        _link_legacy(obj, found)
        maps += [m for m, _ in found]
    return maps


def _legacy_map(
    obj: ElfObject, btf: Btf | None, index: int, symbol: Symbol, size: int
) -> tuple[MapDef, dict[str, int]]:
    """A definition and those of its further words whose meaning is known."""
    section = obj.sections[index]
    if size < 16 or section.type == SHT_NOBITS:
        raise obj.error(f"the definition of map '{symbol.name}' has {size} bytes, not at least 16", index, symbol.value)
    data = bytes(section.data[symbol.value : symbol.value + size])
    words = _COMMON.unpack(data[: _COMMON.size].ljust(_COMMON.size, b"\0"))
    new = MapDef(symbol.name, section.name, symbol.value, size, legacy=True)
    new.type, new.key_size, new.value_size, new.max_entries, new.flags = words
    extra = _extra_words(btf, section.name, symbol.name, data)
    new.pinning = PIN_BY_NAME if extra.get("pinning") == _IPROUTE2_GLOBAL else PIN_NONE
    new.numa_node = extra.get("numa_node") or None
    annotation = None if btf is None else btf.find(Kind.STRUCT, f"____btf_map_{symbol.name}")
    for member in btf.members(annotation) if btf and annotation else []:
        if member.name == "key" and btf and btf.sizeof(member.type_id) == new.key_size:
            new.key_btf_id = member.type_id
        if member.name == "value" and btf and btf.sizeof(member.type_id) == new.value_size:
            new.value_btf_id = member.type_id
    return new, extra


def _extra_words(btf: Btf | None, section: str, name: str, data: bytes) -> dict[str, int]:
    """What follows the common words: by the member names that BTF has for the variable, or those of
    iproute2's struct if the definition is exactly as long."""
    datasec = None if btf is None else btf.find(Kind.DATASEC, section)
    for var in btf.vars(datasec) if btf and datasec else []:
        if var.name == name and btf:
            fields = [leaf for leaf in btf.layout(var.type_id) if leaf.size == 4]
            return {f.name: int.from_bytes(data[f.offset : f.offset + 4], "little") for f in fields}
    if len(data) == _IPROUTE2_SIZE:
        return dict(zip(_IPROUTE2_FIELDS, struct.unpack("<IIII", data[_COMMON.size :]), strict=True))
    return {}


def _link_legacy(obj: ElfObject, maps: list[tuple[MapDef, dict[str, int]]]) -> None:
    """Resolve the numbers by which legacy definitions refer to each other and to programs.

    iproute2: ``inner_id`` names the template by its ``id``, ``inner_idx`` says where the template itself
    goes; a section ``ID/KEY`` is the program at KEY of the program array ID. The kernel's samples:
    ``inner_map_idx`` counts definitions.
    """
    by_id = {extra["id"]: m for m, extra in maps if extra.get("id")}
    for new, extra in maps:
        if new.type in MAPS_OF_MAPS:
            template = by_id.get(extra.get("inner_id", 0))
            position = extra.get("inner_map_idx", len(maps))
            new.inner = template or (maps[position][0] if position < len(maps) else None)
            new.values = [
                (e["inner_idx"], m.name) for m, e in maps if m is template and e.get("inner_idx", _UNSET) != _UNSET
            ]
        elif new.type == PROG_ARRAY and extra.get("id"):
            new.values = sorted(_tail_sections(obj, extra["id"]))


def _tail_sections(obj: ElfObject, map_id: int) -> Iterator[tuple[int, str]]:
    for index, section in enumerate(obj.sections):
        array, _, key = section.name.partition("/")
        if section.is_code and array == str(map_id) and key.isdecimal():
            entry = next((s for _, s in obj.symbols_in(index) if s.value == 0 and s.type == STT_FUNC), None)
            if entry is not None:
                yield int(key), entry.name


# --- internal maps ---------------------------------------------------------------------------------------


def _internal_maps(obj: ElfObject, btf: Btf | None) -> Iterator[MapDef]:
    """As libbpf makes them: one element, mappable when BTF knows a variable that is not static."""
    for section in obj.sections:
        family = _internal_family(section.name)
        wanted = SHT_NOBITS if family == ".bss" else SHT_PROGBITS
        if family and section.type == wanted and len(section):
            yield _internal_map(btf, section.name, len(section), read_only=family == ".rodata")
    if btf is not None and (kconfig := kconfig_layout(btf)):
        size = max(offset + size for offset, size in kconfig.values())
        yield _internal_map(btf, ".kconfig", size, read_only=True)


def _internal_family(name: str) -> str | None:
    families = (".rodata", ".data", ".bss")
    return next((f for f in families if name == f or name.startswith(f + ".")), None)


def _internal_map(btf: Btf | None, name: str, size: int, read_only: bool) -> MapDef:
    datasec = (btf.find(Kind.DATASEC, name) if btf else None) or 0
    variables = btf.types[datasec].tail if btf and datasec else []
    linkages = [btf.types[v[0]].tail[0][0] for v in variables if btf and btf.kind(v[0]) is Kind.VAR]
    flags = BPF_F_RDONLY_PROG if read_only else 0
    if any(linkage != VAR_STATIC for linkage in linkages):
        flags |= BPF_F_MMAPABLE
    return MapDef(name, name, 0, size, ARRAY, 4, size, 1, flags, value_btf_id=datasec, internal=True)


def kconfig_layout(btf: Btf) -> dict[str, tuple[int, int]]:
    """Offset and size that libbpf gives to each variable of ``.kconfig``: strictest alignment first, then
    by size, then by name."""
    datasec = btf.find(Kind.DATASEC, ".kconfig")
    found = []
    for var in btf.vars(datasec) if datasec else []:
        type_id = btf.target(var.type_id)
        found.append((-btf.alignof(type_id), btf.sizeof(type_id), var.name))
    layout: dict[str, tuple[int, int]] = {}
    end = 0
    for negative, size, name in sorted(found):
        offset = end + -end % -negative
        layout[name] = (offset, size)
        end = offset + size
    return layout
