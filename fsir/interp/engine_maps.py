"""The maps of a module on a machine: declarations, global data, and what the object puts into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, ModuleOp, StringAttr
from xdsl.ir import Operation

from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp, SymbolOp
from fsir.interp.machine import Machine
from fsir.interp.map_base import MapError, MapSpec, SpecialField
from fsir.interp.maps_array import ArrayMap
from fsir.interp.maps_handles import ProgArrayMap
from fsir.interp.maps_nested import MapOfMaps
from fsir.object.btf import Btf, Kind
from fsir.object.mapdefs import kconfig_layout

STB_WEAK = 2
KCONFIG = ".kconfig"

_MANAGED = {
    "bpf_spin_lock": "spin_lock",
    "bpf_timer": "timer",
    "bpf_wq": "workqueue",
    "bpf_refcount": "refcount",
    "bpf_list_head": "list_head",
    "bpf_list_node": "list_node",
    "bpf_rb_root": "rb_root",
    "bpf_rb_node": "rb_node",
}
"""Structs that the kernel manages inside of map values, by name."""

_POINTER_TAGS = frozenset({"kptr", "kptr_untrusted", "percpu_kptr", "uptr"})
"""Type tags of pointers that only the kernel writes."""

_DEFAULT_SIZE = 64
_SIZED = {"perf_event_array", "sk_storage", "inode_storage", "task_storage", "cgrp_storage"}
_SIZED |= {"cgroup_storage", "percpu_cgroup_storage"}
"""Maps that have a size, or none, whatever their declaration says."""


def missing_sizes(module: ModuleOp) -> dict[str, int]:
    """Sizes for the maps whose size is left to the loader."""
    declarations = (op for op in module.walk() if isinstance(op, DeclOp))
    return {
        op.sym_name.data: _DEFAULT_SIZE
        for op in declarations
        if op.internal is None and op.type.data not in _SIZED and not op.int_prop("max_entries")
    }


def _outside_functions(module: ModuleOp) -> Iterator[Operation]:
    """All operations but those of code, which are the most of them."""
    for op in module.body.block.ops:
        if isinstance(op, FuncOp):
            yield op
        else:
            yield from op.walk()


@dataclass
class Variable:
    """A global variable: where it lies in which internal map."""

    section: str
    offset: int
    size: int


class ModuleData:
    """What a module says about data: declarations, sections, symbols, BTF."""

    def __init__(self, module: ModuleOp):
        self.decls: dict[str, DeclOp] = {}
        self.sections: list[SectionOp] = []
        self.symbols: list[SymbolOp] = []
        for op in _outside_functions(module):
            if isinstance(op, DeclOp):
                self.decls.setdefault(op.sym_name.data, op)
            elif isinstance(op, SectionOp):
                self.sections.append(op)
            elif isinstance(op, SymbolOp):
                self.symbols.append(op)
        btf = next((section.content for section in self.sections if section.section.data == ".BTF"), b"")
        self.btf = Btf.parse(btf) if btf else None

    @property
    def internal(self) -> frozenset[str]:
        """The maps that are global data."""
        return frozenset(name for name, decl in self.decls.items() if decl.internal is not None)

    @property
    def weak(self) -> frozenset[str]:
        """Undefined weak symbols, which are 0 where there is nothing of that name."""
        return frozenset(
            symbol.symbol.data for symbol in self.symbols if symbol.section.data == 0 and symbol.bind.data == STB_WEAK
        )

    def content(self, section: str) -> bytes:
        """The bytes of a section, empty when it has none."""
        return next((op.content for op in self.sections if op.section.data == section), b"")

    def variable(self, name: str) -> Variable | None:
        """Where a global variable lies; the name of a data section is the whole of it."""
        if name in self.internal:
            return Variable(name, 0, self.decls[name].value_size.data)
        for symbol in self.symbols:
            number = symbol.section.data
            if symbol.symbol.data == name and 0 < number <= len(self.sections):
                section = self.sections[number - 1].section.data
                if section in self.internal:
                    return Variable(section, symbol.value.data, symbol.size.data)
        return None

    def spec(self, decl: DeclOp, sizes: Mapping[str, int]) -> MapSpec:
        """A declaration as the machine takes it."""
        inner = decl.inner
        template = self.decls.get(inner.root_reference.data) if inner is not None else None
        return MapSpec(
            decl.sym_name.data,
            decl.type.data,
            decl.key_size.data,
            decl.value_size.data,
            sizes.get(decl.sym_name.data, decl.max_entries.data),
            decl.flags.data,
            decl.int_prop("map_extra"),
            self.spec(template, sizes) if template is not None else None,
            tuple(self._managed_fields(decl.int_prop("value_btf"))),
        )

    def _managed_fields(self, type_id: int, at: int = 0) -> Iterator[SpecialField]:
        """Locks, timers, kernel pointers and the like within a value's type."""
        if self.btf is None or not type_id:
            return
        btf = self.btf
        type_id = btf.resolve(type_id)
        kind = btf.kind(type_id)
        if kind is Kind.ARRAY:
            element, count = btf.array(type_id)
            fields = list(self._managed_fields(element, at))
            size = btf.sizeof(element) if fields else 0
            for index in range(count if fields else 0):
                yield from (replace(field, offset=field.offset + index * size) for field in fields)
        elif kind is Kind.PTR:
            target = btf.target(type_id)
            if btf.kind(target) is Kind.TYPE_TAG and btf.name(target) in _POINTER_TAGS:
                yield SpecialField("kptr", at, 8)
        elif kind in (Kind.STRUCT, Kind.UNION):
            name = btf.name(type_id)
            if name in _MANAGED:
                yield SpecialField(_MANAGED[name], at, btf.sizeof(type_id))
                return
            for member in btf.members(type_id):
                yield from self._managed_fields(member.type_id, at + member.bit_offset // 8)


def create_maps(
    machine: Machine,
    data: ModuleData,
    *,
    sizes: Mapping[str, int],
    rodata: Mapping[str, bytes],
    externs: Mapping[str, int],
) -> dict[str, int]:
    """Make every map of a module, with its global data; gives the addresses of configuration variables.

    `sizes` sets `max_entries`, `rodata` global variables by name (or whole sections), `externs` configuration
    variables. Raises MapError for what does not fit.
    """
    for name in sizes:
        if name not in data.decls:
            raise MapError(f"there is no map '{name}'; there are: {', '.join(sorted(data.decls)) or 'none'}")
    for name, decl in data.decls.items():
        if decl.template is None:
            machine.add_map(data.spec(decl, sizes))
        if decl.internal is not None:
            section = decl.section.data if decl.section is not None else name
            write_data(machine, name, 0, data.content(section))
    for name, decl in data.decls.items():
        _put_initial(machine, name, decl)
    for name, value in rodata.items():
        _set_variable(machine, data, name, value)
    return _set_kconfig(machine, data, externs)


def write_data(machine: Machine, name: str, offset: int, content: bytes) -> None:
    """Overwrite bytes of global data, read-only or not."""
    found = machine.maps[name]
    assert isinstance(found, ArrayMap)
    region = machine.memory.region_at(found.values_addr)
    assert region is not None
    region.buf[offset : offset + len(content)] = content


def _put_initial(machine: Machine, name: str, decl: DeclOp) -> None:
    for entry in decl.initial or ():
        fields = cast(DictionaryAttr, entry).data
        index, symbol = cast(IntAttr, fields["index"]).data, cast(StringAttr, fields["symbol"]).data
        target = machine.maps[name]
        if isinstance(target, ProgArrayMap):
            target.set_program(index, symbol)
        elif isinstance(target, MapOfMaps):
            target.set_inner(index.to_bytes(target.key_size, "little"), machine.maps[symbol])


def _set_variable(machine: Machine, data: ModuleData, name: str, value: bytes) -> None:
    variable = data.variable(name)
    if variable is None:
        sections = ", ".join(sorted(data.internal)) or "none"
        raise MapError(f"there is no variable or data section '{name}'; the data sections are: {sections}")
    whole = name in data.internal
    if len(value) > variable.size or (len(value) < variable.size and not whole):
        raise MapError(f"{name} has {variable.size} bytes, not {len(value)}")
    write_data(machine, variable.section, variable.offset, value)


def _set_kconfig(machine: Machine, data: ModuleData, externs: Mapping[str, int]) -> dict[str, int]:
    """Fill `.kconfig` and say where its variables are. A strong one without a value is MapError."""
    if KCONFIG not in machine.maps or data.btf is None:
        return {}
    region = machine.maps[KCONFIG]
    assert isinstance(region, ArrayMap)
    addresses: dict[str, int] = {}
    for name, (offset, size) in kconfig_layout(data.btf).items():
        if name not in externs and name not in data.weak:
            raise MapError(f"the configuration variable '{name}' has no value; give it with --extern {name}=N")
        value = externs.get(name, 0) & ((1 << 8 * size) - 1)
        write_data(machine, KCONFIG, offset, value.to_bytes(size, "little"))
        addresses[name] = region.values_addr + offset
    return addresses


__all__ = ["ModuleData", "Variable", "create_maps", "write_data"]
