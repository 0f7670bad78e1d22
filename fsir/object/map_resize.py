"""Sizes for maps of an object, in the place of those that it has or leaves to its loader."""

from __future__ import annotations

from collections.abc import Mapping

from fsir.object.btf import Btf, Kind, load_btf, store_btf
from fsir.object.elf import ElfObject
from fsir.object.map_edit import number_type
from fsir.object.map_model import MapDef
from fsir.object.map_read import read_map_defs

_LEGACY_AT = 12  # type, key size, value size come before
_POINTER = 8
_ENTRIES = "max_entries"


def resize_maps(obj: ElfObject, sizes: Mapping[str, int]) -> None:
    """Set `max_entries` of maps, by name, in their definitions. Raises ObjectError for names of none."""
    btf = load_btf(obj)
    maps = {m.name: m for m in read_map_defs(obj, btf) if not m.internal}
    for name, entries in sizes.items():
        found = maps.get(name)
        if found is None:
            raise obj.error(f"there is no map '{name}' to set the size of; there are: {', '.join(maps) or 'none'}")
        if found.legacy:
            _write(obj, found, entries)
        elif btf is not None:
            _define(obj, btf, found, entries)
    if btf is not None:
        store_btf(obj, btf)


def _write(obj: ElfObject, found: MapDef, entries: int) -> None:
    index = obj.section_index(found.section)
    assert index is not None
    data = bytearray(obj.sections[index].data)
    at = found.offset + _LEGACY_AT
    data[at : at + 4] = entries.to_bytes(4, "little")
    obj.sections[index].data = bytes(data)


def _define(obj: ElfObject, btf: Btf, found: MapDef, entries: int) -> None:
    """Give the map's variable a type of its own, which says the size. A definition without that member becomes larger,
    and so moves to the end of the section."""
    datasec = btf.find(Kind.DATASEC, found.section)
    assert datasec is not None
    position, var = next((i, v) for i, v in enumerate(btf.vars(datasec)) if v.name == found.name)
    members = [(m.name, m.type_id, m.bit_offset // 8) for m in btf.members(btf.target(var.type_id))]
    size = btf.sizeof(btf.target(var.type_id))
    number = number_type(btf, entries)
    kinds = {name: btf.kind(btf.resolve(type_id)) for name, type_id, _ in members}
    if kinds.get(_ENTRIES, Kind.PTR) is not Kind.PTR or (_ENTRIES not in kinds and found.values):
        raise obj.error(f"the definition of map '{found.name}' is of a form that takes no size; set it in its source")
    if _ENTRIES in kinds:
        members = [(name, number if name == _ENTRIES else type_id, at) for name, type_id, at in members]
    else:
        at_end = [m for m in members if m[0] == "values"]
        members = [m for m in members if m[0] != "values"] + [(_ENTRIES, number, size)]
        size += _POINTER
        members += [(name, type_id, size) for name, type_id, _ in at_end]
        _move(obj, btf, found, datasec, position, size)
    btf.types[var.type_id].size_or_type = btf.add_struct("", size, members)


def _move(obj: ElfObject, btf: Btf, found: MapDef, datasec: int, position: int, size: int) -> None:
    index, symbol = obj.section_index(found.section), obj.symbol_by_name(found.name)
    assert index is not None and symbol is not None
    section = obj.sections[index]
    begin = -(-len(section.data) // _POINTER) * _POINTER
    section.data = bytes(section.data).ljust(begin, b"\0") + bytes(size)
    symbol.value, symbol.size = begin, size
    record = btf.types[datasec]
    record.tail[position] = (record.tail[position][0], begin, size)
    if record.size_or_type:
        record.size_or_type = begin + size
