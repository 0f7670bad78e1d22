"""Writing map definitions: new maps for an object, and legacy maps turned into BTF-defined ones.

What is written is what ``bpf_helpers.h``'s ``__uint``, ``__type`` and ``__array`` would have made: a
struct variable in ``.maps``, its type in BTF, an entry in BTF's ``DATASEC``, a global symbol.
"""

from __future__ import annotations

from fsir.object.btf import Btf, Kind, Type, store_btf
from fsir.object.elf import (
    R_BPF_64_64,
    R_BPF_64_ABS64,
    SHF_ALLOC,
    SHF_WRITE,
    STB_GLOBAL,
    STT_OBJECT,
    STT_SECTION,
    ElfObject,
    Reloc,
    Section,
    Symbol,
)
from fsir.object.map_model import PROG_ARRAY, MapDef
from fsir.object.map_read import is_legacy_section, read_map_defs

_POINTER = 8
_MAX_SLOTS = 1 << 20  # of initial values, which are 8 bytes each in the object
_NUMBERS = (
    ("type", "type"), ("key_size", "key_size"), ("value_size", "value_size"),
    ("max_entries", "max_entries"), ("map_flags", "flags"), ("pinning", "pinning"),
    ("numa_node", "numa_node"), ("map_extra", "map_extra"),
)  # fmt: skip
"""Members that are numbers: name in the definition, name in ``MapDef``."""


def add_btf_map(obj: ElfObject, btf: Btf, new: MapDef) -> int:
    """Append a map to ``.maps`` so that every loader creates it; returns the index of its symbol.

    ``new.values`` must name symbols that the object has. The section and BTF's ``DATASEC`` are made when
    missing. ``new.section``, ``offset`` and ``size`` are set to the definition's place. ``btf`` is stored
    in the object. Raises ``ObjectError`` when the object has a symbol of that name.
    """
    if obj.symbol_index(new.name) is not None:
        raise obj.error(f"a map cannot be named '{new.name}': there is a symbol of that name; choose another")
    symbol = obj.add_symbol(Symbol(new.name, bind=STB_GLOBAL, type=STT_OBJECT))
    var = btf.add_var(new.name, 0)
    _define(obj, btf, new, symbol, var)
    return symbol


def _define(obj: ElfObject, btf: Btf, new: MapDef, symbol: int, var: int) -> None:
    """Give a map a place in ``.maps``: content, its symbol's place, its BTF variable's type and entry."""
    index = obj.section_index(".maps")
    if index is None:
        index = obj.add_section(Section(".maps", flags=SHF_WRITE | SHF_ALLOC, align=_POINTER))
    section = obj.sections[index]
    new.key_size = new.key_size or (btf.sizeof(new.key_btf_id) if new.key_btf_id else 0)
    new.value_size = new.value_size or (btf.sizeof(new.value_btf_id) if new.value_btf_id else 0)
    slots = max((i for i, _ in new.values), default=-1) + 1
    if slots > min(new.max_entries, _MAX_SLOTS):
        raise obj.error(f"map '{new.name}' of {new.max_entries} entries is to hold a value at {slots - 1}", ".maps")
    struct, values_at = _struct(btf, new)
    data = bytearray(section.data)
    data += bytes(-len(data) % _POINTER)
    new.section, new.offset, new.size = ".maps", len(data), btf.sizeof(struct) + slots * _POINTER
    section.data = bytes(data) + bytes(new.size)
    for slot, name in new.values:
        target = obj.symbol_index(name)
        if target is None:
            raise obj.error(f"map '{new.name}' is to hold '{name}', which the object does not define", index)
        obj.add_reloc(index, Reloc(new.offset + values_at + slot * _POINTER, R_BPF_64_ABS64, target))
    old = obj.symbols[symbol]
    old.shndx, old.value, old.size = index, new.offset, new.size
    old.bind, old.type = STB_GLOBAL, STT_OBJECT
    btf.types[var].size_or_type = struct
    datasec = btf.add_datasec_entry(".maps", var, new.offset, new.size)
    _store(obj, btf, datasec, var, symbol)


def _store(obj: ElfObject, btf: Btf, datasec: int, var: int, symbol: int) -> None:
    """Store BTF; where its offsets are relocated, relocate the new entry's too."""
    store_btf(obj, btf)
    index = obj.section_index(".BTF")
    if index is not None and (relocs := obj.relocs.get(index)):
        place = next(at for at, entry in btf.var_slots().items() if entry == (datasec, var))
        obj.add_reloc(index, Reloc(place, relocs[0].type, symbol))


def _struct(btf: Btf, new: MapDef) -> tuple[int, int]:
    """The struct type that says what the map is, and where its ``values`` begin (its end if without).
    ``values`` has no length of its own: what the object puts there follows the struct."""
    members: list[tuple[str, int]] = []
    types = {"value_size": new.value_btf_id}
    if new.value_btf_id:  # The kernel takes a key's type only together with a value's.
        types["key_size"] = new.key_btf_id
    for name, attribute in _NUMBERS:
        typed = types.get(name, 0)
        number = getattr(new, attribute)
        if typed:
            members.append((name.removesuffix("_size"), btf.add_ptr(typed)))
        elif number or (name == "numa_node" and number is not None):
            members.append((name, number_type(btf, number)))
    size = len(members) * _POINTER
    if new.inner or (new.type == PROG_ARRAY and new.values):
        held = _struct(btf, new.inner)[0] if new.inner else btf.add_func_proto(0, [])
        members.append(("values", btf.add_array(btf.add_ptr(held), 0)))
    placed = [(name, type_id, i * _POINTER) for i, (name, type_id) in enumerate(members)]
    return btf.add_struct("", size, placed), size


def number_type(btf: Btf, number: int) -> int:
    """A type that stands for a number, as ``__uint`` and (above 32 bits) ``__ulong`` make it."""
    if number < 1 << 32:
        return btf.add_ptr(btf.add_array(btf.add_int("int", 4, signed=True), number))
    return btf.add_enum64("", [(f"__fs_{number:x}", number)])


def modernise_maps(obj: ElfObject, btf: Btf) -> list[MapDef]:
    """Turn the maps of legacy sections, which libbpf 1.x refuses, into BTF-defined ones; returns them.

    Names, symbols and the relocations that use them stay; the legacy sections go. iproute2's pinning
    in the global directory becomes pinning by name (its per-object directory has no counterpart: such maps
    are private); its program sections ``ID/KEY`` become initial values of the program array. An iproute2
    built without libbpf reads legacy sections only: leave them alone in what it is to load.
    """
    legacy = [m for m in read_map_defs(obj, btf) if m.legacy]
    sections = {i for i, s in enumerate(obj.sections) if is_legacy_section(s.name)}
    variables = _retire_datasecs(btf)
    symbols = {(s.shndx, s.name): i for i, s in enumerate(obj.symbols) if s.type != STT_SECTION}
    old_places = {(m.section, m.offset): m for m in legacy}
    moves = {place: symbols[obj.section_index(m.section) or 0, m.name] for place, m in old_places.items()}
    for new in legacy:
        symbol = symbols[obj.section_index(new.section) or 0, new.name]
        var = variables.get(new.name) or btf.add_var(new.name, 0)
        _define(obj, btf, new, symbol, var)
    _repoint(obj, sections, moves)
    for index in sorted(sections, reverse=True):
        obj.remove_section(index)
    store_btf(obj, btf)
    return legacy


def _retire_datasecs(btf: Btf) -> dict[str, int]:
    """Empty BTF's lists of legacy sections, which a loader would look for, and return their variables.
    Type ids must stay, so what is left is a forward declaration."""
    variables: dict[str, int] = {}
    for i, t in enumerate(list(btf.types)):
        if t.kind is Kind.DATASEC and is_legacy_section(btf.name(i)):
            variables |= {v.name: v.type_id for v in btf.vars(i)}
            btf.replace(i, Type(Kind.FWD, btf.add_string("legacy_maps")))
    return variables


def _repoint(obj: ElfObject, sections: set[int], moves: dict[tuple[str, int], int]) -> None:
    """Relocations that reach a legacy map through its section's symbol get the map's own symbol."""
    for patched, relocs in obj.relocs.items():
        section = obj.sections[patched]
        for reloc in relocs:
            base = obj.symbols[reloc.symbol]
            if base.type != STT_SECTION or base.shndx not in sections:
                continue
            at, width = reloc.offset + (4 if reloc.type == R_BPF_64_64 else 0), 8
            if reloc.type != R_BPF_64_ABS64:
                width = 4
            data = bytearray(section.data)
            offset = reloc.addend or int.from_bytes(data[at : at + width], "little")
            symbol = moves.get((obj.sections[base.shndx].name, offset))
            if symbol is None:
                raise obj.error(f"reaches offset {offset:#x} of '{base.name}', which is no map", patched, at)
            data[at : at + width] = bytes(width)
            reloc.symbol, reloc.addend, section.data = symbol, 0, bytes(data)
